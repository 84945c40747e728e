//! Servers that send more than the file may have: each is cut, and nothing stays.

use crate::world::{World, body, sha256};
use kuth_test_support::http::{Answer, FLOOD, Server};

const TAG: &str = "\"one\"";

/// The build fails with all of `parts`, and nothing of what came is kept.
fn cut(world: &World, server: &Server, parts: &[&str]) {
    let run = world.build(&[]);
    assert_eq!(run.status, 1, "{}", run.err);
    let errors = run.err.lines().filter(|line| line.starts_with("error:"));
    assert_eq!(errors.count(), 1, "{}", run.err);
    for part in parts.iter().chain([&server.address.as_str()]) {
        assert!(run.err.contains(part), "{part}: {}", run.err);
    }
    for part in ["downloads", "objects", "work"] {
        let left = std::fs::read_dir(world.path("cache").join(part)).into_iter().flatten();
        let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// At most so much was taken, and what waits between two ends of a connection.
fn took(server: &Server, most: u64) {
    let sent = server.sent();
    assert!(sent < most + (16 << 20) && sent < FLOOD, "{sent}");
}

#[test]
fn a_file_of_unknown_length_ends_at_its_limit() {
    let body = body();
    for digest in [String::new(), sha256(&body)] {
        let served = body.clone();
        let server = Server::start(move |_, _| Answer::flood(&served));
        let url = format!("url = \"{}/f\"\nlimit = \"3 MiB\"\n{digest}", server.address);
        let world = World::new(&url);
        let said = "expected at most 3145728 bytes, got ";
        cut(&world, &server, &[said, " and closed the connection", "say so with `limit`"]);
        assert_eq!(world.lock(), "");
        assert_eq!(server.requests().len(), 1, "it is not asked again");
        took(&server, 3 << 20);
    }
    // The limit itself is let pass, with and without a length.
    for answer in [Answer::chunked, Answer::ok] {
        let served = body.clone();
        let server = Server::start(move |_, _| answer(&served));
        let url = format!("url = \"{}/f\"\nlimit = \"{} B\"", server.address, body.len());
        World::new(&url).gives(&body);
    }
}

#[test]
fn a_file_that_is_announced_longer_is_not_begun() {
    let body = body();
    let (served, announced) = (body.clone(), body.len());
    let server = Server::start(move |_, request| Answer::part(request, &served, TAG));
    let less = announced - 1;
    let url = format!("url = \"{}/f\"\nlimit = \"{less} B\"", server.address);
    let said = format!("expected at most {less} bytes, the server announces {announced}");
    cut(&World::new(&url), &server, &[&said, "say so with `limit`"]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_file_that_the_lock_knows_ends_at_its_size() {
    let server = Server::start(|number, _| match number {
        0 => Answer::ok(b"first"),
        1 => Answer::flood(b"first"),
        _ => Answer::ok(b"second"),
    });
    let world = World::new(&format!("url = \"{}/f\"", server.address));
    world.gives(b"first");
    let lock = world.lock();
    let announced = "expected at most 5 bytes, the server announces 6";
    for said in ["expected at most 5 bytes, got ", announced] {
        std::fs::remove_dir_all(world.path("cache")).unwrap();
        cut(&world, &server, &[said, "another file lies there now"]);
        assert_eq!(world.lock(), lock);
    }
    took(&server, 5);
}

#[test]
fn the_rest_of_a_file_ends_where_the_whole_does() {
    let body = body();
    let served = body.clone();
    let server = Server::start(move |number, request| match number {
        0 => Answer::part(request, &served, TAG).cut(500_000),
        _ => {
            let start = request.start();
            let range = format!("bytes {start}-{}/{}", served.len() - 1, served.len());
            let answer = Answer::flood(&served[start..]).with("Content-Range", range);
            Answer { status: "206 Partial Content", ..answer.with("ETag", TAG.into()) }
        }
    });
    let world = World::new(&format!("url = \"{}/f\"", server.address));
    let said = format!("expected at most {} bytes, got ", body.len());
    cut(&world, &server, &[&said]);
    took(&server, body.len() as u64);
}

#[test]
fn lists_and_signatures_end_too() {
    for (flooded, most) in [("list", 16 << 20), ("list.sig", 1 << 20)] {
        let server = Server::start(move |_, request| match request.path.trim_matches('/') {
            path if path == flooded => Answer::flood(b"0"),
            _ => Answer::ok(b"0"),
        });
        let address = &server.address;
        let world = World::new("");
        std::fs::write(world.path("keys"), "").unwrap();
        world.write(&format!(
            "url = \"{address}/f\"\nchecksums = \"{address}/list\"\n\
             signature = \"{address}/list.sig\"\nkeyring = \"keys\""
        ));
        let said = format!("expected at most {most} bytes, got ");
        cut(&world, &server, &[&said, &format!("{address}/{flooded}")]);
        took(&server, most);
    }
}

#[test]
fn what_has_no_end_on_this_machine_is_no_file() {
    let world = World::new("url = \"file:///dev/zero\"");
    world.fails("/dev/zero is not a file");
    std::fs::write(world.path("f"), "four").unwrap();
    let url = format!("url = \"file://{}\"", world.path("f").display());
    world.write(&format!("{url}\nlimit = \"3 B\""));
    world.fails("expected at most 3 bytes, it has 4");
    world.write(&format!("{url}\nlimit = \"4 B\""));
    world.gives(b"four");
}

//! What networks and servers do.

use std::time::Duration;

use crate::world::{World, body, sha256};
use kuth_test_support::http::{Answer, Server};

const TAG: &str = "\"one\"";

fn url(server: &Server, path: &str) -> String {
    format!("url = \"{}/{path}\"", server.address)
}

#[test]
fn a_connection_that_is_cut_off_goes_on_where_it_was() {
    for known in [true, false] {
        let body = body();
        let served = body.clone();
        let server = Server::start(move |number, request| {
            let answer = Answer::part(request, &served, TAG);
            if number < 3 { answer.cut(250_000) } else { answer }
        });
        let digest = if known { sha256(&body) } else { String::new() };
        World::new(&format!("{}\n{digest}", url(&server, "f"))).gives(&body);
        let starts: Vec<usize> = server.requests().iter().map(|request| request.start()).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");
        let last = server.requests().pop().unwrap();
        assert_eq!(last.header("if-range"), Some(TAG));
        assert_eq!(last.header("accept-encoding"), Some("identity"));
    }
}

#[test]
fn a_later_build_goes_on_too() {
    let body = body();
    let served = body.clone();
    let server = Server::start(move |number, request| match number {
        0 => Answer::part(request, &served, TAG).cut(600_000),
        1 => Answer::refusal("403 Forbidden"),
        _ => Answer::part(request, &served, TAG),
    });
    let world = World::new(&url(&server, "f"));
    world.fails("the server answered 403");
    world.gives(&body);
    let start = server.requests()[2].start();
    assert!((500_000..=600_000).contains(&start), "{start}");
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_again() {
    let body = body();
    let served = body.clone();
    let server = Server::start(move |number, _| {
        let answer = Answer::ok(&served).with("ETag", TAG.into());
        if number < 2 { answer.cut(400_000) } else { answer }
    });
    World::new(&url(&server, "f")).gives(&body);
    assert!(server.requests()[2].start() > 0);
}

#[test]
fn a_file_that_changes_meanwhile_is_not_mixed() {
    for known in [true, false] {
        let (old, new) = (vec![7; 900_000], body());
        let served = new.clone();
        let server = Server::start(move |number, request| match number {
            0 => Answer::part(request, &old, TAG).cut(500_000),
            _ => Answer::part(request, &served, "\"two\""),
        });
        let digest = if known { sha256(&new) } else { String::new() };
        World::new(&format!("{}\n{digest}", url(&server, "f"))).gives(&new);
    }
}

/// Without tags only the digest shows that two halves are of two files.
#[test]
fn halves_of_two_files_are_seen_by_the_digest() {
    let (old, new) = (vec![7; 1_000_000], body());
    let served = new.clone();
    let server = Server::start(move |number, request| {
        let answer = |body: &[u8]| {
            let mut answer = Answer::part(request, body, "x");
            answer.headers.retain(|(name, _)| *name != "ETag");
            answer
        };
        match number {
            0 => answer(&old).cut(500_000),
            1 => Answer::refusal("404 Not Found"),
            _ => answer(&served),
        }
    });
    let world = World::new(&format!("{}\n{}", url(&server, "f"), sha256(&new)));
    world.fails("404");
    world.gives(&new);
    let starts: Vec<usize> = server.requests().iter().map(|request| request.start()).collect();
    assert!(starts[2] > 0 && starts[3] == 0, "{starts:?}");
}

#[test]
fn a_part_that_is_whole_already_is_done() {
    let body = body();
    let served = body.clone();
    // Promises a byte more than there is, then says how it is.
    let server = Server::start(move |number, request| {
        let mut answer = Answer::part(request, &served, TAG);
        if number == 0 {
            answer.headers[0].1 = (served.len() + 1).to_string();
        }
        answer
    });
    World::new(&url(&server, "f")).gives(&body);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let body = body();
    let served = body.clone();
    let server = Server::start(move |number, request| match number {
        0 => Answer::refusal("503 Service Unavailable"),
        1 => Answer::refusal("429 Too Many Requests"),
        _ => Answer::part(request, &served, TAG),
    });
    World::new(&url(&server, "f")).gives(&body);
}

#[test]
fn a_web_page_is_no_archive() {
    let page = b"<!DOCTYPE html><html><body>Click here</body></html>".repeat(50);
    let server = Server::start(move |_, request| match request.path.as_str() {
        "/page.html" => Answer::ok(&page),
        "/other.tar.gz" => Answer::ok(b"BZh91AY&SY not gzip at all"),
        _ => Answer::ok(&page).with("Content-Type", "application/gzip".into()),
    });
    for path in ["base.tar.bz2", "base"] {
        let world = World::new(&url(&server, path));
        world.fails("the server answered with an HTML page, not with a file");
        assert_eq!(world.lock(), "");
    }
    World::new(&url(&server, "other.tar.gz")).fails("with bzip2 data, not with gzip data");
    let page = b"<!DOCTYPE html><html><body>Click here</body></html>".repeat(50);
    World::new(&url(&server, "page.html")).gives(&page);
    assert_eq!(server.requests().len(), 4, "none is tried twice");
}

#[test]
fn the_next_mirror_is_tried() {
    let body = body();
    let served = body.clone();
    let server = Server::start(move |_, request| match request.path.as_str() {
        "/one" => Answer::refusal("404 Not Found"),
        "/two" => Answer::ok(b"another file"),
        _ => Answer::part(request, &served, TAG),
    });
    let address = &server.address;
    let urls = format!("url = [\"{address}/one\", \"{address}/two\", \"{address}/three\"]");
    World::new(&format!("{urls}\n{}", sha256(&body))).gives(&body);
    World::new(&format!("{urls}\n{}", sha256(b"none"))).fails("none of 3 addresses gave the file");
}

#[test]
fn a_slow_server_is_waited_for() {
    let body = body();
    let served = body.clone();
    let slow = Duration::from_millis(25);
    let server = Server::start(move |_, request| Answer::part(request, &served, TAG).slow(slow));
    World::new(&url(&server, "f")).gives(&body);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn going_round_in_circles_ends() {
    let server = Server::start(move |_, request| {
        let other = if request.path == "/a" { "/b" } else { "/a" };
        Answer::refusal("302 Found").with("Location", other.into())
    });
    World::new(&url(&server, "a")).fails("the server redirects too many times");
    // A circle today is one in a second.
    assert!(server.requests().len() < 15, "{}", server.requests().len());
}

#[test]
fn a_server_that_moved_a_file_is_followed() {
    let body = body();
    let served = body.clone();
    let server = Server::start(move |_, request| match request.path.as_str() {
        "/f" => Answer::refusal("307 Temporary Redirect").with("Location", "/g".into()),
        _ => Answer::part(request, &served, TAG),
    });
    World::new(&url(&server, "f")).gives(&body);
}

//! A file that is worth several connections, from a real nginx and from servers that want but one.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::{World, sha256};
use kuth_test_support::http::{Answer, Server};
use kuth_test_support::servers;

/// 40 MiB and a bit, no two pieces alike.
fn large() -> Vec<u8> {
    (0..(10 << 20) + 7u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn nginx_gives_parts_and_goes_on_with_one() {
    let directory = tempfile::tempdir().unwrap();
    let Some(nginx) = servers::Server::nginx(directory.path()) else { return };
    let body = large();
    std::fs::write(directory.path().join("files/f"), &body).unwrap();
    for digest in [String::new(), sha256(&body)] {
        let world = World::new(&format!("url = \"{}/cache/f\"\n{digest}", nginx.address));
        world.gives(&body);
    }
    let world = World::new(&format!("url = \"{}/cache/none\"", nginx.address));
    world.fails("404 Not Found");

    // What a killed build left: nginx says 416 of a whole one, and gives the rest of a part.
    for have in [body.len(), 3_000_000, 39 << 20] {
        let digest = sha256(&body);
        let world = World::new(&format!("url = \"{}/cache/f\"\n{digest}", nginx.address));
        let name = kuth::digest::Digest::of(format!("sha256 {}", kuth::digest::Digest::of(&body)));
        std::fs::create_dir_all(world.path("cache/downloads")).unwrap();
        let part = world.path(&format!("cache/downloads/{name}.part"));
        std::fs::write(&part, &body[..have]).unwrap();
        world.gives(&body);
    }
}

#[test]
fn several_connections_share_the_work() {
    let body = large();
    let served = body.clone();
    let server = Server::start(move |_, request| {
        Answer::part(request, &served, "\"one\"").with("Accept-Ranges", "bytes".into())
    });
    World::new(&format!("url = \"{}/f\"", server.address)).gives(&body);
    let mut starts: Vec<usize> = server.requests().iter().map(|it| it.start()).collect();
    starts.sort();
    assert_eq!(starts, [0, 8 << 20, 16 << 20, 24 << 20, 32 << 20, 40 << 20]);
}

#[test]
fn a_server_that_allows_one_connection_gives_it_all() {
    let body = large();
    for refusal in ["503 Service Unavailable", "403 Forbidden", "200 OK"] {
        let served = body.clone();
        let refused = AtomicUsize::new(0);
        let server = Server::start(move |_, request| {
            // Where the first connection ends, the next may begin.
            let further = request.header("range").is_some_and(|range| !range.ends_with('-'));
            if further {
                refused.fetch_add(1, Ordering::SeqCst);
                return Answer { status: refusal, ..Answer::ok(b"one at a time") };
            }
            Answer::part(request, &served, "\"one\"").with("Accept-Ranges", "bytes".into())
        });
        World::new(&format!("url = \"{}/f\"", server.address)).gives(&body);
        let all = server.requests();
        assert!(all.iter().filter(|it| it.header("range").is_none()).count() == 1, "{refusal}");
    }
}

#[test]
fn a_large_file_that_changes_is_not_mixed() {
    let (old, new) = (vec![7; 40 << 20], large());
    let served = new.clone();
    let server = Server::start(move |number, request| {
        let (body, tag) = if number == 0 { (&old, "\"one\"") } else { (&served, "\"two\"") };
        Answer::part(request, body, tag).with("Accept-Ranges", "bytes".into())
    });
    World::new(&format!("url = \"{}/f\"", server.address)).gives(&new);
}

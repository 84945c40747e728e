//! Remotes that send without end: each is cut where the file must end.

use std::path::Path;
use std::time::Duration;

use crate::world::{World, warnings};
use kuth_test_support::http::{Answer, FLOOD, Server};

const MOST: u64 = 1 << 20;

/// Long enough that no limit of time ends what a limit of length should.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks the remote at `address` for a file of at most [`MOST`] bytes: what it says of one with more.
fn refused(address: &str) -> String {
    let remote = kuth::remote::open(address, Path::new("/"), PATIENCE).unwrap();
    match remote.get("v2/records/ab/x.json", MOST) {
        Err(error) => format!("{error:#}"),
        Ok(_) => panic!("all of it was taken"),
    }
}

#[test]
fn a_web_server_is_cut_at_the_bound() {
    let server = Server::start(|_, _| Answer::flood(b"x"));
    let why = refused(&format!("{}/cache", server.address));
    let said = format!("v2/records/ab/x.json: expected at most {MOST} bytes, got ");
    assert!(why.contains(&said), "{why}");
    assert!(server.sent() < MOST + (16 << 20), "{}", server.sent());
    let server = Server::start(|_, _| Answer::ok(&vec![b'x'; MOST as usize + 1]));
    let why = refused(&server.address);
    let said = format!("expected at most {MOST} bytes, the server announces {}", MOST + 1);
    assert!(why.contains(&said), "{why}");
    // The bound itself is let pass.
    for answer in [Answer::ok, Answer::chunked] {
        let server = Server::start(move |_, _| answer(&vec![b'x'; MOST as usize]));
        let remote = kuth::remote::open(&server.address, Path::new("/"), PATIENCE).unwrap();
        assert_eq!(remote.get("x", MOST).unwrap().unwrap().len(), MOST as usize);
    }
}

#[test]
#[cfg(feature = "object-stores")]
fn a_service_is_cut_at_the_bound() {
    // A service has to announce how much it sends.
    let server = Server::start(|_, _| Answer::long(b"x"));
    let why = refused(&format!("{}/cache", server.address.replace("http", "webdav")));
    let said = format!("expected at most {MOST} bytes, there are more");
    assert!(why.contains(&said), "{why}");
    // It may be asked twice.
    assert!(server.sent() < 2 * (MOST + (16 << 20)), "{}", server.sent());
}

#[test]
fn a_build_continues_without_a_remote_that_sends_endlessly() {
    let world = World::new();
    let server = Server::start(|_, request| match request.path.starts_with("/cache") {
        true => Answer::flood(b"{"),
        false => Answer::long(b"{"),
    });
    let http = (format!("{}/cache", server.address), Vec::new());
    let variables = [
        ("AWS_ENDPOINT_URL", server.address.as_str()),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ];
    let s3 = ("s3://bucket/prefix".to_string(), variables.to_vec());
    for (name, (remote, variables)) in [("http", http), ("s3", s3)] {
        if name == "s3" && !cfg!(feature = "object-stores") {
            continue;
        }
        let before = server.sent();
        let machine = world.machine(name, &remote).with("KUTH_CACHE_MODE", "read");
        let machine = variables.iter().fold(machine, |it, (name, value)| it.with(name, value));
        let err = machine.runs(2, &[]);
        assert_eq!(warnings(&err), 1, "{err}");
        assert!(err.contains("expected at most 16777216 bytes"), "{err}");
        let sent = server.sent() - before;
        assert!(sent > 16 << 20 && sent < 3 * (32 << 20) && sent < FLOOD, "{name}: {sent}");
    }
}

//! Through a web server that hangs, fails, lies or goes away: the build ends right, with one
//! warning, and in time.

use std::time::{Duration, Instant};

use super::server::{Manner, Server};
use super::world::{Machine, World, warnings};

/// A world, a server with both results on it, and a machine that has nothing yet.
fn filled(world: &World) -> Server {
    let server = Server::start();
    world.machine("one", &server.address).runs(2, &[]);
    world.empty_handed("sound", &server.address).runs(0, &[]);
    server
}

fn reader<'w>(world: &'w World, server: &Server) -> Machine<'w> {
    let machine = world.machine("two", &server.address);
    machine.with("KUTH_CACHE_MODE", "read").with("KUTH_CACHE_TIMEOUT", "2")
}

/// The server behaves so towards everything, and the build ends right.
fn ends_right(manner: Manner) {
    let world = World::new();
    let server = filled(&world);
    server.behave(move |_, _| manner);
    let start = Instant::now();
    let err = reader(&world, &server).runs(2, &[]);
    assert_eq!(warnings(&err), 1, "{manner:?}: {err}");
    assert!(start.elapsed() < Duration::from_secs(20), "{manner:?}: {:?}", start.elapsed());
}

#[test]
fn a_server_at_fault_is_a_miss() {
    ends_right(Manner::Fault);
}

#[test]
fn a_server_that_hangs_is_a_miss() {
    ends_right(Manner::Hang);
}

#[test]
fn a_server_that_dribbles_is_a_miss() {
    ends_right(Manner::Dribble);
}

#[test]
fn a_server_that_lies_is_a_miss() {
    ends_right(Manner::Lie);
}

#[test]
fn a_server_that_cuts_off_is_a_miss() {
    ends_right(Manner::Cut);
}

#[test]
fn a_server_that_never_ends_is_a_miss() {
    ends_right(Manner::Flood);
}

#[test]
fn no_server_at_all_is_a_miss() {
    let world = World::new();
    let machine = world.machine("one", "http://127.0.0.1:9/cache");
    let err = machine.with("KUTH_CACHE_MODE", "read").runs(2, &[]);
    assert_eq!(warnings(&err), 1, "{err}");
}

#[test]
fn records_without_packs_are_a_miss() {
    for manner in [Manner::Fault, Manner::Hang, Manner::Lie, Manner::Cut] {
        let world = World::new();
        let server = filled(&world);
        server.behave(move |_, path| match path.contains("/packs/") {
            true => manner,
            false => Manner::Good,
        });
        let err = reader(&world, &server).runs(2, &[]);
        assert_eq!(warnings(&err), 1, "{manner:?}: {err}");
    }
}

#[test]
fn a_server_that_stops_halfway_is_a_miss() {
    let world = World::new();
    let server = filled(&world);
    let mut requests = 0;
    server.behave(move |_, _| {
        requests += 1;
        // Two records and a manifest.
        if requests > 3 { Manner::Fault } else { Manner::Good }
    });
    let err = reader(&world, &server).runs(2, &[]);
    assert_eq!(warnings(&err), 1, "{err}");
}

#[test]
fn a_server_that_refuses_uploads_does_not_block_a_build() {
    for manner in [Manner::Fault, Manner::Hang] {
        let world = World::new();
        let server = Server::start();
        server.behave(move |method, _| if method == "PUT" { manner } else { Manner::Good });
        let machine = world.machine("one", &server.address).with("KUTH_CACHE_TIMEOUT", "2");
        let err = machine.runs(2, &[]);
        assert_eq!(warnings(&err), 1, "{manner:?}: {err}");
        // Once it does, it gets it.
        server.behave(|_, _| Manner::Good);
        machine.runs(0, &[]);
        world.empty_handed("two", &server.address).runs(0, &[]);
    }
}

#[test]
fn a_password_in_the_address_is_not_shown() {
    let world = World::new();
    let machine = world.machine("one", "http://me:hunter2@127.0.0.1:9/cache");
    let err = machine.runs(2, &[]);
    assert!(!err.contains("hunter2"), "{err}");
}

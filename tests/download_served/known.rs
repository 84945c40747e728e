//! How it is known what the file must be.

use std::process::Command;

use crate::world::{World, body, sha256};
use kuth_test_support::http::{Answer, Server};

fn serving(body: Vec<u8>) -> Server {
    Server::start(move |_, request| Answer::part(request, &body, "\"one\""))
}

#[test]
fn a_wrong_file_is_refused_but_not_thrown_away() {
    let body = body();
    let server = serving(body.clone());
    let url = format!("url = \"{}/f\"", server.address);
    let world = World::new(&format!("{url}\n{}", sha256(b"other")));
    world.fails("the SHA-256 is ");
    // The pipeline was wrong: put right, it needs no network.
    world.write(&format!("{url}\n{}", sha256(&body)));
    world.gives(&body);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_sha512_is_as_good() {
    use kuth::digest::Sums;
    let body = body();
    let server = serving(body.clone());
    let mut sums = Sums::both();
    sums.update(&body);
    let sum = sums.finish().1.unwrap().to_string();
    let url = format!("url = \"{}/f\"", server.address);
    World::new(&format!("{url}\nsha512 = \"{sum}\"")).gives(&body);
    let wrong = sum.replace(&sum[..1], if sum.starts_with('0') { "1" } else { "0" });
    World::new(&format!("{url}\nsha512 = \"{wrong}\"")).fails("the SHA-512 is ");
}

#[test]
fn without_a_digest_the_first_one_counts() {
    let server = Server::start(|number, request| match number {
        0 => Answer::part(request, b"first", "\"one\""),
        _ => Answer::part(request, b"other", "\"two\""),
    });
    let world = World::new(&format!("url = \"{}/f\"", server.address));
    let run = world.build(&["--locked"]);
    assert!(run.err.contains("the lock does not say which file `file` means"), "{}", run.err);
    let run = world.build(&["--offline"]);
    assert!(run.err.contains("/f is not in the cache"), "{}", run.err);
    assert!(server.requests().is_empty());
    world.gives(b"first");
    assert!(world.lock().contains(&sha256(b"first")), "{}", world.lock());
    assert!(world.lock().contains("size = 5"), "{}", world.lock());
    // All is in the cache.
    assert_eq!(world.build(&["--offline", "--locked"]).status, 0);
    assert_eq!(server.requests().len(), 1);
    // Somebody else's cache has nothing: the lock still says what it must be.
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    world.fails("the SHA-256 is ");
}

#[test]
fn a_file_of_this_machine_is_taken_too() {
    let world = World::new("");
    std::fs::write(world.path("a b"), "text").unwrap();
    let path = world.path("a%20b");
    world.write(&format!("url = \"file://{}\"\n{}", path.display(), sha256(b"text")));
    assert_eq!(world.build(&["--offline"]).status, 0);
    assert_eq!(world.made(), b"text");
    world.write(&format!("url = \"file://{}\"\n{}", path.display(), sha256(b"other")));
    world.fails("the SHA-256 is ");
    assert_eq!(std::fs::read(world.path("a b")).unwrap(), b"text");
}

#[test]
fn a_list_counts_when_it_is_signed() {
    let directory = tempfile::tempdir().unwrap();
    let gpg = |args: &[&str]| {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(directory.path()).args(["--batch", "--quiet", "--yes"]);
        command.current_dir(directory.path()).args(args).output()
    };
    if gpg(&["--version"]).is_err() {
        kuth_test_support::judge::missing("gpg");
        return;
    }
    let run = |args: &[&str]| {
        let output = gpg(args).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let body = body();
    let list = format!("{}  ./d/f\n", kuth::digest::Digest::of(&body));
    std::fs::write(directory.path().join("list"), &list).unwrap();
    for (user, expires) in [("us", "never"), ("them", "never"), ("late", "2020-01-02")] {
        let key = ["--passphrase", "", "--quick-gen-key", user, "ed25519", "sign", expires];
        run(&[&["--faked-system-time", "20200101T000000"], &key[..]].concat());
    }
    run(&["--armor", "--export", "--output", "us.asc", "us"]);
    run(&["--export", "--output", "them.gpg", "them"]);
    run(&["--export", "--output", "late.gpg", "late"]);
    run(&["-u", "us", "--detach-sign", "--armor", "--output", "list.sig", "list"]);
    run(&["-u", "us", "--clearsign", "--output", "clear", "list"]);
    let time = ["--faked-system-time", "20200101T120000"];
    run(&[&time[..], &["-u", "late", "--detach-sign", "--output", "late.sig", "list"]].concat());
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    let (signature, late) = (read("list.sig"), read("late.sig"));
    let clear = String::from_utf8(read("clear")).unwrap();
    // What is around a signed text is nobody's.
    let around = format!("{}  ./d/f\n{clear}", kuth::digest::Digest::of("other"));
    let (served, good) = (body.clone(), list.clone());
    let server = Server::start(move |_, request| match request.path.as_str() {
        "/list" => Answer::ok(good.as_bytes()),
        "/changed" => Answer::ok(good.replace('0', "1").as_bytes()),
        "/list.sig" => Answer::ok(&signature),
        "/late.sig" => Answer::ok(&late),
        "/clear" => Answer::ok(around.as_bytes()),
        "/clear-changed" => Answer::ok(clear.replace("./d/f", "./d/g").as_bytes()),
        _ => Answer::part(request, &served, "\"one\""),
    });
    let world = World::new("");
    let address = &server.address;
    let stage = |list: &str, signature: &str, keys: &str| {
        std::fs::copy(directory.path().join(keys), world.path(keys)).unwrap();
        world.write(&format!(
            "url = \"{address}/d/f\"\nchecksums = \"{address}/{list}\"\n\
             signature = \"{address}/{signature}\"\nkeyring = \"{keys}\""
        ));
    };
    stage("changed", "list.sig", "us.asc");
    world.fails("is wrong: the text was changed");
    stage("list", "late.sig", "late.gpg");
    world.fails("it or its key has expired");
    stage("list", "list.sig", "them.gpg");
    world.fails("whose key is not there");
    assert_eq!(world.lock(), "");
    stage("list", "list.sig", "us.asc");
    world.gives(&body);
    // What the lock has is of that list: another one is another question.
    stage("changed", "list.sig", "us.asc");
    let run = world.build(&["--locked"]);
    let said = "the lock does not say which file `file` means";
    assert!(run.status == 1 && run.err.contains(said), "{}", run.err);
    let run = world.build(&["--offline"]);
    assert!(run.status == 1 && run.err.contains("is not in the cache"), "{}", run.err);
    stage("list", "list.sig", "us.asc");
    assert!(world.lock().contains(&sha256(&body)));
    // The lock answers from now on.
    let asked = server.requests().len();
    assert_eq!(world.build(&["--offline", "--locked"]).status, 0);
    assert_eq!(server.requests().len(), asked);
    // A list that has its signature in it.
    stage("clear-changed", "clear-changed", "us.asc");
    world.fails("is wrong: the text was changed");
    stage("clear", "clear", "them.gpg");
    world.fails("whose key is not there");
    stage("clear", "clear", "us.asc");
    world.gives(&body);
}

#[test]
fn a_damaged_file_in_the_store_is_not_taken_for_the_one() {
    let body = body();
    let server = serving(body.clone());
    let world = World::new(&format!("url = \"{}/f\"\n{}", server.address, sha256(&body)));
    world.gives(&body);
    let digest = kuth::digest::Digest::of(&body).to_string();
    let object = world.path("cache/objects").join(&digest[..2]).join(&digest);
    let mut other = body.clone();
    other[500_000] ^= 1;
    // No result is known, as where another pipeline asks for the file, and the store has it.
    for bytes in [&body[..], &other, &body[1..], b""] {
        std::fs::remove_dir_all(world.path("cache/records")).unwrap();
        std::fs::remove_file(&object).unwrap();
        std::fs::write(&object, bytes).unwrap();
        let asked = server.requests().len();
        let offline = world.build(&["--offline"]);
        assert_eq!(offline.status == 0, bytes == body, "{}", offline.err);
        world.gives(&body);
        assert_eq!(server.requests().len() > asked, bytes != body);
    }
}

//! Nothing that a secret of the environment went into leaves the machine, nor what is made of that:
//! all that lies on the remote is looked through, and all that was sent.

use std::path::Path;

use super::server::Server;
use super::world::{Machine, World, files};
use kuth::digest::Digest;
use kuth_test_support::run::Run;

/// No other text has this in it.
const SECRET: &str = "Tr0ub4dor-and-3-horses";
/// What only results that are made of the secret have, besides it.
const OF_SECRET: [&str; 2] = ["made-of-the-secret-by-the-child", "by-the-grandchild"];
/// What a result without a secret has.
const OPEN: &str = "open-to-everybody";

/// The stages that a secret went into, or that are made of such.
const KEPT: [&str; 3] = ["secret", "child", "grandchild"];
const MOVED: [&str; 3] = ["file", "tree", "open"];

/// A machine that makes a tree with a secret, and two of that.
fn machine<'w>(world: &'w World, name: &str, remote: &str) -> Machine<'w> {
    let machine = world.machine(name, remote).with("SECRET", SECRET);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let text = b"ID=debian\nVERSION_ID=13\n";
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, "etc/os-release", &text[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    std::fs::write(world.path("root.tar"), &tar).unwrap();
    let pipeline = format!(
        r#"
[pipeline]
name = "p"
[stage.file]
kind = "download"
url = "file://{}"
sha256 = "{}"
[stage.tree]
kind = "import"
from = "file"
[stage.open]
kind = "customise"
from = "tree"
[stage.open.file."/etc/open"]
content = "{OPEN}"
[stage.secret]
kind = "customise"
from = "tree"
[stage.secret.file."/etc/secret"]
content = "password = ${{env:SECRET}}"
[stage.child]
kind = "customise"
from = "secret"
[stage.child.file."/etc/child"]
content = "{}"
[stage.grandchild]
kind = "customise"
from = "child"
[stage.grandchild.file."/etc/grandchild"]
content = "{}"
"#,
        world.path("root.tar").display(),
        Digest::of(&tar),
        OF_SECRET[0],
        OF_SECRET[1],
    );
    std::fs::write(machine.path("p.toml"), pipeline).unwrap();
    machine
}

/// Names and bytes that left, as they are and decompressed.
#[derive(Default)]
struct Left(Vec<u8>);

impl Left {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(bytes);
        if let Ok(whole) = zstd::stream::decode_all(bytes) {
            self.0.extend_from_slice(&whole);
        }
    }

    fn has(&self, text: &str) -> bool {
        self.0.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Nothing of `run` that a secret went into is in it, and what is open is.
    fn is_clean(&self, run: &Run, machine: &Machine<'_>) {
        assert!(self.has(OPEN), "what is open was not found: the search is at fault");
        for text in [SECRET, "/etc/secret", "/etc/child"].iter().chain(&OF_SECRET) {
            assert!(!self.has(text), "{text} left");
        }
        let key = |stage: &str| {
            let path = machine.path(&format!("cache/latest/p/{stage}.key"));
            std::fs::read_to_string(path).unwrap().trim().to_string()
        };
        for stage in KEPT {
            assert!(!self.has(run.digest(stage)), "the digest of {stage} left");
            assert!(!self.has(&key(stage)), "the key of {stage} left");
        }
        for stage in MOVED {
            assert!(self.has(&key(stage)), "{stage} did not leave");
        }
    }
}

fn on_directory(directory: &Path) -> Left {
    let mut left = Left::default();
    for path in files(directory) {
        left.add(path.to_str().unwrap(), &std::fs::read(&path).unwrap());
    }
    left
}

fn sent_to(server: &Server) -> Left {
    let mut left = Left::default();
    for (path, body) in server.requests() {
        left.add(&path, &body);
    }
    left
}

#[test]
fn results_with_secrets_are_not_pushed() {
    let world = World::new();
    let server = Server::start();
    for (name, remote) in [("directory", "../remote"), ("web", server.address.as_str())] {
        let found = || match name {
            "directory" => on_directory(&world.path("remote")),
            _ => sent_to(&server),
        };
        let one = machine(&world, name, remote);
        let built = one.build(&[]);
        assert_eq!((built.status, built.count("run")), (0, 6), "{}", built.err);
        assert!(built.err.contains("3 results pushed to"), "{}", built.err);
        found().is_clean(&built, &one);
        // Not by the next build either, nor by one that runs it all again, nor by hand.
        for options in [&[][..], &["--rebuild", "secret", "--rebuild", "child"]] {
            let again = one.build(options);
            assert_eq!(again.status, 0, "{}", again.err);
            found().is_clean(&built, &one);
        }
        let pushed = one.kuth(&["cache", "push", "p.toml"]);
        assert_eq!(pushed.status, 0, "{}", pushed.err);
        let withheld = pushed.out.matches("not pushed, it contains a secret").count();
        assert_eq!(withheld, KEPT.len(), "{}", pushed.out);
        found().is_clean(&built, &one);

        // Another machine with the same secret makes those itself, and asks for none of them.
        let two = machine(&world, &format!("{name}-two"), remote);
        let second = two.build(&[]);
        assert_eq!((second.status, second.count("run")), (0, 3), "{}", second.err);
        for stage in KEPT {
            assert_eq!(built.digest(stage), second.digest(stage), "{stage}");
        }
        found().is_clean(&second, &two);
    }
}

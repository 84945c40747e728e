//! What somebody who can write to a remote, but has no key, might put there: manifests and chunks
//! that are sound and of something else, or not sound at all. A build makes the result itself.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::world::{World, files, warnings};
use kuth::digest::Digest;

/// What is done to a manifest.
type Change<'a> = &'a dyn Fn(&mut Value);

/// A filled remote, and the manifest of the directory in it.
struct Remote {
    world: World,
    manifest: PathBuf,
    good: Value,
}

impl Remote {
    fn new() -> Remote {
        let world = World::new();
        let built = world.machine("one", "../remote").build(&[]);
        assert_eq!(built.status, 0, "{}", built.err);
        let digest = built.digest("directory");
        let manifest = world.path(&format!("remote/v1/objects/{}/{digest}.json", &digest[..2]));
        let text = std::fs::read(&manifest).unwrap();
        let good: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(serde_json::to_vec(&good).unwrap(), text, "as kuth writes it");
        Remote { world, manifest, good }
    }

    /// Where a chunk lies.
    fn chunk(&self, digest: &str) -> PathBuf {
        self.world.path(&format!("remote/v1/chunks/{}/{digest}.zst", &digest[..2]))
    }

    /// Stores bytes as a chunk under their own name; its entry in a manifest.
    fn store(&self, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes).to_string();
        let path = self.chunk(&digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, zstd::bulk::compress(bytes, 3).unwrap()).unwrap();
        json!([digest, bytes.len()])
    }

    /// A chunk's bytes.
    fn bytes(&self, at: usize) -> Vec<u8> {
        let stored = std::fs::read(self.chunk(self.good["chunks"][at][0].as_str().unwrap()));
        zstd::stream::decode_all(&stored.unwrap()[..]).unwrap()
    }

    /// Another machine builds: it makes the directory itself and says so once.
    fn is_not_believed(&self, what: &str) {
        let machine = self.world.machine("again", "../remote").with("KUTH_CACHE_MODE", "read");
        let run = machine.build(&["directory"]);
        assert_eq!(run.status, 0, "{what}: {}", run.err);
        assert!(run.count("run") > 0, "{what}: {}", run.err);
        assert_eq!(warnings(&run.err), 1, "{what}: {}", run.err);
        machine.is_right();
        let verified = machine.kuth(&["cache", "--cache", "cache", "verify"]);
        assert_eq!((verified.status, verified.out.as_str()), (0, ""), "{what}: {}", verified.err);
        std::fs::remove_dir_all(machine.path("cache")).unwrap();
    }

    fn put(&self, manifest: &Value) {
        std::fs::write(&self.manifest, serde_json::to_vec(manifest).unwrap()).unwrap();
    }
}

#[test]
fn a_manifest_of_sound_chunks_of_something_else_is_not_believed() {
    let remote = Remote::new();
    let mut other = remote.bytes(1);
    other[100] ^= 1;
    let mut manifest = remote.good.clone();
    manifest["chunks"][1] = remote.store(&other);
    remote.put(&manifest);
    remote.is_not_believed("another chunk");

    let mut manifest = remote.good.clone();
    manifest["chunks"].as_array_mut().unwrap().swap(1, 2);
    remote.put(&manifest);
    remote.is_not_believed("another order");

    // The same remote, whole again, is.
    remote.put(&remote.good);
    remote.world.empty_handed("sound", "../remote").runs(0, &[]);
}

#[test]
fn a_manifest_that_is_not_sound_is_not_believed() {
    let remote = Remote::new();
    let size = remote.good["size"].as_u64().unwrap();
    let path = format!("{:/<64}", "../../../../../etc/passwd");
    let first = remote.good["chunks"][0].clone();
    let changes: [(&str, Change<'_>); 9] = [
        ("a longer object", &|it| it["size"] = json!(size + 1)),
        ("an object of no end", &|it| it["size"] = json!(u64::MAX)),
        ("another hashing", &|it| it["hashing"] = json!("sparse")),
        ("a run behind the end", &|it| it["runs"] = json!([[size, 5]])),
        ("a run that goes round", &|it| it["runs"] = json!([[u64::MAX, 5]])),
        ("a chunk too many", &|it| it["chunks"].as_array_mut().unwrap().push(first.clone())),
        ("a huge chunk", &|it| it["chunks"][0][1] = json!(u32::MAX)),
        ("a chunk's path", &|it| it["chunks"][0][0] = json!(path)),
        ("more than a manifest says", &|it| it["path"] = json!("/etc/passwd")),
    ];
    for (what, change) in changes {
        let mut manifest = remote.good.clone();
        change(&mut manifest);
        remote.put(&manifest);
        remote.is_not_believed(what);
    }
    // Far more chunks than the object can have.
    let mut manifest = remote.good.clone();
    manifest["chunks"] = json!(vec![json!([Digest::of("x").to_string(), 1]); 100_000]);
    remote.put(&manifest);
    remote.is_not_believed("many chunks");
    std::fs::write(&remote.manifest, vec![b'['; 4 << 20]).unwrap();
    remote.is_not_believed("a manifest without an end");
}

#[test]
fn a_chunk_ends_where_its_manifest_says() {
    let remote = Remote::new();
    let place = remote.chunk(remote.good["chunks"][0][0].as_str().unwrap());
    let good = std::fs::read(&place).unwrap();
    // 64 MiB of zeros in few bytes, a byte more than the chunk has, and many bytes.
    let mut bomb = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 64 << 20), &mut bomb).unwrap();
    let longer = [&remote.bytes(0)[..], b"x"].concat();
    for (what, bytes) in [
        ("a bomb", bomb.finish().unwrap()),
        ("a byte more", zstd::bulk::compress(&longer, 3).unwrap()),
        ("a byte less", zstd::bulk::compress(&longer[..longer.len() - 2], 3).unwrap()),
        ("many bytes", vec![0; 4 << 20]),
        ("none", Vec::new()),
    ] {
        std::fs::write(&place, bytes).unwrap();
        remote.is_not_believed(what);
    }
    std::fs::write(&place, good).unwrap();
    remote.world.empty_handed("sound", "../remote").runs(0, &[]);
}

#[test]
fn a_record_of_another_key_is_not_believed() {
    let world = World::new();
    let one = world.machine("one", "../remote");
    one.runs(2, &[]);
    let swap = |directory: PathBuf| {
        let records = files(&directory);
        let texts: Vec<_> = records.iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert_eq!(records.len(), 2);
        std::fs::write(&records[0], &texts[1]).unwrap();
        std::fs::write(&records[1], &texts[0]).unwrap();
    };
    // Each is signed by a key that counts, and in the other's place.
    swap(world.path("remote/v1/records"));
    let err = world.machine("two", "../remote").with("KUTH_CACHE_MODE", "read").runs(2, &[]);
    assert!(warnings(&err) == 1 && err.contains("is damaged and not used"), "{err}");
    // So in a cache of one's own: neither is a result, and `verify` says so.
    swap(one.path("cache/records"));
    let one = one.with("KUTH_CACHE_REMOTE", "");
    one.runs(2, &["--jobs", "1"]);
    swap(one.path("cache/records"));
    let verified = one.kuth(&["cache", "--cache", "cache", "verify"]);
    assert_eq!(verified.status, 1, "{}", verified.err);
    assert_eq!(verified.out.matches("a record that does not match its key").count(), 2);
    one.runs(2, &[]);
}

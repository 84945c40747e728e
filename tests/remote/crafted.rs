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
        let manifest = world.path(&format!("remote/v2/objects/{}/{digest}.json", &digest[..2]));
        let text = std::fs::read(&manifest).unwrap();
        let good: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(serde_json::to_vec(&good).unwrap(), text, "as kuth writes it");
        Remote { world, manifest, good }
    }

    /// Where a pack lies.
    fn pack(&self, digest: &str) -> PathBuf {
        self.world.path(&format!("remote/v2/packs/{}/{digest}.pack", &digest[..2]))
    }

    /// Where the first pack of the directory lies.
    fn first_pack(&self) -> PathBuf {
        self.pack(self.good["packs"][0].as_str().unwrap())
    }

    /// Stores bytes as the only chunk of a new pack under its own name.
    fn store(&self, bytes: &[u8]) -> (Value, usize) {
        let small = zstd::bulk::compress(bytes, 3).unwrap();
        let digest = Digest::of(&small).to_string();
        let path = self.pack(&digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &small).unwrap();
        (json!(digest), small.len())
    }

    /// The bytes of its pack that a chunk has.
    fn range(&self, at: usize) -> std::ops::Range<usize> {
        let place = &self.good["chunks"][at][1];
        let [start, length] = [1, 2].map(|at| place[at].as_u64().unwrap() as usize);
        start..start + length
    }

    /// A chunk's bytes.
    fn bytes(&self, at: usize) -> Vec<u8> {
        let index = self.good["chunks"][at][1][0].as_u64().unwrap() as usize;
        let pack = self.pack(self.good["packs"][index].as_str().unwrap());
        let pack = std::fs::read(pack).unwrap();
        zstd::stream::decode_all(&pack[self.range(at)]).unwrap()
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
fn a_manifest_with_valid_chunks_of_another_object_is_refused() {
    let remote = Remote::new();
    let mut other = remote.bytes(1);
    other[100] ^= 1;
    let mut manifest = remote.good.clone();
    let (pack, length) = remote.store(&other);
    let packs = manifest["packs"].as_array_mut().unwrap();
    packs.push(pack);
    let place = json!([packs.len() - 1, 0, length]);
    manifest["chunks"][1] = json!([[Digest::of(&other).to_string(), other.len()], place]);
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
fn an_invalid_manifest_is_refused() {
    let remote = Remote::new();
    let size = remote.good["size"].as_u64().unwrap();
    let path = format!("{:/<64}", "../../../../../etc/passwd");
    let first = remote.good["chunks"][0].clone();
    let changes: [(&str, Change<'_>); 14] = [
        ("a longer object", &|it| it["size"] = json!(size + 1)),
        ("an object of no end", &|it| it["size"] = json!(u64::MAX)),
        ("another hashing", &|it| it["hashing"] = json!("sparse")),
        ("a run behind the end", &|it| it["runs"] = json!([[size, 5]])),
        ("a run that goes round", &|it| it["runs"] = json!([[u64::MAX, 5]])),
        ("a chunk too many", &|it| it["chunks"].as_array_mut().unwrap().push(first.clone())),
        ("a huge chunk", &|it| it["chunks"][0][0][1] = json!(u32::MAX)),
        ("a chunk's path", &|it| it["chunks"][0][0][0] = json!(path)),
        ("a pack's path", &|it| it["packs"][0] = json!(path)),
        ("a pack twice", &|it| it["packs"] = json!([it["packs"][0], it["packs"][0]])),
        ("a pack that is not named", &|it| it["chunks"][0][1][0] = json!(7)),
        ("a chunk behind every pack", &|it| it["chunks"][0][1][1] = json!(u32::MAX)),
        ("a chunk of no bytes", &|it| it["chunks"][0][1][2] = json!(0)),
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
    manifest["chunks"] = json!(vec![json!([[Digest::of("x").to_string(), 1], [0, 0, 1]]); 100_000]);
    remote.put(&manifest);
    remote.is_not_believed("many chunks");
    std::fs::write(&remote.manifest, vec![b'['; 4 << 20]).unwrap();
    remote.is_not_believed("a manifest without an end");
}

#[test]
fn a_chunk_ends_where_its_manifest_says() {
    let remote = Remote::new();
    let place = remote.first_pack();
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
        // In the place of the first chunk, with a manifest that has its length.
        let pack = [&bytes[..], &good[remote.range(0).end..]].concat();
        std::fs::write(&place, pack).unwrap();
        let mut manifest = remote.good.clone();
        let more = bytes.len() as i64 - remote.range(0).len() as i64;
        manifest["chunks"][0][1][2] = json!(bytes.len());
        let chunks = manifest["chunks"].as_array_mut().unwrap()[1..].iter_mut();
        for chunk in chunks.filter(|chunk| chunk[1][0] == 0) {
            chunk[1][1] = json!(chunk[1][1].as_i64().unwrap() + more);
        }
        remote.put(&manifest);
        remote.is_not_believed(what);
        // And with the right one.
        remote.put(&remote.good);
        remote.is_not_believed(what);
    }
    std::fs::write(&place, good).unwrap();
    remote.world.empty_handed("sound", "../remote").runs(0, &[]);
}

#[test]
fn a_record_of_another_key_is_refused() {
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
    swap(world.path("remote/v2/records"));
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

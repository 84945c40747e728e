//! The fuzz targets of kuth as plain functions: each gives `data` to one reader of files that somebody
//! else wrote. None may panic, hang, take memory out of proportion, or leave more than its limit on the
//! disk, whatever the bytes are. The formats by themselves have their own, in crates/formats/fuzz.
//!
//! cargo-fuzz runs them through the files in `fuzz_targets`; tests/fuzzed.rs includes this file and runs
//! them over a corpus on a stable toolchain.

use std::path::{Path, PathBuf};

use kuth::archive;
use kuth::artifact::Hashing;
use kuth::cancel::Cancel;
use kuth::digest::Digest;
use kuth::hardware::Nic;
use kuth::import::{self, OtherFiles};
use kuth::lock::LockFile;
use kuth::remote::chunks::Manifest;
use kuth::remote::trust::{self, Trust};
use kuth::seed::{check, ssh_keys};
use kuth::stage::Table;
use kuth::stage::download::sums;
use kuth::tree;
use kuth::units::Bytes;
use kuth::virtualbox::answers;
use kuth::{pipeline, post_config};

/// A target's name, which is that of its file in `fuzz_targets` and of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 12] = [
    ("archive", archive),
    ("checksums", checksums),
    ("compressed", compressed),
    ("image", image),
    ("lock", lock),
    ("pipeline", pipeline),
    ("post_config", post_config),
    ("records", records),
    ("rootfs", rootfs),
    ("seed", seed),
    ("tree", tree),
    ("vboxmanage", vboxmanage),
];

/// The most that is unpacked.
const LIMIT: Bytes = Bytes::mib(8);

/// Runs one target. Panics if there is none of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    target.unwrap_or_else(|| panic!("no target {name}")).1(data);
}

fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// Gives `data` as a file, and the place for a result beside it.
fn with_file(data: &[u8], name: &str, read: impl FnOnce(&Path, PathBuf)) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    std::fs::write(&file, data).unwrap();
    read(&file, directory.path().join("result"));
}

fn archive_options<'a>(work: &'a Path, cancel: &'a Cancel) -> archive::Options<'a> {
    let limit = Some(LIMIT);
    archive::Options { limit, threads: 1, epoch: 0, work, cancel, report: &|_, _| {} }
}

/// Whatever was read of an archive, its result is a tar that can be read, within the limit.
fn archive(data: &[u8]) {
    with_file(data, "a", |file, to| {
        let cancel = Cancel::default();
        let options = archive_options(file.parent().unwrap(), &cancel);
        if let Ok(made) = archive::unpack(file, &to, &options) {
            let made_of = std::fs::read(&to).unwrap();
            assert_eq!(made.digest, Digest::of(&made_of));
            let mut reader = tree::Reader::new(&made_of[..]);
            while reader.next_entry().unwrap().is_some() {}
        }
    });
}

fn compressed(data: &[u8]) {
    with_file(data, "a", |file, _| {
        let cancel = Cancel::default();
        let options = archive_options(file.parent().unwrap(), &cancel);
        let _ = archive::read_tar(file, &options, |reader| {
            std::io::copy(reader, &mut std::io::sink())?;
            Ok(())
        });
    });
}

/// A disk image in any container, with what is on it.
fn image(data: &[u8]) {
    with_file(data, "disk.img", |file, to| {
        let Ok(image) = import::open(file, OtherFiles::Refused) else { return };
        let _ = import::inspect(&image);
        let cancel = Cancel::default();
        let options = import::Options { epoch: 0, limit: LIMIT, cancel: &cancel, report: &|_| {} };
        let _ = import::import(&image, None, &to, &options);
    });
}

fn rootfs(data: &[u8]) {
    with_file(data, "a.tar", |file, to| {
        let cancel = Cancel::default();
        let options = archive_options(file.parent().unwrap(), &cancel);
        let _ = import::rootfs::import(file, &to, &options);
    });
}

fn tree(data: &[u8]) {
    let mut reader = tree::Reader::new(data);
    while let Ok(Some((entry, mut content))) = reader.next_entry() {
        let _ = tree::relative(&entry.path);
        if std::io::copy(content.stored(), &mut std::io::sink()).is_err() {
            return;
        }
    }
}

fn pipeline(data: &[u8]) {
    let path = Path::new("pipelines/p.toml");
    let text = text(data);
    let environment: pipeline::Environment<'_> = &|name| (name.len() < 4).then(|| "x".to_string());
    if let Err(faulty) = pipeline::load(path, &text, &[], environment, &Table) {
        assert!(!faulty.to_string().is_empty());
    }
}

fn lock(data: &[u8]) {
    with_file(data, "p.lock", |file, _| {
        let Ok(lock) = LockFile::open(file) else { return };
        // What is read is written, and read the same.
        let entries = lock.entries();
        lock.draft(entries.clone()).save().unwrap();
        assert_eq!(LockFile::open(file).unwrap().entries(), entries);
    });
}

fn records(data: &[u8]) {
    let recipe = kuth::recipe::Recipe::new("fuzz", 1);
    let _ = trust::open(data, &recipe.key(), &Trust::Anyone);
    // A manifest is read for an object of a size that is known.
    let size = serde_json::from_slice::<Manifest>(data).map_or(1, |manifest| manifest.size);
    if let Some(manifest) = Manifest::read(data, Hashing::Plain, size) {
        assert_eq!(manifest.text(), data);
    }
}

fn seed(data: &[u8]) {
    let text = text(data);
    let networks = [kuth::hardware::Network::Nat];
    let _ = (check::user_data(&text), check::meta_data(&text, "id"));
    let _ = check::network_config(&text, &Nic::all("web", &networks));
    let _ = ssh_keys(&text);
}

fn post_config(data: &[u8]) {
    let text = text(data);
    let _ = (post_config::interfaces(&text), post_config::storages(&text));
    let _ = post_config::resources(&text);
}

fn checksums(data: &[u8]) {
    let text = text(data);
    let _ = (sums::find(&text, "a"), sums::find(&text, "pool/b (1).iso"));
}

fn vboxmanage(data: &[u8]) {
    let text = text(data);
    let info = answers::Info::parse(&text);
    let _ = (info.state(), info.is_running(), info.settings(), info.controllers(), info.files());
    let _ = (info.forwards(8), info.snapshots(), info.directory(), info.state_change());
    for controller in info.controllers() {
        let _ = (controller.is_sata(), controller.is_ide(), controller.free());
    }
    let _ = (answers::machines(&text), answers::properties(&text), answers::media(&text));
    let _ = (answers::media_in_snapshots(&text, "a"), answers::capacity(&text));
    let _ = answers::adapters(&text);
}

//! Copies an object of the cache to where the user wants it: never a link, as a booted image must not
//! write into the cache. The copy is made under another name and renamed. A stamp in the cache records
//! what was copied and the file's metadata, so that an untouched copy is known without reading it.

use std::fmt::Write as _;
use std::fs::{File, FileTimes, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Cache;
use crate::cancel::Progress;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, with_hint};
use crate::files::Partial;
use crate::files::sparse::{data_extents, write_data};
use crate::recipe::Key;

/// What is copied at once.
const CHUNK: usize = 1 << 20;
const HINT: &str = "use another directory with `--output DIR`";

/// What [`materialize`] had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Materialized {
    /// Nothing: the right file was there.
    Untouched,
    /// It copied the object.
    Copied,
}

/// Makes `directory`/`name` a copy of the file `object`, whose digest is `digest`. Any other file
/// there is replaced, a changed copy too. Fails where the directory cannot be made or written.
pub fn materialize(
    cache: &Cache,
    object: &Path,
    digest: Digest,
    directory: &Path,
    name: &str,
    progress: Progress<'_>,
) -> Result<Materialized> {
    if let Ok(directory) = directory.canonicalize() {
        let path = directory.join(name);
        if is_untouched(cache, &path, digest)? {
            return Ok(Materialized::Untouched);
        }
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("making the output directory {}", directory.display()))
        .hint(HINT)?;
    let directory = directory
        .canonicalize()
        .with_context(|| format!("resolving the output directory {}", directory.display()))?;
    let path = directory.join(name);
    // Held until the stamp is written: the lock on the copy aside ends with its renaming.
    let key = Key(Digest::of(path.as_os_str().as_bytes()));
    let _lock = cache.lock_key(&key, progress.cancel)?;
    let partial = Partial::lock(&path, progress.cancel)
        .with_context(|| format!("writing into the output directory {}", directory.display()))
        .hint(HINT)?;
    // Another process may have copied it while this one waited.
    if is_untouched(cache, &path, digest)? {
        partial.remove();
        return Ok(Materialized::Untouched);
    }
    let copied = fill(object, &partial.file, progress).and_then(|()| Ok(publish(&partial, &path)?));
    let metadata = match copied {
        Ok(metadata) => metadata,
        Err(error) => {
            partial.remove();
            let full = error.downcast_ref::<io::Error>().map(io::Error::kind);
            let error =
                error.context(format!("copying {} to {}", object.display(), path.display()));
            return Err(match full {
                Some(ErrorKind::StorageFull) => {
                    with_hint(error, format!("make room in {}, or {HINT}", directory.display()))
                }
                Some(ErrorKind::IsADirectory) => {
                    with_hint(error, "move that directory away, or give the stage another `name`")
                }
                _ => error,
            });
        }
    };
    cache.write_aside(&stamp_path(cache, &path), stamp(&path, digest, &metadata).as_bytes())?;
    Ok(Materialized::Copied)
}

/// Whether the file at `path` has the metadata that it had when `digest` was copied there.
fn is_untouched(cache: &Cache, path: &Path, digest: Digest) -> Result<bool> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(false) };
    let stamped = stamp_path(cache, path);
    match std::fs::read(&stamped) {
        Ok(text) => Ok(text == stamp(path, digest, &metadata).into_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("reading {}", stamped.display())),
    }
}

/// The stamp of a path, named by the SHA-256 of the path.
fn stamp_path(cache: &Cache, path: &Path) -> PathBuf {
    let name = Digest::of(path.as_os_str().as_bytes()).to_string();
    cache.directory().join("placed").join(name)
}

/// The text of a stamp: equal texts mean an untouched file.
fn stamp(path: &Path, digest: Digest, metadata: &Metadata) -> String {
    let mut text = format!("path = {}\ndigest = {digest}\n", path.display());
    let nanoseconds =
        |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let fields = [
        ("size", metadata.size().into()),
        ("device", metadata.dev().into()),
        ("inode", metadata.ino().into()),
        ("mode", metadata.mode().into()),
        ("mtime_ns", nanoseconds(metadata.mtime(), metadata.mtime_nsec())),
        ("ctime_ns", nanoseconds(metadata.ctime(), metadata.ctime_nsec())),
    ];
    for (name, value) in fields {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}

/// Makes the empty file `target` a copy of `object` that shares its blocks where the file system
/// can, else of its data without its holes.
fn fill(object: &Path, target: &File, progress: Progress<'_>) -> Result<()> {
    let source = File::open(object)?;
    if rustix::fs::ioctl_ficlone(target, &source).is_ok() {
        return Ok(());
    }
    target.set_len(source.metadata()?.len())?;
    let extents = data_extents(&source)?;
    let total = extents.iter().map(|(_, length)| length).sum();
    let mut done = 0;
    let mut buffer = vec![0; CHUNK];
    for (start, length) in extents {
        let mut at = 0;
        while at < length {
            let n = (length - at).min(CHUNK as u64);
            let bytes = &mut buffer[..n as usize];
            source.read_exact_at(bytes, start + at)?;
            write_data(target, bytes, start + at)?;
            at += n;
            done += n;
            progress.advance(done, total)?;
        }
    }
    Ok(())
}

/// Syncs the finished copy and renames it to `path`. Returns its metadata for the stamp, taken from
/// the open file because another process may already have put its own at `path`.
fn publish(partial: &Partial, path: &Path) -> io::Result<Metadata> {
    // Whole seconds: a write that follows at once, within a tick of the file system's clock, has
    // another time all the same.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    partial.file.set_times(FileTimes::new().set_modified(whole))?;
    partial.publish(path)?;
    partial.file.metadata()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;

    struct Setting {
        directory: tempfile::TempDir,
        cache: Cache,
        object: PathBuf,
        digest: Digest,
    }

    fn setting() -> Setting {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let object = directory.path().join("object");
        std::fs::write(&object, "content").unwrap();
        Setting { directory, cache, object, digest: Digest::of("content") }
    }

    impl Setting {
        fn out(&self) -> PathBuf {
            self.directory.path().join("out/x")
        }

        fn materialize(&self) -> Result<Materialized> {
            let progress = Progress { cancel: &Cancel::default(), report: &|_, _| () };
            materialize(&self.cache, &self.object, self.digest, &self.out(), "x.raw", progress)
        }
    }

    #[test]
    fn an_immediate_write_of_the_same_length_is_noticed() {
        let setting = setting();
        let path = setting.out().join("x.raw");
        for _ in 0..20 {
            assert_eq!(setting.materialize().unwrap(), Materialized::Copied);
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_at(b"C", 0).unwrap();
        }
        assert_eq!(setting.materialize().unwrap(), Materialized::Copied);
        assert_eq!(setting.materialize().unwrap(), Materialized::Untouched);
        assert_eq!(std::fs::read(&setting.object).unwrap(), b"content");
    }

    #[test]
    fn a_partial_copy_of_a_killed_run_is_overwritten() {
        let setting = setting();
        std::fs::create_dir_all(setting.out()).unwrap();
        std::fs::write(setting.out().join(".x.raw.partial"), "longer than the content").unwrap();
        assert_eq!(setting.materialize().unwrap(), Materialized::Copied);
        let names: Vec<_> =
            setting.out().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["x.raw"]);
        assert_eq!(std::fs::read(setting.out().join("x.raw")).unwrap(), b"content");
    }

    #[test]
    fn concurrent_processes_copy_once() {
        let setting = setting();
        let placed: Vec<Materialized> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| setting.materialize().unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(placed.iter().filter(|it| **it == Materialized::Copied).count(), 1);
        assert_eq!(setting.materialize().unwrap(), Materialized::Untouched);
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_its_target_kept() {
        let setting = setting();
        std::fs::create_dir_all(setting.out()).unwrap();
        std::os::unix::fs::symlink(&setting.object, setting.out().join("x.raw")).unwrap();
        assert_eq!(setting.materialize().unwrap(), Materialized::Copied);
        assert!(setting.out().join("x.raw").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn a_directory_in_the_way_is_refused_with_a_hint() {
        let setting = setting();
        std::fs::create_dir_all(setting.out().join("x.raw")).unwrap();
        let error = setting.materialize().unwrap_err();
        assert!(error.to_string().starts_with("copying "), "{error}");
        assert!(crate::error::hints(&error)[0].starts_with("move that directory away"));
        assert!(!setting.out().join(".x.raw.partial").exists());

        std::fs::remove_dir_all(setting.directory.path().join("out")).unwrap();
        std::fs::write(setting.directory.path().join("out"), "").unwrap();
        let error = setting.materialize().unwrap_err();
        assert!(error.to_string().starts_with("making the output directory "), "{error}");
        assert_eq!(crate::error::hints(&error), [HINT]);
    }
}

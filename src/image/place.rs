//! Puts a file of the cache where the user wants it: a copy of their own (never a link, a booted
//! image must not write into the cache), made aside and renamed. A stamp in the cache remembers
//! what was placed and how its file looked, so that an untouched copy is known without reading it.

use std::fmt::Write as _;
use std::fs::{File, FileTimes, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Watch;
use super::laid::write_data;
use crate::cache::Cache;
use crate::cache::sparse::data_extents;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, with_hint};
use crate::recipe::Key;

/// What is copied at once.
const CHUNK: usize = 1 << 20;
const HINT: &str = "use another directory with `--output DIR`";

/// Whether there was something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// The right file was there.
    Untouched,
    /// It was put there now.
    Copied,
}

/// Sees to it that `directory`/`name` is a copy of `object`, whose digest is `digest`. A file there
/// that is anything else, a changed copy too, is replaced.
pub fn place(
    cache: &Cache,
    object: &Path,
    digest: Digest,
    directory: &Path,
    name: &str,
    watch: Watch<'_>,
) -> Result<Placing> {
    if let Ok(directory) = directory.canonicalize() {
        let path = directory.join(name);
        if is_untouched(cache, &path, digest)? {
            return Ok(Placing::Untouched);
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
    let place = Key(Digest::of(path.as_os_str().as_bytes()));
    let _lock = cache.lock_key(&place, watch.cancel)?;
    let aside = Aside::lock(&directory, name, watch)
        .with_context(|| format!("writing into the output directory {}", directory.display()))
        .hint(HINT)?;
    // Another process may have placed it while this one waited.
    if is_untouched(cache, &path, digest)? {
        aside.remove();
        return Ok(Placing::Untouched);
    }
    let placed = fill(object, &aside.file, watch).and_then(|()| Ok(settle(&aside, &path)?));
    let metadata = match placed {
        Ok(metadata) => metadata,
        Err(error) => {
            aside.remove();
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
    Ok(Placing::Copied)
}

/// Whether the file at `path` looks as it did when `digest` was placed there.
fn is_untouched(cache: &Cache, path: &Path, digest: Digest) -> Result<bool> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(false) };
    let stamped = stamp_path(cache, path);
    match std::fs::read(&stamped) {
        Ok(text) => Ok(text == stamp(path, digest, &metadata).into_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("reading {}", stamped.display())),
    }
}

/// One stamp for each place, named by it.
fn stamp_path(cache: &Cache, path: &Path) -> PathBuf {
    let name = Digest::of(path.as_os_str().as_bytes()).to_string();
    cache.directory().join("placed").join(name)
}

/// What is known of a placed file; equal texts, untouched file.
fn stamp(path: &Path, digest: Digest, metadata: &Metadata) -> String {
    let mut text = format!("path = {}\ndigest = {digest}\n", path.display());
    let nanoseconds =
        |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let facts = [
        ("size", metadata.size().into()),
        ("device", metadata.dev().into()),
        ("inode", metadata.ino().into()),
        ("mode", metadata.mode().into()),
        ("mtime_ns", nanoseconds(metadata.mtime(), metadata.mtime_nsec())),
        ("ctime_ns", nanoseconds(metadata.ctime(), metadata.ctime_nsec())),
    ];
    for (name, fact) in facts {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{name} = {fact}");
    }
    text
}

/// The copy while it is made: a hidden file beside its place, locked against other processes. The
/// name is always the same, so that the next run uses up what a killed one left.
struct Aside {
    path: PathBuf,
    file: File,
}

impl Aside {
    fn lock(directory: &Path, name: &str, watch: Watch<'_>) -> Result<Aside> {
        let path = directory.join(format!(".{name}.partial"));
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                // Its owner may have renamed it meanwhile; then it is no longer aside.
                Ok(()) if is_at(&file, &path) => {
                    file.set_len(0)?;
                    return Ok(Aside { path, file });
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
                // Some shared directories know no locks; two builds at once are rare there.
                Err(TryLockError::Error(_)) => {
                    file.set_len(0)?;
                    return Ok(Aside { path, file });
                }
            }
            watch.cancel.check()?;
        }
    }

    /// Leaves nothing. What cannot be removed is used up by the next run.
    fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => id(open) == id(named),
        _ => false,
    }
}

/// Makes the empty file `target` a copy of `object` that shares its blocks where the file system
/// can, else of its data without its holes.
fn fill(object: &Path, target: &File, watch: Watch<'_>) -> Result<()> {
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
            watch.tell(done, total)?;
        }
    }
    Ok(())
}

/// Makes the finished copy durable and gives it its name; how it looks then, for the stamp. Asked
/// of the open file, because another process may already have put its own at `path`.
fn settle(aside: &Aside, path: &Path) -> io::Result<Metadata> {
    // Whole seconds: a write that follows at once, within a tick of the file system's clock, has
    // another time all the same.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    aside.file.set_times(FileTimes::new().set_modified(whole))?;
    aside.file.sync_all()?;
    std::fs::rename(&aside.path, path)?;
    aside.file.metadata()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Cancel;

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

        fn place(&self) -> Result<Placing> {
            let watch = Watch { cancel: &Cancel::default(), told: &|_, _| () };
            place(&self.cache, &self.object, self.digest, &self.out(), "x.raw", watch)
        }
    }

    #[test]
    fn a_write_at_once_of_the_same_length_is_noticed() {
        let setting = setting();
        let path = setting.out().join("x.raw");
        for _ in 0..20 {
            assert_eq!(setting.place().unwrap(), Placing::Copied);
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_at(b"C", 0).unwrap();
        }
        assert_eq!(setting.place().unwrap(), Placing::Copied);
        assert_eq!(setting.place().unwrap(), Placing::Untouched);
        assert_eq!(std::fs::read(&setting.object).unwrap(), b"content");
    }

    #[test]
    fn what_a_killed_run_left_is_used_up() {
        let setting = setting();
        std::fs::create_dir_all(setting.out()).unwrap();
        std::fs::write(setting.out().join(".x.raw.partial"), "longer than the content").unwrap();
        assert_eq!(setting.place().unwrap(), Placing::Copied);
        let names: Vec<_> =
            setting.out().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["x.raw"]);
        assert_eq!(std::fs::read(setting.out().join("x.raw")).unwrap(), b"content");
    }

    #[test]
    fn several_at_once_agree() {
        let setting = setting();
        let placed: Vec<Placing> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| setting.place().unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(placed.iter().filter(|placing| **placing == Placing::Copied).count(), 1);
        assert_eq!(setting.place().unwrap(), Placing::Untouched);
    }

    #[test]
    fn a_link_is_replaced_and_what_it_names_is_left() {
        let setting = setting();
        std::fs::create_dir_all(setting.out()).unwrap();
        std::os::unix::fs::symlink(&setting.object, setting.out().join("x.raw")).unwrap();
        assert_eq!(setting.place().unwrap(), Placing::Copied);
        assert!(setting.out().join("x.raw").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_replaced_is_said() {
        let setting = setting();
        std::fs::create_dir_all(setting.out().join("x.raw")).unwrap();
        let error = setting.place().unwrap_err();
        assert!(error.to_string().starts_with("copying "), "{error}");
        assert!(crate::error::hints(&error)[0].starts_with("move that directory away"));
        assert!(!setting.out().join(".x.raw.partial").exists());

        std::fs::remove_dir_all(setting.directory.path().join("out")).unwrap();
        std::fs::write(setting.directory.path().join("out"), "").unwrap();
        let error = setting.place().unwrap_err();
        assert!(error.to_string().starts_with("making the output directory "), "{error}");
        assert_eq!(crate::error::hints(&error), [HINT]);
    }
}

//! Owners that the namespace of a tree cannot give. Ids above 65535 are outside of it for
//! everybody, so that a tree has the same bytes whoever builds it; a user whose range is smaller
//! lacks more. Such a file belongs to `nobody` on the disk, and the true ids are written down here,
//! beside the tree. A file is known by its number and the time it came to be, so that what a
//! command puts in its place is another one; and whoever gives it to somebody else has the last
//! word.
//!
//! The table is a file of lines `NUMBER SECONDS NANOSECONDS UID GID`, where an id is `SHOWN:TRUE`,
//! or `-` if what is on the disk is right. The last line of a file counts.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::io::Errno;

use crate::error::{Context, Result, bail, ensure};

/// The highest id there is in the namespace of a tree.
pub const LAST: u32 = 65_535;
/// Whom a file belongs to on the disk if not to its owner.
pub const NOBODY: u32 = 65_534;

/// A file: its number and when it was made (0 where the file system does not record it), in seconds and
/// nanoseconds.
type Node = (u64, u64, u32);

/// Owner and group, each as (on the disk, true).
type Record = [Option<(u32, u32)>; 2];

/// The table.
#[derive(Debug, Default)]
pub struct Owners {
    /// Where new lines go; nowhere in tests.
    file: Option<File>,
    known: HashMap<Node, Record>,
}

impl Owners {
    /// Opens the table in the file `path`, which is made if it is not there. It stays open, so the
    /// path need not be reachable later.
    pub fn open(path: &Path) -> Result<Owners> {
        let what = || format!("opening {}", path.display());
        let file = File::options().read(true).append(true).create(true).open(path);
        let mut file = file.with_context(what)?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(what)?;
        let mut known = HashMap::new();
        for line in text.lines() {
            let (node, record) = read(line)
                .with_context(|| format!("reading the line `{line}` of {}", path.display()))?;
            known.insert(node, record);
        }
        Ok(Owners { file: Some(file), known })
    }

    /// Gives the file at `path`, or the link itself, to `uid` and `gid`; `None` leaves it to whom
    /// it belongs.
    pub fn give(&mut self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        for (what, id) in [("owner", uid), ("group", gid)] {
            ensure!(
                id != Some(u32::MAX),
                "the {what} {} is not an id: it means \"none\"",
                u32::MAX
            );
        }
        let high = [uid, gid].iter().flatten().any(|id| *id > LAST);
        let all = !high && is_given(lchown(path, uid, gid))?;
        if all && self.known.is_empty() {
            return Ok(());
        }
        if !all {
            for (uid, gid) in [(uid, None), (None, gid)] {
                let Some(id) = uid.or(gid) else { continue };
                let give = |id| lchown(path, uid.and(Some(id)), gid.and(Some(id)));
                if id > LAST || !is_given(give(id))? {
                    // Where not even that can be given, it stays with whom it is.
                    is_given(give(NOBODY))?;
                }
            }
        }
        let found = path.symlink_metadata()?;
        let node = node(&found);
        let old = self.known.get(&node).copied().unwrap_or_default();
        let new = |shown: u32, wanted: Option<u32>, old| match wanted {
            Some(wanted) => (wanted != shown).then_some((shown, wanted)),
            None => old,
        };
        let record = [new(found.uid(), uid, old[0]), new(found.gid(), gid, old[1])];
        if record != old {
            self.known.insert(node, record);
            self.write(node, record)?;
        }
        Ok(())
    }

    /// [`Owners::give`] for everything that is in a directory too.
    pub fn give_all(&mut self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let what = || format!("changing the owner of {}", path.display());
        self.give(path, uid, gid).with_context(what)?;
        if path.symlink_metadata().with_context(what)?.is_dir() {
            for entry in std::fs::read_dir(path).with_context(what)? {
                self.give_all(&entry.with_context(what)?.path(), uid, gid)?;
            }
        }
        Ok(())
    }

    /// Whether any file has an owner that the disk does not show.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whom a file truly belongs to: owner and group.
    pub fn of(&self, found: &Metadata) -> (u32, u32) {
        let shown = [found.uid(), found.gid()];
        let record = match self.known.is_empty() {
            true => Record::default(),
            false => self.known.get(&node(found)).copied().unwrap_or_default(),
        };
        let real = |at: usize| match record[at] {
            Some((disk, real)) if disk == shown[at] => real,
            _ => shown[at],
        };
        (real(0), real(1))
    }

    fn write(&mut self, (number, seconds, nanoseconds): Node, record: Record) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let id = |id: Option<(u32, u32)>| {
            id.map_or("-".to_string(), |(shown, real)| format!("{shown}:{real}"))
        };
        let (uid, gid) = (id(record[0]), id(record[1]));
        let line = format!("{number} {seconds} {nanoseconds} {uid} {gid}\n");
        file.write_all(line.as_bytes()).context("noting an owner beside the tree")
    }
}

/// Whether ids were given; `false` if the namespace has none of them.
fn is_given(result: std::io::Result<()>) -> std::io::Result<bool> {
    match result {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(false),
        result => result.map(|()| true),
    }
}

fn node(found: &Metadata) -> Node {
    let born = found.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = born.unwrap_or_default();
    (found.ino(), born.as_secs(), born.subsec_nanos())
}

fn read(line: &str) -> Result<(Node, Record)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [number, seconds, nanoseconds, uid, gid] = words[..] else {
        bail!("it has {} words, not 5", words.len());
    };
    let id = |word: &str| -> Result<Option<(u32, u32)>> {
        if word == "-" {
            return Ok(None);
        }
        let (shown, real) = word.split_once(':').context("an id without `:`")?;
        Ok(Some((shown.parse()?, real.parse()?)))
    };
    let node = (number.parse()?, seconds.parse()?, nanoseconds.parse()?);
    Ok((node, [id(uid)?, id(gid)?]))
}

/// What `USER:GROUP` asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OwnerSpec {
    /// The owner, if it is a number.
    pub uid: Option<u32>,
    /// The group, if it is a number.
    pub gid: Option<u32>,
    /// The rest, for `chown`: it knows the names of the tree.
    pub names: Option<String>,
}

/// Takes `USER`, `USER:GROUP` or `:GROUP` apart. `USER:` means the login group of a user, which is
/// left to `chown` as a whole.
pub fn parse_owner(owner: &str) -> OwnerSpec {
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let by_name = |word: &str| !word.is_empty() && number(word).is_none();
    if owner.ends_with(':') {
        return OwnerSpec { names: Some(owner.to_string()), ..OwnerSpec::default() };
    }
    let names = match (by_name(user), by_name(group)) {
        (true, true) => Some(owner.to_string()),
        (true, false) => Some(user.to_string()),
        (false, true) => Some(format!(":{group}")),
        (false, false) => None,
    };
    OwnerSpec { uid: number(user), gid: number(group), names }
}

fn number(word: &str) -> Option<u32> {
    word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGH: u32 = 1_407_182_137;

    /// Only root may give files away. The tests of whole builds do it as a user too.
    fn is_root() -> bool {
        let is = rustix::process::geteuid().is_root();
        if !is {
            kuth_test_support::judge::skip("only root may give files away");
        }
        is
    }

    fn of(owners: &Owners, path: &Path) -> (u32, u32) {
        owners.of(&path.symlink_metadata().unwrap())
    }

    #[test]
    fn numbers_are_taken_and_names_are_left() {
        let wanted_of = |owner| {
            let OwnerSpec { uid, gid, names } = parse_owner(owner);
            (uid, gid, names)
        };
        let name = |name: &str| Some(name.to_string());
        assert_eq!(wanted_of("1407182137:1059092950"), (Some(HIGH), Some(1_059_092_950), None));
        assert_eq!(wanted_of("7"), (Some(7), None, None));
        assert_eq!(wanted_of(":70000"), (None, Some(70_000), None));
        assert_eq!(wanted_of("root:70000"), (None, Some(70_000), name("root")));
        assert_eq!(wanted_of("70000:staff"), (Some(70_000), None, name(":staff")));
        assert_eq!(wanted_of("root:staff"), (None, None, name("root:staff")));
        assert_eq!(wanted_of("root"), (None, None, name("root")));
        assert_eq!(wanted_of("root:"), (None, None, name("root:")));
        // Too large for an id: `chown` says so.
        assert_eq!(wanted_of("4294967296"), (None, None, name("4294967296")));
        assert_eq!(wanted_of("+7"), (None, None, name("+7")));
    }

    #[test]
    fn high_ids_are_written_down_and_the_file_is_nobodys() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let (file, table) = (directory.path().join("a"), directory.path().join("table"));
        std::fs::write(&file, "").unwrap();
        let mut owners = Owners::open(&table).unwrap();
        owners.give(&file, Some(HIGH), Some(5)).unwrap();
        let found = file.symlink_metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (NOBODY, 5));
        assert_eq!(of(&owners, &file), (HIGH, 5));
        // One half stays as it was.
        owners.give(&file, None, Some(HIGH + 1)).unwrap();
        assert_eq!(of(&owners, &file), (HIGH, HIGH + 1));
        // Another process reads the same; another name of the file has the same owner.
        std::fs::hard_link(&file, directory.path().join("b")).unwrap();
        assert_eq!(
            of(&Owners::open(&table).unwrap(), &directory.path().join("b")),
            (HIGH, HIGH + 1)
        );
        // What a command gives to somebody counts.
        lchown(&file, Some(7), None).unwrap();
        assert_eq!(of(&owners, &file), (7, HIGH + 1));
        // Given to `nobody` by us, it is nobody's.
        owners.give(&file, Some(NOBODY), Some(NOBODY)).unwrap();
        assert_eq!(of(&Owners::open(&table).unwrap(), &file), (NOBODY, NOBODY));
    }

    #[test]
    fn a_file_with_the_number_of_one_that_went_is_another() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        std::fs::write(&file, "").unwrap();
        let mut owners = Owners::default();
        owners.give(&file, Some(HIGH), None).unwrap();
        let found = file.symlink_metadata().unwrap();
        let (number, seconds, nanoseconds) = node(&found);
        assert_eq!(number, found.ino());
        assert_ne!((seconds, nanoseconds), (0, 0), "the file system tells when a file was made");
        let record = owners.known.remove(&node(&found)).unwrap();
        owners.known.insert((number, seconds, nanoseconds ^ 1), record);
        assert_eq!(of(&owners, &file), (NOBODY, found.gid()));
    }

    #[test]
    fn a_directory_is_given_with_all_that_is_in_it_and_no_link_is_followed() {
        if !is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let (inner, outside) = (directory.path().join("in"), directory.path().join("outside"));
        std::fs::create_dir_all(inner.join("deep")).unwrap();
        std::fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(&outside, inner.join("deep/link")).unwrap();
        let mut owners = Owners::default();
        owners.give_all(&inner, Some(HIGH), Some(HIGH)).unwrap();
        for path in ["in", "in/deep", "in/deep/link"] {
            assert_eq!(of(&owners, &directory.path().join(path)), (HIGH, HIGH), "{path}");
        }
        assert_eq!(of(&owners, &outside).0, 0);
    }

    #[test]
    fn what_is_no_id_and_a_torn_table_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = Owners::default().give(directory.path(), Some(u32::MAX), None).unwrap_err();
        assert!(error.to_string().contains("the owner 4294967295 is not an id"), "{error:#}");
        let table = directory.path().join("table");
        for line in ["1 2 3 - 4\n", "1 2 3 -\n", "x 2 3 - -\n", "1 2 3 - 5:x\n"] {
            std::fs::write(&table, line).unwrap();
            let error = Owners::open(&table).unwrap_err();
            assert!(error.to_string().contains(line.trim_end()), "{error:#}");
        }
    }
}

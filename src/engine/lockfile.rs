//! The lock: `<pipeline>.lock` beside the pipeline, which pins what lies outside (exact packages
//! of a mirror) for every stage that resolves something. It is written whole, aside and renamed,
//! and only when it says something new.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Context, Result, anyhow, with_hint};

/// The form of the file.
const VERSION: i64 = 1;

const HEADER: &str = "# Written by kuth: the exact packages that each stage means.\n\
    # Commit it to build the same image on another day; `kuth update` takes what the mirror has now.\n";

/// What a lock says: the entries of each stage.
pub type Entries = BTreeMap<String, Vec<toml::Table>>;

/// When what is noted reaches the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// At once.
    Now,
    /// When [`LockFile::save`] is called.
    Later,
}

/// An open lock, shared by the threads of a build.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    stages: Mutex<Entries>,
    write: Write,
}

impl LockFile {
    /// Where the lock of the pipeline at `path` lies: `debian.toml` -> `debian.lock`.
    pub fn beside(path: &Path) -> PathBuf {
        path.with_extension("lock")
    }

    /// Reads the lock, empty where there is none.
    pub fn open(path: &Path) -> Result<LockFile> {
        let what = || format!("reading the lock {}", path.display());
        let stages = match std::fs::read_to_string(path) {
            Ok(text) => parse(&text).with_context(what).map_err(|error| {
                with_hint(error, format!("remove it to resolve anew: `rm {}`", path.display()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(what),
        };
        Ok(LockFile { path: path.to_path_buf(), stages: Mutex::new(stages), write: Write::Now })
    }

    /// A lock of the same file that says `entries`, and is not written before it is saved.
    pub fn draft(&self, entries: Entries) -> LockFile {
        LockFile { path: self.path.clone(), stages: Mutex::new(entries), write: Write::Later }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All it says.
    pub fn entries(&self) -> Entries {
        self.stages().clone()
    }

    /// Says `entries` of `stage` from now on.
    pub fn replace(&self, stage: &str, entries: Vec<toml::Table>) {
        match entries.is_empty() {
            true => self.stages().remove(stage),
            false => self.stages().insert(stage.to_string(), entries),
        };
    }

    /// Writes all of it.
    pub fn save(&self) -> Result<()> {
        self.write(&render(&self.stages())?)
    }

    /// What it says of `stage`.
    pub fn stage(&self, stage: &str) -> Vec<toml::Table> {
        self.stages().get(stage).cloned().unwrap_or_default()
    }

    /// What it says of all stages.
    pub fn all(&self) -> Vec<toml::Table> {
        self.stages().values().flatten().cloned().collect()
    }

    fn stages(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<toml::Table>>> {
        self.stages.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Notes what `stage` resolved. It takes the place of what was noted for the same part, suite
    /// and architecture; another suite (`--var suite=bookworm`) has an entry of its own.
    pub fn note(&self, stage: &str, entry: &toml::Table) -> Result<()> {
        let mut stages = self.stages();
        let entries = stages.entry(stage.to_string()).or_default();
        if entries.contains(entry) {
            return Ok(());
        }
        entries.retain(|other| place(other) != place(entry));
        entries.push(entry.clone());
        // The order in which things were resolved is no news.
        entries.sort_by_key(|entry| place(entry).map(|value| value.map(|it| it.to_string())));
        match self.write {
            // Still under the mutex: the file must not lose what another thread noted meanwhile.
            Write::Now => self.write(&render(&stages)?),
            Write::Later => Ok(()),
        }
    }

    fn write(&self, text: &str) -> Result<()> {
        use std::io::Write as _;
        let what = || format!("writing the lock {}", self.path.display());
        let directory = self.path.parent().ok_or_else(|| anyhow!("a lock needs a directory"))?;
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let mut file =
            tempfile::NamedTempFile::new_in(directory).with_context(what).map_err(|error| {
                with_hint(error, "the lock lies beside the pipeline; make that directory writable")
            })?;
        file.write_all(text.as_bytes()).with_context(what)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode).with_context(what)?;
        file.persist(&self.path).with_context(what)?;
        Ok(())
    }
}

/// What an entry is of: its part, suite and architecture. A stage has one for each.
pub fn place(entry: &toml::Table) -> [Option<toml::Value>; 3] {
    ["part", "suite", "architecture"].map(|name| entry.get(name).cloned())
}

fn parse(text: &str) -> Result<Entries> {
    let mut table: toml::Table = toml::from_str(text)?;
    match table.remove("version").and_then(|version| version.as_integer()) {
        Some(VERSION) => {}
        Some(version) => {
            return Err(anyhow!("it has version {version}, this kuth knows {VERSION}"));
        }
        None => return Err(anyhow!("it has no `version`")),
    }
    match table.remove("stage") {
        Some(stages) => Ok(stages.try_into()?),
        None => Ok(BTreeMap::new()),
    }
}

/// One line a package, so that a change of the lock reads well in a diff.
fn render(stages: &Entries) -> Result<String> {
    let mut text = format!("{HEADER}version = {VERSION}\n");
    for (stage, entries) in stages {
        for entry in entries {
            text += &format!("\n[[stage.{}]]\n", quote_key(stage));
            for (key, value) in entry {
                text += &match value {
                    toml::Value::Array(items) => {
                        let lines: String =
                            items.iter().map(|item| format!("  {},\n", inline(item))).collect();
                        format!("{key} = [\n{lines}]\n")
                    }
                    value => format!("{key} = {}\n", inline(value)),
                };
            }
        }
    }
    // What cannot be read back must not be written.
    parse(&text).context("checking the lock")?;
    Ok(text)
}

fn quote_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if key.chars().all(bare) { key.to_string() } else { inline(&toml::Value::String(key.into())) }
}

fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let fields: Vec<String> = table
                .iter()
                .map(|(key, value)| format!("{} = {}", quote_key(key), inline(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(suite: &str, version: &str) -> toml::Table {
        toml::from_str(&format!(
            "suite = \"{suite}\"\narchitecture = \"amd64\"\n\
             package = [{{ name = \"a+b\", version = \"{version}\" }}]"
        ))
        .unwrap()
    }

    #[test]
    fn what_is_noted_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = LockFile::beside(&directory.path().join("x.toml"));
        let lock = LockFile::open(&path).unwrap();
        lock.note("nodes/a", &entry("trixie", "1")).unwrap();
        lock.note("base", &entry("trixie", "2")).unwrap();
        lock.note("base", &entry("bookworm", "1")).unwrap();
        lock.note("base", &entry("trixie", "3")).unwrap();
        let lock = LockFile::open(&path).unwrap();
        assert_eq!(lock.stage("base"), [entry("bookworm", "1"), entry("trixie", "3")]);
        assert_eq!(lock.stage("nodes/a"), [entry("trixie", "1")]);
        assert!(lock.stage("other").is_empty());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\n  { name = \"a+b\", version = \"3\" },\n"), "{text}");
    }

    #[test]
    fn a_lock_of_another_version_is_refused_with_a_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.lock");
        std::fs::write(&path, "version = 2\n").unwrap();
        let error = LockFile::open(&path).unwrap_err();
        assert!(format!("{error:#}").contains("it has version 2, this kuth knows 1"));
        assert_eq!(crate::error::hints(&error).len(), 1);
    }
}

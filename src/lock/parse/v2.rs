//! Version 2 of the lock's form: a table `stage` with an array of entries for each stage. Keys are
//! sorted; an array has a line for each item, so that a change reads well in a diff.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Sha512};
use crate::error::{Context, Result, bail};
use crate::lock::{
    Checksum, Entries, LockEntry, LockedDownload, LockedMedium, LockedPackages, LockedSuite,
    Package, Part,
};
use crate::recipe::Key;

const HEADER: &str = "# Written by kuth: the exact packages that each stage means.\n\
    # Commit it to build the same image on another day; `kuth update` takes what the mirror has now.\n\
    version = 2\n";

/// An entry with all keys that either kind has. `part` is the word of a [`Part`] or an address.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    architecture: Option<String>,
    asked: Option<Vec<String>>,
    checksums: Option<String>,
    components: Option<Vec<String>>,
    date: Option<String>,
    label: Option<String>,
    medium: Option<Digest>,
    package: Option<Vec<Package>>,
    part: String,
    release: Option<Digest>,
    request: Option<Key>,
    sha256: Option<Digest>,
    sha512: Option<String>,
    size: Option<u64>,
    suite: Option<String>,
    suites: Option<Vec<LockedSuite>>,
}

/// What the tables beside `version` say.
pub fn read(mut table: toml::Table) -> Result<Entries> {
    let Some(stages) = table.remove("stage") else { return Ok(Entries::new()) };
    let stages: std::collections::BTreeMap<String, Vec<toml::Table>> = stages.try_into()?;
    let entries = stages.into_iter().map(|(stage, rows)| {
        let rows = rows.into_iter().map(|row| entry(row.try_into()?));
        let what = || format!("reading the entries of `{stage}`");
        let entries = rows.collect::<Result<Vec<LockEntry>>>().with_context(what)?;
        Ok((stage, entries))
    });
    entries.collect()
}

fn entry(row: Row) -> Result<LockEntry> {
    let part = row.part;
    let lacks = |key: &str| format!("the entry `{part}` has no `{key}`");
    let Some(request) = row.request else {
        let checksum = match (row.sha256, row.sha512) {
            (Some(sha256), _) => Checksum::Sha256(sha256),
            (None, Some(sha512)) => Checksum::Sha512(sha512.parse::<Sha512>()?),
            (None, None) => bail!(lacks("sha256")),
        };
        let (checksums, size) = (row.checksums, row.size);
        return Ok(LockEntry::Download(LockedDownload { url: part, checksums, checksum, size }));
    };
    let medium = match row.medium {
        Some(digest) => {
            let label = row.label.with_context(|| lacks("label"))?;
            Some(LockedMedium { digest, label })
        }
        None => None,
    };
    let known = Part::ALL.into_iter().find(|known| known.word() == part);
    Ok(LockEntry::Packages(LockedPackages {
        part: known.with_context(|| format!("the part `{part}` is unknown"))?,
        request,
        suite: row.suite.with_context(|| lacks("suite"))?,
        architecture: row.architecture.with_context(|| lacks("architecture"))?,
        release: row.release.with_context(|| lacks("release"))?,
        date: row.date.map(|date| date.parse()).transpose()?,
        asked: row.asked,
        components: row.components,
        medium,
        suites: row.suites.unwrap_or_default(),
        packages: row.package.with_context(|| lacks("package"))?,
    }))
}

fn row(entry: &LockEntry) -> Row {
    match entry.clone() {
        LockEntry::Packages(it) => {
            let (medium, label) = it.medium.map(|it| (it.digest, it.label)).unzip();
            Row {
                architecture: Some(it.architecture),
                asked: it.asked,
                components: it.components,
                date: it.date.map(|date| date.to_string()),
                label,
                medium,
                package: Some(it.packages),
                part: it.part.word().to_string(),
                release: Some(it.release),
                request: Some(it.request),
                suite: Some(it.suite),
                suites: (!it.suites.is_empty()).then_some(it.suites),
                ..Row::default()
            }
        }
        LockEntry::Download(it) => {
            let (sha256, sha512) = match it.checksum {
                Checksum::Sha256(sha256) => (Some(sha256), None),
                Checksum::Sha512(sha512) => (None, Some(sha512.to_string())),
            };
            let (checksums, size) = (it.checksums, it.size);
            Row { checksums, part: it.url, sha256, sha512, size, ..Row::default() }
        }
    }
}

/// The text, one line a package.
pub fn write(entries: &Entries) -> Result<String> {
    let mut text = HEADER.to_string();
    for (stage, entries) in entries {
        for entry in entries {
            text += &format!("\n[[stage.{}]]\n", quote_key(stage));
            let row = toml::Table::try_from(row(entry)).context("writing the lock")?;
            for (key, value) in row {
                text += &match value {
                    toml::Value::Array(items) => {
                        let lines: String =
                            items.iter().map(|item| format!("  {},\n", inline(item))).collect();
                        format!("{key} = [\n{lines}]\n")
                    }
                    value => format!("{key} = {}\n", inline(&value)),
                };
            }
        }
    }
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
    use crate::digest::Digest;
    use crate::lock::parse::{read, write};
    use crate::lock::{LockEntry, LockedSuite};

    /// A lock that kuth 0.1 wrote, with all kinds of entries; package lists are shortened.
    const LOCK: &str = include_str!("v1.lock");

    #[test]
    fn a_lock_of_0_1_is_read_and_keeps_all_it_says() {
        let entries = read(LOCK).unwrap();
        let newer = LOCK.replace("\nversion = 1\n", "\nversion = 2\n");
        assert_eq!(write(&entries).unwrap(), newer);
        let parts: Vec<String> =
            entries.values().flatten().map(|entry| entry.question().to_string()).collect();
        assert_eq!(
            parts,
            [
                "guest-additions trixie amd64",
                "packages trixie amd64",
                "tools trixie amd64",
                "http://cdimage.debian.org/debian-cd/current/amd64/iso-cd/debian-13.2.0-amd64-netinst.iso",
                "packages trixie amd64",
                "file:///srv/notes.txt",
                "packages bookworm amd64",
                "packages trixie amd64",
                "packages trixie amd64",
            ]
        );
    }

    #[test]
    fn suites_that_were_searched_are_kept() {
        let mut entries = read(LOCK).unwrap();
        let suite = LockedSuite {
            name: "trixie-security".into(),
            repository: None,
            release: Digest::of("release"),
            date: "20261129T005314Z".parse().ok(),
        };
        let locked = entries.values_mut().flatten().find_map(|entry| match entry {
            LockEntry::Packages(locked) => Some(locked),
            LockEntry::Download(_) => None,
        });
        let locked = locked.unwrap();
        locked.packages[0].suite = Some(suite.name.clone());
        locked.suites.push(suite);
        let text = write(&entries).unwrap();
        assert_eq!(read(&text).unwrap(), entries);
        assert!(text.contains("{ date = \"20261129T005314Z\", name = \"trixie-security\", rel"));
    }

    #[test]
    fn a_damaged_entry_is_refused_with_its_stage_and_key() {
        for (from, to, words) in [
            ("suite = \"bookworm\"\n", "", "reading the entries of `rootfs`"),
            ("suite = \"bookworm\"\n", "", "the entry `packages` has no `suite`"),
            ("part = \"tools\"", "part = \"tolls\"", "the part `tolls` is unknown"),
            ("part = \"tools\"", "part = \"tools\"\nnew = 1", "unknown field `new`"),
            ("release = \"", "release = \"x", "a SHA-256 is 64 hexadecimal digits"),
        ] {
            assert!(LOCK.contains(from), "{from}");
            let error = read(&LOCK.replace(from, to)).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}

//! Reads a packed tree as any tar reader does.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tar::EntryType;

/// What a tree has at a path.
#[derive(Debug)]
pub struct Entry {
    pub kind: EntryType,
    pub mode: u32,
    pub owner: (u64, u64),
    /// Where a link points.
    pub link: String,
    /// Where its bytes lie in the archive, and how many they are.
    bytes: (u64, u64),
}

/// All entries by absolute path, without a slash at the end.
#[derive(Debug)]
pub struct Tree {
    file: File,
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Reads the archive at `path`.
    pub fn read(path: &Path) -> Tree {
        let mut entries = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(path).unwrap());
        for entry in archive.entries_with_seek().unwrap() {
            let entry = entry.unwrap();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").trim_end_matches('/');
            let header = entry.header();
            let found = Entry {
                kind: header.entry_type(),
                mode: header.mode().unwrap(),
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                link: String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into(),
                bytes: (entry.raw_file_position(), entry.size()),
            };
            entries.insert(format!("/{name}"), found);
        }
        Tree { file: File::open(path).unwrap(), entries }
    }

    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    pub fn entry(&self, path: &str) -> &Entry {
        self.entries.get(path).unwrap_or_else(|| panic!("the tree has no {path}"))
    }

    /// The kind of entry, its mode and its owner, as `ls` would say it: `- 644 0:0`.
    pub fn listed(&self, path: &str) -> String {
        let entry = self.entry(path);
        let kind = match entry.kind {
            EntryType::Regular => "-",
            EntryType::Directory => "d",
            EntryType::Symlink => "l",
            other => panic!("{path} is a {other:?}"),
        };
        format!("{kind} {:o} {}:{}", entry.mode, entry.owner.0, entry.owner.1)
    }

    /// What a file holds.
    pub fn text(&self, path: &str) -> String {
        let entry = self.entry(path);
        assert_eq!(entry.kind, EntryType::Regular, "{path}");
        let mut bytes = vec![0; entry.bytes.1 as usize];
        self.file.read_exact_at(&mut bytes, entry.bytes.0).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The paths below a directory.
    pub fn below(&self, directory: &str) -> Vec<&str> {
        let inside = format!("{directory}/");
        self.entries.keys().filter(|path| path.starts_with(&inside)).map(String::as_str).collect()
    }

    /// The stanza of a package in dpkg's database.
    pub fn package(&self, name: &str) -> Option<String> {
        let status = self.text("/var/lib/dpkg/status");
        let first = format!("Package: {name}");
        let stanza = status.split("\n\n").find(|stanza| stanza.lines().next() == Some(&*first));
        stanza.map(str::to_string)
    }
}

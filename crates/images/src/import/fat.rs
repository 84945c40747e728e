//! FAT12, FAT16 and FAT32 as a [`Filesystem`]. It keeps no owners and no modes: all is root's, and
//! the root has the properties of the directory that it is mounted on. A node goes by the place of
//! its entry.

use crate::error::{Context, Result, bail, ensure};
use crate::format::fat::{BOOT_SECTOR, BootSector, ENTRY, Item, MOST_ENTRIES, entries, label};

use super::filesystem::{Content, Filesystem, Kind, Names, Node, Run, Runs};
use crate::image::source::{Recent, Shared, bytes};

/// What of the table is read at once, and may take in memory.
const TABLE: (u64, usize) = (4096, 1 << 20);
/// In a larger table nobody counts: a disk of holes can state one that takes minutes.
const MOST_COUNTED: u32 = 1 << 22;
/// The root, which has no entry; no entry is in the boot sector.
const ROOT: u64 = 0;

/// A file system that was opened.
pub struct Fat {
    source: Shared,
    boot: BootSector,
    table: Recent,
}

impl Fat {
    /// Opens what is in `source`.
    pub fn open(source: Shared) -> Result<Fat> {
        let boot = BootSector::read(&bytes(&*source, 0, BOOT_SECTOR)?)?;
        let end = boot.data.0 + u64::from(boot.clusters) * boot.cluster_size.0;
        ensure!(end <= source.size(), "cut short: it ends at {end} of {}", source.size());
        Ok(Fat { source, boot, table: Recent::of(TABLE.1, TABLE.0 as usize) })
    }

    /// Its label: that of the root directory, else that of the boot sector.
    pub fn label(&self) -> Option<String> {
        // What cannot be read is reported by whoever wants the names.
        let of_root = self.directory(ROOT).ok().and_then(|(content, _)| label(&content));
        of_root.or_else(|| Some(self.boot.label.clone()).filter(|label| !label.is_empty()))
    }

    /// Its boot sector.
    pub fn boot_sector(&self) -> &BootSector {
        &self.boot
    }

    /// The cluster behind `cluster`.
    fn next(&self, cluster: u32) -> Result<Option<u32>> {
        let (at, length) = self.boot.fat_entry(cluster);
        let mut entry = Vec::new();
        // An entry of 12 bits may be in two pieces of the table.
        for at in at.0..at.0 + length as u64 {
            let start = at / TABLE.0 * TABLE.0;
            let length = TABLE.0.min(self.source.size() - start) as usize;
            let piece = self.table.get(start, || bytes(&*self.source, start, length))?;
            entry.push(piece[(at - start) as usize]);
        }
        Ok(self.boot.next_cluster(cluster, &entry)?)
    }

    /// Where `length` bytes from `cluster` on are; all there are, up to the length, if `whole` says
    /// that there need not be so many.
    fn chain(&self, first: u32, length: u64, ends: Ends) -> Result<Runs> {
        let mut runs = Runs::default();
        let (mut at, mut cluster) = (0, Some(first).filter(|first| *first != 0));
        while at < length {
            let Some(here) = cluster else {
                ensure!(ends == Ends::Anywhere, "its clusters end at {at} of {length} bytes");
                return Ok(runs);
            };
            let from = self.boot.cluster_at(here);
            let from = from.with_context(|| format!("there is no cluster {here}"))?;
            let n = self.boot.cluster_size.0.min(length - at);
            runs.push(Run { at, length: n, from: from.0 })?;
            at += n;
            cluster = self.next(here)?;
        }
        if ends == Ends::Anywhere && cluster.is_some() {
            bail!("its clusters have no end");
        }
        Ok(runs)
    }

    /// The bytes of a directory, and where they are.
    fn directory(&self, node: u64) -> Result<(Vec<u8>, Runs)> {
        let item = self.item(node)?;
        ensure!(item.is_directory, "it is not a directory");
        let runs = match (node, self.boot.root_directory_length.0) {
            (ROOT, length) if length > 0 => {
                let from = self.boot.root_directory.0;
                let mut runs = Runs::default();
                runs.push(Run { at: 0, length, from })?;
                runs
            }
            _ => self.chain(item.first_cluster, (MOST_ENTRIES * ENTRY) as u64, Ends::Anywhere)?,
        };
        let mut content = Vec::new();
        for run in runs.iter() {
            content.extend(bytes(&*self.source, run.from, run.length as usize)?);
        }
        Ok((content, runs))
    }

    fn item(&self, node: u64) -> Result<Item> {
        if node == ROOT {
            let first_cluster = self.boot.root_cluster;
            return Ok(Item { is_directory: true, first_cluster, size: 0, time: 0 });
        }
        Ok(Item::read(&bytes(&*self.source, node, ENTRY)?)?)
    }
}

/// Whether a chain may be shorter than what is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// A directory's.
    Anywhere,
    /// A file's.
    Exactly,
}

impl Filesystem for Fat {
    fn root(&self) -> u64 {
        ROOT
    }

    fn bytes_used(&self) -> Result<Option<u64>> {
        if self.boot.clusters > MOST_COUNTED {
            return Ok(None);
        }
        let mut used = self.boot.data.0;
        for cluster in 2..self.boot.clusters + 2 {
            // The entry of a free cluster is 0.
            if self.next(cluster)? != Some(0) {
                used += self.boot.cluster_size.0;
            }
        }
        Ok(Some(used))
    }

    fn has_owners(&self) -> bool {
        false
    }

    fn node(&self, node: u64) -> Result<Node> {
        let item = self.item(node)?;
        let (kind, mode) = match item.is_directory {
            true => (Kind::Directory, 0o755),
            false => (Kind::File, 0o644),
        };
        let size = item.size.into();
        Ok(Node { kind, mode, uid: 0, gid: 0, time: item.time, size, links: 1 })
    }

    fn names(&self, node: u64, most: usize) -> Result<Names> {
        let (content, runs) = self.directory(node)?;
        let mut names = Names::new();
        for entry in entries(&content)? {
            ensure!(names.len() < most, "too many names");
            let run = runs.iter().find(|run| run.at + run.length > entry.offset as u64);
            let run = run.context("an entry lies nowhere")?;
            names.push((entry.name.into_bytes(), run.from + (entry.offset as u64 - run.at)));
        }
        Ok(names)
    }

    fn target(&self, _node: u64) -> Result<Vec<u8>> {
        bail!("FAT has no links")
    }

    fn attributes(&self, _node: u64) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn content(&self, node: u64) -> Result<Content> {
        let item = self.item(node)?;
        let runs = self.chain(item.first_cluster, item.size.into(), Ends::Exactly)?;
        Ok(Content::new(self.source.clone(), runs, item.size.into()))
    }
}

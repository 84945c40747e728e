//! SquashFS as a [`Filesystem`]. A node's number is the place of its inode, so all names of a file
//! have one number.

use std::sync::Arc;

use crate::error::{Context, Result, bail, ensure};
use crate::format::squashfs::attribute::{self, Name};
use crate::format::squashfs::block::StoredBlock;
use crate::format::squashfs::inode::{self, FileType, Inode, XattrIndex};
use crate::format::squashfs::{Reference, directory};

use super::filesystem::{Content, Filesystem, Kind, MOST_RUNS, Names, Node, Run, Runs};
use crate::image::source::{Shared, Source, check};

mod stored;

use stored::{Block, Cursor, Lists, Stored};

/// Nothing links further.
const LONGEST_LINK: u32 = 4096;
/// The names of no directory are longer, together.
const LONGEST_FOLDER: u32 = 256 << 20;
/// Attributes of no file are longer, together; Linux shows no more than 64 KiB of names.
const LONGEST_ATTRIBUTES: usize = 1 << 20;
/// A file system that was opened.
pub struct Squashfs {
    stored: Arc<Stored>,
    owners: Vec<u32>,
    attributes: Option<Lists>,
}

impl Squashfs {
    /// Opens what is in `source`.
    pub fn open(source: Shared) -> Result<Squashfs> {
        let stored = Stored::open(source)?;
        let owners = stored.owners().context("reading the owners")?;
        let attributes = match stored.superblock.xattr_table {
            Some(at) => stored.lists(at.0).context("finding the attributes")?,
            None => None,
        };
        Ok(Squashfs { stored: Arc::new(stored), owners, attributes })
    }

    /// The inode of `node`, and the data behind it.
    fn inode(&self, node: u64) -> Result<(Inode, Cursor<'_>)> {
        let table = self.stored.superblock.inode_table.0;
        let read = || -> Result<(Inode, Cursor<'_>)> {
            let mut cursor = self.stored.cursor(table, Reference::of(node)?)?;
            let mut head = cursor.take(inode::HEADER)?;
            head.extend(cursor.take(inode::length(&head)? - inode::HEADER)?);
            Ok((Inode::read(&head)?, cursor))
        };
        read().with_context(|| format!("reading the inode at {:#x}", node))
    }

    fn owner(&self, index: u16) -> Result<u32> {
        self.owners.get(usize::from(index)).copied().with_context(|| format!("no owner {index}"))
    }

    /// The list of attributes `index`.
    fn list(&self, index: u32) -> Result<Vec<(String, Vec<u8>)>> {
        let lists = self.attributes.as_ref().context("there is no table of attributes")?;
        ensure!(index < lists.count, "there is no list of attributes {index}");
        let entry = self.stored.entry(&lists.places, index, attribute::ENTRY)?;
        let (at, count) = attribute::entry(&entry)?;
        let mut cursor = self.stored.cursor(lists.start, at)?;
        let mut found = Vec::new();
        let mut total = 0;
        for _ in 0..count {
            let Name { prefix, length, is_out_of_line } =
                attribute::name(&cursor.take(attribute::NAME)?)?;
            let name = cursor.take(length)?;
            let mut size = attribute::value(&cursor.take(attribute::VALUE)?)?;
            let mut value = cursor.take(size)?;
            if is_out_of_line {
                let mut there = self.stored.cursor(lists.start, attribute::out_of_line(&value)?)?;
                size = attribute::value(&there.take(attribute::VALUE)?)?;
                value = there.take(size)?;
            }
            total += attribute::NAME + length + size;
            ensure!(
                total <= LONGEST_ATTRIBUTES,
                "attributes of more than {LONGEST_ATTRIBUTES} bytes"
            );
            let name = String::from_utf8(name).ok().filter(|name| !name.contains('\0'));
            let name = name.context("the name of an attribute is not text")?;
            found.push((format!("{prefix}{name}"), value));
        }
        Ok(found)
    }
}

impl Filesystem for Squashfs {
    fn root(&self) -> u64 {
        self.stored.superblock.root_inode.number()
    }

    fn bytes_used(&self) -> Result<Option<u64>> {
        Ok(Some(self.stored.superblock.bytes_used.0))
    }

    fn node(&self, node: u64) -> Result<Node> {
        let (inode, _) = self.inode(node)?;
        let (device, size) = match inode.file_type {
            FileType::Device(major, minor) => ((major, minor), 0),
            FileType::File { size, .. } => ((0, 0), size.0),
            _ => ((0, 0), 0),
        };
        let kind = Kind::of(inode.mode, device).context("an inode of no kind")?;
        Ok(Node {
            kind,
            mode: u32::from(inode.mode) & 0o7777,
            uid: self.owner(inode.uid)?,
            gid: self.owner(inode.gid)?,
            time: inode.mtime.into(),
            size,
            links: inode.links,
        })
    }

    fn names(&self, node: u64, most: usize) -> Result<Names> {
        let (inode, _) = self.inode(node)?;
        let FileType::Directory { names: at, size } = inode.file_type else {
            bail!("it is not a directory")
        };
        let mut left = size.saturating_sub(directory::DOTS);
        let mut names = Names::new();
        if left == 0 {
            return Ok(names);
        }
        ensure!(left <= LONGEST_FOLDER, "a directory of {left} bytes");
        let mut cursor = self.stored.cursor(self.stored.superblock.directory_table.0, at)?;
        let mut take = |length: usize, left: &mut u32| -> Result<Vec<u8>> {
            *left = left.checked_sub(length as u32).context("a directory ends within a name")?;
            cursor.take(length)
        };
        loop {
            let (count, block) = directory::header(&take(directory::HEADER, &mut left)?)?;
            for _ in 0..count {
                let (inode, length) = directory::entry(&take(directory::ENTRY, &mut left)?, block)?;
                ensure!(names.len() < most, "too many names");
                names.push((take(length, &mut left)?, inode.number()));
            }
            if left == 0 {
                return Ok(names);
            }
        }
    }

    fn target(&self, node: u64) -> Result<Vec<u8>> {
        let (inode, mut cursor) = self.inode(node)?;
        let FileType::Symlink(length) = inode.file_type else { bail!("it is not a link") };
        ensure!((1..=LONGEST_LINK).contains(&length), "a link of {length} bytes");
        cursor.take(length as usize)
    }

    fn attributes(&self, node: u64) -> Result<Vec<(String, Vec<u8>)>> {
        let (inode, mut cursor) = self.inode(node)?;
        let list = match inode.xattr {
            XattrIndex::None => None,
            XattrIndex::List(list) => Some(list),
            XattrIndex::AfterTarget => {
                let FileType::Symlink(length) = inode.file_type else { bail!("it is not a link") };
                ensure!(length <= LONGEST_LINK, "a link of {length} bytes");
                cursor.take(length as usize)?;
                inode::after_target(&cursor.take(4)?)?
            }
        };
        list.map_or(Ok(Vec::new()), |list| self.list(list))
    }

    fn content(&self, node: u64) -> Result<Content> {
        let (inode, mut cursor) = self.inode(node)?;
        let FileType::File { size, start, fragment } = inode.file_type else {
            bail!("it is not a file")
        };
        let block = self.stored.superblock.block_size;
        let count = inode::blocks(size, block, fragment.is_some());
        let size = size.0;
        ensure!(count <= MOST_RUNS as u64, "it is in more than {MOST_RUNS} blocks");
        let mut blocks = Vec::new();
        let mut runs = Runs::default();
        let mut next = start.0;
        for index in 0..count {
            let word = cursor.take(4)?;
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            blocks.push((next, word));
            let Some(piece) = StoredBlock::of_data(word, block)? else { continue };
            self.stored.check(next, piece.length)?;
            next += piece.length as u64;
            let at = index * block as u64;
            runs.push(Run { at, length: (size - at).min(block as u64), from: at })?;
        }
        let end = count * block as u64;
        if end < size {
            runs.push(Run { at: end, length: size - end, from: end })?;
        }
        let data = Data { stored: self.stored.clone(), blocks, fragment, size };
        Ok(Content::new(Arc::new(data), runs, size))
    }
}

/// What a file holds.
struct Data {
    stored: Arc<Stored>,
    /// Where its blocks are, and their sizes.
    blocks: Vec<(u64, u32)>,
    fragment: Option<(u32, u32)>,
    size: u64,
}

impl Data {
    /// How much block `index` holds, which is one of the file's.
    fn length(&self, index: usize) -> usize {
        let block = self.stored.superblock.block_size as u64;
        (self.size - index as u64 * block).min(block) as usize
    }

    /// Block `index`; nothing where it is zeros.
    fn block(&self, index: usize) -> Option<Block> {
        let (at, word) = *self.blocks.get(index)?;
        let piece = StoredBlock::of_data(word, self.stored.superblock.block_size).ok()??;
        let length = self.length(index);
        Some(Block { at, piece, least: length, most: length })
    }
}

impl Source for Data {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        let size = self.stored.superblock.block_size as u64;
        let (mut done, mut at) = (0, at);
        while done < bytes.len() {
            let (index, within) = ((at / size) as usize, (at % size) as usize);
            let n = (bytes.len() - done).min(self.length(index) - within);
            let part = &mut bytes[done..done + n];
            if let Some(block) = self.block(index) {
                let further = (index + 1..self.blocks.len()).filter_map(|index| self.block(index));
                let data = self.stored.data(std::iter::once(block).chain(further))?;
                part.copy_from_slice(&data[within..within + n]);
            } else if index < self.blocks.len() {
                part.fill(0);
            } else {
                let (index, offset) = self.fragment.context("it has too few blocks")?;
                let fragment = self.stored.fragment(index)?;
                let from = offset as usize + within;
                let found = fragment.get(from..from + n);
                let found = found.with_context(|| format!("fragment {index} is cut short"))?;
                part.copy_from_slice(found);
            }
            (done, at) = (done + n, at + n as u64);
        }
        Ok(())
    }
}

//! SquashFS as a [`Filesystem`]. A node's number is the place of its inode, so all names of a file have
//! one number.

use std::sync::Arc;

use crate::error::{Context, Result, bail, ensure};
use crate::format::squashfs::attribute::{self, Name};
use crate::format::squashfs::inode::{self, Attributes, Inode, What};
use crate::format::squashfs::piece::{self, FRAGMENT, Piece};
use crate::format::squashfs::superblock::{LENGTH, Superblock};
use crate::format::squashfs::{METADATA, Reference, blocks_of, folder};

use super::filesystem::{Content, Filesystem, Kind, MOST_RUNS, Names, Node, Run, Runs};
use super::source::{Recent, Shared, Source, bytes, check, table};

/// What decompressed metadata may take in memory, and data, and fragments.
const MEMORY: usize = 8 << 20;
/// Nothing links further.
const LONGEST_LINK: u32 = 4096;
/// The names of no folder are longer, together.
const LONGEST_FOLDER: u32 = 256 << 20;
/// Attributes of no file are longer, together; Linux shows no more than 64 KiB of names.
const LONGEST_ATTRIBUTES: usize = 1 << 20;
/// The length of an owner in the table of owners, and of a place in any table of places.
const OWNER: usize = 4;
const PLACE: u64 = 8;

/// A file system that was opened.
pub struct Squashfs {
    stored: Arc<Stored>,
    owners: Vec<u32>,
    attributes: Option<Lists>,
}

/// The table of lists of attributes.
struct Lists {
    /// Where names and values are.
    start: u64,
    count: u32,
    places: Vec<u8>,
}

/// The blocks of the file, and where fragments are.
struct Stored {
    source: Shared,
    superblock: Superblock,
    /// The places of the blocks of the table of fragments.
    fragments: Vec<u8>,
    metadata: Recent,
    data: Recent,
    ends: Recent,
}

impl Squashfs {
    /// Opens what is in `source`.
    pub fn open(source: Shared) -> Result<Squashfs> {
        let superblock = Superblock::read(&bytes(&*source, 0, LENGTH)?)?;
        let (used, size) = (superblock.used, source.size());
        ensure!(used <= size, "cut short: {used} bytes in use, of {size}");
        let (count, at) = superblock.fragments;
        let fragments = places(&*source, at, count, FRAGMENT).context("finding the fragments")?;
        let block = superblock.block;
        let stored = Stored {
            source,
            superblock,
            fragments,
            metadata: Recent::of(MEMORY, METADATA),
            data: Recent::of(MEMORY, block),
            ends: Recent::of(MEMORY, block),
        };
        let owners = stored.owners().context("reading the owners")?;
        let attributes = match superblock.attributes {
            Some(at) => stored.lists(at).context("finding the attributes")?,
            None => None,
        };
        Ok(Squashfs { stored: Arc::new(stored), owners, attributes })
    }

    /// The inode of `node`, and what stands behind it.
    fn inode(&self, node: u64) -> Result<(Inode, Cursor<'_>)> {
        let table = self.stored.superblock.inode_table;
        let read = || -> Result<(Inode, Cursor<'_>)> {
            let mut cursor = self.stored.cursor(table, Reference::of(node)?)?;
            let mut head = cursor.take(inode::HEAD)?;
            head.extend(cursor.take(inode::length(&head)? - inode::HEAD)?);
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
            let Name { space, length, is_elsewhere } =
                attribute::name(&cursor.take(attribute::NAME)?)?;
            let name = cursor.take(length)?;
            let mut size = attribute::value(&cursor.take(attribute::VALUE)?)?;
            let mut value = cursor.take(size)?;
            if is_elsewhere {
                let mut there = self.stored.cursor(lists.start, attribute::elsewhere(&value)?)?;
                size = attribute::value(&there.take(attribute::VALUE)?)?;
                value = there.take(size)?;
            }
            total += attribute::NAME + length + size;
            ensure!(
                total <= LONGEST_ATTRIBUTES,
                "attributes of more than {LONGEST_ATTRIBUTES} bytes"
            );
            let name = String::from_utf8(name).ok().filter(|name| !name.contains('\0'));
            let name = name.context("the name of an attribute is no text")?;
            found.push((format!("{space}{name}"), value));
        }
        Ok(found)
    }
}

/// The places of the blocks of a table of `count` entries.
fn places(source: &dyn Source, at: u64, count: u32, width: usize) -> Result<Vec<u8>> {
    match blocks_of(count.into(), width as u64) {
        0 => Ok(Vec::new()),
        blocks => table(source, at, blocks * PLACE),
    }
}

impl Stored {
    /// `length` bytes of what is in use.
    fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let inside = at.checked_add(length as u64).is_some_and(|end| end <= self.superblock.used);
        ensure!(inside, "cut short: {length} bytes at {at} of {}", self.superblock.used);
        bytes(&*self.source, at, length)
    }

    /// The block of metadata at `at`, and where the next one is.
    fn block(&self, at: u64) -> Result<(Arc<Vec<u8>>, u64)> {
        let head = self.bytes(at, 2)?;
        let piece = Piece::of_metadata([head[0], head[1]])?;
        let block = self.metadata.get(at, || {
            let stored = self.bytes(at + 2, piece.length)?;
            Ok(piece.unpack(stored, METADATA, self.superblock.compression)?)
        });
        let block = block.with_context(|| format!("reading the metadata at {at}"))?;
        Ok((block, at + 2 + piece.length as u64))
    }

    /// Reads on from a place of the table that begins at `table`.
    fn cursor(&self, table: u64, at: Reference) -> Result<Cursor<'_>> {
        let first = table.checked_add(at.block).context("metadata beyond any file")?;
        let (block, next) = self.block(first)?;
        ensure!(at.within <= block.len(), "there is no byte {} of {first}", at.within);
        Ok(Cursor { of: self, block, within: at.within, next })
    }

    /// Entry `index` of the table whose blocks are at `places`.
    fn entry(&self, places: &[u8], index: u32, width: usize) -> Result<Vec<u8>> {
        let each = METADATA / width;
        let (which, within) = (index as usize / each, index as usize % each * width);
        let place = places.get(which * PLACE as usize..).and_then(|rest| rest.first_chunk());
        let at = u64::from_le_bytes(*place.context("there is no such entry")?);
        let (block, _) = self.block(at)?;
        let entry = block.get(within..within + width);
        Ok(entry.with_context(|| format!("the table at {at} is cut short"))?.to_vec())
    }

    fn owners(&self) -> Result<Vec<u32>> {
        let (count, at) = self.superblock.ids;
        let places = places(&*self.source, at, count.into(), OWNER)?;
        let mut owners = Vec::new();
        for index in 0..count.into() {
            let entry = self.entry(&places, index, OWNER)?;
            owners.push(u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]));
        }
        Ok(owners)
    }

    fn lists(&self, at: u64) -> Result<Option<Lists>> {
        let (start, count) = attribute::head(&self.bytes(at, attribute::HEAD)?)?;
        let behind = at + attribute::HEAD as u64;
        let places = places(&*self.source, behind, count, attribute::ENTRY)?;
        Ok((count > 0).then_some(Lists { start, count, places }))
    }

    /// The `length` bytes of a block of data.
    fn data(&self, at: u64, piece: Piece, length: usize) -> Result<Arc<Vec<u8>>> {
        let block = self.data.get(at, || {
            let stored = self.bytes(at, piece.length)?;
            Ok(piece.unpack(stored, length, self.superblock.compression)?)
        });
        let block = block.with_context(|| format!("reading the data at {at}"))?;
        ensure!(block.len() == length, "the data at {at} is {} bytes, not {length}", block.len());
        Ok(block)
    }

    /// What fragment `index` holds.
    fn fragment(&self, index: u32) -> Result<Arc<Vec<u8>>> {
        ensure!(index < self.superblock.fragments.0, "there is no fragment {index}");
        let (at, word) = piece::fragment(&self.entry(&self.fragments, index, FRAGMENT)?)?;
        let most = self.superblock.block;
        let piece = Piece::of_data(word, most)?.context("a fragment of nothing")?;
        let fragment = self.ends.get(at, || {
            let stored = self.bytes(at, piece.length)?;
            Ok(piece.unpack(stored, most, self.superblock.compression)?)
        });
        fragment.with_context(|| format!("reading fragment {index} at {at}"))
    }
}

/// A place in metadata, from which it is read on into the blocks behind.
struct Cursor<'a> {
    of: &'a Stored,
    block: Arc<Vec<u8>>,
    within: usize,
    next: u64,
}

impl Cursor<'_> {
    /// The next `length` bytes, which the caller has bounded.
    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut taken = Vec::new();
        while taken.len() < length {
            if self.within >= self.block.len() {
                (self.block, self.next) = self.of.block(self.next)?;
                self.within = 0;
            }
            let n = (length - taken.len()).min(self.block.len() - self.within);
            taken.extend_from_slice(&self.block[self.within..self.within + n]);
            self.within += n;
        }
        Ok(taken)
    }
}

impl Filesystem for Squashfs {
    fn root(&self) -> u64 {
        self.stored.superblock.root.number()
    }

    fn node(&self, node: u64) -> Result<Node> {
        let (inode, _) = self.inode(node)?;
        let (device, size) = match inode.what {
            What::Device(major, minor) => ((major, minor), 0),
            What::File { size, .. } => ((0, 0), size),
            _ => ((0, 0), 0),
        };
        let kind = Kind::of(inode.mode, device).context("an inode of no kind")?;
        Ok(Node {
            kind,
            mode: u32::from(inode.mode) & 0o7777,
            uid: self.owner(inode.owner)?,
            gid: self.owner(inode.group)?,
            time: inode.time.into(),
            size,
            links: inode.links,
        })
    }

    fn names(&self, node: u64, most: usize) -> Result<Names> {
        let (inode, _) = self.inode(node)?;
        let What::Folder(at, length) = inode.what else { bail!("it is no folder") };
        let mut left = length.saturating_sub(folder::DOTS);
        let mut names = Names::new();
        if left == 0 {
            return Ok(names);
        }
        ensure!(left <= LONGEST_FOLDER, "a folder of {left} bytes");
        let mut cursor = self.stored.cursor(self.stored.superblock.folder_table, at)?;
        let mut take = |length: usize, left: &mut u32| -> Result<Vec<u8>> {
            *left = left.checked_sub(length as u32).context("a folder ends within a name")?;
            cursor.take(length)
        };
        loop {
            let (count, block) = folder::head(&take(folder::HEAD, &mut left)?)?;
            for _ in 0..count {
                let (inode, length) = folder::entry(&take(folder::ENTRY, &mut left)?, block)?;
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
        let What::Symlink(length) = inode.what else { bail!("it is no link") };
        ensure!((1..=LONGEST_LINK).contains(&length), "a link of {length} bytes");
        cursor.take(length as usize)
    }

    fn attributes(&self, node: u64) -> Result<Vec<(String, Vec<u8>)>> {
        let (inode, mut cursor) = self.inode(node)?;
        let list = match inode.attributes {
            Attributes::None => None,
            Attributes::Here(list) => Some(list),
            Attributes::BehindTarget => {
                let What::Symlink(length) = inode.what else { bail!("it is no link") };
                ensure!(length <= LONGEST_LINK, "a link of {length} bytes");
                cursor.take(length as usize)?;
                inode::behind_target(&cursor.take(4)?)?
            }
        };
        list.map_or(Ok(Vec::new()), |list| self.list(list))
    }

    fn content(&self, node: u64) -> Result<Content> {
        let (inode, mut cursor) = self.inode(node)?;
        let What::File { size, start, fragment } = inode.what else { bail!("it is no file") };
        let block = self.stored.superblock.block;
        let count = inode::blocks(size, block, fragment.is_some());
        ensure!(count <= MOST_RUNS as u64, "it is in more than {MOST_RUNS} blocks");
        let mut pieces = Vec::new();
        let mut runs = Runs::default();
        let mut next = start;
        for index in 0..count {
            let word = cursor.take(4)?;
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            let piece = Piece::of_data(word, block)?;
            pieces.push((next, piece));
            let Some(piece) = piece else { continue };
            check(&*self.stored.source, next, piece.length as u64)?;
            next += piece.length as u64;
            let at = index * block as u64;
            runs.push(Run { at, length: (size - at).min(block as u64), from: at })?;
        }
        let end = count * block as u64;
        if end < size {
            runs.push(Run { at: end, length: size - end, from: end })?;
        }
        let data = Data { stored: self.stored.clone(), pieces, fragment, size };
        Ok(Content::new(Arc::new(data), runs, size))
    }
}

/// What a file holds.
struct Data {
    stored: Arc<Stored>,
    /// Where its blocks are; zeros where there is no piece.
    pieces: Vec<(u64, Option<Piece>)>,
    fragment: Option<(u32, u32)>,
    size: u64,
}

impl Source for Data {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        let block = self.stored.superblock.block;
        let (mut done, mut at) = (0, at);
        while done < bytes.len() {
            let (index, within) = ((at / block as u64) as usize, (at % block as u64) as usize);
            let length = (self.size - index as u64 * block as u64).min(block as u64) as usize;
            let n = (bytes.len() - done).min(length - within);
            let part = &mut bytes[done..done + n];
            match self.pieces.get(index) {
                Some((_, None)) => part.fill(0),
                Some((start, Some(piece))) => {
                    let data = self.stored.data(*start, *piece, length)?;
                    part.copy_from_slice(&data[within..within + n]);
                }
                None => {
                    let (index, offset) = self.fragment.context("it has too few blocks")?;
                    let fragment = self.stored.fragment(index)?;
                    let from = offset as usize + within;
                    let found = fragment.get(from..from + n);
                    let found = found.with_context(|| format!("fragment {index} is cut short"))?;
                    part.copy_from_slice(found);
                }
            }
            (done, at) = (done + n, at + n as u64);
        }
        Ok(())
    }
}

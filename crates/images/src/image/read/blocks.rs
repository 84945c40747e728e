//! What all sparse formats have in common: a disk in blocks of one size, each of which is in the file,
//! decompressed out of it, or in the backing file.

use std::sync::Arc;

use crate::error::{Result, ensure};
use crate::image::source::{Shared, Source, check};

/// Where a block is.
pub enum Location {
    /// It is zero.
    Zero,
    /// In the file, from this byte on.
    File(u64),
    /// Decompressed or put together in memory.
    Memory(Arc<Vec<u8>>),
    /// In the backing file; zero where there is none.
    Backing,
}

/// How a format finds its blocks.
pub trait Map: Send + Sync {
    /// The size of a block, in bytes.
    fn block(&self) -> u64;

    /// Where block `index` is, which is one of the disk's.
    fn find(&self, file: &dyn Source, index: u64) -> Result<Location>;
}

/// The disk in a file.
pub struct Blocks<M> {
    /// The file.
    pub file: Shared,
    /// How its format finds blocks.
    pub map: M,
    /// The size of the disk.
    pub size: u64,
    /// The disk in the backing file.
    pub backing: Option<Shared>,
}

impl<M: Map> Source for Blocks<M> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        check(self, at, bytes.len() as u64)?;
        let block = self.map.block();
        let mut done = 0;
        while done < bytes.len() {
            let here = at + done as u64;
            let within = here % block;
            let n = (bytes.len() - done).min((block - within) as usize);
            let part = &mut bytes[done..done + n];
            match self.map.find(&*self.file, here / block)? {
                Location::Zero => part.fill(0),
                Location::File(start) => self.file.read_at(part, start.saturating_add(within))?,
                Location::Memory(whole) => {
                    let end = within as usize + n;
                    ensure!(whole.len() >= end, "the block of byte {here} is cut short");
                    part.copy_from_slice(&whole[within as usize..end]);
                }
                Location::Backing => self.read_backing(part, here)?,
            }
            done += n;
        }
        Ok(())
    }

    fn hole_at(&self, at: u64) -> Result<u64> {
        let block = self.map.block();
        let rest = (block - at % block).min(self.size.saturating_sub(at));
        match (self.map.find(&*self.file, at / block)?, &self.backing) {
            (Location::Zero, _) | (Location::Backing, None) => Ok(rest),
            (Location::Backing, Some(backing)) if at >= backing.size() => Ok(rest),
            (Location::Backing, Some(backing)) => Ok(backing.hole_at(at)?.min(rest)),
            (Location::File(_) | Location::Memory(_), _) => Ok(0),
        }
    }
}

impl<M> Blocks<M> {
    /// What the backing file has at `at`; behind its end there are zeros.
    fn read_backing(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        bytes.fill(0);
        let Some(backing) = &self.backing else { return Ok(()) };
        let there = backing.size().saturating_sub(at).min(bytes.len() as u64) as usize;
        if there == 0 {
            return Ok(());
        }
        backing.read_at(&mut bytes[..there], at)
    }
}

//! What all sparse containers have in common: a disk in blocks of one size, each of which is
//! somewhere in the file, or decompressed out of it, or nowhere.

use std::sync::Arc;

use crate::error::{Result, ensure};
use crate::import::source::{Shared, Source, check};

/// Where a block is.
pub enum Place {
    /// It is zero.
    Zero,
    /// In the file, from this byte on.
    At(u64),
    /// Here.
    Here(Arc<Vec<u8>>),
    /// In the image below this one; zero where there is none.
    Below,
}

/// How a format finds its blocks.
pub trait Map: Send + Sync {
    /// The size of a block.
    fn block(&self) -> u64;

    /// Where block `index` is, which is one of the disk's.
    fn find(&self, file: &dyn Source, index: u64) -> Result<Place>;
}

/// The disk in a file.
pub struct Blocks<M> {
    /// The file.
    pub file: Shared,
    /// How its format finds blocks.
    pub map: M,
    /// The size of the disk.
    pub size: u64,
    /// The image below this one.
    pub below: Option<Shared>,
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
                Place::Zero => part.fill(0),
                Place::At(start) => self.file.read_at(part, start.saturating_add(within))?,
                Place::Here(whole) => {
                    let end = within as usize + n;
                    ensure!(whole.len() >= end, "the block of byte {here} is cut short");
                    part.copy_from_slice(&whole[within as usize..end]);
                }
                Place::Below => self.below(part, here)?,
            }
            done += n;
        }
        Ok(())
    }
}

impl<M> Blocks<M> {
    /// What the image below has at `at`; behind its end there is nothing.
    fn below(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        bytes.fill(0);
        let Some(below) = &self.below else { return Ok(()) };
        let there = below.size().saturating_sub(at).min(bytes.len() as u64) as usize;
        if there == 0 {
            return Ok(());
        }
        below.read_at(&mut bytes[..there], at)
    }
}

//! Bytes of a file from a place on.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// So many bytes of a file from a place on, whoever else reads it.
pub(super) struct Positioned<'a> {
    pub(super) file: &'a File,
    pub(super) at: u64,
    pub(super) left: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.left.min(buf.len() as u64) as usize;
        let n = self.file.read_at(&mut buf[..n], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

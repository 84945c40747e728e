//! gzip and xz, decompressed by one thread. Both go on to the end of the input, however many
//! streams are in it, and check every checksum.

use std::io::{BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

/// The most memory that xz data may ask for, in KiB: what `xz -9` needs, and sixteen times more.
const XZ_MEMORY: u32 = 1 << 20;

pub(super) fn gzip<'a>(input: impl BufRead + 'a) -> impl Read + 'a {
    MultiGzDecoder::new(input)
}

pub(super) fn xz<'a>(input: impl BufRead + 'a) -> impl Read + 'a {
    XzReader::new_mem_limit(input, true, XZ_MEMORY)
}

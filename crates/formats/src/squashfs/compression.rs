//! The compressors of blocks. The greatest length of a block is known before it is unpacked, and no
//! block grows beyond it.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use lzma_rust2::XzReader;

use super::FORMAT;
use crate::Fault;

/// The memory that xz data may ask for, in KiB: its dictionary is never larger than a block of 1 MiB.
const XZ_MEMORY: u32 = 8 << 10;

/// `compression` of the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// zlib, which SquashFS calls gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// From its number in the superblock.
    pub fn of(number: u16) -> Result<Compression, Fault> {
        let other = match number {
            1 => return Ok(Compression::Gzip),
            4 => return Ok(Compression::Xz),
            6 => return Ok(Compression::Zstd),
            2 => "lzma".into(),
            3 => "lzo".into(),
            5 => "lz4".into(),
            _ => format!("the unknown way {number}"),
        };
        let why = format!("compressed by {other}, and only gzip, xz and zstd are known");
        Err(Fault::new(FORMAT, why))
    }

    /// Unpacks `bytes`. Fails for damage and for more than `most` bytes.
    pub fn unpack(self, bytes: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
        let damaged = |why: &dyn std::fmt::Display| {
            Fault::new(FORMAT, format!("a compressed block is damaged: {why}"))
        };
        if bytes.is_empty() {
            return Err(damaged(&"it is empty"));
        }
        match self {
            Compression::Gzip => {
                let mut unpacked = vec![0; most];
                let mut inflate = Decompress::new(true);
                let status = inflate
                    .decompress(bytes, &mut unpacked, FlushDecompress::Finish)
                    .map_err(|error| damaged(&error))?;
                if status != Status::StreamEnd {
                    return Err(damaged(&format!("it has no end within {most} bytes")));
                }
                unpacked.truncate(inflate.total_out() as usize);
                Ok(unpacked)
            }
            Compression::Xz => {
                let mut unpacked = Vec::new();
                let reader = XzReader::new_mem_limit(bytes, false, XZ_MEMORY);
                let read = reader.take(most as u64 + 1).read_to_end(&mut unpacked);
                read.map_err(|error| damaged(&error))?;
                if unpacked.len() > most {
                    return Err(damaged(&format!("it is more than {most} bytes")));
                }
                Ok(unpacked)
            }
            Compression::Zstd => {
                zstd::bulk::decompress(bytes, most).map_err(|error| damaged(&error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn blocks_are_unpacked_up_to_their_length() {
        let bytes: Vec<u8> = (0..8192u32).map(|i| (i / 7) as u8).collect();
        let zstd = zstd::bulk::compress(&bytes, 3).unwrap();
        for (way, packed) in [(Compression::Gzip, zlib(&bytes)), (Compression::Zstd, zstd)] {
            assert_eq!(way.unpack(&packed, 8192).unwrap(), bytes, "{way:?}");
            assert_eq!(way.unpack(&packed, 9000).unwrap(), bytes, "{way:?}");
            assert!(way.unpack(&packed, 8191).is_err(), "{way:?}");
            assert!(way.unpack(&packed[..packed.len() / 2], 8192).is_err(), "{way:?}");
            assert!(way.unpack(b"", 8192).is_err(), "{way:?}");
        }
        assert!(Compression::Xz.unpack(b"\xfd7zXZ\0", 8192).is_err());
    }

    #[test]
    fn unsupported_compressors_are_named() {
        let why = |number| Compression::of(number).unwrap_err().to_string();
        assert!(why(5).contains("by lz4"), "{}", why(5));
        assert!(
            why(3).contains("by lzo") && why(2).contains("by lzma") && why(9).contains("way 9")
        );
    }
}

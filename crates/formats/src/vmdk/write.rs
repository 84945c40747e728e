//! Writes streamOptimized VMDK: compressed grains in the order of the disk, without seeking. Grains
//! may be compressed elsewhere, in parallel. Unlike QEMU's, ours end with the end-of-stream marker
//! that VirtualBox waits for.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::{FORMAT, GD_AT_END, GRAIN, MAGIC, NEW_LINE_TEST};
use crate::fields::put;
use crate::units::{Bytes, SECTOR, Sectors};
use crate::{Fault, Guid};

const GRAIN_SECTORS: u64 = GRAIN.0 / SECTOR;
/// `numGTEsPerGT`: the number of entries of a grain table.
const ENTRIES_PER_GT: usize = 512;
/// `overHead`: the sectors before the first grain.
const OVERHEAD: u64 = 128;
/// `descriptorOffset` and `descriptorSize` in sectors.
const DESCRIPTOR_OFFSET: u64 = 1;
const DESCRIPTOR_SIZE: u64 = 20;

/// `ddb.adapterType`: the controller that VMware products choose for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// IDE.
    Ide,
    /// LSI Logic SCSI; also for SATA.
    LsiLogic,
}

/// What the descriptor says of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The size of the disk: a multiple of 512, at most 2 TiB.
    pub size: Bytes,
    /// The name the file will have, `disk.vmdk`.
    pub file_name: String,
    /// The UUID for VirtualBox; the content id is its first 32 bits.
    pub uuid: Guid,
    /// The controller.
    pub adapter: Adapter,
}

impl Description {
    /// `CID`; never one that means "none".
    fn content_id(&self) -> u32 {
        let [a, b, c, d, ..] = self.uuid.0;
        u32::from_be_bytes([a, b, c, d]).clamp(1, 0xffff_fffd)
    }

    /// Cylinders, heads and sectors a track.
    fn geometry(&self) -> (u64, u64, u64) {
        let (heads, track) = match (self.adapter, self.size) {
            (Adapter::Ide, _) => (16, 63),
            (Adapter::LsiLogic, size) if size < Bytes::GIB => (64, 32),
            (Adapter::LsiLogic, size) if size < Bytes::gib(2) => (128, 32),
            (Adapter::LsiLogic, _) => (255, 63),
        };
        let cylinders = self.size.0 / SECTOR / heads / track;
        let most = if self.adapter == Adapter::Ide { 16_383 } else { 65_535 };
        (cylinders.clamp(1, most), heads, track)
    }

    /// The text inside the file.
    fn text(&self) -> Result<String, Fault> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+ ".contains(c);
        let name = &self.file_name;
        let fits = !name.is_empty() && name.len() <= 255 && name.chars().all(plain);
        Fault::unless(fits, FORMAT, || {
            format!("`{}` cannot stand in a descriptor", name.escape_default())
        })?;
        let (cylinders, heads, track) = self.geometry();
        let adapter = match self.adapter {
            Adapter::Ide => "ide",
            Adapter::LsiLogic => "lsilogic",
        };
        let nil = Guid::NIL;
        Ok(format!(
            "# Disk DescriptorFile\nversion=1\nCID={:08x}\nparentCID=ffffffff\n\
             createType=\"streamOptimized\"\n\n# Extent description\nRW {} SPARSE \"{name}\"\n\n\
             # The disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n\
             ddb.adapterType=\"{adapter}\"\nddb.geometry.cylinders=\"{cylinders}\"\n\
             ddb.geometry.heads=\"{heads}\"\nddb.geometry.sectors=\"{track}\"\n\
             ddb.uuid.image=\"{}\"\nddb.uuid.parent=\"{nil}\"\nddb.uuid.modification=\"{nil}\"\n\
             ddb.uuid.parentmodification=\"{nil}\"\nddb.comment=\"\"\n",
            self.content_id(),
            self.size.0 / SECTOR,
            self.uuid
        ))
    }
}

/// How hard [`compress_grain`] tries, 0 to 9. The bytes depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub u32);

/// One grain compressed, for [`Stream::push`]; a short last one is filled up with zeros.
pub fn compress_grain(grain: &[u8], level: Level) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level.0.min(9)));
    let fill = vec![0; (GRAIN.0 as usize).saturating_sub(grain.len())];
    // Writing into memory does not fail.
    let written = encoder.write_all(grain).and_then(|()| encoder.write_all(&fill));
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

/// The type of a marker.
#[derive(Clone, Copy)]
enum Marker {
    EndOfStream = 0,
    GrainTable = 1,
    GrainDirectory = 2,
    Footer = 3,
}

/// An image being written.
pub struct Stream<W> {
    out: W,
    size: Bytes,
    /// Sectors written so far.
    at: u64,
    /// The grain directory: the sector of each grain table; 0 for an unallocated one.
    directory: Vec<u32>,
    /// The grain table being filled, and its index.
    table: Vec<u32>,
    table_index: u64,
    /// The lowest grain that may come next.
    next: u64,
}

impl<W: Write> Stream<W> {
    /// Writes the header and the descriptor. A fault is an `InvalidData`.
    pub fn new(out: W, description: &Description) -> io::Result<Stream<W>> {
        let size = description.size;
        let fits = size.0 > 0 && size.0.is_multiple_of(SECTOR) && size <= Bytes::gib(2 << 10);
        Fault::unless(fits, FORMAT, || format!("a disk of {size} is not whole sectors to 2 TiB"))?;
        let text = description.text()?;
        let grains = size.0.div_ceil(GRAIN.0);
        let directory = vec![0; grains.div_ceil(ENTRIES_PER_GT as u64) as usize];
        let table = vec![0; ENTRIES_PER_GT];
        let mut stream = Stream { out, size, at: 0, directory, table, table_index: 0, next: 0 };
        let mut start = vec![0; (OVERHEAD * SECTOR) as usize];
        put(&mut start, 0, &header(size, GD_AT_END));
        put(&mut start, (DESCRIPTOR_OFFSET * SECTOR) as usize, text.as_bytes());
        stream.write(&start)?;
        Ok(stream)
    }

    /// Adds grain `index` as [`compress_grain`] made it. Grains come in ascending order; those that
    /// are zero are left out.
    pub fn push(&mut self, index: u64, compressed: &[u8]) -> io::Result<()> {
        Fault::unless(index >= self.next && index < self.size.0.div_ceil(GRAIN.0), FORMAT, || {
            format!("grain {index} is out of turn or past the end")
        })?;
        self.next = index + 1;
        let table = index / ENTRIES_PER_GT as u64;
        if table != self.table_index {
            self.finish_table()?;
            self.table_index = table;
        }
        self.table[(index % ENTRIES_PER_GT as u64) as usize] = self.sector()?;
        let mut grain = Vec::with_capacity(compressed.len() + SECTOR as usize);
        grain.extend((index * GRAIN_SECTORS).to_le_bytes());
        grain.extend((compressed.len() as u32).to_le_bytes());
        grain.extend(compressed);
        self.write(&grain)
    }

    /// Writes the last grain table, the grain directory, the footer and the end-of-stream marker;
    /// returns the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.finish_table()?;
        let directory: Vec<u8> = self.directory.iter().flat_map(|at| at.to_le_bytes()).collect();
        self.marker(Marker::GrainDirectory, (directory.len() as u64).div_ceil(SECTOR))?;
        let directory_at = self.at;
        self.write(&directory)?;
        self.marker(Marker::Footer, 1)?;
        self.write(&header(self.size, directory_at))?;
        self.marker(Marker::EndOfStream, 0)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// The length of what has been written.
    pub fn written(&self) -> Bytes {
        Sectors(self.at).bytes()
    }

    fn finish_table(&mut self) -> io::Result<()> {
        if self.table.iter().all(|at| *at == 0) {
            return Ok(());
        }
        let table: Vec<u8> = self.table.iter().flat_map(|at| at.to_le_bytes()).collect();
        self.marker(Marker::GrainTable, table.len() as u64 / SECTOR)?;
        self.directory[self.table_index as usize] = self.sector()?;
        self.table.fill(0);
        self.write(&table)
    }

    fn marker(&mut self, marker: Marker, sectors: u64) -> io::Result<()> {
        let mut bytes = vec![0; SECTOR as usize];
        put(&mut bytes, 0, &sectors.to_le_bytes());
        put(&mut bytes, 12, &(marker as u32).to_le_bytes());
        self.write(&bytes)
    }

    /// The sector written next, as a grain table entry has it.
    fn sector(&self) -> Result<u32, Fault> {
        u32::try_from(self.at).map_err(|_| Fault::new(FORMAT, "the image passes 2 TiB"))
    }

    /// Writes whole sectors.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sectors = (bytes.len() as u64).div_ceil(SECTOR);
        self.out.write_all(bytes)?;
        self.out.write_all(&vec![0; (sectors * SECTOR) as usize - bytes.len()])?;
        self.at += sectors;
        Ok(())
    }
}

/// The header, also used as footer.
fn header(size: Bytes, directory_at: u64) -> Vec<u8> {
    let mut header = vec![0; SECTOR as usize];
    put(&mut header, 0, MAGIC);
    put(&mut header, 4, &3u32.to_le_bytes());
    // Newlines can be tested, grains are compressed, markers are there.
    put(&mut header, 8, &0x0003_0001u32.to_le_bytes());
    let capacity = size.0.div_ceil(SECTOR);
    let numbers = [capacity, GRAIN_SECTORS, DESCRIPTOR_OFFSET, DESCRIPTOR_SIZE];
    for (i, number) in numbers.into_iter().enumerate() {
        put(&mut header, 12 + i * 8, &number.to_le_bytes());
    }
    put(&mut header, 44, &(ENTRIES_PER_GT as u32).to_le_bytes());
    put(&mut header, 56, &directory_at.to_le_bytes());
    put(&mut header, 64, &OVERHEAD.to_le_bytes());
    put(&mut header, 73, NEW_LINE_TEST);
    // Deflate.
    put(&mut header, 77, &1u16.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn description() -> Description {
        Description {
            size: Bytes::mib(100),
            file_name: "disk.vmdk".into(),
            uuid: Guid::derived("test", "vmdk"),
            adapter: Adapter::LsiLogic,
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let mut stream = Stream::new(Vec::new(), &description()).unwrap();
        stream.push(3, &compress_grain(&[1; 65_536], Level(6))).unwrap();
        stream.push(1599, &compress_grain(&[2; 512], Level(6))).unwrap();
        let image = stream.finish().unwrap();
        assert_eq!(image.len() % 512, 0);
        assert_eq!(image[image.len() - 512..], [0; 512]);
        let footer = &image[image.len() - 1024..];
        // The directory: the first and the last of four tables.
        let at = u64::from_le_bytes(footer[56..64].try_into().unwrap()) as usize * 512;
        let tables: Vec<u8> = [130u32, 0, 0, 136].iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(image[at..at + 16], tables);
        assert_eq!(Digest::of(&image).short(), "8796164768fe");
    }

    #[test]
    fn grains_come_in_ascending_order() {
        let mut stream = Stream::new(Vec::new(), &description()).unwrap();
        stream.push(5, &[1]).unwrap();
        assert!(stream.push(5, &[1]).is_err());
        assert!(stream.push(1600, &[1]).is_err());
    }

    #[test]
    fn descriptors_are_checked() {
        let text = description().text().unwrap();
        assert!(text.contains("RW 204800 SPARSE \"disk.vmdk\""), "{text}");
        assert!(text.contains("ddb.geometry.heads=\"64\""), "{text}");
        assert!((text.len() as u64) < DESCRIPTOR_SIZE * SECTOR - 255);
        let sly = Description { file_name: "a\"\nx".into(), ..description() };
        assert!(Stream::new(Vec::new(), &sly).is_err());
        let odd = Description { size: Bytes(1000), ..description() };
        assert!(Stream::new(Vec::new(), &odd).is_err());
    }
}

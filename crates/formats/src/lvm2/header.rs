//! The binary part of a physical volume: the label, and the metadata area, a circular buffer of
//! versions of the text. It does not read the text.
//!
//! Source: lvm2's lib/label/label.h and lib/format_text/layout.h as `pvck --dump headers` shows
//! them; all little endian.

use super::{FORMAT, Id, PE_START};
use crate::fields::{Fields, put};
use crate::units::{Bytes, SECTOR};
use crate::{Fault, Pieces};

const LABEL: &[u8; 8] = b"LABELONE";
const LABEL_TYPE: &[u8; 8] = b"LVM2 001";
const MDA_MAGIC: &[u8; 16] = b"\x20LVM2 x[5A%r0N*>";
const MDA_START: usize = 4096;
const MDA_SIZE: usize = PE_START.0 as usize - MDA_START;
/// `RAW_LOCN_IGNORED`: the metadata area is not in use.
const IGNORED: u32 = 1;
/// A block of the label and of the metadata area.
const BLOCK: usize = SECTOR as usize;
/// The label lies in one of the first sectors; lvm2 itself writes it into the second.
const LABEL_SECTORS: usize = 4;

/// CRC-32 that starts at 0xf597a6cf and is not inverted at the end.
fn crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!0xf597_a6cf);
    hasher.update(bytes);
    !hasher.finalize()
}

/// The fields of the label (`pv_header`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The id of the physical volume.
    pub id: Id,
    /// Its size.
    pub size: Bytes,
    /// Where its data begins.
    pub data: Bytes,
}

/// The sector of the label, the header of the metadata area, and `text` as its only version;
/// offsets count from the start of the physical volume. Refuses a text larger than the area.
pub fn write(id: &Id, size: Bytes, text: &str) -> Result<Pieces, Fault> {
    // lvm2 counts the NUL behind the text as a part of it.
    let text = [text.as_bytes(), &[0]].concat();
    // The next version must fit beside this one, or the group cannot be changed in the guest.
    Fault::unless(text.len() <= (MDA_SIZE - BLOCK) / 2, FORMAT, || {
        format!("{} bytes of metadata do not fit into half of its area", text.len())
    })?;
    Fault::unless(size > PE_START, FORMAT, || format!("a physical volume of {size} is too small"))?;

    let mut label = vec![0; BLOCK];
    put(&mut label, 0, LABEL);
    put(&mut label, 8, &1u64.to_le_bytes());
    put(&mut label, 20, &32u32.to_le_bytes());
    put(&mut label, 24, LABEL_TYPE);
    put(&mut label, 32, id.bytes());
    put(&mut label, 64, &size.0.to_le_bytes());
    // Lists of areas, each ended by zeros: data to the end of the disk, then metadata, then
    // behind an extension header (version 2, in use) no boot loader area.
    put(&mut label, 72, &PE_START.0.to_le_bytes());
    put(&mut label, 104, &(MDA_START as u64).to_le_bytes());
    put(&mut label, 112, &(MDA_SIZE as u64).to_le_bytes());
    put(&mut label, 136, &2u32.to_le_bytes());
    put(&mut label, 140, &1u32.to_le_bytes());
    let sum = crc(&label[20..]);
    put(&mut label, 16, &sum.to_le_bytes());

    let mut area = vec![0; BLOCK];
    put(&mut area, 4, MDA_MAGIC);
    put(&mut area, 20, &1u32.to_le_bytes());
    put(&mut area, 24, &(MDA_START as u64).to_le_bytes());
    put(&mut area, 32, &(MDA_SIZE as u64).to_le_bytes());
    put(&mut area, 40, &(BLOCK as u64).to_le_bytes());
    put(&mut area, 48, &(text.len() as u64).to_le_bytes());
    put(&mut area, 56, &crc(&text).to_le_bytes());
    let sum = crc(&area[4..]);
    put(&mut area, 0, &sum.to_le_bytes());

    let at = |at: usize| Bytes(at as u64);
    Ok(vec![(at(BLOCK), label), (at(MDA_START), area), (at(MDA_START + BLOCK), text)])
}

/// A metadata area (`disk_locn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Counted from the start of the physical volume.
    pub start: Bytes,
    /// Its length; 0 for all up to the end of the disk.
    pub size: Bytes,
}

/// Reads the label out of the start of a physical volume, of which four sectors are enough, and
/// where its metadata is.
pub fn label(head: &[u8]) -> Result<(Label, Vec<Area>), Fault> {
    let sector = (0..LABEL_SECTORS)
        .find(|i| head.get(i * BLOCK..).is_some_and(|rest| rest.starts_with(LABEL)))
        .ok_or_else(|| Fault::new(FORMAT, "no LABELONE in the first four sectors"))?;
    let label = Fields::of(FORMAT, head).slice(sector * BLOCK, BLOCK)?;
    let fields = Fields::of(FORMAT, label);
    let here = fields.le64(8)? == sector as u64 && fields.slice(24, 8)? == LABEL_TYPE;
    Fault::unless(here, FORMAT, || "the label belongs elsewhere".into())?;
    Fault::unless(fields.le32(16)? == crc(&label[20..]), FORMAT, || {
        "the label's CRC is wrong".into()
    })?;
    let at = fields.le32(20)? as usize;
    let (data, next) = areas(&fields, at.saturating_add(40))?;
    let (metadata, _) = areas(&fields, next)?;
    let label = Label {
        id: Id::from_bytes(fields.array(at)?)?,
        size: Bytes(fields.le64(at + 32)?),
        data: Bytes(data.first().map_or(0, |(start, _)| *start)),
    };
    Ok((
        label,
        metadata
            .into_iter()
            .map(|(start, size)| Area { start: Bytes(start), size: Bytes(size) })
            .collect(),
    ))
}

/// Reads the label and the newest text out of the start of a physical volume; the text is `None`
/// where it belongs to no group. Refuses wrong CRCs, and a `head` that ends before the metadata.
pub fn read(head: &[u8]) -> Result<(Label, Option<String>), Fault> {
    let (label, metadata) = self::label(head)?;
    let Area { start, size } = metadata
        .first()
        .ok_or_else(|| Fault::new(FORMAT, "this disk keeps no copy of the metadata"))?;
    let start = start.0;
    let end = start.checked_add(size.0).and_then(|end| usize::try_from(end).ok());
    let area = end.and_then(|end| head.get(start as usize..end)).ok_or_else(|| {
        Fault::new(FORMAT, format!("the metadata lies at {start}, beyond what was read"))
    })?;
    Ok((label, newest(area)?))
}

/// A list of (offset, size) that ends with zeros, and where it ends.
fn areas(fields: &Fields<'_>, mut at: usize) -> Result<(Vec<(u64, u64)>, usize), Fault> {
    let mut list = Vec::new();
    loop {
        let area = (fields.le64(at)?, fields.le64(at + 8)?);
        at += 16;
        if area.0 == 0 {
            return Ok((list, at));
        }
        list.push(area);
    }
}

/// The text a metadata area points at; it may run over the end and go on behind the header. `None`
/// where there is none, or the area is marked as ignored.
pub fn newest(area: &[u8]) -> Result<Option<String>, Fault> {
    let fields = Fields::of(FORMAT, area);
    let header = fields.slice(0, BLOCK)?;
    Fault::unless(&header[4..20] == MDA_MAGIC, FORMAT, || "no metadata area header".into())?;
    Fault::unless(fields.le32(0)? == crc(&header[4..]), FORMAT, || {
        "the CRC of the metadata area's header is wrong".into()
    })?;
    let (start, length) = (fields.le64(40)?, fields.le64(48)?);
    if start == 0 || length == 0 || fields.le32(60)? & IGNORED != 0 {
        return Ok(None);
    }
    let room = area.len() as u64;
    let fits = start >= BLOCK as u64 && start < room && length <= room - BLOCK as u64;
    Fault::unless(fits, FORMAT, || format!("{length} bytes of metadata at {start} of {room}"))?;
    let (start, length) = (start as usize, length as usize);
    let straight = length.min(area.len() - start);
    let mut text = area[start..start + straight].to_vec();
    text.extend(&area[BLOCK..BLOCK + length - straight]);
    Fault::unless(fields.le32(56)? == crc(&text), FORMAT, || {
        "the CRC of the metadata is wrong".into()
    })?;
    text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
    let text = String::from_utf8(text);
    text.map(Some).map_err(|_| Fault::new(FORMAT, "the metadata is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Vec<u8> {
        let mut head = vec![0; 1 << 20];
        for (at, bytes) in write(&Id::derived("a", "b"), Bytes::mib(8), text).unwrap() {
            put(&mut head, at.0 as usize, &bytes);
        }
        head
    }

    #[test]
    fn the_crc_is_lvm_s() {
        assert_eq!(crc(b""), 0xf597_a6cf);
        assert_eq!(crc(b"123456789"), 0x4991_cf02);
    }

    #[test]
    fn the_three_crcs_are_checked() {
        let head = head("vg0 { }");
        let (label, text) = read(&head).unwrap();
        assert_eq!(label, Label { id: Id::derived("a", "b"), size: Bytes::mib(8), data: PE_START });
        assert_eq!(text.as_deref(), Some("vg0 { }"));
        for (at, why) in
            [(512 + 33, "label's CRC"), (4096 + 49, "area's header"), (4608, "of the metadata")]
        {
            let mut damaged = head.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged).unwrap_err().to_string().contains(why), "{at}");
        }
        assert!(read(&head[..4096]).is_err());
        assert!(read(&[0; 4096]).is_err());
    }

    #[test]
    fn a_text_may_run_round_the_ring() {
        let mut head = head("vg0 { long enough }");
        let text = head[4608..4628].to_vec();
        let (area, last) = (MDA_START, (1 << 20) - 8);
        put(&mut head, last, &text[..8]);
        put(&mut head, area + BLOCK, &text[8..]);
        put(&mut head, area + 40, &((MDA_SIZE - 8) as u64).to_le_bytes());
        let sum = crc(&head[area + 4..area + BLOCK]);
        put(&mut head, area, &sum.to_le_bytes());
        assert_eq!(read(&head).unwrap().1.as_deref(), Some("vg0 { long enough }"));
    }

    #[test]
    fn a_text_needs_room_for_its_successor() {
        let id = Id::derived("a", "b");
        assert!(write(&id, Bytes::mib(8), &"x".repeat(MDA_SIZE / 2)).is_err());
        assert!(write(&id, PE_START, "x").is_err());
    }
}

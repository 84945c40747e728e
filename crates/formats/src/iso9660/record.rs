//! Directory records as they lie on the medium, and the Rock Ridge entries behind them. It does
//! not know which names are wanted.
//!
//! Source: ECMA-119 section 9.1; IEEE P1281 (SUSP) and P1282 (RRIP).

use std::io::{self, Read, Seek, SeekFrom};

use super::entry::{Entry, Kind};
use super::{FORMAT, SECTOR};
use crate::Fault;
use crate::fields::Fields;

/// No real directory is larger; a damaged image may claim to be.
const LARGEST_DIRECTORY: u64 = 16 << 20;
/// Areas a record's Rock Ridge entries may go on in.
const MOST_CONTINUATIONS: usize = 8;

/// `length` bytes at `at`.
pub(super) fn read_at(reader: &mut impl ReadSeek, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Both at once, as a bound.
pub(super) trait ReadSeek: Read + Seek {}
impl<R: Read + Seek> ReadSeek for R {}

/// The directory records of a directory.
pub(super) fn records(reader: &mut impl ReadSeek, directory: &Entry) -> io::Result<Vec<Vec<u8>>> {
    let mut records = Vec::new();
    let total = directory.extents.iter().fold(0u64, |sum, (_, length)| sum.saturating_add(*length));
    Fault::unless(total <= LARGEST_DIRECTORY, FORMAT, || {
        format!("the directory `{}` claims {total} bytes", directory.name)
    })?;
    for (at, length) in &directory.extents {
        let bytes = read_at(reader, *at, *length as usize)?;
        for sector in bytes.chunks(SECTOR) {
            let mut rest = sector;
            // A length of zero fills the rest of the sector.
            while let Some(length) = rest.first().map(|n| usize::from(*n)).filter(|n| *n > 0) {
                let record = Fields::of(FORMAT, rest).slice(0, length)?;
                records.push(record.to_vec());
                rest = &rest[length..];
            }
        }
    }
    Ok(records)
}

/// How far into the system use area Rock Ridge begins; `None` where it is not in use.
pub(super) fn rock_ridge(reader: &mut impl ReadSeek, root: &Entry) -> io::Result<Option<usize>> {
    let records = records(reader, root)?;
    let Some(own) = records.first() else { return Ok(None) };
    let entries = system_use(reader, own, 0)?;
    let Some(sp) = entries.iter().find(|entry| entry.starts_with(b"SP")) else { return Ok(None) };
    let skip = Fields::of(FORMAT, sp).u8(6)?;
    let names = entries.iter().any(|entry| {
        let is = |id: &[u8]| entry.get(8..).is_some_and(|rest| rest.starts_with(id));
        entry.starts_with(b"ER") && (is(b"RRIP_1991A") || is(b"IEEE_P1282") || is(b"IEEE_1282"))
    });
    Ok(names.then_some(skip.into()))
}

/// The system use entries of a record, continued areas included.
pub(super) fn system_use(
    reader: &mut impl ReadSeek,
    record: &[u8],
    skip: usize,
) -> io::Result<Vec<Vec<u8>>> {
    let name = usize::from(Fields::of(FORMAT, record).u8(32)?);
    let start = (33 + name).next_multiple_of(2) + skip;
    let mut area = record.get(start..).unwrap_or_default().to_vec();
    let mut entries = Vec::new();
    for _ in 0..=MOST_CONTINUATIONS {
        let mut next = None;
        let mut rest = &area[..];
        while let [_, _, length, _, ..] = rest {
            let entry = match rest.get(..usize::from(*length)) {
                Some(entry) if entry.len() >= 4 && !entry.starts_with(b"ST") => entry,
                _ => break,
            };
            rest = &rest[entry.len()..];
            if entry.starts_with(b"CE") {
                let fields = Fields::of(FORMAT, entry);
                let at = u64::from(fields.le32(4)?) * SECTOR as u64 + u64::from(fields.le32(12)?);
                next = Some((at, fields.le32(20)?));
            }
            entries.push(entry.to_vec());
        }
        let Some((at, length)) = next else { return Ok(entries) };
        Fault::unless(length as usize <= SECTOR, FORMAT, || {
            format!("a continuation of {length} bytes")
        })?;
        area = read_at(reader, at, length as usize)?;
    }
    Err(Fault::new(FORMAT, "continuations without end").into())
}

/// Takes name, mode and link target out of Rock Ridge entries.
pub(super) fn apply(system_use: &[Vec<u8>], entry: &mut Entry) -> Result<(), Fault> {
    let mut name = Vec::new();
    let mut target = String::new();
    // Whether the next component of the target begins behind a slash.
    let mut joined = true;
    for item in system_use {
        match &item[..2] {
            // The flags of NM mark "." and "..", which no entry here is.
            b"NM" => name.extend(item.get(5..).unwrap_or_default()),
            b"PX" => entry.mode = Some(Fields::of(FORMAT, item).le32(4)?),
            b"SL" => {
                let mut rest = item.get(5..).unwrap_or_default();
                while let [flags, length, tail @ ..] = rest {
                    let text = tail.get(..usize::from(*length));
                    let text = text.ok_or_else(|| Fault::new(FORMAT, "a link is cut short"))?;
                    if !joined && !target.ends_with('/') {
                        target.push('/');
                    }
                    match flags & 0x0e {
                        0x02 => target.push('.'),
                        0x04 => target.push_str(".."),
                        0x08 => target.push('/'),
                        _ => target.push_str(&String::from_utf8_lossy(text)),
                    }
                    joined = flags & 1 != 0;
                    rest = &tail[text.len()..];
                }
                entry.kind = Kind::Link(target.clone());
            }
            _ => {}
        }
    }
    if !name.is_empty() {
        entry.name = String::from_utf8_lossy(&name).into_owned();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    #[test]
    fn names_modes_and_links_are_told() {
        let mut entry = Entry {
            name: "N".into(),
            kind: Kind::File,
            mode: None,
            size: Bytes(0),
            extents: vec![],
        };
        let link = b"SL\x12\x01\0\x08\0\0\x03usr\x04\0\0\x01x".to_vec();
        let mode = b"PX\x24\x01\xff\xa1\0\0\0\0\xa1\xff".to_vec();
        let names = [b"NM\x07\x01\x01lo".to_vec(), b"NM\x07\x01\0ng".to_vec()];
        apply(&[&names[..], &[mode, link]].concat(), &mut entry).unwrap();
        assert_eq!(entry.name, "long");
        assert_eq!(entry.mode, Some(0o120_777));
        assert_eq!(entry.kind, Kind::Link("/usr/../x".into()));
        assert!(apply(&[b"SL\x08\x01\0\0\x09x".to_vec()], &mut entry).is_err());
    }
}

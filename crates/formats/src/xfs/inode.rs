//! An inode: what a file is, and the two forks that hold or tell its content and its attributes.

use super::{FORMAT, be16, be32, be64, check};
use crate::Fault;
use crate::fields::Fields;

/// Seconds before 1970 at which large times begin.
const BIG_TIME: i64 = 1 << 31;
/// Flags of an inode: its content is on the realtime device.
const REALTIME: u16 = 1;
/// Further flags: large times, large counts.
const BIG_TIMES: u64 = 1 << 3;
const BIG_COUNTS: u64 = 1 << 4;

/// What a fork holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The numbers of a device.
    Device(u32, u32),
    /// The content itself.
    Local(Vec<u8>),
    /// Extents, so many of them.
    Extents(Vec<u8>, u64),
    /// The root of a tree of extents.
    Tree(Vec<u8>),
}

/// What an inode says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What kind of file it is, and its permission bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names it has.
    pub links: u32,
    /// When it was written to last.
    pub time: i64,
    /// How long it is.
    pub size: u64,
    /// The content.
    pub data: Fork,
    /// The attributes.
    pub attributes: Option<Fork>,
}

impl Inode {
    /// Reads the bytes of the inode `number`.
    pub fn read(bytes: &[u8], number: u64) -> Result<Inode, Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, format!("inode {number} {why}")));
        let fields = Fields::of(FORMAT, bytes);
        if fields.slice(0, 2)? != b"IN" {
            return refuse("is none".into());
        }
        let version = fields.u8(4)?;
        let start = match version {
            1 | 2 => 100,
            3 => 176,
            _ => return refuse(format!("is of version {version}")),
        };
        let further = if version == 3 { be64(&fields, 120)? } else { 0 };
        if version == 3 {
            check(bytes, 100, &format!("inode {number}"))?;
            if be64(&fields, 152)? != number {
                return refuse(format!("says that it is {}", be64(&fields, 152)?));
            }
        }
        if be16(&fields, 90)? & REALTIME != 0 {
            return refuse("is on a realtime device".into());
        }
        let mode = be16(&fields, 2)?;
        let fork_at = usize::from(fields.u8(82)?) * 8;
        let literal = bytes.get(start..).unwrap_or(&[]);
        if fork_at > literal.len() {
            return refuse(format!("has its attributes at {fork_at} of {}", literal.len()));
        }
        let (counts, attribute_counts) = match further & BIG_COUNTS {
            0 => (be32(&fields, 76)?.into(), u64::from(be16(&fields, 80)?)),
            _ => (be64(&fields, 24)?, u64::from(be32(&fields, 76)?)),
        };
        let size = be64(&fields, 56)?;
        let data = if fork_at > 0 { &literal[..fork_at] } else { literal };
        let (seconds, rest) = (be32(&fields, 40)?, be32(&fields, 44)?);
        let time = match further & BIG_TIMES {
            0 => i64::from(seconds as i32),
            _ => ((u64::from(seconds) << 32 | u64::from(rest)) / 1_000_000_000) as i64 - BIG_TIME,
        };
        let attributes = match fork_at {
            0 => None,
            _ => {
                let (fork, kind) = (&literal[fork_at..], fields.u8(83)?);
                Some(read_fork(fork, kind, attribute_counts, None)?)
            }
        };
        Ok(Inode {
            mode,
            uid: be32(&fields, 8)?,
            gid: be32(&fields, 12)?,
            links: if version == 1 { be16(&fields, 6)?.into() } else { be32(&fields, 16)? },
            time,
            size,
            data: read_fork(data, fields.u8(5)?, counts, Some(size))?,
            attributes,
        })
    }
}

/// A fork of the format `kind`; `size` is what a local one has.
fn read_fork(bytes: &[u8], kind: u8, count: u64, size: Option<u64>) -> Result<Fork, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Ok(match kind {
        0 => {
            let device = be32(&fields, 0)?;
            Fork::Device(device >> 18 & 0x3fff, device & 0x3_ffff)
        }
        1 => {
            let size = match size {
                Some(size) => usize::try_from(size).unwrap_or(usize::MAX),
                // The attributes say themselves how long they are.
                None => usize::from(be16(&fields, 0)?),
            };
            Fork::Local(fields.slice(0, size)?.to_vec())
        }
        2 => {
            let length = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(16);
            Fork::Extents(fields.slice(0, length)?.to_vec(), count)
        }
        3 => Fork::Tree(bytes.to_vec()),
        kind => return Err(Fault::new(FORMAT, format!("a fork of the unknown kind {kind}"))),
    })
}

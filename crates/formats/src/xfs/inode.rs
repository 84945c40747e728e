//! The inode core (`xfs_dinode`), and the data and attribute forks behind it.

use super::{FORMAT, check_crc};
use crate::Fault;
use crate::fields::Fields;
use crate::units::Bytes;

/// The epoch of `bigtime` timestamps, in seconds before 1970.
pub(super) const BIGTIME_EPOCH: i64 = 1 << 31;
/// A bit of `di_flags`: the content is on the realtime device.
const REALTIME: u16 = 1;
/// Bits of `di_flags2`.
const BIGTIME: u64 = 1 << 3;
const NREXT64: u64 = 1 << 4;

/// A fork of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The major and minor number of a device.
    Device(u32, u32),
    /// The content itself, or attributes in short form.
    Local(Vec<u8>),
    /// Extent records, for [`extent::records`](super::extent::records).
    Extents(Vec<u8>),
    /// The root of a B+tree of extents, for [`extent::root`](super::extent::root).
    Btree(Vec<u8>),
}

/// The fields of an inode that a reader needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// `di_mode`: file type and permissions.
    pub mode: u16,
    /// `di_uid`.
    pub uid: u32,
    /// `di_gid`.
    pub gid: u32,
    /// `di_nlink`, or `di_onlink` of version 1.
    pub links: u32,
    /// `di_mtime` in seconds since 1970.
    pub mtime: i64,
    /// `di_size`.
    pub size: Bytes,
    /// The data fork.
    pub data_fork: Fork,
    /// The attribute fork.
    pub attribute_fork: Option<Fork>,
}

impl Inode {
    /// Reads the bytes of inode `number`. Of version 3 the checksum and the number must be right.
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
        let further = if version == 3 { fields.be64(120)? } else { 0 };
        if version == 3 {
            check_crc(bytes, 100, &format!("inode {number}"))?;
            if fields.be64(152)? != number {
                return refuse(format!("says that it is {}", fields.be64(152)?));
            }
        }
        if fields.be16(90)? & REALTIME != 0 {
            return refuse("is on a realtime device".into());
        }
        let mode = fields.be16(2)?;
        let fork_at = usize::from(fields.u8(82)?) * 8;
        let literal = bytes.get(start..).unwrap_or(&[]);
        if fork_at > literal.len() {
            return refuse(format!("has its attributes at {fork_at} of {}", literal.len()));
        }
        let (counts, attribute_counts) = match further & NREXT64 {
            0 => (fields.be32(76)?.into(), u64::from(fields.be16(80)?)),
            _ => (fields.be64(24)?, u64::from(fields.be32(76)?)),
        };
        let size = fields.be64(56)?;
        let data = if fork_at > 0 { &literal[..fork_at] } else { literal };
        let (seconds, rest) = (fields.be32(40)?, fields.be32(44)?);
        let mtime = match further & BIGTIME {
            0 => i64::from(seconds as i32),
            _ => {
                ((u64::from(seconds) << 32 | u64::from(rest)) / 1_000_000_000) as i64
                    - BIGTIME_EPOCH
            }
        };
        let attribute_fork = match fork_at {
            0 => None,
            _ => {
                let (fork, kind) = (&literal[fork_at..], fields.u8(83)?);
                Some(read_fork(fork, kind, attribute_counts, None)?)
            }
        };
        Ok(Inode {
            mode,
            uid: fields.be32(8)?,
            gid: fields.be32(12)?,
            links: if version == 1 { fields.be16(6)?.into() } else { fields.be32(16)? },
            mtime,
            size: Bytes(size),
            data_fork: read_fork(data, fields.u8(5)?, counts, Some(size))?,
            attribute_fork,
        })
    }
}

/// A fork of the format `kind` with `count` extents; `size` is that of a local one.
fn read_fork(bytes: &[u8], kind: u8, count: u64, size: Option<u64>) -> Result<Fork, Fault> {
    let fields = Fields::of(FORMAT, bytes);
    Ok(match kind {
        0 => {
            let device = fields.be32(0)?;
            Fork::Device(device >> 18 & 0x3fff, device & 0x3_ffff)
        }
        1 => {
            let size = match size {
                Some(size) => usize::try_from(size).unwrap_or(usize::MAX),
                // The attributes say themselves how long they are.
                None => usize::from(fields.be16(0)?),
            };
            Fork::Local(fields.slice(0, size)?.to_vec())
        }
        2 => {
            let length = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(16);
            Fork::Extents(fields.slice(0, length)?.to_vec())
        }
        3 => Fork::Btree(bytes.to_vec()),
        kind => return Err(Fault::new(FORMAT, format!("a fork of the unknown kind {kind}"))),
    })
}

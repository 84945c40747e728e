//! An inode: what a file is, and where its content or its attributes are. What has no fixed length
//! (a link's target, the list of a file's blocks) comes behind what is read here.

use super::{FORMAT, Reference};
use crate::Fault;
use crate::fields::Fields;

/// What all inodes begin with.
pub const HEAD: usize = 16;
/// Where there is none: of fragments and of attributes.
const NONE: u32 = u32::MAX;

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A directory: where its names are, in how many bytes.
    Directory(Reference, u32),
    /// A file.
    File {
        /// How long it is.
        size: u64,
        /// Where its first block is.
        start: u64,
        /// The fragment that it ends in, and a byte of that.
        fragment: Option<(u32, u32)>,
    },
    /// A link to a name of so many bytes, which comes behind it.
    Symlink(u32),
    /// A device, with its numbers.
    Device(u32, u32),
    /// A named pipe or a socket.
    Pipe,
}

/// Where the number of an inode's attributes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attributes {
    /// It has none.
    None,
    /// Here.
    Here(u32),
    /// Behind the target of the link.
    BehindTarget,
}

/// What an inode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What kind of file it is, and its permission bits.
    pub mode: u16,
    /// The owner, as an index of the table of owners.
    pub owner: u16,
    /// The group, likewise.
    pub group: u16,
    /// When it was written to last.
    pub time: u32,
    /// How many names it has.
    pub links: u32,
    /// What it is.
    pub what: What,
    /// Its attributes.
    pub attributes: Attributes,
}

/// How many bytes of an inode that begins with `head` [`Inode::read`] wants.
pub fn length(head: &[u8]) -> Result<usize, Fault> {
    Ok(match Fields::of(FORMAT, head).le16(0)? {
        1 | 2 => 32,
        3..=5 | 10 | 13 | 14 => 24,
        6 | 7 => 20,
        8 => 40,
        9 => 56,
        11 | 12 => 28,
        kind => return Err(Fault::new(FORMAT, format!("an inode of the kind {kind}"))),
    })
}

impl Inode {
    /// Reads the [`length`] bytes of an inode.
    pub fn read(bytes: &[u8]) -> Result<Inode, Fault> {
        let fields = Fields::of(FORMAT, bytes);
        let kind = fields.le16(0)?;
        let large = |at: usize| {
            let number = fields.le32(at)?;
            Ok(if number == NONE { Attributes::None } else { Attributes::Here(number) })
        };
        let fragment = |at: usize| -> Result<Option<(u32, u32)>, Fault> {
            let index = fields.le32(at)?;
            Ok(if index == NONE { None } else { Some((index, fields.le32(at + 4)?)) })
        };
        let device = || {
            let number = fields.le32(20)?;
            let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
            Ok(What::Device(major, minor))
        };
        let links = |at| fields.le32(at);
        let (links, what, attributes) = match kind {
            1 => {
                let names = Reference::at(fields.le32(16)?.into(), fields.le16(26)?)?;
                (links(20)?, What::Directory(names, fields.le16(24)?.into()), Attributes::None)
            }
            8 => {
                let names = Reference::at(fields.le32(24)?.into(), fields.le16(34)?)?;
                (links(16)?, What::Directory(names, fields.le32(20)?), large(36)?)
            }
            2 => {
                let (start, size) = (fields.le32(16)?.into(), fields.le32(28)?.into());
                (1, What::File { size, start, fragment: fragment(20)? }, Attributes::None)
            }
            9 => {
                let (start, size) = (fields.le64(16)?, fields.le64(24)?);
                let what = What::File { size, start, fragment: fragment(44)? };
                (links(40)?, what, large(52)?)
            }
            3 => (links(16)?, What::Symlink(fields.le32(20)?), Attributes::None),
            10 => (links(16)?, What::Symlink(fields.le32(20)?), Attributes::BehindTarget),
            4 | 5 => (links(16)?, device()?, Attributes::None),
            11 | 12 => (links(16)?, device()?, large(24)?),
            6 | 7 => (links(16)?, What::Pipe, Attributes::None),
            13 | 14 => (links(16)?, What::Pipe, large(20)?),
            _ => return Err(Fault::new(FORMAT, format!("an inode of the kind {kind}"))),
        };
        // The upper bits of a mode, for the seven kinds, each of which has two forms.
        let upper: u16 = [0o04, 0o10, 0o12, 0o06, 0o02, 0o01, 0o14][usize::from(kind - 1) % 7];
        Ok(Inode {
            mode: upper << 12 | fields.le16(2)? & 0o7777,
            owner: fields.le16(4)?,
            group: fields.le16(6)?,
            time: fields.le32(8)?,
            links,
            what,
            attributes,
        })
    }
}

/// The number of attributes, as it stands behind a link's target.
pub fn behind_target(bytes: &[u8]) -> Result<Option<u32>, Fault> {
    let number = Fields::of(FORMAT, bytes).le32(0)?;
    Ok((number != NONE).then_some(number))
}

/// How many blocks of `block` bytes a file of `size` bytes has besides a fragment.
pub fn blocks(size: u64, block: usize, has_fragment: bool) -> u64 {
    match has_fragment {
        true => size / block as u64,
        false => size.div_ceil(block as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::put;
    use proptest::prelude::*;

    fn sample(kind: u16, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        put(&mut bytes, 0, &kind.to_le_bytes());
        put(&mut bytes, 2, &0o644u16.to_le_bytes());
        bytes
    }

    #[test]
    fn kinds_have_the_modes_of_linux() {
        let mode = |kind: u16| {
            let length = length(&sample(kind, HEAD)).unwrap();
            Inode::read(&sample(kind, length)).unwrap().mode
        };
        let upper = [0o04, 0o10, 0o12, 0o06, 0o02, 0o01, 0o14];
        for (kind, upper) in (1..).zip(upper) {
            assert_eq!(mode(kind), upper << 12 | 0o644);
            assert_eq!(mode(kind + 7), upper << 12 | 0o644);
        }
        assert!(length(&sample(0, HEAD)).is_err() && length(&sample(15, HEAD)).is_err());
        assert!(Inode::read(&sample(0, 60)).is_err());
    }

    #[test]
    fn devices_and_files_are_read() {
        let mut bytes = sample(11, 28);
        put(&mut bytes, 20, &0x0030_0807u32.to_le_bytes());
        assert_eq!(Inode::read(&bytes).unwrap().what, What::Device(8, 0x307));
        let mut bytes = sample(9, 56);
        put(&mut bytes, 24, &(5u64 << 32).to_le_bytes());
        put(&mut bytes, 44, &[0xff; 12]);
        let inode = Inode::read(&bytes).unwrap();
        assert_eq!(inode.what, What::File { size: 5 << 32, start: 0, fragment: None });
        assert_eq!(inode.attributes, Attributes::None);
        assert_eq!((blocks(8193, 4096, false), blocks(8193, 4096, true)), (3, 2));
    }

    proptest! {
        #[test]
        fn reading_anything_ends(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0u8..16) {
            let _ = Inode::read(&bytes);
            let mut bytes = bytes;
            if let [first, second, ..] = &mut bytes[..] {
                (*first, *second) = (kind, 0);
            }
            let _ = (length(&bytes), Inode::read(&bytes));
        }
    }
}

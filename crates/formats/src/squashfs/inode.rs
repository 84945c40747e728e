//! An inode. What has no fixed length (the target of a symbolic link, the sizes of a file's blocks)
//! follows what is read here.

use super::{FORMAT, Reference};
use crate::Fault;
use crate::fields::Fields;
use crate::units::Bytes;

/// The length of `squashfs_base_inode`, with which all inodes begin.
pub const HEADER: usize = 16;
/// `SQUASHFS_INVALID`: no fragment, or no extended attributes.
const NONE: u32 = u32::MAX;

/// The file types of inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A directory.
    Directory {
        /// Where its names begin in the directory table.
        names: Reference,
        /// `file_size`: the length of the names, with [`DOTS`](super::directory::DOTS).
        size: u32,
    },
    /// A regular file.
    File {
        /// `file_size`.
        size: Bytes,
        /// `start_block`: where its first block begins.
        start: Bytes,
        /// The index of the fragment that it ends in, and the offset there.
        fragment: Option<(u32, u32)>,
    },
    /// A symbolic link with a target of this length, which follows the inode.
    Symlink(u32),
    /// A device: major and minor number.
    Device(u32, u32),
    /// A named pipe or a socket.
    Pipe,
}

/// The index of an inode's list of extended attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrIndex {
    /// There is no list.
    None,
    /// This one.
    List(u32),
    /// It follows the target of the symbolic link.
    AfterTarget,
}

/// The fields of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// File type and permissions, as Linux has them.
    pub mode: u16,
    /// `uid`, as an index into the table of ids.
    pub uid: u16,
    /// `guid`, likewise.
    pub gid: u16,
    /// `mtime`, in seconds since 1970.
    pub mtime: u32,
    /// `nlink`.
    pub links: u32,
    /// The file type.
    pub file_type: FileType,
    /// Its extended attributes.
    pub xattr: XattrIndex,
}

/// The length of the inode that begins with `header`, for [`Inode::read`].
pub fn length(header: &[u8]) -> Result<usize, Fault> {
    Ok(match Fields::of(FORMAT, header).le16(0)? {
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
            Ok(if number == NONE { XattrIndex::None } else { XattrIndex::List(number) })
        };
        let fragment = |at: usize| -> Result<Option<(u32, u32)>, Fault> {
            let index = fields.le32(at)?;
            Ok(if index == NONE { None } else { Some((index, fields.le32(at + 4)?)) })
        };
        let device = || {
            let number = fields.le32(20)?;
            let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
            Ok(FileType::Device(major, minor))
        };
        let links = |at| fields.le32(at);
        let (links, file_type, xattr) = match kind {
            1 => {
                let names = Reference::at(fields.le32(16)?.into(), fields.le16(26)?)?;
                (
                    links(20)?,
                    FileType::Directory { names, size: fields.le16(24)?.into() },
                    XattrIndex::None,
                )
            }
            8 => {
                let names = Reference::at(fields.le32(24)?.into(), fields.le16(34)?)?;
                (links(16)?, FileType::Directory { names, size: fields.le32(20)? }, large(36)?)
            }
            2 => {
                let (start, size) = (fields.le32(16)?.into(), fields.le32(28)?.into());
                let (start, size) = (Bytes(start), Bytes(size));
                (1, FileType::File { size, start, fragment: fragment(20)? }, XattrIndex::None)
            }
            9 => {
                let (start, size) = (Bytes(fields.le64(16)?), Bytes(fields.le64(24)?));
                let file_type = FileType::File { size, start, fragment: fragment(44)? };
                (links(40)?, file_type, large(52)?)
            }
            3 => (links(16)?, FileType::Symlink(fields.le32(20)?), XattrIndex::None),
            10 => (links(16)?, FileType::Symlink(fields.le32(20)?), XattrIndex::AfterTarget),
            4 | 5 => (links(16)?, device()?, XattrIndex::None),
            11 | 12 => (links(16)?, device()?, large(24)?),
            6 | 7 => (links(16)?, FileType::Pipe, XattrIndex::None),
            13 | 14 => (links(16)?, FileType::Pipe, large(20)?),
            _ => return Err(Fault::new(FORMAT, format!("an inode of the kind {kind}"))),
        };
        // The upper bits of a mode, for the seven kinds, each of which has two forms.
        let upper: u16 = [0o04, 0o10, 0o12, 0o06, 0o02, 0o01, 0o14][usize::from(kind - 1) % 7];
        Ok(Inode {
            mode: upper << 12 | fields.le16(2)? & 0o7777,
            uid: fields.le16(4)?,
            gid: fields.le16(6)?,
            mtime: fields.le32(8)?,
            links,
            file_type,
            xattr,
        })
    }
}

/// Reads the index of extended attributes behind the target of a symbolic link.
pub fn after_target(bytes: &[u8]) -> Result<Option<u32>, Fault> {
    let number = Fields::of(FORMAT, bytes).le32(0)?;
    Ok((number != NONE).then_some(number))
}

/// The number of blocks of `block_size` bytes of a file of this size, without its fragment.
pub fn blocks(size: Bytes, block_size: usize, has_fragment: bool) -> u64 {
    match has_fragment {
        true => size.0 / block_size as u64,
        false => size.0.div_ceil(block_size as u64),
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
            let length = length(&sample(kind, HEADER)).unwrap();
            Inode::read(&sample(kind, length)).unwrap().mode
        };
        let upper = [0o04, 0o10, 0o12, 0o06, 0o02, 0o01, 0o14];
        for (kind, upper) in (1..).zip(upper) {
            assert_eq!(mode(kind), upper << 12 | 0o644);
            assert_eq!(mode(kind + 7), upper << 12 | 0o644);
        }
        assert!(length(&sample(0, HEADER)).is_err() && length(&sample(15, HEADER)).is_err());
        assert!(Inode::read(&sample(0, 60)).is_err());
    }

    #[test]
    fn devices_and_files_are_read() {
        let mut bytes = sample(11, 28);
        put(&mut bytes, 20, &0x0030_0807u32.to_le_bytes());
        assert_eq!(Inode::read(&bytes).unwrap().file_type, FileType::Device(8, 0x307));
        let mut bytes = sample(9, 56);
        put(&mut bytes, 24, &(5u64 << 32).to_le_bytes());
        put(&mut bytes, 44, &[0xff; 12]);
        let inode = Inode::read(&bytes).unwrap();
        assert_eq!(
            inode.file_type,
            FileType::File { size: Bytes(5 << 32), start: Bytes(0), fragment: None }
        );
        assert_eq!(inode.xattr, XattrIndex::None);
        let size = Bytes(8193);
        assert_eq!((blocks(size, 4096, false), blocks(size, 4096, true)), (3, 2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0u8..16) {
            let _ = Inode::read(&bytes);
            let mut bytes = bytes;
            if let [first, second, ..] = &mut bytes[..] {
                (*first, *second) = (kind, 0);
            }
            let _ = (length(&bytes), Inode::read(&bytes));
        }
    }
}

//! The header page of a Linux swap area. It knows nothing of the pages behind it, which need no
//! contents.
//!
//! Source: `union swap_header` in Linux's include/linux/swap.h; 4 KiB pages, little endian.

use super::fields::{Fields, put};
use super::{Fault, Guid};
use crate::units::Bytes;

const FORMAT: &str = "swap";
const PAGE: usize = 4096;
const MAGIC: &[u8; 10] = b"SWAPSPACE2";
/// The kernel refuses an area smaller than ten pages.
const LEAST_PAGES: u64 = 10;

/// A swap area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// The size of the area, rounded down to whole pages when written.
    pub size: Bytes,
    /// What `UUID=` in fstab names.
    pub uuid: Guid,
    /// At most 15 bytes; may be empty.
    pub label: String,
}

impl Swap {
    /// The first page; refuses an area below ten or above 2^32 pages, and a long label.
    pub fn write(&self) -> Result<Vec<u8>, Fault> {
        let pages = self.size.0 / PAGE as u64;
        Fault::unless(pages >= LEAST_PAGES, FORMAT, || {
            format!("{} is too small: the least is 40 KiB", self.size)
        })?;
        let last = u32::try_from(pages - 1)
            .map_err(|_| Fault::new(FORMAT, format!("{} is too large", self.size)))?;
        Fault::unless(self.label.len() < 16 && !self.label.contains('\0'), FORMAT, || {
            format!("the label `{}` is longer than 15 bytes", self.label.escape_default())
        })?;
        let mut page = vec![0; PAGE];
        put(&mut page, 1024, &1u32.to_le_bytes());
        put(&mut page, 1028, &last.to_le_bytes());
        put(&mut page, 1036, &self.uuid.0);
        put(&mut page, 1052, self.label.as_bytes());
        put(&mut page, PAGE - MAGIC.len(), MAGIC);
        Ok(page)
    }

    /// Reads the first page back.
    pub fn read(page: &[u8]) -> Result<Swap, Fault> {
        let fields = Fields::of(FORMAT, page);
        Fault::unless(fields.slice(PAGE - MAGIC.len(), MAGIC.len())? == MAGIC, FORMAT, || {
            "no SWAPSPACE2 at the end of the first page".into()
        })?;
        let version = fields.le32(1024)?;
        Fault::unless(version == 1, FORMAT, || format!("version {version} is not 1"))?;
        let label: [u8; 16] = fields.array(1052)?;
        let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Swap {
            size: Bytes((u64::from(fields.le32(1028)?) + 1) * PAGE as u64),
            uuid: Guid(fields.array(1036)?),
            label: String::from_utf8_lossy(label).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_round_trip_and_bad_ones_are_refused() {
        let swap = Swap { size: Bytes::mib(64), uuid: Guid([7; 16]), label: "swap".into() };
        assert_eq!(Swap::read(&swap.write().unwrap()), Ok(swap.clone()));
        assert!(Swap { size: Bytes(36864), ..swap.clone() }.write().is_err());
        assert!(Swap { size: Bytes(1 << 50), ..swap.clone() }.write().is_err());
        assert!(Swap { label: "sixteen bytes !!".into(), ..swap }.write().is_err());
        assert!(Swap::read(&[0; 4096]).is_err());
        assert!(Swap::read(&[0; 100]).is_err());
    }
}

//! A new volume group on one physical volume: linear volumes one behind the other, what is left
//! stays free. It knows nothing of what the volumes will hold.
//!
//! Source: the defaults of `vgcreate` and `lvcreate`: extents begin at 1 MiB, metadata at 4 KiB.

use super::{
    Extents, FORMAT, Id, LogicalVolume, Mapping, Origin, PhysicalVolume, Segment, Stripe,
    VolumeGroup, header, name, text,
};
use crate::units::Bytes;
use crate::{Fault, Pieces};

/// Where extent 0 begins on the physical volume.
pub const PE_START: Bytes = Bytes::MIB;

/// How many extents of this size a physical volume of that size holds.
pub fn extents_in(pv: Bytes, extent: Bytes) -> Extents {
    Extents(pv.0.saturating_sub(PE_START.0).checked_div(extent.0).unwrap_or(0))
}

/// A linear volume to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// As in /dev/GROUP/NAME.
    pub name: String,
    /// Its id.
    pub id: Id,
    /// Its size.
    pub extents: Extents,
}

/// A group to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// As in /dev/NAME.
    pub name: String,
    /// The group's id.
    pub id: Id,
    /// The id of the physical volume.
    pub pv_id: Id,
    /// The size of the physical volume.
    pub pv_size: Bytes,
    /// The size of an extent; 4 MiB is usual.
    pub extent_size: Bytes,
    /// In the order they lie on the disk.
    pub volumes: Vec<Volume>,
    /// Who makes it, and when.
    pub origin: Origin,
}

impl Layout {
    /// The group this makes; [`VolumeGroup::runs`] then has the place of each volume. It may be
    /// extended in the guest. Refuses what does not fit.
    pub fn volume_group(&self) -> Result<VolumeGroup, Fault> {
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
        let free = extents_in(self.pv_size, self.extent_size);
        let wanted = self.volumes.iter().try_fold(0u64, |sum, v| sum.checked_add(v.extents.0));
        Fault::unless(wanted.is_some_and(|wanted| wanted <= free.0), FORMAT, || {
            let wanted = wanted.map_or("2^64".to_string(), |wanted| wanted.to_string());
            format!("the volumes of `{}` want {wanted} extents of {}", self.name, free.0)
        })?;
        let mut next = 0;
        let mut logical = Vec::new();
        for volume in &self.volumes {
            name::check_not_reserved(&volume.name)?;
            let stripes = vec![Stripe { pv: "pv0".into(), first: Extents(next) }];
            next += volume.extents.0;
            logical.push(LogicalVolume {
                name: volume.name.clone(),
                id: volume.id,
                status: words(&["READ", "WRITE", "VISIBLE"]),
                origin: Some(self.origin.clone()),
                segments: vec![Segment {
                    first: Extents(0),
                    length: volume.extents,
                    mapping: Mapping::Striped { stripe_size: None, stripes },
                }],
            });
        }
        let group = VolumeGroup {
            name: self.name.clone(),
            id: self.id,
            seqno: 1,
            status: words(&["RESIZEABLE", "READ", "WRITE"]),
            extent_size: self.extent_size.sectors(),
            physical: vec![PhysicalVolume {
                name: "pv0".into(),
                id: self.pv_id,
                status: words(&["ALLOCATABLE"]),
                size: Some(self.pv_size.sectors()),
                first_extent: PE_START.sectors(),
                extents: free,
            }],
            logical,
            origin: self.origin.clone(),
        };
        Fault::unless(self.extent_size.0.is_multiple_of(512), FORMAT, || {
            format!("an extent of {} is not whole sectors", self.extent_size)
        })?;
        group.check()?;
        Ok(group)
    }

    /// Label, metadata area and text; offsets count from the start of the physical volume.
    pub fn write(&self) -> Result<Pieces, Fault> {
        let text = text::write(&self.volume_group()?)?;
        header::write(&self.pv_id, self.pv_size, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use proptest::prelude::*;

    fn layout(sizes: &[u64]) -> Layout {
        let id = |label: &str| Id::derived("test", label);
        let volume = |(i, n): (usize, &u64)| {
            let name = format!("lv-{i}");
            Volume { id: id(&name), name, extents: Extents(*n) }
        };
        Layout {
            name: "vg0".into(),
            id: id("vg"),
            pv_id: id("pv"),
            pv_size: Bytes::mib(100),
            extent_size: Bytes::mib(4),
            volumes: sizes.iter().enumerate().map(volume).collect(),
            origin: Origin { host: "builder".into(), time: 1_767_225_600 },
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let pieces = layout(&[2, 22]).write().unwrap();
        let starts: Vec<u64> = pieces.iter().map(|(at, _)| at.0).collect();
        assert_eq!(starts, [512, 4096, 4608]);
        let all: Vec<u8> = pieces.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(Digest::of(all).short(), "86611b03f850");
    }

    #[test]
    fn too_much_is_refused() {
        let fault = layout(&[2, 23]).volume_group().unwrap_err();
        assert_eq!(fault.to_string(), "lvm2: the volumes of `vg0` want 25 extents of 24");
        assert!(layout(&[u64::MAX, 2]).volume_group().is_err());
        assert!(layout(&[0]).volume_group().is_err());
        let small = Layout { pv_size: Bytes(4096), ..layout(&[]) };
        assert!(small.write().is_err());
    }

    proptest! {
        #[test]
        fn groups_round_trip(sizes in prop::collection::vec(1u64..5, 0..6)) {
            let layout = layout(&sizes);
            let mut head = vec![0; 1 << 20];
            for (at, bytes) in layout.write().unwrap() {
                head[at.0 as usize..][..bytes.len()].copy_from_slice(&bytes);
            }
            let (label, group) = super::super::read(&head).unwrap();
            prop_assert_eq!((label.id, label.size), (layout.pv_id, layout.pv_size));
            let group = group.unwrap();
            prop_assert_eq!(&group, &layout.volume_group().unwrap());
            let mut at = PE_START.0;
            for (i, size) in sizes.iter().enumerate() {
                let runs = group.runs(&format!("lv-{i}")).unwrap();
                prop_assert_eq!((runs.len(), runs[0].offset.0, runs[0].length.0), (1, at, size << 22));
                at += size << 22;
            }
        }
    }
}

//! LVM2 volume groups: the values, what must hold between them, and a [`Layout`] that lays
//! linear volumes one behind the other on one physical volume. It knows no filesystems, and it
//! needs neither a device mapper nor lvm2.
//!
//! Source: lvm2's `man lvmsystemid`, `pvck --dump`, and its text format as `vgcfgbackup` writes
//! it. `header` has the binary part, `text` the metadata, `config` the syntax of that text.

pub mod config;
pub mod header;
mod layout;
mod name;
pub mod text;

pub use layout::{Layout, PE_START, Volume, extents_in};
pub use name::Id;

use std::collections::BTreeSet;

use super::Fault;
use crate::units::{Bytes, Sectors};

pub(crate) const FORMAT: &str = "lvm2";

/// Stripes are followed one by one; this many of 64 KiB are 1 TiB.
const MOST_TURNS: u64 = 1 << 24;

/// A count of extents, the unit volumes are given out in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extents(pub u64);

/// Who made a thing, and when; an argument, so that it can be the same every time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `creation_host`.
    pub host: String,
    /// `creation_time`, seconds since 1970.
    pub time: u64,
}

/// One version of a group's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeGroup {
    /// As in /dev/NAME.
    pub name: String,
    /// The group's own id.
    pub id: Id,
    /// Which version this is; the first is 1.
    pub seqno: u64,
    /// Such as RESIZEABLE, READ, WRITE.
    pub status: Vec<String>,
    /// The size of an extent.
    pub extent_size: Sectors,
    /// The disks it lies on.
    pub physical: Vec<PhysicalVolume>,
    /// What it holds.
    pub logical: Vec<LogicalVolume>,
    /// Who wrote this version.
    pub origin: Origin,
}

/// A disk or partition of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// The name segments use, `pv0`; it is nowhere outside the text.
    pub name: String,
    /// The same id as in the label of the disk.
    pub id: Id,
    /// Such as ALLOCATABLE.
    pub status: Vec<String>,
    /// `dev_size`: the size of the disk, if present.
    pub size: Option<Sectors>,
    /// Where extent 0 begins.
    pub first_extent: Sectors,
    /// How many extents it has.
    pub extents: Extents,
}

/// A volume a filesystem lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalVolume {
    /// As in /dev/GROUP/NAME.
    pub name: String,
    /// Its own id.
    pub id: Id,
    /// READ, WRITE, and VISIBLE unless it is a part of another volume.
    pub status: Vec<String>,
    /// Who made it, if present.
    pub origin: Option<Origin>,
    /// In order and without gaps.
    pub segments: Vec<Segment>,
}

/// A part of a volume that is laid out one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first extent, counted in the volume.
    pub first: Extents,
    /// How many extents it has.
    pub length: Extents,
    /// Where they lie.
    pub mapping: Mapping,
}

/// How a segment lies on the physical volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Linear with one stripe, else dealt out in turns of `stripe_size`.
    Striped {
        /// Present with more than one stripe.
        stripe_size: Option<Sectors>,
        /// In turn order; at least one.
        stripes: Vec<Stripe>,
    },
    /// A type kuth cannot follow, such as `thin` or `raid1`; its name.
    Other(String),
}

/// One leg of a striped segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// A [`PhysicalVolume::name`].
    pub pv: String,
    /// The first extent used there.
    pub first: Extents,
}

/// A stretch of a logical volume on a physical one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// A [`PhysicalVolume::name`].
    pub pv: String,
    /// Counted from the start of the physical volume.
    pub offset: Bytes,
    /// How long it is.
    pub length: Bytes,
}

impl VolumeGroup {
    /// Whether all parts fit together. lvm2 itself does not notice all of these.
    pub fn check(&self) -> Result<(), Fault> {
        let refuse = |why: String| Err(Fault::new(FORMAT, why));
        name::check_group(&self.name)?;
        let extent = self.extent_size.0;
        if !(2..=1 << 32).contains(&extent)
            || !(extent.is_power_of_two() || extent.is_multiple_of(256))
        {
            return refuse(format!("extents of {extent} sectors"));
        }
        let mut ids = BTreeSet::from([&self.id]);
        let mut pv_names = BTreeSet::new();
        for pv in &self.physical {
            name::check_physical(&pv.name)?;
            let end = pv.extents.0.checked_mul(extent);
            let end = end.and_then(|length| length.checked_add(pv.first_extent.0));
            let most = pv.size.map_or(u64::MAX / crate::units::SECTOR, |size| size.0);
            if end.is_none_or(|end| end > most) {
                return refuse(format!("{}: {} extents do not fit", pv.name, pv.extents.0));
            }
            if !ids.insert(&pv.id) || !pv_names.insert(&pv.name) {
                return refuse(format!("{}: its name or id is taken", pv.name));
            }
        }
        let mut lv_names = BTreeSet::new();
        let mut used: Vec<(&str, u64, u64, &str)> = Vec::new();
        for lv in &self.logical {
            name::check_volume(&self.name, &lv.name)?;
            if !ids.insert(&lv.id) || !lv_names.insert(&lv.name) {
                return refuse(format!("volume `{}`: its name or id is taken", lv.name));
            }
            let mut next = 0;
            for segment in &lv.segments {
                if segment.first.0 != next || segment.length.0 == 0 {
                    return refuse(format!("volume `{}`: a gap at extent {next}", lv.name));
                }
                next = next.checked_add(segment.length.0).ok_or_else(|| {
                    Fault::new(FORMAT, format!("volume `{}` is too large", lv.name))
                })?;
                used.extend(self.legs(&lv.name, segment)?);
            }
        }
        used.sort();
        for pair in used.windows(2) {
            let ((pv, _, end, a), (other, first, _, b)) = (pair[0], pair[1]);
            if pv == other && first < end {
                return refuse(format!("volumes `{a}` and `{b}` overlap on {pv}"));
            }
        }
        Ok(())
    }

    /// The extents a segment takes: physical volume, first, end, and the volume's name.
    fn legs<'a>(
        &'a self,
        lv: &'a str,
        segment: &'a Segment,
    ) -> Result<Vec<(&'a str, u64, u64, &'a str)>, Fault> {
        let refuse = |why: &str| Fault::new(FORMAT, format!("volume `{lv}`: {why}"));
        let Mapping::Striped { stripe_size, stripes } = &segment.mapping else {
            return Ok(Vec::new());
        };
        let count = stripes.len() as u64;
        let turns = match stripe_size {
            None => count == 1,
            Some(size) => {
                size.0 > 0
                    && self.extent_size.0.is_multiple_of(size.0)
                    && segment.length.0.is_multiple_of(count.max(1))
            }
        };
        if count == 0 || !turns {
            return Err(refuse("its stripes do not come out even"));
        }
        stripes
            .iter()
            .map(|stripe| {
                let pv = self.physical.iter().find(|pv| pv.name == stripe.pv);
                let pv = pv.ok_or_else(|| refuse(&format!("no physical volume {}", stripe.pv)))?;
                let end = stripe.first.0.checked_add(segment.length.0 / count);
                let end = end.filter(|end| *end <= pv.extents.0);
                let end =
                    end.ok_or_else(|| refuse(&format!("it passes the end of {}", pv.name)))?;
                Ok((pv.name.as_str(), stripe.first.0, end, lv))
            })
            .collect()
    }

    /// Where the bytes of volume `lv` lie, in order. Refuses a group that does not
    /// [`VolumeGroup::check`], and segments kuth cannot follow.
    pub fn runs(&self, lv: &str) -> Result<Vec<Run>, Fault> {
        self.check()?;
        let volume = self.logical.iter().find(|volume| volume.name == lv);
        let volume = volume.ok_or_else(|| Fault::new(FORMAT, format!("no volume `{lv}`")))?;
        let mut runs: Vec<Run> = Vec::new();
        for segment in &volume.segments {
            let Mapping::Striped { stripe_size, .. } = &segment.mapping else {
                let Mapping::Other(kind) = &segment.mapping else { continue };
                return Err(Fault::new(FORMAT, format!("volume `{lv}` is of the type `{kind}`")));
            };
            let legs = self.legs(lv, segment)?;
            let leg = segment.length.0 / legs.len() as u64 * self.extent_size.0;
            let turn = stripe_size.filter(|_| legs.len() > 1).map_or(leg, |size| size.0);
            Fault::unless(leg / turn <= MOST_TURNS, FORMAT, || {
                format!("volume `{lv}` changes disks {} times", leg / turn)
            })?;
            for at in (0..leg / turn).map(|i| i * turn) {
                for (pv, first, ..) in &legs {
                    let origin = self.physical.iter().find(|p| p.name == *pv);
                    let origin = origin.map_or(0, |pv| pv.first_extent.0);
                    let offset = Sectors(origin + first * self.extent_size.0 + at).bytes();
                    runs.push(Run { pv: pv.to_string(), offset, length: Sectors(turn).bytes() });
                }
            }
        }
        Ok(runs)
    }
}

/// The group described on the physical volume that starts with `head`, whose label, metadata
/// area and text must each have the right CRC. 1 MiB is enough for what lvm2 makes by default.
/// `None` where the physical volume belongs to no group.
pub fn read(head: &[u8]) -> Result<(header::Label, Option<VolumeGroup>), Fault> {
    let (label, text) = header::read(head)?;
    let Some(text) = text else { return Ok((label, None)) };
    let group = text::read(&text)?;
    let known = group.physical.iter().any(|pv| pv.id == label.id);
    Fault::unless(known, FORMAT, || format!("group `{}` does not know this disk", group.name))?;
    group.check()?;
    Ok((label, Some(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn striped() -> VolumeGroup {
        let pv = |name: &str| PhysicalVolume {
            name: name.into(),
            id: Id::derived("test", name),
            status: vec!["ALLOCATABLE".into()],
            size: None,
            first_extent: Sectors(2048),
            extents: Extents(10),
        };
        let stripes = ["pv0", "pv1"].map(|pv| Stripe { pv: pv.into(), first: Extents(1) });
        let mapping = Mapping::Striped { stripe_size: Some(Sectors(4)), stripes: stripes.to_vec() };
        VolumeGroup {
            name: "vg0".into(),
            id: Id::derived("test", "vg"),
            seqno: 3,
            status: vec!["READ".into()],
            extent_size: Sectors(8),
            physical: vec![pv("pv0"), pv("pv1")],
            logical: vec![LogicalVolume {
                name: "data".into(),
                id: Id::derived("test", "lv"),
                status: vec!["VISIBLE".into()],
                origin: None,
                segments: vec![Segment { first: Extents(0), length: Extents(2), mapping }],
            }],
            origin: Origin { host: "host".into(), time: 1 },
        }
    }

    #[test]
    fn stripes_take_turns() {
        let runs = striped().runs("data").unwrap();
        let runs: Vec<_> = runs.iter().map(|r| (r.pv.as_str(), r.offset.0, r.length.0)).collect();
        let at = 2056 * 512;
        let [a, b] = ["pv0", "pv1"];
        assert_eq!(
            runs,
            [(a, at, 2048), (b, at, 2048), (a, at + 2048, 2048), (b, at + 2048, 2048)]
        );
    }

    #[test]
    fn contradictions_are_named() {
        let fault = |change: fn(&mut VolumeGroup)| {
            let mut group = striped();
            change(&mut group);
            group.check().unwrap_err().to_string()
        };
        assert!(fault(|g| g.name = "-x".into()).contains("name"));
        assert!(fault(|g| g.extent_size = Sectors(7)).contains("extents of 7"));
        assert!(fault(|g| g.physical[0].extents = Extents(u64::MAX)).contains("do not fit"));
        assert!(fault(|g| g.physical[1].extents = Extents(1)).contains("passes the end of pv1"));
        assert!(fault(|g| g.logical[0].segments[0].first = Extents(1)).contains("a gap"));
        assert!(fault(|g| g.physical[1].id = g.id).contains("taken"));
        assert!(fault(|g| g.logical[0].segments[0].length = Extents(3)).contains("even"));
        let twice = fault(|g| {
            let twin = LogicalVolume {
                name: "b".into(),
                id: Id::derived("b", "b"),
                ..g.logical[0].clone()
            };
            g.logical.push(twin);
        });
        assert_eq!(twice, "lvm2: volumes `b` and `data` overlap on pv0");
    }
}

//! A volume group as LVM2's metadata text, and back. It knows no disks: where the text lies is
//! [`super::header`]'s.
//!
//! Source: the text `vgcfgbackup` writes ("Text Format Volume Group", version 1).

use super::config::{self, Node, Section, Value, quote};
use super::{
    Extents, FORMAT, Id, LogicalVolume, Mapping, Origin, PhysicalVolume, Segment, Stripe,
    VolumeGroup,
};
use crate::Fault;
use crate::units::Sectors;

const CONTENTS: &str = "Text Format Volume Group";

/// The text of `group`. Refuses a segment that kuth cannot follow, since it does not know all of
/// it.
pub fn write(group: &VolumeGroup) -> Result<String, Fault> {
    group.check()?;
    let mut text = Text::default();
    text.line(format!("{} {{", group.name));
    text.line(format!("id = \"{}\"", group.id));
    text.line(format!("seqno = {}", group.seqno));
    text.line("format = \"lvm2\"");
    text.line(format!("status = {}", list(&group.status)));
    text.line("flags = []");
    text.line(format!("extent_size = {}", group.extent_size.0));
    text.line("max_lv = 0\nmax_pv = 0\nmetadata_copies = 0");
    text.line("\nphysical_volumes {");
    for pv in &group.physical {
        text.line(format!("\n{} {{", pv.name));
        text.line(format!("id = \"{}\"", pv.id));
        text.line(format!("status = {}", list(&pv.status)));
        text.line("flags = []");
        if let Some(size) = pv.size {
            text.line(format!("dev_size = {}", size.0));
        }
        text.line(format!("pe_start = {}", pv.first_extent.0));
        text.line(format!("pe_count = {}", pv.extents.0));
        text.line("}");
    }
    text.line("}\n");
    // lvm2 leaves the section out where it is empty.
    if !group.logical.is_empty() {
        text.line("logical_volumes {\n");
        for lv in &group.logical {
            text.volume(lv)?;
        }
        text.line("}\n");
    }
    text.line("}\n");
    text.line(format!("contents = \"{CONTENTS}\""));
    text.line("version = 1\n");
    text.line("description = \"\"\n");
    text.origin(&group.origin);
    Ok(text.0)
}

/// A text line for line as lvm2 has it on disk: without indentation, with its empty lines.
/// GRUB's reader counts the characters behind closing braces, and loses all volumes but the
/// first in a text laid out otherwise.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: impl AsRef<str>) {
        self.0 += line.as_ref();
        self.0.push('\n');
    }

    fn origin(&mut self, origin: &Origin) {
        self.line(format!("creation_host = {}", quote(&origin.host)));
        self.line(format!("creation_time = {}", origin.time));
    }

    fn volume(&mut self, lv: &LogicalVolume) -> Result<(), Fault> {
        self.line(format!("{} {{", lv.name));
        self.line(format!("id = \"{}\"", lv.id));
        self.line(format!("status = {}", list(&lv.status)));
        self.line("flags = []");
        if let Some(origin) = &lv.origin {
            self.origin(origin);
        }
        self.line(format!("segment_count = {}", lv.segments.len()));
        for (i, segment) in lv.segments.iter().enumerate() {
            let (stripe_size, stripes) = match &segment.mapping {
                Mapping::Striped { stripe_size, stripes } => (stripe_size, stripes),
                Mapping::Other(kind) => {
                    let why = format!("volume `{}` is of the type `{kind}`", lv.name);
                    return Err(Fault::new(FORMAT, why));
                }
            };
            self.line(format!("\nsegment{} {{", i + 1));
            self.line(format!("start_extent = {}", segment.first.0));
            self.line(format!("extent_count = {}\n", segment.length.0));
            self.line("type = \"striped\"");
            self.line(format!("stripe_count = {}", stripes.len()));
            if let Some(size) = stripe_size {
                self.line(format!("stripe_size = {}", size.0));
            }
            self.line("\nstripes = [");
            let legs =
                stripes.iter().map(|stripe| format!("\"{}\", {}", stripe.pv, stripe.first.0));
            self.line(legs.collect::<Vec<_>>().join(",\n"));
            self.line("]\n}");
        }
        self.line("}\n");
        Ok(())
    }
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(", "))
}

/// Reads a metadata text, also one of several disks and with striped volumes. It does not check
/// that the parts fit together; [`VolumeGroup::check`] does.
pub fn read(text: &str) -> Result<VolumeGroup, Fault> {
    let root = config::parse(text)?;
    let version = (root.text("contents")?, root.number("version")?);
    Fault::unless(version == (CONTENTS, 1), FORMAT, || {
        format!("metadata of {} version {}", version.0, version.1)
    })?;
    let (name, vg) = root
        .sections()
        .next()
        .ok_or_else(|| Fault::new(FORMAT, "the metadata holds no volume group"))?;
    let below = |name| vg.section(name).into_iter().flat_map(Section::sections);
    Ok(VolumeGroup {
        name: name.into(),
        id: vg.text("id")?.parse()?,
        seqno: vg.number("seqno")?,
        status: vg.texts("status")?,
        extent_size: Sectors(vg.number("extent_size")?),
        physical: below("physical_volumes").map(read_physical).collect::<Result<_, _>>()?,
        logical: below("logical_volumes").map(read_logical).collect::<Result<_, _>>()?,
        origin: read_origin(&root)?.unwrap_or(Origin { host: String::new(), time: 0 }),
    })
}

fn read_origin(section: &Section) -> Result<Option<Origin>, Fault> {
    match (section.value("creation_host"), section.value("creation_time")) {
        (None, None) => Ok(None),
        (host, time) => Ok(Some(Origin {
            host: host.map_or(Ok(""), |_| section.text("creation_host"))?.into(),
            time: time.map_or(Ok(0), |_| section.number("creation_time"))?,
        })),
    }
}

fn read_physical((name, section): (&str, &Section)) -> Result<PhysicalVolume, Fault> {
    let size = section.value("dev_size").map(|_| section.number("dev_size")).transpose()?;
    Ok(PhysicalVolume {
        name: name.into(),
        id: section.text("id")?.parse::<Id>()?,
        status: section.texts("status")?,
        size: size.map(Sectors),
        first_extent: Sectors(section.number("pe_start")?),
        extents: Extents(section.number("pe_count")?),
    })
}

fn read_logical((name, section): (&str, &Section)) -> Result<LogicalVolume, Fault> {
    let segments: Vec<Segment> = section
        .entries()
        .filter_map(|(name, node)| match node {
            Node::Section(segment) if name.starts_with("segment") => Some(read_segment(segment)),
            _ => None,
        })
        .collect::<Result<_, _>>()?;
    let count = section.number("segment_count")?;
    Fault::unless(count == segments.len() as u64, FORMAT, || {
        format!("volume `{name}` has {} segments of {count}", segments.len())
    })?;
    Ok(LogicalVolume {
        name: name.into(),
        id: section.text("id")?.parse()?,
        status: section.texts("status")?,
        origin: read_origin(section)?,
        segments,
    })
}

fn read_segment(section: &Section) -> Result<Segment, Fault> {
    let mapping = match section.text("type")? {
        // Newer versions call one stripe linear.
        "striped" | "linear" => read_stripes(section)?,
        other => Mapping::Other(other.into()),
    };
    Ok(Segment {
        first: Extents(section.number("start_extent")?),
        length: Extents(section.number("extent_count")?),
        mapping,
    })
}

fn read_stripes(section: &Section) -> Result<Mapping, Fault> {
    let refuse = || Fault::new(FORMAT, "`stripes` is not a list of names and numbers");
    let Some(Value::List(list)) = section.value("stripes") else { return Err(refuse()) };
    let stripe = |pair: &[Value]| match pair {
        [Value::Text(pv), Value::Number(first)] => {
            let first = u64::try_from(*first).map_err(|_| refuse())?;
            Ok(Stripe { pv: pv.clone(), first: Extents(first) })
        }
        _ => Err(refuse()),
    };
    let stripes = list.chunks(2).map(stripe).collect::<Result<Vec<_>, _>>()?;
    if stripes.len() as u64 != section.number("stripe_count")? {
        return Err(refuse());
    }
    let size = section.value("stripe_size").map(|_| section.number("stripe_size")).transpose()?;
    let stripe_size = size.filter(|_| stripes.len() > 1).map(Sectors);
    Ok(Mapping::Striped { stripe_size, stripes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As lvm2 2.03 writes a group of two disks, one volume striped over both, one thin.
    const FROM_LVM2: &str = r#"
vg1 {
id = "3tJ5yk-6ZAg-8B2f-4TbW-qJXN-XGsT-dR0OaB"
seqno = 4
format = "lvm2"			# informational
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8192		# 4 Megabytes
max_lv = 0
max_pv = 0
metadata_copies = 0

physical_volumes {

pv0 {
id = "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
device = "/dev/sda"	# Hint only

status = ["ALLOCATABLE"]
flags = []
dev_size = 204800	# 100 Megabytes
pe_start = 2048
pe_count = 24	# 96 Megabytes
}

pv1 {
id = "bbbbbb-bbbb-bbbb-bbbb-bbbb-bbbb-bbbbbb"
status = ["ALLOCATABLE"]
dev_size = 204800
pe_start = 2048
pe_count = 24
}
}

logical_volumes {

fast {
id = "cccccc-cccc-cccc-cccc-cccc-cccc-cccccc"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
creation_time = 1767225600	# 2026-01-01 00:00:00 +0000
creation_host = "there"
segment_count = 1

segment1 {
start_extent = 0
extent_count = 4	# 16 Megabytes

type = "striped"
stripe_count = 2
stripe_size = 128	# 64 Kilobytes

stripes = [
"pv0", 0,
"pv1", 0
]
}
}

pool {
id = "dddddd-dddd-dddd-dddd-dddd-dddd-dddddd"
status = ["READ", "WRITE"]
segment_count = 1
segment1 {
start_extent = 0
extent_count = 4
type = "thin-pool"
metadata = "pool_tmeta"
}
}
}

}
# Generated by LVM2 version 2.03.16(2) (2022-05-18): Wed Jan  1 00:00:00 2026

contents = "Text Format Volume Group"
version = 1

description = "Write from vgcreate vg1 /dev/sda /dev/sdb."

creation_host = "there"	# Linux there 6.1.0
creation_time = 1767225600	# Wed Jan  1 00:00:00 2026
"#;

    #[test]
    fn lvm2_s_own_text_is_read() {
        let group = read(FROM_LVM2).unwrap();
        group.check().unwrap();
        assert_eq!((group.name.as_str(), group.seqno), ("vg1", 4));
        assert_eq!(group.physical.len(), 2);
        let runs = group.runs("fast").unwrap();
        assert_eq!(runs.len(), 16 * 16);
        assert_eq!((runs[1].pv.as_str(), runs[1].offset.0), ("pv1", 1 << 20));
        let fault = group.runs("pool").unwrap_err().to_string();
        assert_eq!(fault, "lvm2: volume `pool` is of the type `thin-pool`");
        assert!(write(&group).is_err());
        let mut group = group;
        group.logical.pop();
        assert_eq!(read(&write(&group).unwrap()), Ok(group));
    }

    #[test]
    fn texts_are_laid_out_for_grub() {
        let mut group = read(FROM_LVM2).unwrap();
        group.logical.pop();
        let twin = LogicalVolume {
            name: "twin".into(),
            id: Id::derived("test", "twin"),
            segments: vec![],
            ..group.logical[0].clone()
        };
        group.logical.push(twin);
        let text = write(&group).unwrap();
        assert!(text.contains("\n]\n}\n}\n\ntwin {\nid = "), "{text}");
        assert!(text.contains("\nstripes = [\n\"pv0\", 0,\n\"pv1\", 0\n]\n"), "{text}");
        assert!(text.lines().all(|line| !line.starts_with([' ', '\t'])), "{text}");
    }

    #[test]
    fn missing_parts_are_named() {
        for (part, why) in [
            ("seqno = 4", "`seqno` is not a number"),
            ("pe_start = 2048", "`pe_start` is not a number"),
            ("stripe_count = 2", "`stripe_count` is not a number"),
            ("segment_count = 1", "`segment_count` is not a number"),
            ("version = 1", "`version` is not a number"),
        ] {
            let fault = read(&FROM_LVM2.replacen(part, "", 1)).unwrap_err().to_string();
            assert!(fault.contains(why), "{part}: {fault}");
        }
    }
}

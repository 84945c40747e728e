//! The map of a disk as SVG: a bar of the whole disk, and below it a row for each partition and
//! volume, with its place to scale and how much of it is in use. Positions are percentages of the
//! width, so the drawing fits any width and its text keeps its size. The same disk gives the same bytes.

use crate::format::xml::escaped;
use crate::import::{DiskReport, Part};
use crate::units::{Bytes, Human};

/// Heights in pixels.
const BAR: usize = 22;
const ROW: usize = 58;
/// The longest first and second line of a row, in characters: as much as fits on a phone.
const LONGEST: [usize; 2] = [44, 54];
/// The colours of parts, in turn; a page has its own for dark screens.
const COLOURS: [&str; 6] = ["#2f6fb0", "#b3562a", "#3b7d3f", "#8a4fa3", "#8a6d14", "#1f7f86"];

/// What the drawing is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A part of a page, whose style sheet has the colours of text and paper.
    Inline,
    /// A file of its own.
    Standalone,
}

/// The map of `disk`.
pub fn draw(disk: &DiskReport, form: Form) -> String {
    let height = 24 + BAR + 18 + ROW * disk.parts.len();
    match form {
        Form::Inline => drawing(disk, &format!("width=\"100%\" height=\"{height}\"")),
        Form::Standalone => {
            let place = format!("x=\"16\" y=\"16\" width=\"720\" height=\"{height}\"");
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"752\" height=\"{}\" \
                 font-family=\"sans-serif\" fill=\"#222\">\n\
                 <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
                height + 16,
                drawing(disk, &place),
            )
        }
    }
}

/// The drawing, with its place as attributes.
fn drawing(disk: &DiskReport, place: &str) -> String {
    let (size, heading) = (disk.size.0.max(1), escaped(&heading(disk)));
    let mut text = format!("<svg class=\"disk-map\" {place} role=\"img\">\n");
    text += &format!("<title>{heading}</title>\n");
    text += &format!("<text x=\"0\" y=\"14\" font-size=\"13\">{heading}</text>\n");
    text += &track(24, BAR);
    for (at, part) in disk.parts.iter().enumerate() {
        // What holds other parts shows through between them.
        let height = if holds_others(part) { BAR / 3 } else { BAR };
        text += &pieces(part, size, at, 24, height, Shade::Full);
    }
    for (at, part) in disk.parts.iter().enumerate() {
        let y = 24 + BAR + 18 + ROW * at;
        let [first, second] = lines(part);
        text += &format!(
            "<g><title>{}</title>\n\
             <text x=\"0\" y=\"{}\" font-size=\"13\">{}</text>\n\
             <text x=\"0\" y=\"{}\" font-size=\"11\" class=\"minor\" fill=\"#555\">{}</text>\n",
            escaped(&format!("{first}, {second}")),
            y + 12,
            escaped(&shortened(&first, LONGEST[0])),
            y + 27,
            escaped(&shortened(&second, LONGEST[1])),
        );
        text += &track(y + 33, 10);
        text += &pieces(part, size, at, y + 33, 10, Shade::Light);
        text += &used(part, size, at, y + 33);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

/// `4.0 GiB, GPT table, raw image`
fn heading(disk: &DiskReport) -> String {
    let table = disk.table.map_or("no partition table".to_string(), |it| format!("{it} table"));
    format!("{}, {table}, {} image", Human(disk.size), disk.format)
}

/// Whether logical volumes are in it.
fn holds_others(part: &Part) -> bool {
    part.holds == "LVM2 physical volume"
}

/// `partition 2 on /`, and `ext4, 2.0 GiB, 38 % in use`.
fn lines(part: &Part) -> [String; 2] {
    let mut first = part.place.to_string();
    match (&part.mounted, &part.label) {
        (Some(point), _) => first += &format!(" on {point}"),
        (None, Some(label)) => first += &format!(", {label}"),
        (None, None) => {}
    }
    let mut second = part.holds.to_string();
    if let Some(size) = part.size {
        second += &format!(", {}", Human(size));
    }
    if let Some(percent) = percent_used(part) {
        second += &format!(", {percent} % in use");
    }
    if part.fault.is_some() {
        second += ", cannot be read";
    }
    [first, second]
}

fn percent_used(part: &Part) -> Option<u64> {
    let (Bytes(used), Bytes(size)) = (part.used?, part.size?);
    (u128::from(used) * 100).checked_div(size.into()).map(|percent| percent.min(100) as u64)
}

/// A text of at most `most` characters, with an ellipsis where something is left out.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_string(),
    }
}

/// The whole disk, as a bar of this height at `y`.
fn track(y: usize, height: usize) -> String {
    format!(
        "<rect class=\"track\" x=\"0\" y=\"{y}\" width=\"100%\" height=\"{height}\" \
         fill=\"#e2e2e6\"/>\n"
    )
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shade {
    Full,
    Light,
}

/// The pieces of the part `at`. Their border makes also the smallest one visible.
fn pieces(part: &Part, size: u64, at: usize, y: usize, height: usize, shade: Shade) -> String {
    let opacity = if shade == Shade::Light { " fill-opacity=\"0.35\"" } else { "" };
    let piece = |(start, length): &(u64, u64)| {
        let attributes = format!("{opacity} stroke-width=\"1\"");
        bar(at, (*start, *length), size, y, height, &attributes)
    };
    part.pieces.iter().map(piece).collect()
}

/// What is in use of the part `at`, from the beginning of its pieces on.
fn used(part: &Part, size: u64, at: usize, y: usize) -> String {
    let mut left = part.used.map_or(0, |used| used.0);
    let mut text = String::new();
    for (start, length) in &part.pieces {
        let here = left.min(*length);
        left -= here;
        if here > 0 {
            text += &bar(at, (*start, here), size, y, 10, " stroke-width=\"0\"");
        }
    }
    text
}

fn bar(
    at: usize,
    (start, length): (u64, u64),
    size: u64,
    y: usize,
    height: usize,
    attributes: &str,
) -> String {
    let percent = |bytes: u64| bytes.min(size) as f64 * 100.0 / size as f64;
    let (number, colour) = (at % COLOURS.len(), COLOURS[at % COLOURS.len()]);
    format!(
        "<rect class=\"part-{number}\" x=\"{:.3}%\" y=\"{y}\" width=\"{:.3}%\" \
         height=\"{height}\" fill=\"{colour}\" stroke=\"{colour}\"{attributes}/>\n",
        percent(start),
        percent(length),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::import::Location;

    /// A disk of 8 GiB with an EFI partition, and a group with a volume in two pieces.
    pub fn disk() -> DiskReport {
        let part = |place, start: u64, mib: u64, holds, mounted: &str| Part {
            place,
            size: Some(Bytes::mib(mib)),
            pieces: vec![(start << 20, mib << 20)],
            used: None,
            holds,
            label: None,
            uuid: None,
            mounted: Some(mounted.to_string()).filter(|point| !point.is_empty()),
            fault: None,
        };
        let logical = |name: &str| Location::Logical("vg0".into(), name.into());
        let esp = part(Location::Partition(2), 2, 64, "vfat", "/boot/efi");
        let physical = part(Location::Partition(3), 66, 8125, "LVM2 physical volume", "");
        let root = part(logical("root"), 67, 4096, "ext4", "/");
        let var = part(logical("var<1>"), 4163, 2048, "xfs", "/var");
        DiskReport {
            format: "raw",
            size: Bytes::gib(8),
            table: Some("GPT"),
            parts: vec![
                part(Location::Partition(1), 1, 1, "unknown data", ""),
                Part { used: Some(Bytes::mib(16)), ..esp },
                physical,
                Part { used: Some(Bytes::mib(1024)), ..root },
                Part {
                    used: Some(Bytes::mib(1536)),
                    pieces: vec![(4163 << 20, 1024 << 20), (6000 << 20, 1024 << 20)],
                    ..var
                },
            ],
            no_system: None,
        }
    }

    /// The attributes `x`, `y` and `width` of the bars of a part, in percent and pixels.
    fn bars(text: &str, at: usize) -> Vec<(f64, usize, f64)> {
        let bars = text.lines().filter(|line| line.contains(&format!("class=\"part-{at}\"")));
        let value = |line: &str, name: &str| -> String {
            let rest = line.split(&format!(" {name}=\"")).nth(1).unwrap();
            rest.split(['"', '%']).next().unwrap().to_string()
        };
        let number = |line: &str, name: &str| value(line, name).parse::<f64>().unwrap();
        bars.map(|line| (number(line, "x"), number(line, "y") as usize, number(line, "width")))
            .collect()
    }

    #[test]
    fn places_and_fill_are_to_scale() {
        let text = draw(&disk(), Form::Standalone);
        let mib = |mib: f64| (mib * 100.0 / 8192.0 * 1000.0).round() / 1000.0;
        let row = |at: usize| 24 + BAR + 18 + ROW * at + 33;
        // In the bar of the disk, in its own row, and what is in use.
        let root = [(24, 4096.0), (row(3), 4096.0), (row(3), 1024.0)];
        let expected: Vec<_> = root.map(|(y, length)| (mib(67.0), y, mib(length))).into();
        assert_eq!(bars(&text, 3), expected);
        // The second piece is half full.
        let pieces = [(4163.0, 1024.0), (6000.0, 1024.0)];
        let used = [(4163.0, 1024.0), (6000.0, 512.0)];
        let at = |y: usize, pieces: [(f64, f64); 2]| {
            pieces.map(|(start, length)| (mib(start), y, mib(length)))
        };
        let expected = [at(24, pieces), at(row(4), pieces), at(row(4), used)].concat();
        assert_eq!(bars(&text, 4), expected);
    }

    #[test]
    fn rows_say_what_is_where_and_how_full() {
        let parts = disk().parts;
        assert_eq!(lines(&parts[1]), ["partition 2 on /boot/efi", "vfat, 64.0 MiB, 25 % in use"]);
        assert_eq!(lines(&parts[0]), ["partition 1", "unknown data, 1.0 MiB"]);
        let text = draw(&disk(), Form::Inline);
        assert!(text.contains("the volume vg0/var&lt;1&gt; on /var</text>"), "{text}");
        assert!(!text.contains("var<1>"));
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdef", 4), "abc…");
    }

    #[test]
    fn what_a_damaged_disk_says_stays_in_the_drawing() {
        let mut disk = disk();
        disk.size = Bytes(0);
        disk.parts[1].used = Some(Bytes(u64::MAX));
        disk.parts[1].size = Some(Bytes(0));
        disk.parts[3].pieces = vec![(u64::MAX, u64::MAX)];
        let text = draw(&disk, Form::Inline);
        assert!(bars(&text, 3).iter().all(|(x, _, width)| *x <= 100.0 && *width <= 100.0));
        assert_eq!(percent_used(&disk.parts[1]), None);
    }
}

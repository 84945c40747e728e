//! How a disk is divided, from the lines of its recipe.

use crate::error::{Result, anyhow};
use crate::format::intoto::Step;
use crate::recipe::unquoted;

/// A partition, a volume group, or a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// `partition boot`, `filesystem vg0/root`, `disk`.
    pub name: String,
    /// How long it is, with its unit.
    pub size: String,
    /// Where it begins; empty for the disk.
    pub offset: String,
    /// The rest: `ext4 on /`.
    pub about: String,
}

/// The volumes of the disk that `step` made.
pub fn of(step: &Step) -> Result<Vec<Volume>> {
    let lines = step.recipe.iter().filter_map(|line| line.strip_prefix("layout = "));
    lines
        .map(unquoted)
        .filter(|line| !line.starts_with("cmdline "))
        .map(|line| {
            volume(&line).ok_or_else(|| anyhow!("the layout has the unknown line `{line}`"))
        })
        .collect()
}

fn volume(line: &str) -> Option<Volume> {
    let (word, rest) = line.split_once(' ')?;
    let make = |name: String, (offset, size): (&str, &str), about: String| Volume {
        name,
        size: size.to_string(),
        offset: offset.to_string(),
        about,
    };
    if !matches!(word, "partition" | "group" | "filesystem") {
        // `gpt 28 GiB, started by bios and uefi`
        let (size, firmware) = rest.split_once(", ")?;
        return Some(make("disk".into(), ("", size), format!("{word}, {firmware}")));
    }
    let (head, place) = rest.split_once(" at ")?;
    let mut place = place.splitn(3, ", ");
    let (offset, size) = (place.next()?, place.next()?);
    let label = place.next().filter(|label| *label != "label \"\"");
    let (name, about) = match word {
        // `partition 1 boot Linux at …`: the number comes and goes with those before it.
        "partition" => {
            let (name, role) = head.split_once(' ')?.1.rsplit_once(' ')?;
            (name, role.to_string())
        }
        "filesystem" => {
            let (name, about) = head.split_once(' ')?;
            (name, about.to_string())
        }
        _ => (head, String::new()),
    };
    let about = label.map_or(about.clone(), |label| format!("{about}, {label}"));
    Some(make(format!("{word} {name}"), (offset, size), about))
}

impl Volume {
    /// `ext4 on /, 2 GiB`
    pub fn text(&self) -> String {
        let parts = [self.about.as_str(), self.size.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    }

    /// In what it is not as `old`.
    pub fn changes(&self, old: &Volume) -> Vec<String> {
        let pairs = [
            ("", &old.about, &self.about),
            ("size ", &old.size, &self.size),
            ("begins at ", &old.offset, &self.offset),
        ];
        let changed = pairs.into_iter().filter(|(_, old, new)| old != new);
        changed.map(|(what, old, new)| format!("{what}{old} -> {new}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty command line ends with a space, so it is quoted in a recipe.
    #[test]
    fn kernel_arguments_are_no_volume() {
        let mut recipe = crate::recipe::Recipe::new("disk", 1);
        recipe.list("layout", ["gpt 2 GiB, started by bios", "cmdline ", "cmdline \"quiet\""]);
        let step = Step {
            stage: String::new(),
            key: String::new(),
            recipe: recipe.lines().map(str::to_string).collect(),
            inputs: Default::default(),
            output: Default::default(),
        };
        let names: Vec<String> = of(&step).unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["disk"]);
    }

    #[test]
    fn the_lines_of_a_layout_come_apart() {
        let read = |line: &str| {
            let volume = volume(line).unwrap();
            [volume.name, volume.about, volume.offset, volume.size]
        };
        assert_eq!(
            read("gpt 28 GiB, started by bios and uefi"),
            ["disk", "gpt, started by bios and uefi", "", "28 GiB"]
        );
        assert_eq!(
            read("partition 3 boot Linux at 66 MiB, 512 MiB"),
            ["partition boot", "Linux", "66 MiB", "512 MiB"]
        );
        assert_eq!(read("group vg0 at 578 MiB, 27 GiB"), ["group vg0", "", "578 MiB", "27 GiB"]);
        assert_eq!(
            read("filesystem vg0/root ext4 on / at 579 MiB, 2 GiB, label \"\""),
            ["filesystem vg0/root", "ext4 on /", "579 MiB", "2 GiB"]
        );
        assert_eq!(
            read("filesystem data xfs on - at 1 MiB, 2 GiB, label \"a b\""),
            ["filesystem data", "xfs on -, label \"a b\"", "1 MiB", "2 GiB"]
        );
    }
}

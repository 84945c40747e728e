//! FAT filesystems, written by the `fatfs` crate. FAT keeps neither owners nor modes nor links:
//! a tree that has such things there is refused, except that owners and modes go unnoticed, as
//! they do when a system mounts FAT.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time};
use fatfs::TimeProvider;
use tar::EntryType;

use crate::error::{Context, Result, anyhow, with_hint};

use super::layout::Filesystem;
use super::part::Part;
use super::source::entries;

/// A clock that stands still.
#[derive(Debug)]
struct Stopped(DateTime);

impl TimeProvider for Stopped {
    fn get_current_date(&self) -> Date {
        self.0.date
    }

    fn get_current_date_time(&self) -> DateTime {
        self.0
    }
}

/// Writes `part` as a FAT into the empty sparse file `image`, all its times `epoch`.
pub fn make(image: &Path, filesystem: &Filesystem, part: &Part, epoch: u64) -> Result<()> {
    let what = || format!("writing the FAT of {}", filesystem.name);
    let open = || File::options().read(true).write(true).open(image);
    let mut options = FormatVolumeOptions::new().volume_id(filesystem.volume_id());
    if filesystem.is_esp {
        options = options.fat_type(FatType::Fat32);
    }
    if !filesystem.label.is_empty() {
        let mut label = [b' '; 11];
        label.iter_mut().zip(filesystem.label.bytes()).for_each(|(to, from)| *to = from);
        options = options.volume_label(label);
    }
    fatfs::format_volume(open().with_context(what)?, options).with_context(what)?;
    // fatfs wants its clock to live for ever: a few bytes for each FAT made.
    let clock: &'static Stopped = Box::leak(Box::new(Stopped(date_time(epoch))));
    let options = FsOptions::new().time_provider(clock);
    let fat = FileSystem::new(open().with_context(what)?, options).with_context(what)?;
    let tar = File::open(&part.path).with_context(|| format!("opening {}", part.path.display()))?;
    entries(BufReader::with_capacity(1 << 18, tar), |path, meta, content| {
        let shown = String::from_utf8_lossy(path).into_owned();
        let written = match meta.kind {
            EntryType::Directory if path.is_empty() => Ok(()),
            EntryType::Directory => name(path).and_then(|path| Ok(fat.root_dir().create_dir(path).map(drop)?)),
            EntryType::Regular => name(path).and_then(|path| {
                let mut file = fat.root_dir().create_file(path)?;
                copy(content, &mut file)
            }),
            kind => Err(with_hint(
                anyhow!("FAT cannot hold a {kind:?}"),
                format!("use ext4 for `{}`, or keep such files away from it", filesystem.name),
            )),
        };
        written.with_context(|| format!("writing `{shown}` to the FAT of {}", filesystem.name))
    })?;
    fat.unmount().with_context(what)
}

fn name(path: &[u8]) -> Result<&str> {
    std::str::from_utf8(path).context("FAT needs names in UTF-8")
}

/// Copies in pieces that are large beside a cluster.
fn copy(from: &mut dyn Read, to: &mut impl Write) -> Result<()> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

/// Seconds since 1970 as FAT counts: in UTC, from 1980 on.
fn date_time(epoch: u64) -> DateTime {
    let (days, seconds) = (epoch / 86_400, epoch % 86_400);
    let (mut year, mut left) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    let time = Time {
        hour: (seconds / 3600) as u16,
        min: (seconds / 60 % 60) as u16,
        sec: (seconds % 60) as u16,
        millis: 0,
    };
    match year {
        1980..=2107 => DateTime { date: Date { year: year as u16, month, day: left as u16 + 1 }, time },
        _ => DateTime {
            date: Date { year: 1980, month: 1, day: 1 },
            time: Time { hour: 0, min: 0, sec: 0, millis: 0 },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_calendar_times() {
        for (epoch, year, month, day, hour) in [
            (1_767_225_600, 2026, 1, 1, 0),
            (1_709_208_000, 2024, 2, 29, 12),
            (1_735_689_599, 2024, 12, 31, 23),
            (0, 1980, 1, 1, 0),
        ] {
            let DateTime { date, time } = date_time(epoch);
            assert_eq!((date.year, date.month, date.day, time.hour), (year, month, day, hour));
        }
    }
}

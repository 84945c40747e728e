//! `kuth inspect`.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{Exit, screen};
use crate::build_report::disk_map::{self, Form};
use crate::error::{Context, Result};
use crate::import::{self, DiskReport, OtherFiles, Part};
use crate::units::Human;

/// Show the contents of a disk image
///
/// Lists partitions, logical volumes, their contents, and where the system on the
/// disk mounts them. Reads raw, qcow2, vmdk, vdi, vhd and squashfs images, also
/// those that kuth did not make, and mounts nothing. FILE may be a directory that
/// contains one image.
///
/// The exit status is 1 if a part of the disk cannot be read.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Image, such as out/debian/debian.qcow2
    file: PathBuf,

    /// Output format: human, json, or svg, a map of the
    /// disk [default: human]
    #[arg(long, value_name = "FMT", value_enum, default_value_t = Format::Human)]
    #[arg(hide_default_value = true, hide_possible_values = true, verbatim_doc_comment)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
    Svg,
}

/// Runs `kuth inspect`.
pub fn run(args: &Args) -> Result<Exit> {
    let file = match args.file.is_dir() {
        true => import::pick(&args.file, None, None)?.image,
        false => args.file.clone(),
    };
    let survey = import::open(&file, OtherFiles::SameDirectory)
        .and_then(|image| import::inspect(&image))
        .with_context(|| format!("inspecting {}", file.display()))?;
    screen::data(&match args.format {
        Format::Human => human(&survey),
        Format::Json => format!("{:#}\n", machine(&survey)),
        Format::Svg => disk_map::draw(&survey, Form::Standalone),
    })?;
    let unreadable = survey.parts.iter().any(|part| part.fault.is_some());
    Ok(if unreadable { Exit::Failed } else { Exit::Done })
}

fn human(survey: &DiskReport) -> String {
    let table =
        survey.table.map_or("no partition table".to_string(), |table| format!("{table} table"));
    let mut text = format!("{}, {}, {table}\n", survey.format, Human(survey.size));
    let row = |part: &Part| {
        let word = |word: &Option<String>| one_line(word.as_deref().unwrap_or_default());
        [
            one_line(&part.place.to_string()),
            part.size.map_or(String::new(), |size| Human(size).to_string()),
            part.holds.to_string(),
            word(&part.label),
            word(&part.mounted),
        ]
    };
    text += &screen::table(&survey.parts.iter().map(row).collect::<Vec<_>>());
    for part in &survey.parts {
        if let Some(fault) = &part.fault {
            let place = one_line(&part.place.to_string());
            text += &format!("{place} cannot be read: {}\n", screen::escaped(fault));
        }
    }
    if let Some(why) = &survey.no_system {
        text += &format!("no system: {}\n", screen::escaped(why));
    }
    text
}

/// A cell of the table: a name on the disk may have line ends too.
fn one_line(text: &str) -> String {
    screen::escaped(text).replace('\n', "\\n").replace('\t', "\\t")
}

fn machine(survey: &DiskReport) -> Value {
    let part = |part: &Part| {
        let piece = |(start, size): &(u64, u64)| json!({ "start": start, "size": size });
        json!({
            "place": part.place.to_string(),
            "size": part.size.map(|size| size.0),
            "pieces": part.pieces.iter().map(piece).collect::<Vec<_>>(),
            "used": part.used.map(|used| used.0),
            "holds": part.holds,
            "label": part.label,
            "uuid": part.uuid,
            "mounted": part.mounted,
            "fault": part.fault,
        })
    };
    json!({
        "format": survey.format,
        "size": survey.size.0,
        "table": survey.table,
        "parts": survey.parts.iter().map(part).collect::<Vec<_>>(),
        "no_system": survey.no_system,
    })
}

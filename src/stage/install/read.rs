//! Reads an `install` table: the keys of a disk, those of the system on it, and how to run.

use std::time::Duration;

use super::Install;
use crate::disk::config::{Config, Firmware};
use crate::disk::layout::Layout;
use crate::installer::{Installer, Mirror, compare, recipe};
use crate::pipeline::{Fault, Fields, Text};
use crate::stage::{boot, customise, disk, register};
use crate::units::Bytes;

/// Without KVM an installation takes half an hour on an idle host.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// What an installer of Ubuntu's keeps in memory is larger than all of Debian's.
const MEMORY: Bytes = Bytes::gib(3);

const INSTALLERS: [(&str, Option<Installer>); 3] = [
    ("auto", None),
    ("preseed", Some(Installer::Preseed)),
    ("autoinstall", Some(Installer::Autoinstall)),
];

/// Reads everything but `from`; faults go to the collector.
pub fn read(fields: &mut Fields<'_>) -> Option<Install> {
    let installer = fields.choice_of("installer", &INSTALLERS).and_then(|chosen| chosen.value);
    let packages = fields.unique_texts("packages");
    let packages = packages.into_iter().filter_map(|name| word(fields, "a package", name));
    let packages: Vec<String> = packages.collect();
    let hostname = customise::read::hostname(fields);
    let locale = customise::region::locale(fields);
    let timezone = customise::region::time_zone(fields);
    let users = customise::read::users(fields);
    let mirror = mirror(fields);
    let answers = fields.secret_text("answers");
    let answers_file = fields.existing_file("answers-file").map(|local| local.path);
    let cpus = fields.integer("cpus", 1..=64).map_or(2, |cpus| cpus.value as u32);
    let memory = register::checked_memory(fields).unwrap_or(MEMORY);
    let limit = boot::read_limit(fields, LIMIT);
    let (config, layout) = laid_out(fields)?;
    Some(Install {
        installer,
        config,
        layout,
        packages,
        hostname: hostname.unwrap_or_else(|| "localhost".to_string()),
        locale: locale.unwrap_or_else(|| "en_US.UTF-8".to_string()),
        timezone: timezone.unwrap_or_else(|| "Etc/UTC".to_string()),
        users,
        mirror,
        answers,
        answers_file,
        cpus,
        memory,
        limit,
    })
}

/// One word of an answers file: nothing in it ends a line or begins another answer.
fn word(fields: &Fields<'_>, what: &str, text: Text) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-+._/@:=".contains(c);
    if !text.text.is_empty() && text.text.chars().all(plain) {
        return Some(text.text);
    }
    let fault = Fault::new(text.span.clone(), format!("{} does not name {what}", text.shown()));
    fields.fault(fault.hint("letters, digits and `-+._/@:=`, without spaces"));
    None
}

fn mirror(fields: &mut Fields<'_>) -> Option<Mirror> {
    let text = fields.text("mirror")?;
    let mirror = Mirror::of(&text.text);
    if mirror.is_none() {
        let message = format!("{} is not the address of a mirror", text.shown());
        let hint = "an address begins with `http://` or `https://`, as a browser has it";
        fields.fault(Fault::new(text.span, message).hint(hint));
    }
    mirror
}

/// The keys that `disk` has as well, and what an installer can make of them.
fn laid_out(fields: &mut Fields<'_>) -> Option<(Config, Layout)> {
    let says_firmware = fields.has("firmware");
    let mut config = Config::read(fields)?;
    if !says_firmware {
        config.firmware = vec![Firmware::Bios];
    }
    if config.firmware.len() > 1 {
        let span = fields.key_span("firmware").unwrap_or(fields.span());
        let fault =
            Fault::new(span, "an installer sets up one way to start").label("these are two");
        fields.fault(fault.hint("write `firmware = [\"bios\"]` or `firmware = [\"uefi\"]`"));
        return None;
    }
    if let Some(span) = config.mounts_span() {
        let fault = Fault::new(span, "an installer writes its own mount options");
        fields.fault(fault.hint("change /etc/fstab in the installed system, with `answers`"));
        return None;
    }
    if let Some(size) = &config.swap_file {
        let fault =
            Fault::new(size.span.clone(), "an installed system makes no swap file by itself");
        fields.fault(fault.hint("add a volume with `filesystem = \"swap\"`"));
        return None;
    }
    if let Some(span) = config.grow_span() {
        let fault = Fault::new(span, "an installed system does not grow by itself");
        fields.fault(fault.hint("leave out `grow`; give it to a stage `disk`"));
        return None;
    }
    let layout = disk::layout(fields, &config)?;
    let span = config.size.span.clone();
    if let Some(missing) = recipe::too_tight(&config, &layout) {
        let message = "the volumes leave too little free for an installer, which rounds up";
        let fault = Fault::new(span, message).label(format!("{missing} more are needed"));
        fields.fault(fault.hint("make the disk larger, or give one volume the \"rest\""));
        return None;
    }
    if let Some(why) = compare::cannot_be_expressed(&layout) {
        fields.fault(Fault::new(span, why).hint("an installer makes no empty partitions"));
        return None;
    }
    Some((config, layout))
}

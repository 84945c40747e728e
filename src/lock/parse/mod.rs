//! The text of a lock, one file for each version of its form. The newest version is written; older
//! ones are read for as long as they can mean the same, and refused with a way out after that.

use super::Entries;
use crate::error::{Context, Result, anyhow, bail};

mod v2;

/// The version that is written.
const VERSION: i64 = 2;

/// The entries in `text`, whatever its version.
pub fn read(text: &str) -> Result<Entries> {
    let mut table: toml::Table = toml::from_str(text)?;
    match table.remove("version").and_then(|version| version.as_integer()) {
        // Version 1 lacks the keys `suites` and `suite` of a package, and is the same otherwise.
        Some(1 | 2) => v2::read(table),
        Some(version) => bail!("it has version {version}, this kuth knows {VERSION}"),
        None => Err(anyhow!("it has no `version`")),
    }
}

/// The text of a lock with `entries`.
pub fn write(entries: &Entries) -> Result<String> {
    let text = v2::write(entries)?;
    // What cannot be read back must not be written.
    read(&text).context("checking the lock")?;
    Ok(text)
}

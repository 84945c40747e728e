//! `kuth verify`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::options::MessageFormat;
use super::{Exit, project, remote, screen};
use crate::error::Result;
use crate::provenance::verify::{self, Finding, State, Verified};

/// Compare exports with their provenance
///
/// Each FILE, and the bills of materials beside it, must have the digests that its
/// provenance names (FILE.intoto.jsonl, or FILE.intoto.json where nobody signed).
/// A signature must be by one of the keys that --key gives, else by one of `keys`
/// in kuth.toml or by KUTH_CACHE_KEY; where any of these is given, one is needed.
///
/// The exit status is 1 when something does not hold.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// An export, as out/debian/debian.qcow2
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// A public key that counts: ed25519:… or a file
    /// of it
    #[arg(long, value_name = "KEY", verbatim_doc_comment)]
    key: Vec<String>,

    /// human or json [default: human]
    #[arg(long, value_name = "FORM", value_enum, default_value_t = MessageFormat::Human)]
    #[arg(hide_default_value = true, hide_possible_values = true, verbatim_doc_comment)]
    format: MessageFormat,
}

/// Verifies.
pub fn run(args: &Args) -> Result<Exit> {
    let trusted = match args.key.is_empty() {
        false => args.key.iter().map(|key| remote::public_key(key)).collect::<Result<_>>()?,
        true => remote::trusted(&project::root_here()?)?,
    };
    let mut holds = true;
    for file in &args.files {
        let verified = verify::verify(file, &trusted)?;
        holds &= verified.holds();
        match args.format {
            MessageFormat::Human => screen::data(&human(file, &verified))?,
            MessageFormat::Json | MessageFormat::Wire => {
                screen::data(&format!("{}\n", machine(file, &verified)))?
            }
        }
    }
    Ok(if holds { Exit::Done } else { Exit::Failed })
}

fn word(state: State) -> &'static str {
    match state {
        State::Right => "ok",
        State::Open => "open",
        State::Wrong => "wrong",
    }
}

fn human(file: &Path, verified: &Verified) -> String {
    let Verified { findings, counts: (stages, materials), .. } = verified;
    let row = |Finding { what, state, why }: &Finding| {
        [format!("  {what}"), word(*state).to_string(), why.clone()]
    };
    let verdict = match (verified.holds(), verified.signers.is_empty()) {
        (false, _) => "does not hold",
        (true, false) => "ok",
        (true, true) => "ok, not signed",
    };
    let rows: Vec<_> = findings.iter().map(row).collect();
    let file = file.display();
    let told = format!("{stages} stages, {materials} packages and files from outside");
    format!("{file}: {verdict}\n{}  provenance of {told}\n", screen::table(&rows))
}

fn machine(file: &Path, verified: &Verified) -> serde_json::Value {
    let findings = verified.findings.iter().map(
        |Finding { what, state, why }| json!({ "what": what, "state": word(*state), "why": why }),
    );
    json!({
        "file": file.to_string_lossy(),
        "holds": verified.holds(),
        "signers": verified.signers,
        "provenance": verified.provenance.to_string_lossy(),
        "findings": findings.collect::<Vec<_>>(),
        "stages": verified.counts.0,
        "materials": verified.counts.1,
    })
}

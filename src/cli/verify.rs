//! `kuth verify`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::options::MessageFormat;
use super::{Exit, project, remote, screen};
use crate::error::Result;
use crate::provenance::verify::{self, Finding, Verdict, Verified};

/// Verify exports against their provenance
///
/// FILE and its SBOMs must have the digests that its provenance lists. The
/// provenance is FILE.intoto.jsonl, or FILE.intoto.json if it is not signed. It
/// must be signed by a key given with --key; without --key, by a key listed under
/// `keys` in kuth.toml or by KUTH_CACHE_KEY. Without any of these keys, no
/// signature is required.
///
/// The exit status is 1 if a check fails.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Exported file, such as out/debian/debian.qcow2
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Trusted public key: ed25519:… or a file
    #[arg(long, value_name = "KEY", verbatim_doc_comment)]
    key: Vec<String>,

    /// Output format: human or json [default: human]
    #[arg(long, value_name = "FMT", value_enum, default_value_t = MessageFormat::Human)]
    #[arg(hide_default_value = true, hide_possible_values = true, verbatim_doc_comment)]
    format: MessageFormat,
}

/// Runs `kuth verify`.
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

fn word(state: Verdict) -> &'static str {
    match state {
        Verdict::Passed => "ok",
        Verdict::Unchecked => "open",
        Verdict::Failed => "wrong",
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
    let scope = format!("{stages} stages, {materials} packages and files from outside");
    format!("{file}: {verdict}\n{}  provenance of {scope}\n", screen::table(&rows))
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

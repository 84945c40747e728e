//! Extended attributes that mke2fs does not take from a tar: all but `security.capability` are
//! dropped there without a word (1.47.2; tried with `user.*`, `trusted.*`, other `security.*` and
//! POSIX ACLs). They are set afterwards with debugfs and read back, so that none can be lost.

use std::io::Write;
use std::path::Path;

use crate::error::{Context, Result, anyhow, bail, with_hint};
use crate::stage_context::StageContext;
use crate::tools::ToolsTree;

use super::part::Attribute;

/// What mke2fs keeps by itself.
const KEPT: &str = "security.capability";
/// The parts of the name space that ext4 stores. debugfs turns ACLs into ext4's own form.
const STORED: [&str; 5] =
    ["user.", "trusted.", "security.", "system.posix_acl_access", "system.posix_acl_default"];

/// Sets on the ext4 in `image` what mke2fs left out. Uses files in `context.work`.
pub fn set(
    image: &Path,
    attributes: &[Attribute],
    tools: &ToolsTree,
    context: &StageContext,
) -> Result<()> {
    let left: Vec<&Attribute> = attributes.iter().filter(|one| one.name != KEPT).collect();
    if left.is_empty() {
        return Ok(());
    }
    let (mut sets, mut gets) = (Vec::new(), Vec::new());
    for (index, Attribute { path, name, value }) in left.iter().enumerate() {
        let shown = String::from_utf8_lossy(path);
        let plain = name.chars().all(|c| c.is_ascii_graphic() && !"\"\\".contains(c));
        if !STORED.iter().any(|stored| name.starts_with(stored)) || !plain {
            bail!("`/{shown}`: ext4 cannot store the extended attribute `{name}`");
        }
        if path.iter().any(|byte| byte.is_ascii_control()) {
            let error = anyhow!("`/{}` has the extended attribute `{name}`", shown.escape_debug());
            let hint = "rename the file: debugfs, which sets it, takes no control characters";
            return Err(with_hint(error, hint));
        }
        let file = context.scratch(format!("attribute-{index}"));
        std::fs::write(&file, value).with_context(|| format!("writing {}", file.display()))?;
        // A double quote inside quotes is doubled.
        let path: Vec<u8> = path
            .iter()
            .flat_map(|byte| match byte {
                b'"' => vec![b'"', b'"'],
                byte => vec![*byte],
            })
            .collect();
        let (file, back) = (file.display(), context.scratch(format!("attribute-{index}.back")));
        write!(sets, "ea_set -f \"{file}\" \"/")?;
        write!(gets, "ea_get -f \"{}\" \"/", back.display())?;
        for commands in [&mut sets, &mut gets] {
            commands.extend(&path);
            writeln!(commands, "\" {name}")?;
        }
    }
    let run = |name: &str, commands: &[u8], options: &[&str]| -> Result<()> {
        let file = context.scratch(name);
        std::fs::write(&file, commands).with_context(|| format!("writing {}", file.display()))?;
        let command = tools.command("usr/sbin/debugfs", context.settings.epoch);
        let command = command.args(options).arg("-f").arg(&file).arg(image);
        command.run(&context.log, &context.cancel).map(drop)
    };
    run("attributes-set", &sets, &["-w"])?;
    run("attributes-get", &gets, &[])?;
    // debugfs ends with success whatever happened, so only what can be read back counts.
    for (index, Attribute { path, name, value }) in left.iter().enumerate() {
        let back = std::fs::read(context.scratch(format!("attribute-{index}.back")));
        let same = match name.starts_with("system.posix_acl_") {
            // The ids that mean nothing come back as 0.
            true => back.is_ok_and(|back| back.len() == value.len()),
            false => back.is_ok_and(|back| back == *value),
        };
        if !same {
            let shown = String::from_utf8_lossy(path);
            bail!("setting the extended attribute `{name}` of `/{shown}`: it did not stay");
        }
    }
    Ok(())
}

//! Which exact packages a request means as of an index. The answer depends on nothing else, so it
//! is kept in the cache under its question.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use percent_encoding::percent_decode_str;

use super::index::{ARCHIVE, Apt, Index, Trust};
use super::medium::in_words;
use super::{Base, Request};
use crate::artifact::{ArtifactKind, Output};
use crate::error::{Context, Error, Result, anyhow, bail, caused_by, with_hint};
use crate::format::deb822::{self, Paragraph};
use crate::lock::Package;
use crate::process::CommandFailed;
use crate::stage_context::StageContext;

/// Solves `request`, or finds that it was solved before. `None` where that takes a tree that is not
/// in the cache.
pub fn solve(
    context: &StageContext,
    request: &Request,
    index: &Index,
) -> Result<Option<Vec<Package>>> {
    let mut recipe = request.recipe(context);
    recipe.value("index", index.lists.digest);
    if let Base::Tree { tree, .. } = &request.base
        && !tree.as_ref().is_some_and(|tree| context.cache.holds(tree))
        && context.cache.find(&recipe.key())?.is_none()
    {
        return Ok(None);
    }
    let (answer, _) = context.cached(&recipe, |context| {
        let packages = ask_apt(context, request, index)?;
        let text = serde_json::to_string_pretty(&packages).context("writing the answer")?;
        Output::text(ArtifactKind::File, &context.work, "packages.json", &text)
    })?;
    let path = context.object(&answer);
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let packages = serde_json::from_slice(&text);
    packages.map(Some).with_context(|| format!("reading {}", path.display()))
}

fn ask_apt(context: &StageContext, request: &Request, index: &Index) -> Result<Vec<Package>> {
    // The signature of a medium was verified when its index was stored.
    let trust = if index.medium.is_some() { Trust::Verified } else { Trust::Signature };
    let apt = Apt::prepare(&context.work, context, request, ARCHIVE, trust)?;
    let lists = context.object(&index.lists);
    File::open(&lists)
        .and_then(|file| tar::Archive::new(BufReader::new(file)).unpack(apt.lists()))
        .with_context(|| format!("unpacking {}", lists.display()))?;
    (context.progress)(0, 0, "solving");
    let ask = |wanted: &[String]| -> Result<Vec<String>> {
        let options = ["-q", "-y", "--print-uris", "-o", "APT::Get::AllowUnauthenticated=false"];
        let command = apt.get().args(options).arg("install").args(wanted);
        let output = command
            .run(&context.log, &context.cancel)
            .map_err(|error| explain(error, request, index))?;
        uris(&String::from_utf8(output).context("reading apt's answer")?)
    };
    match &request.base {
        Base::Exactly => by_name(&apt.lists(), request, index),
        Base::Tree { tree, .. } => {
            let tree = tree.as_ref().context("the tree is not built yet")?;
            let status = read_from_tar(&context.object(tree), "var/lib/dpkg/status")?;
            std::fs::write(apt.status(), status).context("writing the installed packages")?;
            describe(&apt.lists(), &ask(&request.packages)?, &[])
        }
        _ => {
            let minimum = ["?essential".to_string(), "apt".to_string()];
            let essential = ask(&minimum)?;
            let all = match request.packages.is_empty() {
                true => essential.clone(),
                false => ask(&[&minimum[..], &request.packages].concat())?,
            };
            let packages = describe(&apt.lists(), &all, &essential)?;
            if !packages.iter().any(|package| package.essential && package.name == "dpkg") {
                let place = place(request, index);
                return Err(with_hint(
                    anyhow!("the essential packages are not in {place}"),
                    "a tree cannot begin with it; a `customise` stage can take packages from it",
                ));
            }
            Ok(packages)
        }
    }
}

/// The lines `'URI' file size hash` of `--print-uris`, as paths below the archive.
fn uris(output: &str) -> Result<Vec<String>> {
    let lines = output.lines().filter_map(|line| line.strip_prefix('\''));
    lines
        .map(|line| {
            let uri = line.split('\'').next().unwrap_or_default();
            match uri.strip_prefix(ARCHIVE).and_then(|path| path.strip_prefix('/')) {
                Some(path) => Ok(percent_decode_str(path).decode_utf8_lossy().into_owned()),
                None => bail!("apt asks for {uri}, which is not of this archive"),
            }
        })
        .collect()
}

/// Looks `paths` up in the package lists, which the signed `InRelease` vouches for.
fn describe(lists: &Path, paths: &[String], essential: &[String]) -> Result<Vec<Package>> {
    let wanted: HashMap<&str, usize> =
        paths.iter().enumerate().map(|(at, path)| (path.as_str(), at)).collect();
    let mut found: Vec<Option<Package>> = vec![None; paths.len()];
    for_each_package(lists, |paragraph| {
        if let Some(at) = paragraph.value("Filename").and_then(|path| wanted.get(path)) {
            found[*at] = package(paragraph);
        }
    })?;
    let described = found.into_iter().zip(paths).map(|(package, path)| {
        package.ok_or_else(|| anyhow!("the index does not describe {path}"))
    });
    let mut packages = described.collect::<Result<Vec<Package>>>()?;
    packages.iter_mut().for_each(|package| package.essential = essential.contains(&package.path));
    packages.sort();
    Ok(packages)
}

/// The packages of a request by their names alone; of several versions the last one listed.
fn by_name(lists: &Path, request: &Request, index: &Index) -> Result<Vec<Package>> {
    let mut found = BTreeMap::new();
    for_each_package(lists, |paragraph| {
        if let Some(name) = paragraph.value("Package")
            && request.packages.iter().any(|wanted| wanted == name)
            && let Some(package) = package(paragraph)
        {
            found.insert(name.to_string(), package);
        }
    })?;
    if let Some(missing) = request.packages.iter().find(|name| !found.contains_key(*name)) {
        if index.medium.is_some() {
            return Err(absent(&[missing.as_str()], request, index));
        }
        return Err(with_hint(
            anyhow!("there is no package {missing} in {}", request.suite),
            format!("it was looked for in {}", request.components.join(", ")),
        ));
    }
    Ok(found.into_values().collect())
}

/// Calls `each` for every package of the lists.
fn for_each_package(lists: &Path, mut each: impl FnMut(Paragraph<'_>)) -> Result<()> {
    let entries =
        std::fs::read_dir(lists).with_context(|| format!("reading {}", lists.display()))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().ends_with("_Packages") {
            let what = || format!("reading {}", entry.path().display());
            let file = File::open(entry.path()).with_context(what)?;
            let reader = BufReader::with_capacity(1 << 18, file);
            deb822::for_each(reader, &mut each).with_context(what)?;
        }
    }
    Ok(())
}

/// The package of a paragraph; `None` where a field is missing, or is not what it may be: names and
/// versions become names of files.
fn package(paragraph: Paragraph<'_>) -> Option<Package> {
    let field = |name: &str| paragraph.value(name).map(str::to_string);
    let plain = |name: &str| {
        paragraph.value(name).is_some_and(|text| {
            let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
            first
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.~:".contains(&byte))
        })
    };
    if !["Package", "Version", "Architecture"].into_iter().all(plain) {
        return None;
    }
    Some(Package {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
        sha256: field("SHA256")?.parse().ok()?,
        size: field("Size")?.parse().ok()?,
        path: field("Filename")?,
        essential: false,
    })
}

/// One file of a tar, without reading the rest of it.
fn read_from_tar(archive: &Path, name: &str) -> Result<Vec<u8>> {
    let what = || format!("reading {name} in {}", archive.display());
    let file = File::open(archive).with_context(what)?;
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().with_context(what)? {
        let mut entry = entry.with_context(what)?;
        if entry.path_bytes().strip_prefix(b"./").unwrap_or(&entry.path_bytes()) == name.as_bytes()
        {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).with_context(what)?;
            return Ok(bytes);
        }
    }
    Err(with_hint(
        anyhow!("the tree has no {name}"),
        "packages can be added to trees of Debian and its kin alone",
    ))
}

/// Where packages were looked for.
fn place(request: &Request, index: &Index) -> String {
    let of_suite = format!("{} ({})", request.suite, request.components.join(", "));
    match &index.medium {
        Some(label) => format!("{of_suite} of {}", in_words(label)),
        None => of_suite,
    }
}

/// The error for packages that a medium does not have.
fn absent(names: &[&str], request: &Request, index: &Index) -> Error {
    let medium = in_words(index.medium.as_deref().unwrap_or_default());
    let components = request.components.join(", ");
    let names = names.join(" and no ");
    with_hint(
        anyhow!("there is no {names} in {} ({components}) on {medium}", request.suite),
        "take it from a mirror, with a `customise` stage that names no `medium`; or give a medium \
         that has more, such as a DVD instead of a netinst",
    )
}

/// apt's words for a package that does not exist, with a hint.
fn explain(error: Error, request: &Request, index: &Index) -> Error {
    let Some(failed) = caused_by::<CommandFailed>(&error) else { return error };
    let lines = failed.tail.iter().filter_map(|line| line.strip_prefix("E: "));
    let lines: Vec<String> = lines.map(str::to_string).collect();
    let Some(line) = lines.first().cloned() else {
        return error;
    };
    let missing: Vec<&str> = lines.iter().filter_map(|line| missing(line)).collect();
    if index.medium.is_some() && !missing.is_empty() {
        return absent(&missing, request, index);
    }
    let hint = match missing.is_empty() {
        false => {
            let place = place(request, index);
            format!("it is not in {place}: check its name and `components`")
        }
        true => format!("these packages do not go together in {}", place(request, index)),
    };
    with_hint(error.context(line), hint)
}

/// The package that apt reports as missing.
fn missing(line: &str) -> Option<&str> {
    line.strip_prefix("Unable to locate package ").or_else(|| {
        let (name, _) =
            line.strip_prefix("Package ")?.split_once(" has no installation candidate")?;
        Some(name.trim_matches('\''))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_apt_become_paths_below_the_archive() {
        let output = format!(
            "Reading package lists...\n'{ARCHIVE}/pool/main/g/g%2b%2b/x_1%2b2_all.deb' x_1+2_all.deb 5 MD5Sum:0\n"
        );
        assert_eq!(uris(&output).unwrap(), ["pool/main/g/g++/x_1+2_all.deb"]);
        assert!(uris("'http://elsewhere/x' x 1 y").is_err());
    }

    #[test]
    fn a_package_name_or_version_with_a_path_is_refused() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let of = |name: &str, version: &str| {
            let fields = [
                ("Package", name),
                ("Version", version),
                ("Architecture", "amd64"),
                ("SHA256", digest),
                ("Size", "1"),
                ("Filename", "pool/x.deb"),
            ];
            let text: String = fields.map(|(name, value)| format!("{name}: {value}\n")).concat();
            package(deb822::paragraphs(&text).next().unwrap())
        };
        assert!(of("g++", "1:2+b1~rc1-1.2").is_some());
        for (name, version) in [("../x", "1"), ("a/b", "1"), ("x", "1/../2"), ("-o", "1"), ("", "")]
        {
            assert!(of(name, version).is_none(), "{name} {version}");
        }
    }

    #[test]
    fn missing_packages_are_read_from_apts_errors() {
        assert_eq!(missing("Unable to locate package htop"), Some("htop"));
        assert_eq!(missing("Package 'vim' has no installation candidate"), Some("vim"));
        assert_eq!(missing("Unable to correct problems, you have held broken packages."), None);
    }
}

//! Which exact packages a request means as of an index. The answer depends on nothing else, so it
//! is kept in the cache under its question.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::index::{Apt, Index};
use super::medium::in_words;
use super::searched::SearchedSuite;
use super::{Base, Request, package_file};
use crate::artifact::{ArtifactKind, Output};
use crate::error::{Context, Error, Result, anyhow, caused_by, with_hint};
use crate::format::deb822::{self, Paragraph};
use crate::format::debian_version;
use crate::lock::{Package, suite_in_words};
use crate::process::CommandFailed;
use crate::stage_context::StageContext;

/// Solves `request`, or finds that it was solved before. `None` where that takes a tree, or a file of
/// a stage, that is not in the cache.
pub fn solve(
    context: &StageContext,
    request: &Request,
    indexes: &[Index],
) -> Result<Option<Vec<Package>>> {
    let Some(files) = package_file::digests(context, &request.files)? else { return Ok(None) };
    let mut recipe = request.recipe(context)?;
    recipe.set("digest of a package file", files);
    for (at, index) in indexes.iter().enumerate() {
        match at {
            0 => recipe.value("index", index.lists.digest),
            _ => {
                let suite = &index.suite;
                let name = suite_in_words(&suite.name, suite.repository.as_deref());
                recipe.value(&format!("index {name}"), index.lists.digest);
            }
        }
    }
    if let Base::Tree { tree, .. } = &request.base
        && !tree.as_ref().is_some_and(|tree| context.cache.holds(tree))
        && context.cache.find(&recipe.key())?.is_none()
    {
        return Ok(None);
    }
    let (answer, _) = context.cached(&recipe, |context| {
        let packages = answer(context, request, indexes)?;
        let text = serde_json::to_string_pretty(&packages).context("writing the answer")?;
        Output::text(ArtifactKind::File, &context.work, "packages.json", &text)
    })?;
    let path = context.object(&answer);
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let packages = serde_json::from_slice(&text);
    packages.map(Some).with_context(|| format!("reading {}", path.display()))
}

fn answer(context: &StageContext, request: &Request, indexes: &[Index]) -> Result<Vec<Package>> {
    let index = indexes.first().context("a request has an index")?;
    let suites: Vec<(&SearchedSuite, String)> =
        indexes.iter().map(|index| (&index.suite, index.suite.address(request))).collect();
    let lists = context.scratch("lists");
    for index in indexes {
        let kept = context.object(&index.lists);
        File::open(&kept)
            .and_then(|file| tar::Archive::new(BufReader::new(file)).unpack(&lists))
            .with_context(|| format!("unpacking {}", kept.display()))?;
    }
    if request.base == Base::Exactly {
        return by_name(&lists, request, indexes);
    }
    let apt = Apt::prepare(context, request, &suites)?;
    (context.progress)(0, 0, "solving");
    let files = package_file::offer(context, &request.files)?;
    let recommends = format!("APT::Install-Recommends={}", request.recommends);
    let ask = |wanted: &[String]| -> Result<Vec<Located>> {
        let options = ["-q", "-y", "--print-uris", "-o", "APT::Get::AllowUnauthenticated=false"];
        let command =
            apt.get(context).args(options).args(["-o", &recommends]).arg("install").args(wanted);
        let command = command.args(files.iter().map(|(path, _)| path));
        let mut output = Vec::new();
        command
            .watch(&context.log, &context.cancel, |bytes| output.extend_from_slice(bytes))
            .map_err(|error| explain(error, &String::from_utf8_lossy(&output), request, index))?;
        let addresses = suites.iter().map(|(_, address)| address.as_str());
        uris(&String::from_utf8(output).context("reading apt's answer")?, addresses)
    };
    match &request.base {
        Base::Tree { tree, .. } => {
            let tree = tree.as_ref().context("the tree is not built yet")?;
            let status = read_from_tar(&context.object(tree), "var/lib/dpkg/status")?;
            std::fs::write(apt.status(), status).context("writing the installed packages")?;
            let mut packages = describe(&lists, request, indexes, (&ask(&request.asked())?, &[]))?;
            packages.extend(files.into_iter().map(|(_, package)| package));
            packages.sort();
            Ok(packages)
        }
        _ => {
            let minimum = ["?essential".to_string(), "apt".to_string()];
            let essential = ask(&minimum)?;
            let asked = request.asked();
            let all = match asked.is_empty() {
                true => essential.clone(),
                false => ask(&[&minimum[..], &asked].concat())?,
            };
            let packages = describe(&lists, request, indexes, (&all, &essential))?;
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

/// A file of an archive, by the address that apt knows the archive by, and the path below its root.
type Located = (String, String);

/// The lines `'URI' file size hash` of `--print-uris`, of archives at these addresses, without
/// those of the files that apt was given.
fn uris<'a>(
    output: &str,
    addresses: impl Iterator<Item = &'a str> + Clone,
) -> Result<Vec<Located>> {
    let lines = output.lines().filter_map(|line| line.strip_prefix('\''));
    let lines = lines.filter(|line| !line.starts_with("file:/"));
    lines
        .map(|line| {
            let uri = line.split('\'').next().unwrap_or_default();
            let located = addresses.clone().find_map(|address| {
                let path = uri.strip_prefix(address)?.strip_prefix('/')?;
                let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
                Some((address.to_string(), path))
            });
            located.with_context(|| format!("apt asks for {uri}, which is not of this archive"))
        })
        .collect()
}

/// Looks `files` up in the package lists, which the signed `InRelease` vouches for. A file that
/// several suites list is the first one's.
fn describe(
    lists: &Path,
    request: &Request,
    indexes: &[Index],
    (files, essential): (&[Located], &[Located]),
) -> Result<Vec<Package>> {
    let wanted: HashMap<(&str, &str), usize> = files
        .iter()
        .enumerate()
        .map(|(at, (address, path))| ((address.as_str(), path.as_str()), at))
        .collect();
    let mut found: Vec<Option<Package>> = vec![None; files.len()];
    for index in indexes {
        let address = index.suite.address(request);
        for_each_package(lists, request, index, |paragraph| {
            let path = paragraph.value("Filename");
            if let Some(at) = path.and_then(|path| wanted.get(&(address.as_str(), path)))
                && found[*at].is_none()
            {
                found[*at] = package(paragraph, index.suite_in(indexes));
            }
        })?;
    }
    let described = found.into_iter().zip(files).map(|(package, file)| {
        let package = package.ok_or_else(|| anyhow!("the index does not describe {}", file.1))?;
        Ok(Package { essential: essential.contains(file), ..package })
    });
    let mut packages = described.collect::<Result<Vec<Package>>>()?;
    packages.sort();
    Ok(packages)
}

impl Index {
    /// The suite, where that is not the release itself, which is the first of `indexes`.
    fn suite_in(&self, indexes: &[Index]) -> Option<&SearchedSuite> {
        let is_release = indexes.first().is_some_and(|first| first.suite == self.suite);
        (!is_release).then_some(&self.suite)
    }
}

/// The packages of a request by their names alone; of several versions the newest.
fn by_name(lists: &Path, request: &Request, indexes: &[Index]) -> Result<Vec<Package>> {
    let mut found: BTreeMap<String, Package> = BTreeMap::new();
    for index in indexes {
        for_each_package(lists, request, index, |paragraph| {
            if let Some(name) = paragraph.value("Package")
                && request.packages.iter().any(|wanted| wanted == name)
                && let Some(package) = package(paragraph, index.suite_in(indexes))
                && found.get(name).is_none_or(|other| {
                    debian_version::compare(&other.version, &package.version).is_lt()
                })
            {
                found.insert(name.to_string(), package);
            }
        })?;
    }
    let index = &indexes[0];
    if request.optional && found.len() < request.packages.len() {
        return Ok(Vec::new());
    }
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

/// Calls `each` for every package of an index.
fn for_each_package(
    lists: &Path,
    request: &Request,
    index: &Index,
    mut each: impl FnMut(Paragraph<'_>),
) -> Result<()> {
    let entries =
        std::fs::read_dir(lists).with_context(|| format!("reading {}", lists.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let start = index.suite.file_prefix(request);
    let is_list = |file: &&PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start) && name.ends_with("Packages")
    };
    for file in files.iter().filter(is_list) {
        let what = || format!("reading {}", file.display());
        let reader = File::open(file).with_context(what)?;
        let reader = BufReader::with_capacity(1 << 18, reader);
        deb822::for_each(reader, &mut each).with_context(what)?;
    }
    Ok(())
}

/// The package of a paragraph; `None` where a field is missing, or is not what it may be: names and
/// versions become names of files.
fn package(paragraph: Paragraph<'_>, suite: Option<&SearchedSuite>) -> Option<Package> {
    let field = |name: &str| paragraph.value(name).map(str::to_string);
    let plain = |name: &str| paragraph.value(name).is_some_and(is_plain);
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
        suite: suite.map(|suite| suite.name.clone()),
        repository: suite.and_then(|suite| suite.repository.clone()),
        file: false,
    })
}

/// Whether a name, a version or an architecture is what it may be: it becomes part of a file's name.
pub(super) fn is_plain(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.~:".contains(&byte))
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

/// apt's words for a package that does not exist or cannot be installed, with a hint; `output` is what
/// it said besides errors.
fn explain(error: Error, output: &str, request: &Request, index: &Index) -> Error {
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
    if line.contains("were downgraded") {
        return with_hint(
            error.context("the tree has a newer version of a package"),
            "take it out with `remove` in a stage before this one, or ask for the newer one",
        );
    }
    if line.contains("Held packages were changed") {
        return with_hint(
            error.context("a package that the tree holds would be changed"),
            "hold it in the last stage that installs packages, not before",
        );
    }
    let line = unmet(output).unwrap_or(line);
    let hint = match missing.is_empty() {
        false => {
            let place = place(request, index);
            format!("it is not in {place}: check its name and `components`")
        }
        true => format!("these packages do not go together in {}", place(request, index)),
    };
    with_hint(error.context(line), hint)
}

/// The dependencies that apt reports as unmet, on one line.
fn unmet(output: &str) -> Option<String> {
    let headings = ["unmet dependencies:", "Unsatisfied dependencies:"];
    let mut lines = output.lines();
    lines.find(|line| headings.iter().any(|heading| line.ends_with(heading)))?;
    let lines = lines.take_while(|line| line.starts_with(' '));
    let lines: Vec<String> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    (!lines.is_empty()).then(|| format!("unmet dependencies: {}", lines.join("; ")))
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
        let (main, security) = ("http://archive.invalid/debian", "http://security.invalid/debian");
        let output = format!(
            "Reading package lists...\n'{main}/pool/main/g/g%2b%2b/x_1%2b2_all.deb' x_1+2_all.deb \
             5 MD5Sum:0\n'{security}/pool/updates/y.deb' y.deb 5 MD5Sum:0\n\
             'file:/work/files/0.deb' app_1_all.deb 656 \n"
        );
        let of = |archive: &str, path: &str| (archive.to_string(), path.to_string());
        let addresses = [main, security].into_iter();
        assert_eq!(
            uris(&output, addresses.clone()).unwrap(),
            [of(main, "pool/main/g/g++/x_1+2_all.deb"), of(security, "pool/updates/y.deb")]
        );
        assert!(uris("'http://elsewhere/x' x 1 y", addresses).is_err());
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
            package(deb822::paragraphs(&text).next().unwrap(), None)
        };
        assert!(of("g++", "1:2+b1~rc1-1.2").is_some());
        for (name, version) in [("../x", "1"), ("a/b", "1"), ("x", "1/../2"), ("-o", "1"), ("", "")]
        {
            assert!(of(name, version).is_none(), "{name} {version}");
        }
    }

    #[test]
    fn unmet_dependencies_are_read_from_what_apt_says() {
        let output = "Reading package lists...\nThe following packages have unmet dependencies:\n \
                      app : Depends: none but it is not installable\n       Depends: jq (>= 9)\nE: x\n";
        let expected = "unmet dependencies: app : Depends: none but it is not installable; \
                        Depends: jq (>= 9)";
        assert_eq!(unmet(output).as_deref(), Some(expected));
        assert_eq!(unmet("Reading package lists...\n"), None);
    }

    #[test]
    fn missing_packages_are_read_from_apts_errors() {
        assert_eq!(missing("Unable to locate package htop"), Some("htop"));
        assert_eq!(missing("Package 'vim' has no installation candidate"), Some("vim"));
        assert_eq!(missing("Unable to correct problems, you have held broken packages."), None);
    }
}

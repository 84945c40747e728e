//! The signed index of a suite, verified by apt in directories of its own, and kept in the cache
//! under the digest of its `InRelease`, so that a lock can name it and a changed request is
//! answered as of the same day, without asking the network.

use std::path::{Path, PathBuf};

use super::searched::SearchedSuite;
use super::{Request, repository};
use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::{Context, Result, anyhow, with_hint};
use crate::host_path::HostPath;
use crate::lock::Date;
use crate::process::{Command, find_program};
use crate::recipe::Recipe;
use crate::sandbox::owners::Owners;
use crate::stage_context::StageContext;

/// The most bytes of a `Release` file: the one file of an index whose size is not known beforehand.
/// The lists of packages are limited to the sizes that it names.
pub(super) const MOST_RELEASE: u64 = 16 << 20;

/// An index in the cache.
#[derive(Clone, Debug)]
pub struct Index {
    /// The suite.
    pub suite: SearchedSuite,
    /// The SHA-256 of its `InRelease`.
    pub release: Digest,
    /// When it was made, if that is known.
    pub date: Option<Date>,
    /// A tar of apt's `lists` directory.
    pub lists: Artifact,
    /// What the medium is called that it is of, if it is of one.
    pub medium: Option<String>,
}

/// Why apt may trust an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By its signature, which apt checks.
    Signature,
    /// It was verified before, or need not be.
    Verified,
}

/// The recipe of an index.
pub(super) fn recipe(context: &StageContext, suite: &SearchedSuite, release: &Digest) -> Recipe {
    let mut recipe = Recipe::new("index", 1);
    recipe.value("architecture", &context.settings.architecture);
    recipe.value("suite", &suite.name);
    recipe.set("component", &suite.components);
    recipe.optional("repository", suite.repository.as_ref());
    recipe.value("release", release);
    recipe
}

/// A directory with a configuration that keeps apt away from everything of the host.
pub struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Prepares `directory` for these suites of `request`, each with the address of its archive.
    pub fn prepare(
        directory: &Path,
        context: &StageContext,
        request: &Request,
        suites: &[(&SearchedSuite, String)],
        trust: Trust,
    ) -> Result<Apt> {
        if find_program("apt-get").is_none() {
            return Err(with_hint(
                anyhow!("`apt-get` is not installed; kuth uses it to verify and solve"),
                "install the package apt (Debian, Ubuntu and Fedora have it)",
            ));
        }
        for name in ["lists/partial", "cache/archives/partial", "state", "etc"] {
            let path = directory.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        let apt = Apt { directory: directory.to_path_buf() };
        let mut sources = String::new();
        for (at, (suite, url)) in suites.iter().enumerate() {
            let trust = match trust {
                Trust::Signature => {
                    let copy = directory.join(format!("etc/keyring-{at}"));
                    let copy = keyring(&suite.keys, &copy, request)?;
                    format!("signed-by={}", escaped(&copy))
                }
                Trust::Verified => "trusted=yes".to_string(),
            };
            sources += &suite.line(&trust, url);
        }
        apt.write("etc/sources.list", &sources)?;
        let pins = request.repositories.iter();
        let pins = pins.map(|it| it.preferences(&SearchedSuite::host(&it.url)));
        apt.write("etc/preferences", &pins.collect::<String>())?;
        apt.write("status", "")?;
        apt.write("etc/apt.conf", &apt.configuration(&context.settings.architecture))?;
        Ok(apt)
    }

    fn configuration(&self, architecture: &str) -> String {
        let at = |name: &str| self.directory.join(name).display().to_string();
        format!(
            "Dir \"/\";\nDir::State \"{state}\";\nDir::State::lists \"{lists}\";\n\
             Dir::State::status \"{status}\";\nDir::Cache \"{cache}\";\nDir::Log \"{state}\";\n\
             Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n\
             Dir::Etc::sourcelist \"{sources}\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"{preferences}\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::Etc::trusted \"/dev/null\";\nDir::Etc::trustedparts \"/dev/null\";\n\
             APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\nDebug::NoLocking \"true\";\n",
            state = at("state"),
            lists = at("lists"),
            status = at("status"),
            cache = at("cache"),
            sources = at("etc/sources.list"),
            preferences = at("etc/preferences"),
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The directory of package lists.
    pub fn lists(&self) -> PathBuf {
        self.directory.join("lists")
    }

    /// The dpkg database that the solver takes for installed.
    pub fn status(&self) -> PathBuf {
        self.directory.join("status")
    }

    /// `apt-get` with this configuration alone.
    pub fn get(&self) -> Command {
        Command::new("apt-get").env("APT_CONFIG", self.directory.join("etc/apt.conf"))
    }
}

/// Copies a keyring as it was hashed to `copy`, with an extension that apt knows it by; where to.
fn keyring(keys: &HostPath, copy: &Path, request: &Request) -> Result<PathBuf> {
    if !keys.as_path().is_file() {
        return Err(with_hint(
            anyhow!("the keyring {keys} does not exist"),
            format!(
                "install it with `apt-get install {}`, or name one with `keyring = \"PATH\"`",
                request.distribution.keyring_package
            ),
        ));
    }
    let named = copy.with_extension(repository::copy_keys(keys, copy)?);
    std::fs::rename(copy, &named).with_context(|| format!("renaming {}", copy.display()))?;
    Ok(named)
}

/// A path for a line of apt's sources, which splits them at spaces.
pub(super) fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+~".contains(byte);
    let bytes = path.as_os_str().as_bytes().iter();
    let escaped = bytes.map(|byte| match plain(byte) {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02x}"),
    });
    escaped.collect()
}

/// A directory's address for apt, which splits its lines at spaces.
pub(super) fn address(directory: &Path) -> String {
    format!("copy:{}", escaped(directory))
}

/// Makes the new file `file` a tar of what apt read of a medium.
pub(super) fn keep(
    context: &StageContext,
    request: &Request,
    (apt, suite): (&Apt, &SearchedSuite),
    file: &Path,
) -> Result<()> {
    rename_lists(&apt.lists(), request, suite)?;
    crate::sandbox::pack::pack(&apt.lists(), file, context.settings.epoch, &Owners::default())?;
    Ok(())
}

/// Gives the files the archive's neutral name; the digest and the date of `InRelease`, or of the
/// `Release` that is there in its place.
pub(super) fn rename_lists(
    lists: &Path,
    request: &Request,
    suite: &SearchedSuite,
) -> Result<(Digest, Option<Date>)> {
    let (middle, prefix) = (suite.file_middle(), suite.file_prefix(request));
    let mut release = None;
    let what = || format!("reading {}", lists.display());
    for entry in std::fs::read_dir(lists).with_context(what)? {
        let entry = entry.with_context(what)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(at) = name.rfind(&middle) else {
            // apt's lock and working directories.
            if entry.path().is_dir() {
                std::fs::remove_dir_all(entry.path()).with_context(what)?;
            } else {
                std::fs::remove_file(entry.path()).with_context(what)?;
            }
            continue;
        };
        let path = lists.join(format!("{prefix}{}", &name[at + middle.len()..]));
        std::fs::rename(entry.path(), &path).with_context(what)?;
        if name.ends_with("_InRelease") || name.ends_with("_Release") {
            let bytes = std::fs::read(&path).with_context(what)?;
            let text = String::from_utf8_lossy(&bytes);
            let date = text.lines().find_map(|line| line.strip_prefix("Date:"));
            release = Some((Digest::of(&bytes), date.and_then(Date::of_release)));
        }
    }
    release.ok_or_else(|| anyhow!("apt kept no Release"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_spaces() {
        assert_eq!(address(Path::new("/a b/c%d/é_1")), "copy:/a%20b/c%25d/%c3%a9_1");
    }
}

//! Where a stage takes its packages from: a mirror, or an installation medium that another stage
//! makes, and repositories of others. It does not know which packages.

use super::{Inputs, Pin, Resource, StageContext};
use crate::artifact::ArtifactKind;
use crate::debian::repository::{Repository, RepositoryKey, with_keys};
use crate::debian::{PackageSource, install};
use crate::error::{Result, anyhow, with_hint};
use crate::host_path::HostPath;
use crate::pipeline::{Data, Fault, Fields, Input, Text};
use crate::recipe::Recipe;
use crate::sandbox::{Sandbox, Step};

/// What may be an installation medium: an ISO image, or its files.
pub const MEDIA: &[ArtifactKind] = &[ArtifactKind::File, ArtifactKind::Directory];

/// The package source of a stage.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The mirror that the pipeline names.
    pub mirror: Option<String>,
    /// The keyring that it names.
    pub keyring: Option<HostPath>,
    /// The input that is the medium.
    pub medium: Option<Input>,
    /// The pockets that the pipeline names, if it does.
    pub pockets: Option<Vec<&'static str>>,
    /// Packages to take from the suite's backports.
    pub backports: Vec<String>,
    /// Repositories of others.
    pub repositories: Vec<Repository>,
}

/// The words of `pockets`, which Debian and Ubuntu share.
const POCKETS: [&str; 2] = ["updates", "security"];

impl Origin {
    /// Reads the keys of a stage; `medium` is the one that names the medium.
    pub fn read(fields: &mut Fields<'_>, medium: &'static str) -> Origin {
        fields.at_most_one(&[medium, "backports"]);
        fields.at_most_one(&[medium, "repository"]);
        let has_pockets = fields.has("pockets");
        let pockets = fields.choices("pockets", &POCKETS).into_iter();
        let pockets = pockets.map(|word| word.value).collect();
        let backports = fields.unique_texts("backports").into_iter();
        Origin {
            mirror: fields.text("mirror").map(|mirror| mirror.text),
            keyring: fields.existing_file("keyring").map(|keyring| keyring.path),
            medium: fields.input(medium, MEDIA),
            pockets: has_pockets.then_some(pockets),
            backports: backports.map(|package| package.text).collect(),
            repositories: repositories(fields),
        }
    }

    /// The package source that requests go to.
    pub fn package_source(&self, inputs: &Inputs) -> Result<PackageSource> {
        match &self.medium {
            Some(medium) if inputs.predicted.contains_key(medium.key) => {
                Ok(PackageSource::Medium(None))
            }
            Some(medium) => Ok(PackageSource::Medium(Some(inputs.get(medium.key)?.clone()))),
            None => Ok(PackageSource::Mirror(self.mirror.clone())),
        }
    }

    /// The pockets that requests search; `default` where the pipeline names none.
    pub fn searched(&self, default: Vec<&'static str>) -> Vec<&'static str> {
        match (&self.medium, &self.pockets) {
            // A medium has the release alone.
            (Some(_), _) => Vec::new(),
            (None, Some(pockets)) => pockets.clone(),
            (None, None) => default,
        }
    }

    /// The repositories, with the keys that these pins lock.
    pub fn repositories(&self, pins: &[Pin]) -> Vec<Repository> {
        with_keys(&self.repositories, pins)
    }

    /// Writes the repositories into a recipe.
    pub fn describe_repositories(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        let architecture = &context.settings.architecture;
        for repository in &self.repositories {
            let architectures = &repository.architectures;
            if !architectures.is_empty() && !architectures.contains(architecture) {
                return Err(with_hint(
                    anyhow!("the repository {} is not for {architecture}", repository.url),
                    format!("add \"{architecture}\" to its `architectures`, or leave them out"),
                ));
            }
            repository.describe(recipe)?;
        }
        Ok(())
    }

    /// The steps that leave the repositories in the system; puts their keys into the exchange
    /// directory.
    pub fn keep_repositories(
        &self,
        context: &StageContext,
        sandbox: &Sandbox,
        pins: &[Pin],
    ) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let kept = self.repositories(pins).into_iter().filter(|repository| repository.keep);
        for (at, repository) in kept.enumerate() {
            let (from, name) = (format!("repository-key-{at}"), repository.file_name());
            let extension = repository.offer_key(context, &sandbox.exchange().join(&from))?;
            let key = format!("/etc/apt/keyrings/{name}.{extension}");
            let sources = repository.sources(&key);
            steps.push(Step::Copy { from, to: key, mode: Some(0o644), owner: None });
            let preferences = repository.preferences(repository.host());
            let below = |directory: &str, extension: &str| {
                format!("/etc/apt/{directory}/{name}{extension}")
            };
            steps.push(install::write(&below("sources.list.d", ".sources"), sources));
            steps.push(install::write(&below("preferences.d", ".pref"), preferences));
        }
        Ok(steps)
    }

    /// The resource that getting packages needs most.
    pub fn resource(&self) -> Resource {
        if self.medium.is_some() { Resource::Cpu } else { Resource::Network }
    }
}

/// The tables `[[repository]]`.
fn repositories(fields: &mut Fields<'_>) -> Vec<Repository> {
    let mut found: Vec<Repository> = Vec::new();
    for mut table in fields.array_of_tables("repository") {
        let url = table.required_text("url");
        let suite = table.required_text("suite");
        let components = table.unique_texts("components");
        let key = key(&mut table);
        let architectures = table.unique_texts("architectures");
        let packages = table.unique_texts("packages");
        let priority = table.integer("priority", -1..=1000);
        let keep = table.boolean("keep", true);
        let url = url.and_then(|url| address(&table, url));
        let suite = suite.and_then(|suite| self::suite(&table, suite, !components.is_empty()));
        for (texts, what) in [
            (&components, "a component"),
            (&architectures, "an architecture"),
            (&packages, "a package"),
        ] {
            let legal = |c: char| c.is_ascii_alphanumeric() || "+-._/*:".contains(c);
            for text in texts.iter().filter(|it| it.text.is_empty() || !it.text.chars().all(legal))
            {
                let message = format!("{} is not {what}", text.shown());
                table.fault(Fault::new(text.span.clone(), message));
            }
        }
        let span = table.span();
        table.finish();
        let (Some(url), Some(suite), Some(key)) = (url, suite, key) else { continue };
        let plain = |texts: Vec<Text>| texts.into_iter().map(|text| text.text).collect();
        let repository = Repository {
            url,
            suite,
            components: plain(components),
            key,
            architectures: plain(architectures),
            packages: plain(packages),
            priority: priority.map(|priority| priority.value),
            keep,
        };
        let name = repository.file_name();
        if found.iter().any(|other| other.file_name() == name) {
            let fault = Fault::new(span, format!("the repository {name} is there twice"));
            fields.fault(fault.hint("one table can name several `components`"));
        }
        found.push(repository);
    }
    found
}

/// The root of a repository, without a slash at its end.
fn address(table: &Fields<'_>, url: Text) -> Option<String> {
    let root = url.text.trim_end_matches('/');
    let rest = ["http://", "https://"].iter().find_map(|scheme| root.strip_prefix(scheme));
    let legal = |c: char| c.is_ascii_graphic() && !"\"'<>\\^`{|}@?#".contains(c);
    if rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(legal)) {
        return Some(root.to_string());
    }
    let message = format!("{} is not the address of a repository", url.shown());
    let fault = Fault::new(url.span, message);
    table.fault(fault.hint("it begins with `https://` or `http://`, and has no password in it"));
    None
}

/// A name below `dists`, or the directory of a flat repository.
fn is_suite(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "+-._~/".contains(c);
    !text.is_empty()
        && text.chars().all(legal)
        && !text.starts_with(['/', '-'])
        && !text.split('/').any(|part| part == "..")
}

/// `suite` of a stage, of the distribution itself.
pub(in crate::stage) fn release(fields: &Fields<'_>, suite: Text) -> Option<String> {
    let is_flat = suite.text == "." || suite.text.ends_with('/');
    if is_suite(&suite.text) && !is_flat {
        return Some(suite.text);
    }
    let fault = Fault::new(suite.span.clone(), format!("{} is not a suite", suite.shown()));
    fields.fault(fault.hint(match is_flat {
        true => {
            "a flat repository is added by a table `[[stage.NAME.repository]]` of a `customise`"
        }
        false => "name a directory below `dists` of the mirror, such as `trixie`",
    }));
    None
}

/// `suite` of a repository: what is in `dists`, or a directory, which has no components.
fn suite(table: &Fields<'_>, mut suite: Text, has_components: bool) -> Option<String> {
    // apt's other word for it.
    if suite.text == "/" {
        suite.text = "./".into();
    }
    let is_path = is_suite(&suite.text);
    let is_flat = suite.text.ends_with('/');
    let message = match (is_path, is_flat, has_components) {
        (false, ..) => format!("{} is not a suite", suite.shown()),
        (true, true, true) => "a flat repository has no `components`".to_string(),
        (true, false, false) => format!("`components` of {} are missing", suite.shown()),
        _ => return Some(suite.text),
    };
    let hint = "name a directory below `dists` and its `components`; or, in a flat repository, the \
                directory of the packages, which ends in `/`: \"./\"";
    table.fault(Fault::new(suite.span, message).hint(hint));
    None
}

/// `key` and `fingerprint`.
fn key(table: &mut Fields<'_>) -> Option<RepositoryKey> {
    let is_address =
        |text: &str| ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    if !table.has("key") {
        let fault = Fault::new(table.span(), "a repository without a `key`");
        table.fault(fault.hint(
            "name the file with the key that signs its index; kuth takes nothing that is not signed",
        ));
        return None;
    }
    let is_on_network = match table.raw("key").map(|value| &value.data) {
        Some(Data::String(text)) => is_address(&text.text),
        _ => false,
    };
    let fingerprint = table.text("fingerprint");
    let fingerprint_span = table.key_span("fingerprint");
    if !is_on_network {
        if let Some(span) = fingerprint_span {
            let fault = Fault::new(span, "`fingerprint` of a key that is a file");
            table.fault(fault.hint("leave it out: the key of the stage has the file's digest"));
        }
        return table.existing_file("key").map(|local| RepositoryKey::File(local.path));
    }
    let url = table.text("key")?;
    let Some(fingerprint) = fingerprint else {
        let fault = Fault::new(url.span, "a key on the network without its `fingerprint`");
        table
            .fault(fault.hint(
                "`gpg --show-keys FILE` prints it; compare it with what the maker publishes",
            ));
        return None;
    };
    let digits: String = fingerprint.text.split_whitespace().collect::<String>().to_uppercase();
    if ![40, 64].contains(&digits.len()) || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        let message = format!("{} is not a fingerprint", fingerprint.shown());
        let fault = Fault::new(fingerprint.span, message);
        table.fault(fault.hint("it has 40 hexadecimal digits, or 64 of a newer key"));
        return None;
    }
    Some(RepositoryKey::Address { url: url.text, fingerprint: digits, locked: None })
}

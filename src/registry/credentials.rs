//! The credentials of a registry in Docker's configuration: `config.json` in `DOCKER_CONFIG`, else in
//! `~/.docker`, as `docker login`, `podman login --compat-auth-file` and CI services write it. Credential
//! helpers that it names are run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::cancel::Cancel;
use crate::error::{Context, Hint, Result, anyhow};
use crate::process::Command;

/// How Docker's configuration calls Docker's own registry.
const DOCKER: &str = "https://index.docker.io/v1/";
/// A helper may ask a service.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who asks a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Anybody.
    Anonymous,
    /// A user with a password.
    Password { user: String, password: String },
    /// A token that other tokens are got with.
    IdentityToken(String),
}

/// `config.json`. Other keys are ignored.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// The credentials for `host`; `log` gets what a helper says.
pub(super) fn of(host: &str, log: &Path, cancel: &Cancel) -> Result<Credentials> {
    let Some(path) = file() else { return Ok(Credentials::Anonymous) };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Credentials::Anonymous);
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let what = || format!("reading the credentials of {host} in {}", path.display());
    let config: Config = serde_json::from_slice(&text).with_context(what)?;
    let help = |helper: &str, server: &str| help(helper, server, log, cancel).with_context(what);
    config.find(host, &help).with_context(what)
}

fn file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let directory = set("DOCKER_CONFIG").map(PathBuf::from);
    let directory = directory.or_else(|| set("HOME").map(|home| Path::new(&home).join(".docker")));
    directory.map(|directory| directory.join("config.json"))
}

impl Config {
    /// The credentials for `host`; `help` asks a helper for those of a server.
    fn find(
        &self,
        host: &str,
        help: &dyn Fn(&str, &str) -> Result<Credentials>,
    ) -> Result<Credentials> {
        let names = match host {
            "docker.io" => vec![DOCKER.to_string()],
            _ => vec![host.to_string(), format!("https://{host}"), format!("https://{host}/")],
        };
        if let Some((name, helper)) =
            names.iter().find_map(|name| self.cred_helpers.get_key_value(name))
        {
            return help(helper, name);
        }
        let found = names.iter().find_map(|name| self.auths.get_key_value(name));
        match found {
            // The place of what is in the store is empty.
            Some((name, auth)) if auth.is_empty() && !self.creds_store.is_empty() => {
                help(&self.creds_store, name)
            }
            Some((_, auth)) => auth.credentials(),
            None if !self.creds_store.is_empty() => help(&self.creds_store, &names[0]),
            None => Ok(Credentials::Anonymous),
        }
    }
}

impl Auth {
    fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.password, &self.identitytoken]
            .iter()
            .all(|text| text.is_empty())
    }

    fn credentials(&self) -> Result<Credentials> {
        if !self.identitytoken.is_empty() {
            return Ok(Credentials::IdentityToken(self.identitytoken.clone()));
        }
        if self.auth.is_empty() {
            let (user, password) = (self.username.clone(), self.password.clone());
            return Ok(match user.is_empty() {
                true => Credentials::Anonymous,
                false => Credentials::Password { user, password },
            });
        }
        let decoded = BASE64_STANDARD.decode(self.auth.trim()).ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.context("`auth` is not the base64 of `USER:PASSWORD`")?;
        // Docker 1 filled passwords up with zeros.
        let password = password.trim_end_matches('\0').to_string();
        Ok(Credentials::Password { user: user.to_string(), password })
    }
}

/// What the helper `docker-credential-NAME` has for `server`.
fn help(name: &str, server: &str, log: &Path, cancel: &Cancel) -> Result<Credentials> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(anyhow!("{name:?} is not the name of a credential helper"));
    }
    let program = format!("docker-credential-{name}");
    let output = Command::new(&program)
        .arg("get")
        // They ask keyrings, agents and cloud services.
        .inherit(&[
            "HOME",
            "USER",
            "LOGNAME",
            "XDG_*",
            "DBUS_*",
            "DISPLAY",
            "GPG_*",
            "GNUPGHOME",
            "PASSWORD_STORE_*",
            "AWS_*",
            "GOOGLE_*",
            "CLOUDSDK_*",
            "AZURE_*",
            "DOCKER_*",
        ])
        .input(server)
        .time_limit(PATIENCE)
        .run(log, cancel)
        .with_context(|| format!("asking {program}"))
        .hint("`docker login` writes new credentials, and so does `podman login`")?;
    let helped: Helped = serde_json::from_slice(&output)
        .with_context(|| format!("reading the answer of {program}"))?;
    Ok(match helped.username.as_str() {
        "<token>" => Credentials::IdentityToken(helped.secret),
        user => Credentials::Password { user: user.to_string(), password: helped.secret },
    })
}

impl Credentials {
    /// The header of basic authentication.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Credentials::Password { user, password } => {
                Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
            }
            Credentials::Anonymous | Credentials::IdentityToken(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, host: &str) -> String {
        let config: Config = serde_json::from_str(config).unwrap();
        let help = |helper: &str, server: &str| {
            Ok(Credentials::IdentityToken(format!("{helper} for {server}")))
        };
        match config.find(host, &help) {
            Ok(Credentials::Anonymous) => "anonymous".to_string(),
            Ok(Credentials::Password { user, password }) => format!("{user} {password}"),
            Ok(Credentials::IdentityToken(token)) => format!("token {token}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn credentials_are_found_as_docker_finds_them() {
        // `me:a:b` in base64.
        let auth = r#"{"auths":{"h:5000":{"auth":"bWU6YTpi"},"https://index.docker.io/v1/":{"auth":"bWU6YTpi"}}}"#;
        assert_eq!(found(auth, "h:5000"), "me a:b");
        assert_eq!(found(auth, "h"), "anonymous");
        assert_eq!(found(auth, "docker.io"), "me a:b");
        assert_eq!(found("{}", "h"), "anonymous");
        let token = r#"{"auths":{"https://h":{"identitytoken":"t"}}}"#;
        assert_eq!(found(token, "h"), "token t");
        let helpers = r#"{"credsStore":"all","credHelpers":{"h":"own"},"auths":{"i":{}}}"#;
        assert_eq!(found(helpers, "h"), "token own for h");
        assert_eq!(found(helpers, "i"), "token all for i");
        assert_eq!(found(helpers, "j"), "token all for j");
        let damaged = r#"{"auths":{"h":{"auth":"!"}}}"#;
        assert_eq!(found(damaged, "h"), "`auth` is not the base64 of `USER:PASSWORD`");
    }

    #[test]
    fn a_helper_has_a_plain_name() {
        for name in ["", "../x", "a b", "/bin/sh"] {
            let error = help(name, "h", Path::new("/nonexistent"), &Cancel::default());
            assert!(error.err().unwrap().to_string().contains("not the name"), "{name}");
        }
    }
}

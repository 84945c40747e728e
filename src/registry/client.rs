//! The requests to one repository of a registry, with the authentication that it asks for.

use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::credentials::{self, Credentials};
use super::reference::Reference;
use crate::cancel::Cancel;
use crate::error::{Context, Hint, Result, anyhow, bail, ensure};
use crate::format::oci::{
    BlobDigest, DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, INDEX, MANIFEST, MOST_DOCUMENT,
};
use crate::http::{Answer, Exchange, Payload, Verb};

/// The most bytes of a token, or of a registry's own words.
const MOST_ANSWER: u64 = 1 << 20;
/// Attempts while a server has errors of its own.
const ATTEMPTS: u32 = 3;

/// Whether requests are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTPS, except with this host itself.
    Encrypted,
    /// HTTP.
    Plain,
}

/// One repository.
pub struct Client {
    exchange: Exchange,
    /// `https://HOST`
    base: String,
    repository: String,
    host: String,
    credentials: Credentials,
    /// What the registry asks for.
    rights: &'static str,
    authorization: Mutex<Option<String>>,
    cancel: Cancel,
}

/// A manifest as a registry gives it.
pub(super) struct Found {
    pub(super) descriptor: Descriptor,
    pub(super) bytes: Vec<u8>,
}

impl Client {
    /// A client to read from the repository of `reference`, and to write where `writes`. It reads the
    /// credentials; `log` gets what a credential helper says.
    pub fn new(
        reference: &Reference,
        transport: Transport,
        writes: bool,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<Client> {
        let scheme = match transport {
            Transport::Encrypted if !reference.is_loopback() => "https",
            _ => "http",
        };
        Ok(Client {
            exchange: Exchange::new()?,
            base: format!("{scheme}://{}", reference.api()),
            repository: reference.path(),
            host: reference.host.clone(),
            credentials: credentials::of(&reference.host, log, cancel)?,
            rights: if writes { "pull,push" } else { "pull" },
            authorization: Mutex::new(None),
            cancel: cancel.clone(),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.base, self.repository)
    }

    /// Sends a request, and authenticates where the registry asks for that. `payload` is made for each
    /// attempt.
    fn send(
        &self,
        verb: Verb,
        url: &str,
        headers: &[(&str, &str)],
        payload: &dyn Fn() -> Result<Payload>,
        length: u64,
    ) -> Result<Answer> {
        let what = || format!("asking the registry {}", self.host);
        let mut attempt = 1;
        let mut challenged = false;
        loop {
            self.cancel.check()?;
            let authorization = self.authorization().clone();
            let mut headers = headers.to_vec();
            // An upload may go to another host, which gets no credentials.
            let is_ours = url.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with('/'));
            if let Some(authorization) = authorization.as_deref().filter(|_| is_ours) {
                headers.push(("authorization", authorization));
            }
            let answer = self.exchange.send(verb, url, &headers, payload()?, length);
            match answer {
                Ok(answer) if answer.status() == 401 && !challenged && is_ours => {
                    challenged = true;
                    let header = self.authorize(&answer.headers("www-authenticate"))?;
                    *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(header);
                }
                Ok(answer) if answer.status() >= 500 && attempt < ATTEMPTS => {}
                Err(_) if attempt < ATTEMPTS => {}
                answer => return answer.with_context(what),
            }
            if !challenged {
                std::thread::sleep(std::time::Duration::from_millis(200 << attempt));
            }
            attempt += 1;
        }
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The header that answers a challenge.
    fn authorize(&self, challenges: &[String]) -> Result<String> {
        for challenge in challenges {
            let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
            match scheme.to_ascii_lowercase().as_str() {
                "basic" => {
                    let basic = self.credentials.basic();
                    return basic
                        .with_context(|| format!("{} asks for a password", self.host))
                        .hint(format!("log in with `docker login {}`", self.host));
                }
                "bearer" => return self.token(&parameters(rest)).map(|it| format!("Bearer {it}")),
                _ => {}
            }
        }
        bail!("{} asks for an authentication that kuth does not know: {challenges:?}", self.host)
    }

    /// A token from the service that the registry names.
    fn token(&self, parameters: &[(String, String)]) -> Result<String> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let find = |name: &str| parameters.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
        let realm = find("realm").context("the registry names no service that gives tokens")?;
        ensure!(
            realm.starts_with("https://") || self.base.starts_with("http://"),
            "the registry sends its credentials to {realm}, which is not encrypted"
        );
        let scope = format!("repository:{}:{}", self.repository, self.rights);
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut query = vec![("scope", scope)];
        query.extend(find("service").map(|service| ("service", service.to_string())));
        let answer = match &self.credentials {
            Credentials::IdentityToken(token) => {
                query.extend([
                    ("grant_type", "refresh_token".to_string()),
                    ("refresh_token", token.clone()),
                    ("client_id", "kuth".to_string()),
                ]);
                let form = joined(&query, encode).into_bytes();
                let headers = [("content-type", "application/x-www-form-urlencoded")];
                self.exchange.send(Verb::Post, realm, &headers, Payload::Bytes(form), 0)
            }
            other => {
                let join = if realm.contains('?') { '&' } else { '?' };
                let url = format!("{realm}{join}{}", joined(&query, encode));
                let basic = other.basic();
                let headers: Vec<(&str, &str)> =
                    basic.iter().map(|basic| ("authorization", basic.as_str())).collect();
                self.exchange.send(Verb::Get, &url, &headers, Payload::Nothing, 0)
            }
        };
        let answer = answer.with_context(|| format!("asking {realm} for a token"))?;
        if !answer.is_success() {
            return Err(anyhow!("{realm} gives no token: it answered {}", answer.status()))
                .hint(format!("log in with `docker login {}`", self.host));
        }
        let token: Token = serde_json::from_slice(&answer.small(MOST_ANSWER)?)
            .with_context(|| format!("reading the token of {realm}"))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        ensure!(!token.is_empty(), "{realm} gives no token");
        Ok(token)
    }

    /// Fails with what the registry says.
    fn refused(&self, what: &str, answer: Answer) -> crate::error::Error {
        #[derive(Deserialize)]
        struct Said {
            errors: Vec<Problem>,
        }
        #[derive(Deserialize)]
        struct Problem {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let status = answer.status();
        let said = answer.small(MOST_ANSWER).ok();
        let said = said.and_then(|bytes| serde_json::from_slice::<Said>(&bytes).ok());
        let problems = said.map_or(Vec::new(), |said| said.errors);
        let said: Vec<String> =
            problems.iter().map(|it| format!("{} {}", it.code, it.message)).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
        let error = anyhow!("{what}: {}/{} answered {status}{said}", self.host, self.repository);
        match status {
            401 | 403 => crate::error::with_hint(
                error,
                format!("log in with `docker login {}`, as a user who may do this", self.host),
            ),
            _ => error,
        }
    }

    /// The digest of the manifest under a tag; `None` where there is none.
    pub fn digest(&self, tag: &str) -> Result<Option<BlobDigest>> {
        let url = self.url(&format!("manifests/{tag}"));
        let answer = self.manifest_request(Verb::Head, &url)?;
        match answer.status() {
            404 => Ok(None),
            200 => match answer.header("docker-content-digest").and_then(|it| it.parse().ok()) {
                Some(digest) => Ok(Some(digest)),
                // It is optional: the bytes say it too.
                None => Ok(self.manifest(tag)?.map(|found| found.descriptor.digest)),
            },
            _ => Err(self.refused(&format!("looking for {tag}"), answer)),
        }
    }

    /// The manifest under a tag or a digest, which is compared; `None` where there is none.
    pub(super) fn manifest(&self, name: &str) -> Result<Option<Found>> {
        let url = self.url(&format!("manifests/{name}"));
        let answer = self.manifest_request(Verb::Get, &url)?;
        match answer.status() {
            404 => return Ok(None),
            200 => {}
            _ => return Err(self.refused(&format!("reading the manifest {name}"), answer)),
        }
        let media_type = answer.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_string();
        let bytes = answer.small(MOST_DOCUMENT).context("reading a manifest")?;
        let descriptor = Descriptor::of(&media_type, &bytes);
        if let Ok(expected) = name.parse::<BlobDigest>() {
            let found = descriptor.digest;
            ensure!(found == expected, "the registry sent the manifest {found} for {expected}");
        }
        Ok(Some(Found { descriptor, bytes }))
    }

    fn manifest_request(&self, verb: Verb, url: &str) -> Result<Answer> {
        let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
        let nothing = || Ok(Payload::Nothing);
        self.send(verb, url, &[("accept", &accept)], &nothing, MOST_DOCUMENT)
    }

    /// A blob, as it comes; the caller compares the digest.
    pub(super) fn blob(&self, digest: BlobDigest, size: u64) -> Result<impl Read + use<>> {
        let url = self.url(&format!("blobs/{digest}"));
        let answer = self.send(Verb::Get, &url, &[], &|| Ok(Payload::Nothing), size)?;
        match answer.status() {
            200 => Ok(answer.body()),
            _ => Err(self.refused(&format!("reading the blob {digest}"), answer)),
        }
    }

    /// Whether the repository has a blob.
    fn has_blob(&self, digest: BlobDigest) -> Result<bool> {
        let url = self.url(&format!("blobs/{digest}"));
        let answer = self.send(Verb::Head, &url, &[], &|| Ok(Payload::Nothing), 0)?;
        match answer.status() {
            404 => Ok(false),
            200 => Ok(true),
            _ => Err(self.refused(&format!("looking for the blob {digest}"), answer)),
        }
    }

    /// Uploads a blob of `size` bytes unless it is there. `open` gives its content.
    pub(super) fn put_blob(
        &self,
        digest: BlobDigest,
        size: u64,
        open: &dyn Fn() -> Result<Box<dyn Read + Send>>,
    ) -> Result<()> {
        let what = format!("uploading the blob {digest}");
        if self.has_blob(digest)? {
            return Ok(());
        }
        let url = self.url("blobs/uploads/");
        let answer = self.send(Verb::Post, &url, &[], &|| Ok(Payload::Nothing), 0)?;
        if answer.status() != 202 {
            return Err(self.refused(&what, answer));
        }
        let location = answer.header("location").context("the registry names no upload")?;
        let location = match location.starts_with('/') {
            true => format!("{}{location}", self.base),
            false => location,
        };
        ensure!(
            location.starts_with("https://") || self.base.starts_with("http://"),
            "the registry takes uploads without encryption"
        );
        let join = if location.contains('?') { '&' } else { '?' };
        let digest_text = digest.to_string().replace(':', "%3A");
        let url = format!("{location}{join}digest={digest_text}");
        let headers = [("content-type", "application/octet-stream")];
        let payload = || Ok(Payload::Stream(open()?, size));
        let answer = self.send(Verb::Put, &url, &headers, &payload, size);
        match answer {
            Ok(answer) if answer.status() == 201 => Ok(()),
            // An attempt whose answer was lost ends the upload, and the next one does not find it.
            _ if self.has_blob(digest)? => Ok(()),
            Ok(answer) => Err(self.refused(&what, answer)),
            Err(error) => Err(error.context(what)),
        }
    }

    /// Stores a manifest under a tag, or under its digest. Whether the registry lists what refers to its
    /// subject.
    pub(super) fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<bool> {
        let what = format!("storing the manifest {name}");
        let url = self.url(&format!("manifests/{name}"));
        let headers = [("content-type", media_type)];
        let payload = || Ok(Payload::Bytes(bytes.to_vec()));
        let answer = self.send(Verb::Put, &url, &headers, &payload, 0)?;
        if answer.status() != 201 {
            return Err(self.refused(&what, answer));
        }
        let expected = BlobDigest::of(bytes);
        if let Some(found) = answer.header("docker-content-digest") {
            ensure!(
                found == expected.to_string(),
                "{what}: the registry stored {found}, not {expected}"
            );
        }
        Ok(answer.header("oci-subject").is_some())
    }

    /// The list of what refers to a manifest; `None` where the registry keeps none.
    pub(super) fn referrers(&self, digest: BlobDigest) -> Result<Option<Vec<u8>>> {
        let url = self.url(&format!("referrers/{digest}"));
        let headers = [("accept", INDEX)];
        let nothing = || Ok(Payload::Nothing);
        let answer = self.send(Verb::Get, &url, &headers, &nothing, MOST_DOCUMENT)?;
        match answer.status() {
            200 => answer.small(MOST_DOCUMENT).map(Some),
            // Registries older than the list answer in several ways.
            _ => Ok(None),
        }
    }
}

fn joined(query: &[(&str, String)], encode: impl Fn(&str) -> String) -> String {
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    pairs.join("&")
}

/// The parameters of a challenge: `realm="...",service="..."`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((name, value.to_string()));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_challenge() {
        let text =
            r#"realm="https://a.b/token?x=y",service="r.b",scope="repository:a/b:pull,push""#;
        let found = parameters(text);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            found,
            [
                ("realm", "https://a.b/token?x=y"),
                ("service", "r.b"),
                ("scope", "repository:a/b:pull,push"),
            ]
        );
        assert_eq!(parameters("Realm=x, service=y").len(), 2);
        assert!(parameters("").is_empty());
    }
}

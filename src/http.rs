//! HTTP; no other module makes HTTP requests. A download is written to a temporary file, hashed while
//! it streams, and moved to its destination once length and digest are verified. Every download has a
//! size limit (the known size, else what the server announces, and never more than the caller allows)
//! at which it is aborted.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};

use crate::cancel::Cancel;
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Error, Result, caused_by, with_hint};

mod ahead;
mod bound;
mod exchange;
mod range;
mod resume;
mod settle;
mod store;

pub use bound::TooLong;
pub use exchange::{Answer, Exchange, Payload, Verb};
pub use resume::{Fetch, Fetched, Resume, source_file};
pub use store::Store;

/// The number of attempts before an error is reported.
const ATTEMPTS: u32 = 4;

/// Selects `ring` for TLS, which every HTTP client of kuth uses. Building a client before this panics.
fn select_tls() {
    // An error only means that it was selected before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn client_builder() -> ClientBuilder {
    select_tls();
    Client::builder().hickory_dns(resolves_names())
}

/// A client for the library of object stores, which has connections of its own.
#[cfg(feature = "object-stores")]
pub(crate) fn concurrent_client() -> Result<reqwest::Client> {
    select_tls();
    let client = reqwest::Client::builder().hickory_dns(resolves_names());
    client.build().context("preparing the HTTP client")
}

/// Whether kuth resolves the names of hosts itself, by /etc/hosts and /etc/resolv.conf. A static program
/// has to: the C library's resolver loads parts of the host's C library. Any other program asks that,
/// which may know more names. Without the file, hickory would ask servers of its own choice.
fn resolves_names() -> bool {
    cfg!(target_feature = "crt-static") && Path::new("/etc/resolv.conf").is_file()
}

/// The expected content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A client that shares its connections among threads.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
}

impl Http {
    /// A client with kuth's time limits: 30 s to connect, 60 s without a byte.
    pub fn new() -> Result<Http> {
        let client = client_builder()
            .connect_timeout(Duration::from_secs(30))
            .timeout(Duration::from_secs(60))
            .user_agent(concat!("kuth/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("preparing the HTTP client")?;
        Ok(Http { client })
    }

    /// Downloads `url` to `target`, which is replaced if it exists. The temporary file is in the
    /// directory `scratch` of the same file system. `progress` gets the number of bytes of each piece.
    pub fn download(
        &self,
        url: &str,
        (scratch, target): (&Path, &Path),
        expected: Expected,
        cancel: &Cancel,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let attempt = || self.attempt(url, (scratch, target), expected, cancel, progress);
        with_retries(cancel, attempt).with_context(|| format!("downloading {url}"))
    }

    fn attempt(
        &self,
        url: &str,
        (scratch, target): (&Path, &Path),
        expected: Expected,
        cancel: &Cancel,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let mut response = self.get(url)?;
        bound::announced(response.content_length(), expected.size)?;
        let file = tempfile::NamedTempFile::new_in(scratch)?;
        let mut writer = HashingWriter::new(file);
        let mut buffer = vec![0; 1 << 16];
        let mut got = 0;
        loop {
            cancel.check()?;
            let n = response.read(&mut buffer).context("reading the response")?;
            if n == 0 {
                break;
            }
            got += n as u64;
            bound::sent(got, expected.size)?;
            writer.write_all(&buffer[..n])?;
            progress(n as u64);
        }
        let (file, digest, size) = writer.finish();
        if size != expected.size {
            let text = format!("expected {} bytes, got {size}", expected.size);
            return Err(Error::new(OtherFile(text)));
        }
        if digest != expected.sha256 {
            let text = format!("the SHA-256 is {digest}, not {}", expected.sha256);
            return Err(with_hint(
                Error::new(OtherFile(text)),
                "the mirror or a proxy sent another file; try another mirror with `--mirror URL`",
            ));
        }
        persist(file, target)
    }

    /// Downloads a small file, of at most `most` bytes, into memory.
    pub fn small(&self, url: &str, most: u64, cancel: &Cancel) -> Result<Vec<u8>> {
        let attempt = || {
            let mut bytes = Vec::new();
            let response = self.get(url)?;
            bound::announced(response.content_length(), most)?;
            response.take(most + 1).read_to_end(&mut bytes).context("reading the response")?;
            bound::sent(bytes.len() as u64, most)?;
            Ok(bytes)
        };
        with_retries(cancel, attempt).with_context(|| format!("downloading {url}"))
    }

    fn get(&self, url: &str) -> Result<Response> {
        let response = send(self.client.get(url))?;
        let status = response.status();
        if resume::is_permanent(status) {
            return Err(Error::new(Refused::with(status)));
        }
        Ok(response.error_for_status()?)
    }
}

/// Sends a request. A redirect loop is a refusal.
fn send(request: RequestBuilder) -> Result<Response> {
    request.send().map_err(|error| match error.is_redirect() {
        true => Error::new(Refused("the server redirects too many times".into())),
        false => error.into(),
    })
}

/// Tries several times, unless the error is permanent.
fn with_retries<T>(cancel: &Cancel, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        let error = match attempt() {
            Ok(got) => return Ok(got),
            Err(error) => error,
        };
        cancel.check()?;
        let permanent =
            caused_by::<Refused>(&error).is_some() || caused_by::<TooLong>(&error).is_some();
        if permanent || tries == ATTEMPTS {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(200 << tries));
        tries += 1;
    }
}

fn persist(file: tempfile::NamedTempFile, target: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let handle: &File = file.as_file();
    handle.set_permissions(std::fs::Permissions::from_mode(0o444))?;
    let directory = target.parent().context("a download needs a directory")?;
    std::fs::create_dir_all(directory)?;
    file.persist(target).with_context(|| format!("storing {}", target.display()))?;
    Ok(())
}

/// Answers that say who may not have a file, not that there is none.
const FORBIDDEN: [StatusCode; 3] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::PROXY_AUTHENTICATION_REQUIRED];

/// Whether a server or a proxy does not let this host have a file.
pub fn is_forbidden(error: &Error) -> bool {
    caused_by::<Refused>(error).is_some_and(Refused::is_forbidden)
}

/// The server refuses the request permanently.
#[derive(Debug)]
pub struct Refused(pub String);

impl Refused {
    fn with(status: StatusCode) -> Refused {
        Refused(format!("the server answered {status}"))
    }

    fn is_forbidden(&self) -> bool {
        FORBIDDEN.iter().any(|status| self.0 == Refused::with(*status).0)
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// The server repeatedly sends another file than expected.
#[derive(Debug)]
struct OtherFile(String);

impl std::fmt::Display for OtherFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OtherFile {}

/// Whether a server was reached but does not have the expected file.
pub fn is_refusal(error: &Error) -> bool {
    caused_by::<Refused>(error).is_some() || is_other_file(error)
}

/// Whether a server sent another file than expected, by its length or digest.
pub fn is_other_file(error: &Error) -> bool {
    caused_by::<OtherFile>(error).is_some() || caused_by::<TooLong>(error).is_some()
}

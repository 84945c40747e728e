//! The only door to the network over HTTP. A download goes aside, is hashed while it streams, and
//! takes its place only when length and digest are right. Each has a bound, and is cut there: the
//! size that is known, else what the server announces, and never more than the caller allows.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};

use crate::cancel::Cancel;
use crate::digest::{Digest, HashingWriter};
use crate::error::{Context, Error, Result, caused_by, with_hint};

mod ahead;
mod bound;
mod resume;
mod settle;
mod store;

pub use bound::TooLong;
pub use resume::{Fetch, Fetched, Going, note_path};
pub use store::Store;

/// How often a file is tried before the error is the user's to see.
const ATTEMPTS: u32 = 4;

/// What a file must be.
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
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(30))
            .timeout(Duration::from_secs(60))
            .user_agent(concat!("kuth/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("preparing the HTTP client")?;
        Ok(Http { client })
    }

    /// Downloads `url` to `place`, which does not exist or is replaced, by way of the directory
    /// `aside` of the same file system. `progress` gets the bytes of each piece.
    pub fn download(
        &self,
        url: &str,
        (aside, place): (&Path, &Path),
        expected: Expected,
        cancel: &Cancel,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let attempt = || self.attempt(url, (aside, place), expected, cancel, progress);
        retried(cancel, attempt).with_context(|| format!("downloading {url}"))
    }

    fn attempt(
        &self,
        url: &str,
        (aside, place): (&Path, &Path),
        expected: Expected,
        cancel: &Cancel,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let mut response = self.get(url)?;
        bound::announced(response.content_length(), expected.size)?;
        let file = tempfile::NamedTempFile::new_in(aside)?;
        let mut writer = HashingWriter::new(file);
        let mut buffer = vec![0; 1 << 16];
        let mut got = 0;
        loop {
            cancel.check()?;
            let n = response.read(&mut buffer).context("reading the answer")?;
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
                "the mirror or a proxy gave another file; try another with `--mirror URL`",
            ));
        }
        keep(file, place)
    }

    /// A small file, of at most `most` bytes.
    pub fn small(&self, url: &str, most: u64, cancel: &Cancel) -> Result<Vec<u8>> {
        let attempt = || {
            let mut bytes = Vec::new();
            let answer = self.get(url)?;
            bound::announced(answer.content_length(), most)?;
            answer.take(most + 1).read_to_end(&mut bytes).context("reading the answer")?;
            bound::sent(bytes.len() as u64, most)?;
            Ok(bytes)
        };
        retried(cancel, attempt).with_context(|| format!("downloading {url}"))
    }

    fn get(&self, url: &str) -> Result<Response> {
        let response = send(self.client.get(url))?;
        let status = response.status();
        if resume::is_lasting(status) {
            return Err(Error::new(Refused::with(status)));
        }
        Ok(response.error_for_status()?)
    }
}

/// Sends a request. An address that leads round in circles is a refusal.
fn send(request: RequestBuilder) -> Result<Response> {
    request.send().map_err(|error| match error.is_redirect() {
        true => Error::new(Refused("the server leads from one address to the next".into())),
        false => error.into(),
    })
}

/// Tries several times, unless the server itself says no.
fn retried<T>(cancel: &Cancel, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        let error = match attempt() {
            Ok(got) => return Ok(got),
            Err(error) => error,
        };
        cancel.check()?;
        let lasting =
            caused_by::<Refused>(&error).is_some() || caused_by::<TooLong>(&error).is_some();
        if lasting || tries == ATTEMPTS {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(200 << tries));
        tries += 1;
    }
}

fn keep(file: tempfile::NamedTempFile, place: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let handle: &File = file.as_file();
    handle.set_permissions(std::fs::Permissions::from_mode(0o444))?;
    let directory = place.parent().context("a download needs a directory")?;
    std::fs::create_dir_all(directory)?;
    file.persist(place).with_context(|| format!("storing {}", place.display()))?;
    Ok(())
}

/// The server says no, and will say it again.
#[derive(Debug)]
pub struct Refused(pub String);

impl Refused {
    fn with(status: StatusCode) -> Refused {
        Refused(format!("the server answered {status}"))
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// The server gives another file, however often it is asked.
#[derive(Debug)]
struct OtherFile(String);

impl std::fmt::Display for OtherFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OtherFile {}

/// Whether a server was reached and does not have the file.
pub fn is_refusal(error: &Error) -> bool {
    caused_by::<Refused>(error).is_some() || is_other_file(error)
}

/// Whether a server gave another file than the one expected, by its length or its digest.
pub fn is_other_file(error: &Error) -> bool {
    caused_by::<OtherFile>(error).is_some() || caused_by::<TooLong>(error).is_some()
}

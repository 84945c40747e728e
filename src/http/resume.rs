//! Downloads that resume after a lost connection, also in a later build, and fail only after several
//! attempts in a row without progress. Beside the partial file is a file with its source. The whole
//! file is hashed, including what was there before.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE,
};

use super::ahead::{LARGE, Rest, SingleConnectionOnly};
use super::range::{content_range, supports_ranges};
use super::settle::BackgroundSync;
use super::{ATTEMPTS, Http, Refused, TooLong, bound, send};
use crate::cancel::Cancel;
use crate::digest::Sums;
use crate::error::{Context, Error, Result, anyhow, caused_by};

/// An attempt with fewer bytes counts as one without progress.
const MIN_PROGRESS: u64 = 64 << 10;
/// The number of first bytes that are inspected.
const INSPECTED: usize = 512;
/// The bytes of a response of unknown length that are read between two checks of the free space.
pub const STEP: u64 = 64 << 20;

/// When a partial file may be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Always: the caller knows the digest of the whole file and verifies it.
    Always,
    /// Only if the server confirms that it is the same version of the file.
    IfUnchanged,
}

/// A download.
pub struct Fetch<'a> {
    /// The address.
    pub url: &'a str,
    /// The partial file. The file with its source has its name and `.from`.
    pub part: &'a Path,
    /// When it may be resumed.
    pub resume: Resume,
    /// Empty sums of the required kinds.
    pub sums: Sums,
    /// The limit for the file in bytes; more is [`super::TooLong`].
    pub most: u64,
    /// Inspects the first bytes, 512 if there are as many; an error ends the download.
    pub inspect: &'a dyn Fn(&[u8]) -> Result<()>,
    /// Checks that there is space for this many more bytes: for the announced length, or else for each
    /// [`STEP`]; an error ends the download.
    pub reserve: &'a dyn Fn(u64) -> Result<()>,
    /// Checked regularly.
    pub cancel: &'a Cancel,
    /// Gets the bytes so far and in all (0 if unknown).
    pub progress: &'a dyn Fn(u64, u64),
}

/// A finished download.
pub struct Fetched {
    /// The sums of the whole file.
    pub sums: Sums,
    /// Whether a part of it was there before.
    pub resumed: bool,
}

impl Http {
    /// Downloads a file, and resumes it if it is partly there.
    pub fn fetch(&self, fetch: &Fetch<'_>) -> Result<Fetched> {
        let what = || format!("downloading {}", fetch.url);
        let mut partial = Partial::open(fetch).with_context(what)?;
        let resumed = partial.sums.length() > 0;
        let mut failures = 0;
        loop {
            let before = partial.sums.length();
            let Err(error) = self.request(fetch, &mut partial) else {
                partial.sync.finish().with_context(what)?;
                return Ok(Fetched { sums: partial.sums, resumed });
            };
            fetch.cancel.check()?;
            if caused_by::<SingleConnectionOnly>(&error).is_some() {
                partial.single_connection = true;
            }
            if caused_by::<TooLong>(&error).is_some() {
                // Not the expected file, so nothing of it is kept.
                let _ = std::fs::remove_file(fetch.part);
                let _ = std::fs::remove_file(source_file(fetch.part));
                return Err(error).with_context(what);
            }
            let permanent = partial.permanent || caused_by::<Refused>(&error).is_some();
            failures =
                if partial.sums.length() >= before + MIN_PROGRESS { 0 } else { failures + 1 };
            if permanent || failures == ATTEMPTS {
                return Err(error).with_context(what);
            }
            std::thread::sleep(Duration::from_millis(200 << failures));
        }
    }

    /// One request and its response.
    fn request(&self, fetch: &Fetch<'_>, partial: &mut Partial) -> Result<()> {
        let mut request = self.client.get(fetch.url).header(ACCEPT_ENCODING, "identity");
        let have = partial.sums.length();
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
            if let Some(tag) = &partial.tag {
                request = request.header(IF_RANGE, tag);
            }
        }
        let response = send(request)?;
        let status = response.status();
        let total = match (status, content_range(response.headers().get(CONTENT_RANGE))) {
            (StatusCode::PARTIAL_CONTENT, Some((Some(start), total))) if start == have => total,
            (StatusCode::RANGE_NOT_SATISFIABLE, Some((None, Some(total)))) if total == have => {
                return Ok(());
            }
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) if have > 0 => {
                partial.start_again(fetch)?;
                return Err(anyhow!("the file on the server has changed; starting again"));
            }
            (status, _) if is_permanent(status) => {
                return Err(Error::new(Refused::with(status)));
            }
            (StatusCode::OK, _) => {
                if have > 0 {
                    partial.start_again(fetch)?;
                }
                partial.write_source(fetch, strong_tag(response.headers()))?;
                length(response.headers())
            }
            (status, _) => return Err(anyhow!("the server answered {status}")),
        };
        partial.permanent = true;
        bound::announced(total, fetch.most)?;
        total.map_or(Ok(()), |total| (fetch.reserve)(total - partial.sums.length().min(total)))?;
        partial.permanent = false;
        self.receive(fetch, partial, response, total)
    }

    /// Receives the response, over further connections if the server supports ranges.
    fn receive(
        &self,
        fetch: &Fetch<'_>,
        partial: &mut Partial,
        response: Response,
        total: Option<u64>,
    ) -> Result<()> {
        let have = partial.sums.length();
        match (total, partial.tag.clone()) {
            (Some(to), Some(tag))
                if !partial.single_connection
                    && to >= have + LARGE
                    && supports_ranges(&response) =>
            {
                let (client, url) = (self.client.clone(), fetch.url.to_string());
                let rest = Rest { client, url, tag, from: have, to };
                rest.fetch(response, fetch.cancel, |bytes| partial.append(fetch, bytes, total))?;
            }
            _ => receive_all(fetch, partial, response, total)?,
        }
        let have = partial.sums.length();
        match total {
            Some(total) if have < total => {
                Err(anyhow!("the connection ended after {have} of {total} bytes"))
            }
            _ => Ok(()),
        }
    }
}

/// Receives a response on one connection.
fn receive_all(
    fetch: &Fetch<'_>,
    partial: &mut Partial,
    mut response: Response,
    total: Option<u64>,
) -> Result<()> {
    let mut buffer = vec![0; 1 << 18];
    let mut filled = 0;
    let most = total.unwrap_or(fetch.most);
    // The length for which space was checked.
    let mut reserved = if total.is_some() { u64::MAX } else { 0 };
    loop {
        fetch.cancel.check()?;
        let n = match response.read(&mut buffer[filled..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.context("reading the response")?,
        };
        filled += n;
        let have = partial.sums.length() + filled as u64;
        bound::sent(have, most)?;
        if have > reserved {
            partial.permanent = true;
            (fetch.reserve)(STEP)?;
            partial.permanent = false;
            reserved = have + STEP;
        }
        if n > 0 && filled < INSPECTED && !partial.inspected {
            continue;
        }
        partial.append(fetch, &buffer[..filled], total)?;
        filled = 0;
        if n == 0 {
            return Ok(());
        }
    }
}

/// The partial file.
struct Partial {
    file: File,
    sync: BackgroundSync,
    sums: Sums,
    /// The entity tag of this version of the file.
    tag: Option<String>,
    /// Whether the current error is permanent.
    permanent: bool,
    /// Whether its first bytes were inspected.
    inspected: bool,
    /// Whether the server allows one connection only.
    single_connection: bool,
}

impl Partial {
    /// Opens the partial file. It is truncated if it may not be resumed.
    fn open(fetch: &Fetch<'_>) -> Result<Partial> {
        let part = fetch.part;
        let what = || format!("opening {}", part.display());
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(part)
            .with_context(what)?;
        let note = std::fs::read_to_string(source_file(part)).unwrap_or_default();
        let (url, tag) = note.trim_end().split_once('\n').unwrap_or((note.trim_end(), ""));
        let tag = Some(tag.to_string()).filter(|tag| !tag.is_empty() && url == fetch.url);
        let mut sums = fetch.sums.clone();
        let too_long = file.metadata().with_context(what)?.len() > fetch.most;
        if too_long || fetch.resume == Resume::IfUnchanged && tag.is_none() {
            file.set_len(0).with_context(what)?;
        } else {
            let mut buffer = vec![0; 1 << 18];
            loop {
                fetch.cancel.check()?;
                match file.read(&mut buffer).with_context(what)? {
                    0 => break,
                    n => sums.update(&buffer[..n]),
                }
            }
        }
        let inspected = sums.length() > 0;
        let sync = BackgroundSync::new(&file).with_context(what)?;
        Ok(Partial { file, sync, sums, tag, permanent: false, inspected, single_connection: false })
    }

    /// Appends bytes; the first ones are inspected before.
    fn append(&mut self, fetch: &Fetch<'_>, bytes: &[u8], total: Option<u64>) -> Result<()> {
        self.permanent = true;
        if !self.inspected {
            (fetch.inspect)(&bytes[..bytes.len().min(INSPECTED)])?;
            self.inspected = true;
        }
        let written = self.file.write_all(bytes).and_then(|()| self.sync.wrote(bytes.len()));
        written.context("writing the download")?;
        self.permanent = false;
        self.sums.update(bytes);
        (fetch.progress)(self.sums.length(), total.unwrap_or(0));
        Ok(())
    }

    fn start_again(&mut self, fetch: &Fetch<'_>) -> Result<()> {
        use std::io::Seek;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.sums = fetch.sums.clone();
        self.tag = None;
        self.inspected = false;
        Ok(())
    }

    /// Writes the source of the partial file.
    fn write_source(&mut self, fetch: &Fetch<'_>, tag: Option<String>) -> Result<()> {
        let text = format!("{}\n{}\n", fetch.url, tag.as_deref().unwrap_or(""));
        let path = source_file(fetch.part);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        self.tag = tag;
        Ok(())
    }
}

/// The file with the source (address and entity tag) of a partial file.
pub fn source_file(part: &Path) -> PathBuf {
    let mut path = part.as_os_str().to_owned();
    path.push(".from");
    path.into()
}

/// Whether a status will not change if the request is repeated.
pub(super) fn is_permanent(status: StatusCode) -> bool {
    let transient =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !transient.contains(&status)
}

/// The entity tag, unless it is weak: different bytes may share a weak tag.
fn strong_tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?;
    (tag.starts_with('"') && tag.ends_with('"')).then(|| tag.to_string())
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

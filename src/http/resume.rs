//! A download that survives what networks do: it goes on where it was cut off, also in a later
//! build, and gives up only when several tries in a row brought nothing. The file grows beside a
//! note of where it comes from; all of it is hashed, what was there before too.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue,
    IF_RANGE, RANGE,
};

use super::ahead::{LARGE, NotInParts, Rest};
use super::settle::Settling;
use super::{ATTEMPTS, Http, Refused, TooLong, bound, send};
use crate::cancel::Cancel;
use crate::digest::Sums;
use crate::error::{Context, Error, Result, anyhow, caused_by};

/// A try that brought less than this brought nothing.
const WORTH: u64 = 64 << 10;
/// Enough of the start to know what it is.
const START: usize = 512;
/// So much is taken of an answer of unknown length before room is asked for again.
pub const STEP: u64 = 64 << 20;

/// What may be added to a part that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// Bytes from anywhere: what the whole must be is known, and checked by the caller.
    Known,
    /// Only what the same server says is of the same file.
    Unknown,
}

/// What to download, and how.
pub struct Fetch<'a> {
    /// From where.
    pub url: &'a str,
    /// The file to fill. Beside it lies a note, its name with `.from`.
    pub part: &'a Path,
    /// What may be added to it.
    pub going: Going,
    /// Empty sums of the kind wanted.
    pub sums: Sums,
    /// The most bytes that the file may have; more is [`super::TooLong`].
    pub most: u64,
    /// Looks at the first bytes, 512 where there are as many; an error ends it all.
    pub look: &'a dyn Fn(&[u8]) -> Result<()>,
    /// Asked whether there is room for so many bytes more: for what an answer announces, or where
    /// it announces nothing, for each step of [`STEP`]; an error ends it all.
    pub room: &'a dyn Fn(u64) -> Result<()>,
    /// Asked all the time.
    pub cancel: &'a Cancel,
    /// Told how much is there, of how much (0: not known).
    pub told: &'a dyn Fn(u64, u64),
}

/// What came.
pub struct Fetched {
    /// Of the whole file.
    pub sums: Sums,
    /// Whether some of it was there before.
    pub resumed: bool,
}

impl Http {
    /// Downloads a whole file.
    pub fn fetch(&self, fetch: &Fetch<'_>) -> Result<Fetched> {
        let what = || format!("downloading {}", fetch.url);
        let mut growing = Growing::open(fetch).with_context(what)?;
        let resumed = growing.sums.length() > 0;
        let mut vain = 0;
        loop {
            let before = growing.sums.length();
            let Err(error) = self.go_on(fetch, &mut growing) else {
                growing.settling.finish().with_context(what)?;
                return Ok(Fetched { sums: growing.sums, resumed });
            };
            fetch.cancel.check()?;
            if caused_by::<NotInParts>(&error).is_some() {
                growing.alone = true;
            }
            if caused_by::<TooLong>(&error).is_some() {
                // Not the file that was meant, whatever it begins with: nothing of it stays.
                let _ = std::fs::remove_file(fetch.part);
                let _ = std::fs::remove_file(note_path(fetch.part));
                return Err(error).with_context(what);
            }
            let lasting = growing.hopeless || caused_by::<Refused>(&error).is_some();
            vain = if growing.sums.length() >= before + WORTH { 0 } else { vain + 1 };
            if lasting || vain == ATTEMPTS {
                return Err(error).with_context(what);
            }
            std::thread::sleep(Duration::from_millis(200 << vain));
        }
    }

    /// One request, and all that comes of it.
    fn go_on(&self, fetch: &Fetch<'_>, growing: &mut Growing) -> Result<()> {
        let mut request = self.client.get(fetch.url).header(ACCEPT_ENCODING, "identity");
        let have = growing.sums.length();
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
            if let Some(tag) = &growing.tag {
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
                growing.start_again(fetch)?;
                return Err(anyhow!("the server has another file now; beginning again"));
            }
            (status, _) if is_lasting(status) => {
                return Err(Error::new(Refused::with(status)));
            }
            (StatusCode::OK, _) => {
                if have > 0 {
                    growing.start_again(fetch)?;
                }
                growing.note(fetch, strong_tag(response.headers()))?;
                length(response.headers())
            }
            (status, _) => return Err(anyhow!("the server answered {status}")),
        };
        growing.hopeless = true;
        bound::announced(total, fetch.most)?;
        total.map_or(Ok(()), |total| (fetch.room)(total - growing.sums.length().min(total)))?;
        growing.hopeless = false;
        self.take(fetch, growing, response, total)
    }

    /// Takes what an answer holds, and what further connections bring where the server gives parts.
    fn take(
        &self,
        fetch: &Fetch<'_>,
        growing: &mut Growing,
        response: Response,
        total: Option<u64>,
    ) -> Result<()> {
        let have = growing.sums.length();
        match (total, growing.tag.clone()) {
            (Some(to), Some(tag))
                if !growing.alone && to >= have + LARGE && gives_parts(&response) =>
            {
                let (client, url) = (self.client.clone(), fetch.url.to_string());
                let rest = Rest { client, url, tag, from: have, to };
                rest.get(response, fetch.cancel, |bytes| growing.keep(fetch, bytes, total))?;
            }
            _ => read(fetch, growing, response, total)?,
        }
        let have = growing.sums.length();
        match total {
            Some(total) if have < total => {
                Err(anyhow!("the connection ended after {have} of {total} bytes"))
            }
            _ => Ok(()),
        }
    }
}

/// Reads an answer to its end.
fn read(
    fetch: &Fetch<'_>,
    growing: &mut Growing,
    mut response: Response,
    total: Option<u64>,
) -> Result<()> {
    let mut buffer = vec![0; 1 << 18];
    let mut filled = 0;
    let most = total.unwrap_or(fetch.most);
    // Up to where there is known to be room.
    let mut asked = if total.is_some() { u64::MAX } else { 0 };
    loop {
        fetch.cancel.check()?;
        let n = match response.read(&mut buffer[filled..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.context("reading the answer")?,
        };
        filled += n;
        let have = growing.sums.length() + filled as u64;
        bound::sent(have, most)?;
        if have > asked {
            growing.hopeless = true;
            (fetch.room)(STEP)?;
            growing.hopeless = false;
            asked = have + STEP;
        }
        if n > 0 && filled < START && !growing.looked {
            continue;
        }
        growing.keep(fetch, &buffer[..filled], total)?;
        filled = 0;
        if n == 0 {
            return Ok(());
        }
    }
}

/// The file while it grows.
struct Growing {
    file: File,
    settling: Settling,
    sums: Sums,
    /// What the server calls this version of the file.
    tag: Option<String>,
    /// Whether another try would fail as this one did.
    hopeless: bool,
    /// Whether its beginning was looked at.
    looked: bool,
    /// Whether one connection is all that the server allows.
    alone: bool,
}

impl Growing {
    /// Opens the part, as far as it may be gone on with.
    fn open(fetch: &Fetch<'_>) -> Result<Growing> {
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
        let note = std::fs::read_to_string(note_path(part)).unwrap_or_default();
        let (url, tag) = note.trim_end().split_once('\n').unwrap_or((note.trim_end(), ""));
        let tag = Some(tag.to_string()).filter(|tag| !tag.is_empty() && url == fetch.url);
        let mut sums = fetch.sums.clone();
        let too_long = file.metadata().with_context(what)?.len() > fetch.most;
        if too_long || fetch.going == Going::Unknown && tag.is_none() {
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
        let looked = sums.length() > 0;
        let settling = Settling::new(&file).with_context(what)?;
        Ok(Growing { file, settling, sums, tag, hopeless: false, looked, alone: false })
    }

    /// Adds the next bytes; the first ones are looked at before.
    fn keep(&mut self, fetch: &Fetch<'_>, bytes: &[u8], total: Option<u64>) -> Result<()> {
        self.hopeless = true;
        if !self.looked {
            (fetch.look)(&bytes[..bytes.len().min(START)])?;
            self.looked = true;
        }
        let written = self.file.write_all(bytes).and_then(|()| self.settling.wrote(bytes.len()));
        written.context("keeping the download")?;
        self.hopeless = false;
        self.sums.update(bytes);
        (fetch.told)(self.sums.length(), total.unwrap_or(0));
        Ok(())
    }

    fn start_again(&mut self, fetch: &Fetch<'_>) -> Result<()> {
        use std::io::Seek;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.sums = fetch.sums.clone();
        self.tag = None;
        self.looked = false;
        Ok(())
    }

    /// Notes where the part comes from.
    fn note(&mut self, fetch: &Fetch<'_>, tag: Option<String>) -> Result<()> {
        let text = format!("{}\n{}\n", fetch.url, tag.as_deref().unwrap_or(""));
        let path = note_path(fetch.part);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        self.tag = tag;
        Ok(())
    }
}

/// The note beside a part.
pub fn note_path(part: &Path) -> PathBuf {
    let mut path = part.as_os_str().to_owned();
    path.push(".from");
    path.into()
}

/// Whether the server will say no again.
pub(super) fn is_lasting(status: StatusCode) -> bool {
    let passing =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !passing.contains(&status)
}

/// The entity tag, unless it is a weak one, which the same bytes may share with others.
fn strong_tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?;
    (tag.starts_with('"') && tag.ends_with('"')).then(|| tag.to_string())
}

/// Whether the server would answer to a request for a part.
fn gives_parts(response: &Response) -> bool {
    let says = response.headers().get(ACCEPT_RANGES).is_some_and(|units| units == "bytes");
    response.status() == StatusCode::PARTIAL_CONTENT || says
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `bytes 100-199/1000` or `bytes */1000`: the first byte, and how many there are in all.
pub(super) fn content_range(value: Option<&HeaderValue>) -> Option<(Option<u64>, Option<u64>)> {
    let text = value?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let start = match range {
        "*" => None,
        range => Some(range.split_once('-')?.0.parse().ok()?),
    };
    Some((start, total.parse().ok()))
}

//! Small files on a web server: GET, HEAD and PUT of whole files, each with a limit of time and size. For
//! a remote cache, which must not delay a build.

use std::io::Read;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::{StatusCode, header};

use super::{bound, client_builder};
use crate::error::{Context, Result, anyhow, bail};

/// The number of attempts if the server answers with a server error.
const TRIES: u32 = 2;

/// The files below one address of a server.
#[derive(Debug)]
pub struct Store {
    client: Client,
    base: String,
    timeout: Duration,
}

impl Store {
    /// The files below `base`. `timeout` is the limit for one request.
    pub fn new(base: &str, timeout: Duration) -> Result<Store> {
        let client = client_builder()
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .timeout(timeout)
            .user_agent(concat!("kuth/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("preparing the HTTP client")?;
        Ok(Store { client, base: base.trim_end_matches('/').to_string(), timeout })
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// The file `name`, of at most `most` bytes; `None` if the server does not have it.
    pub fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let start = Instant::now();
        let response = self.with_retry(|| self.client.get(self.url(name)).send())?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status if status.is_success() => self.body(name, response, start, most).map(Some),
            status => bail!("the server answered {status}"),
        }
    }

    /// `length` bytes of the file `name` from `at`, fewer where it ends before; `None` if the server does
    /// not have it. A server that knows no parts of files sends all of it, at most `most` bytes.
    pub fn part(&self, name: &str, at: u64, length: u64, most: u64) -> Result<Option<Vec<u8>>> {
        let start = Instant::now();
        let range = format!("bytes={at}-{}", (at + length).saturating_sub(1));
        let get = || self.client.get(self.url(name)).header(header::RANGE, &range).send();
        let response = self.with_retry(get)?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(Vec::new())),
            StatusCode::PARTIAL_CONTENT => self.body(name, response, start, length).map(Some),
            status if status.is_success() => {
                let mut bytes = self.body(name, response, start, most)?;
                bytes.drain(..bytes.len().min(at as usize));
                bytes.truncate(length as usize);
                Ok(Some(bytes))
            }
            status => bail!("the server answered {status}"),
        }
    }

    /// The body of a response to a request that was made at `start`.
    fn body(&self, name: &str, response: Response, start: Instant, most: u64) -> Result<Vec<u8>> {
        let what = || format!("reading {name}");
        bound::announced(response.content_length(), most).with_context(what)?;
        let mut bytes = Vec::new();
        let mut body = response.take(most.saturating_add(1));
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = body.read(&mut buffer).context("reading the response")?;
            if n == 0 {
                break;
            }
            bytes.extend_from_slice(&buffer[..n]);
            // A server that sends slowly is treated like one that hangs.
            if start.elapsed() > self.timeout {
                bail!("the server took more than {} s", self.timeout.as_secs());
            }
        }
        bound::sent(bytes.len() as u64, most).with_context(what)?;
        Ok(bytes)
    }

    /// Whether the server has the file `name`.
    pub fn has(&self, name: &str) -> Result<bool> {
        let response = self.with_retry(|| self.client.head(self.url(name)).send())?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(false),
            status if status.is_success() => Ok(true),
            status => Err(anyhow!("the server answered {status}")),
        }
    }

    /// Stores `bytes` as the file `name`.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let response =
            self.with_retry(|| self.client.put(self.url(name)).body(bytes.to_vec()).send())?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(anyhow!("the server answered {status}")),
        }
    }

    /// Sends a request, and repeats it once after a server error or a lost connection, but not after a
    /// timeout.
    fn with_retry(&self, send: impl Fn() -> reqwest::Result<Response>) -> Result<Response> {
        let mut tried = 1;
        loop {
            let again = match send() {
                Ok(response) if response.status().is_server_error() => Ok(response),
                // Without the address, which may contain a password.
                Err(error) if !error.is_timeout() => Err(error.without_url()),
                Ok(response) => return Ok(response),
                Err(error) => return Err(error.without_url().into()),
            };
            if tried == TRIES {
                return Ok(again?);
            }
            std::thread::sleep(Duration::from_millis(200));
            tried += 1;
        }
    }
}

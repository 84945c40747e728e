//! Small files of a server that stores what it is given: GET, HEAD and PUT of whole files, each
//! with a limit of time and of size. For a cache that must never hold a build up.

use std::io::Read;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};

use super::bound;
use crate::error::{Context, Result, anyhow, bail};

/// How often a request is tried that a server answered with a fault of its own.
const TRIES: u32 = 2;

/// A server's files below one address.
#[derive(Debug)]
pub struct Store {
    client: Client,
    base: String,
    patience: Duration,
}

impl Store {
    /// The files below `base`; no request may take longer than `patience`.
    pub fn new(base: &str, patience: Duration) -> Result<Store> {
        let client = Client::builder()
            .connect_timeout(patience.min(Duration::from_secs(10)))
            .timeout(patience)
            .user_agent(concat!("kuth/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("preparing the HTTP client")?;
        Ok(Store { client, base: base.trim_end_matches('/').to_string(), patience })
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// The file `name`, of at most `most` bytes; `None` where the server has none.
    pub fn get(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let start = Instant::now();
        let response = self.tried(|| self.client.get(self.url(name)).send())?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status if status.is_success() => {}
            status => bail!("the server answered {status}"),
        }
        let what = || format!("reading {name}");
        bound::announced(response.content_length(), most).with_context(what)?;
        let mut bytes = Vec::new();
        let mut body = response.take(most.saturating_add(1));
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = body.read(&mut buffer).context("reading the answer")?;
            if n == 0 {
                break;
            }
            bytes.extend_from_slice(&buffer[..n]);
            // A server that dribbles is as good as one that hangs.
            if start.elapsed() > self.patience {
                bail!("the server took more than {} s", self.patience.as_secs());
            }
        }
        bound::sent(bytes.len() as u64, most).with_context(what)?;
        Ok(Some(bytes))
    }

    /// Whether the server has the file `name`.
    pub fn has(&self, name: &str) -> Result<bool> {
        let response = self.tried(|| self.client.head(self.url(name)).send())?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(false),
            status if status.is_success() => Ok(true),
            status => Err(anyhow!("the server answered {status}")),
        }
    }

    /// Stores `bytes` as the file `name`.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let response =
            self.tried(|| self.client.put(self.url(name)).body(bytes.to_vec()).send())?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(anyhow!("the server answered {status}")),
        }
    }

    /// The answer; a server that is at fault, or went away, is asked once more. One that let all
    /// the time go by is not.
    fn tried(&self, send: impl Fn() -> reqwest::Result<Response>) -> Result<Response> {
        let mut tried = 1;
        loop {
            let again = match send() {
                Ok(response) if response.status().is_server_error() => Ok(response),
                // Without the address: it may hold a password.
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

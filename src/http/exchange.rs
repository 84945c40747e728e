//! Single requests with their headers, for protocols that are more than files: no retries, no redirects
//! to what is not encrypted, and answers with any status.

use std::io::Read;
use std::time::Duration;

use reqwest::Method;
use reqwest::blocking::{Body, Client, Response};
use reqwest::redirect::{Attempt, Policy};

use super::{bound, client_builder};
use crate::error::{Context, Result};

/// The time that any request may take.
const BASE: Duration = Duration::from_secs(60);
/// Bytes in a second that every connection is taken to transfer.
const SLOWEST: u64 = 64 << 10;
/// As many as reqwest itself follows.
const MOST_REDIRECTS: usize = 10;

/// Sends requests.
#[derive(Clone, Debug)]
pub struct Exchange {
    client: Client,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
}

/// What a request carries.
pub enum Payload {
    /// Nothing.
    Nothing,
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes of a reader.
    Stream(Box<dyn Read + Send>, u64),
}

/// The answer to a request.
pub struct Answer {
    response: Response,
}

impl Exchange {
    /// Gets ready. Makes no request.
    pub fn new() -> Result<Exchange> {
        let client = client_builder()
            .connect_timeout(Duration::from_secs(30))
            .redirect(Policy::custom(follow))
            .user_agent(concat!("kuth/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("preparing the HTTP client")?;
        Ok(Exchange { client })
    }

    /// Sends one request. An answer of any status is no error. `length` is how many bytes the answer may
    /// have, for the time that it may take.
    pub fn send(
        &self,
        verb: Verb,
        url: &str,
        headers: &[(&str, &str)],
        payload: Payload,
        length: u64,
    ) -> Result<Answer> {
        let method = match verb {
            Verb::Get => Method::GET,
            Verb::Head => Method::HEAD,
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
        };
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (body, sent) = match payload {
            Payload::Nothing if matches!(verb, Verb::Post | Verb::Put) => {
                (Some(Body::from(Vec::new())), 0)
            }
            Payload::Nothing => (None, 0),
            Payload::Bytes(bytes) => {
                let sent = bytes.len() as u64;
                (Some(Body::from(bytes)), sent)
            }
            Payload::Stream(reader, size) => (Some(Body::sized(reader, size)), size),
        };
        if let Some(body) = body {
            request = request.body(body);
        }
        let time = BASE + Duration::from_secs(length.max(sent) / SLOWEST);
        // Without the address, which may contain a token.
        let response = request.timeout(time).send().map_err(reqwest::Error::without_url)?;
        Ok(Answer { response })
    }
}

/// Registries send clients to their storage. From HTTPS the way never leads to plain HTTP.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_encrypted = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error("too many redirects");
    }
    match was_encrypted && attempt.url().scheme() != "https" {
        true => attempt.error("a redirect to plain HTTP"),
        false => attempt.follow(),
    }
}

impl Answer {
    /// The status: `200`.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    /// The first header of this name that is text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name)?.to_str().ok().map(str::to_string)
    }

    /// All headers of this name that are text.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let values = self.response.headers().get_all(name).iter();
        values.filter_map(|value| value.to_str().ok().map(str::to_string)).collect()
    }

    /// The body, which may have `most` bytes.
    pub fn small(self, most: u64) -> Result<Vec<u8>> {
        bound::announced(self.response.content_length(), most)?;
        let mut bytes = Vec::new();
        self.response.take(most + 1).read_to_end(&mut bytes).context("reading the response")?;
        bound::sent(bytes.len() as u64, most)?;
        Ok(bytes)
    }

    /// The body as it comes.
    pub fn body(self) -> impl Read {
        self.response
    }
}

//! What servers say of ranges: whether they support them, and which part of a file they sent.

use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::{ACCEPT_RANGES, HeaderValue};

/// Whether the server supports range requests.
pub(super) fn supports_ranges(response: &Response) -> bool {
    let announced = response.headers().get(ACCEPT_RANGES).is_some_and(|units| units == "bytes");
    response.status() == StatusCode::PARTIAL_CONTENT || announced
}

/// Parses `bytes 100-199/1000` or `bytes */1000`: the first offset, and the total length.
pub(super) fn content_range(value: Option<&HeaderValue>) -> Option<(Option<u64>, Option<u64>)> {
    let text = value?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let start = match range {
        "*" => None,
        range => Some(range.split_once('-')?.0.parse().ok()?),
    };
    Some((start, total.parse().ok()))
}

//! Downloads a large file over several connections, for servers that limit the rate of each. Each
//! connection fetches every fourth segment. Data is written in file order, so the partial file is
//! always a prefix of the file and can be resumed like any other.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, IF_RANGE, RANGE};

use super::range::content_range;
use super::send;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Result, anyhow};
use crate::threads;

const CONNECTIONS: usize = 4;
const SEGMENT: u64 = 8 << 20;
const PIECE: usize = 256 << 10;
/// The pieces that each connection buffers: one segment, 32 MiB in all.
const QUEUE_LENGTH: usize = (SEGMENT / PIECE as u64) as usize;
/// The interval at which a wait checks for cancellation.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The shortest download, in bytes, that uses several connections.
pub(super) const LARGE: u64 = CONNECTIONS as u64 * SEGMENT;

/// The rest of a file, and how to request it.
#[derive(Clone)]
pub(super) struct Rest {
    pub client: Client,
    pub url: String,
    /// The strong entity tag of this version of the file.
    pub tag: String,
    /// The offset of the first byte to fetch.
    pub from: u64,
    /// The length of the file.
    pub to: u64,
}

/// The server refuses range requests on further connections.
#[derive(Debug)]
pub(super) struct SingleConnectionOnly(StatusCode);

impl std::fmt::Display for SingleConnectionOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server answered {} on a further connection", self.0)
    }
}

impl std::error::Error for SingleConnectionOnly {}

impl Rest {
    /// Fetches it. `first` is a response that begins at `from`. `write` gets the bytes in order, in
    /// pieces of 256 KiB except the last of a segment.
    pub fn fetch(
        self,
        first: Response,
        cancel: &Cancel,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut first = Some(first);
        let start = |connection| {
            let (sender, receiver) = sync_channel(QUEUE_LENGTH);
            let (rest, first) = (self.clone(), first.take());
            // Not joined: a thread ends when the receiver is dropped, or on a timeout.
            threads::detach(move || rest.connection(connection, first, &sender))?;
            Ok(receiver)
        };
        let queues = (0..CONNECTIONS).map(start).collect::<Result<Vec<Receiver<_>>>>()?;
        for (at, (start, end)) in self.segments().enumerate() {
            let mut missing = end - start;
            while missing > 0 {
                cancel.check()?;
                let piece = match queues[at % CONNECTIONS].recv_timeout(CHECK_INTERVAL) {
                    Ok(piece) => piece?,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(anyhow!("a download thread ended without an error"));
                    }
                };
                write(&piece)?;
                missing -= piece.len() as u64;
            }
        }
        Ok(())
    }

    /// The start and end offset of each segment.
    fn segments(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let to = self.to;
        (self.from..to).step_by(SEGMENT as usize).map(move |start| (start, to.min(start + SEGMENT)))
    }

    /// Fetches the segments of one connection into its queue, until the end or an error.
    fn connection(
        &self,
        which: usize,
        mut first: Option<Response>,
        queue: &SyncSender<Result<Vec<u8>>>,
    ) {
        for segment in self.segments().skip(which).step_by(CONNECTIONS) {
            if let Err(error) = self.segment(segment, first.take(), queue) {
                // The receiver may be gone.
                let _ = queue.send(Err(error));
                return;
            }
        }
    }

    fn segment(
        &self,
        (start, end): (u64, u64),
        response: Option<Response>,
        queue: &SyncSender<Result<Vec<u8>>>,
    ) -> Result<()> {
        let mut response = match response {
            Some(response) => response,
            None => self.request(start, end)?,
        };
        let mut missing = end - start;
        while missing > 0 {
            let mut piece = vec![0; missing.min(PIECE as u64) as usize];
            response.read_exact(&mut piece).context("reading the response")?;
            missing -= piece.len() as u64;
            queue.send(Ok(piece)).context("queueing a piece")?;
        }
        Ok(())
    }

    fn request(&self, start: u64, end: u64) -> Result<Response> {
        let request = self.client.get(&self.url).header(ACCEPT_ENCODING, "identity");
        let request = request.header(RANGE, format!("bytes={start}-{}", end - 1));
        let response = send(request.header(IF_RANGE, &self.tag))?;
        match (response.status(), content_range(response.headers().get(CONTENT_RANGE))) {
            (StatusCode::PARTIAL_CONTENT, Some((Some(from), total)))
                if from == start && total.is_none_or(|total| total == self.to) =>
            {
                Ok(response)
            }
            (status, _) => Err(Error::new(SingleConnectionOnly(status))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_the_rest_once() {
        for (from, to) in [(0, 1), (5, 5), (3, SEGMENT + 3), (7, 9 * SEGMENT), (0, 2 * SEGMENT + 1)]
        {
            let (url, tag) = (String::new(), String::new());
            let rest = Rest {
                client: super::super::client_builder().build().unwrap(),
                url,
                tag,
                from,
                to,
            };
            let mut at = from;
            for (start, end) in rest.segments() {
                assert!(start == at && start < end && end - start <= SEGMENT);
                at = end;
            }
            assert_eq!(at, to);
        }
    }
}

//! One big file over several connections, for servers that give each of them a share alone. Each
//! connection gets every fourth segment; what comes is taken in the order of the file, so the part
//! on the disk is its beginning at any moment and can be gone on with as any other.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, IF_RANGE, RANGE};

use super::resume::content_range;
use super::send;
use crate::cancel::Cancel;
use crate::error::{Context, Error, Result, anyhow};

const CONNECTIONS: usize = 4;
const SEGMENT: u64 = 8 << 20;
const PIECE: usize = 256 << 10;
/// Pieces of a connection that wait for their turn: a segment, 32 MiB in all.
const WAITING: usize = (SEGMENT / PIECE as u64) as usize;
/// How often a wait looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// What is worth more than one connection.
pub(super) const LARGE: u64 = CONNECTIONS as u64 * SEGMENT;

/// The rest of a file, and how it is asked for.
#[derive(Clone)]
pub(super) struct Rest {
    pub client: Client,
    pub url: String,
    /// The server's strong tag of this version of the file.
    pub tag: String,
    /// The first byte to come.
    pub from: u64,
    /// The length of the file.
    pub to: u64,
}

/// The server does not give parts to several connections.
#[derive(Debug)]
pub(super) struct NotInParts(StatusCode);

impl std::fmt::Display for NotInParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server answered {} to a further connection", self.0)
    }
}

impl std::error::Error for NotInParts {}

impl Rest {
    /// Gets it; `first` is an answer that begins with its first byte. `take` gets the bytes in order,
    /// in pieces of 256 KiB apart from the last of a segment.
    pub fn get(
        self,
        first: Response,
        cancel: &Cancel,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut first = Some(first);
        let queues: Vec<Receiver<Result<Vec<u8>>>> = (0..CONNECTIONS)
            .map(|connection| {
                let (sender, receiver) = sync_channel(WAITING);
                let (rest, first) = (self.clone(), first.take());
                // Nobody waits for these: they end when nobody listens, or the server is too slow.
                std::thread::spawn(move || rest.connection(connection, first, &sender));
                receiver
            })
            .collect();
        for (at, (start, end)) in self.segments().enumerate() {
            let mut missing = end - start;
            while missing > 0 {
                cancel.check()?;
                let piece = match queues[at % CONNECTIONS].recv_timeout(LOOK) {
                    Ok(piece) => piece?,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(anyhow!("a connection ended without a word"));
                    }
                };
                take(&piece)?;
                missing -= piece.len() as u64;
            }
        }
        Ok(())
    }

    /// First byte and end of each segment.
    fn segments(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let to = self.to;
        (self.from..to).step_by(SEGMENT as usize).map(move |start| (start, to.min(start + SEGMENT)))
    }

    /// Sends the pieces of one connection's segments, until the end or an error.
    fn connection(
        &self,
        which: usize,
        mut first: Option<Response>,
        queue: &SyncSender<Result<Vec<u8>>>,
    ) {
        for segment in self.segments().skip(which).step_by(CONNECTIONS) {
            if let Err(error) = self.segment(segment, first.take(), queue) {
                // Whoever does not listen any more does not want to know.
                let _ = queue.send(Err(error));
                return;
            }
        }
    }

    fn segment(
        &self,
        (start, end): (u64, u64),
        answer: Option<Response>,
        queue: &SyncSender<Result<Vec<u8>>>,
    ) -> Result<()> {
        let mut answer = match answer {
            Some(answer) => answer,
            None => self.ask(start, end)?,
        };
        let mut missing = end - start;
        while missing > 0 {
            let mut piece = vec![0; missing.min(PIECE as u64) as usize];
            answer.read_exact(&mut piece).context("reading the answer")?;
            missing -= piece.len() as u64;
            queue.send(Ok(piece)).context("nobody listens")?;
        }
        Ok(())
    }

    fn ask(&self, start: u64, end: u64) -> Result<Response> {
        let request = self.client.get(&self.url).header(ACCEPT_ENCODING, "identity");
        let request = request.header(RANGE, format!("bytes={start}-{}", end - 1));
        let answer = send(request.header(IF_RANGE, &self.tag))?;
        match (answer.status(), content_range(answer.headers().get(CONTENT_RANGE))) {
            (StatusCode::PARTIAL_CONTENT, Some((Some(from), total)))
                if from == start && total.is_none_or(|total| total == self.to) =>
            {
                Ok(answer)
            }
            (status, _) => Err(Error::new(NotInParts(status))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_what_is_left_once() {
        for (from, to) in [(0, 1), (5, 5), (3, SEGMENT + 3), (7, 9 * SEGMENT), (0, 2 * SEGMENT + 1)]
        {
            let (url, tag) = (String::new(), String::new());
            let rest = Rest { client: Client::new(), url, tag, from, to };
            let mut at = from;
            for (start, end) in rest.segments() {
                assert!(start == at && start < end && end - start <= SEGMENT);
                at = end;
            }
            assert_eq!(at, to);
        }
    }
}

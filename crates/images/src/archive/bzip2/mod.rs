//! Decompresses bzip2 on several threads, in bounded memory. One thread cuts the input at the
//! marks that begin blocks, several decode a block each, and the reader puts the results in order
//! and checks what holds the blocks together: the checksum of each stream, and that one follows
//! the other without a gap.
//!
//! A mark is 48 bits, so compressed data may hold one by chance or on purpose. The piece before it
//! then fails its own checksum, and is tried again together with the next one.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::Result;
use crate::threads;

mod block;
mod piece;
mod scan;
mod transform;

use piece::{Mark, Piece};
use scan::Scanner;

/// More threads would take more memory than is worth it: a block can decode to 46 MB.
const MOST_THREADS: usize = 8;
/// Pieces that wait before and after each thread.
const QUEUE: usize = 1;
/// What is read at once.
const CHUNK: usize = 1 << 18;
/// No block is longer: 900 000 symbols of 20 bits, and its tables.
const LONGEST: usize = 4 << 20;
/// What a stream begins with, before the digit of its block size.
const HEAD: &[u8] = b"BZh";

enum Job {
    Piece(Piece),
    /// The input ended like this.
    Failed(io::Error),
}

enum Outcome {
    /// A piece and what it decodes to.
    Block(Piece, io::Result<Vec<u8>>),
    /// The end of a stream, and what follows it.
    End(Piece),
    Failed(io::Error),
}

/// Hands `input` decompressed to `take`, which has to read to the end to have all checked.
pub fn decode<T>(
    input: impl Read + Send,
    threads: usize,
    take: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    let threads = threads.clamp(1, MOST_THREADS);
    std::thread::scope(|scope| {
        let (mut jobs, mut outcomes) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (job, incoming) = sync_channel(QUEUE);
            let (outgoing, outcome) = sync_channel(QUEUE);
            jobs.push(job);
            outcomes.push(outcome);
            threads::start(scope, move || work(&incoming, &outgoing))?;
        }
        threads::start(scope, move || cut(input, &jobs))?;
        // Dropped at the end, which ends the threads.
        let mut decoded = Decoded::new(outcomes);
        take(&mut decoded)
    })
}

/// Cuts the input into pieces and deals them out, until the end or until nobody listens.
fn cut(mut input: impl Read, jobs: &[SyncSender<Job>]) {
    let mut dealt = 0;
    let mut deal = |job| {
        dealt += 1;
        jobs[(dealt - 1) % jobs.len()].send(job).is_ok()
    };
    let mut scanner = Scanner::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                deal(Job::Failed(error));
                return;
            }
        };
        let mut listening = true;
        scanner.feed(&chunk[..n], |piece| listening = listening && deal(Job::Piece(piece)));
        if !listening {
            return;
        }
        if scanner.waiting() > LONGEST {
            deal(Job::Failed(damaged(scanner.piece_at(), "holds no block")));
            return;
        }
    }
    deal(match scanner.finish() {
        Some(piece) => Job::Piece(piece),
        None => Job::Failed(damaged(0, "does not begin as bzip2 data does")),
    });
}

fn work(jobs: &Receiver<Job>, outcomes: &SyncSender<Outcome>) {
    for job in jobs {
        let outcome = match job {
            Job::Piece(piece) if piece.mark == Mark::Block => {
                let decoded = piece.decode();
                Outcome::Block(piece, decoded)
            }
            Job::Piece(piece) => Outcome::End(piece),
            Job::Failed(error) => Outcome::Failed(error),
        };
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}

fn damaged(at: u64, why: &str) -> io::Error {
    let text = format!("the bzip2 data {why}, at byte {at}; it is damaged or cut short");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The decompressed bytes, in order.
struct Decoded {
    outcomes: Vec<Receiver<Outcome>>,
    /// How many outcomes were taken.
    taken: usize,
    block: Vec<u8>,
    /// How much of `block` was read.
    at: usize,
    /// The checksum of the stream so far.
    crc: u32,
    between: Between,
}

/// What may come next.
#[derive(PartialEq, Eq)]
enum Between {
    /// A block, or the end of the stream.
    Stream,
    /// Nothing.
    End,
}

impl Decoded {
    fn new(outcomes: Vec<Receiver<Outcome>>) -> Decoded {
        let block = Vec::new();
        Decoded { outcomes, taken: 0, block, at: 0, crc: 0, between: Between::Stream }
    }

    fn take(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes[self.taken % self.outcomes.len()].recv().ok()?;
        self.taken += 1;
        Some(outcome)
    }

    /// The next block with something in it; nothing at the end.
    fn advance(&mut self) -> io::Result<()> {
        (self.block, self.at) = (Vec::new(), 0);
        while self.block.is_empty() {
            match self.take() {
                None if self.between == Between::End => return Ok(()),
                None => return Err(damaged(0, "ends inside a stream")),
                Some(Outcome::Failed(error)) => return Err(error),
                Some(Outcome::Block(piece, _) | Outcome::End(piece))
                    if self.between == Between::End =>
                {
                    return Err(damaged(piece.at, "goes on after its end"));
                }
                Some(Outcome::Block(piece, decoded)) => self.block = self.join(piece, decoded)?,
                Some(Outcome::End(piece)) => self.end(&piece)?,
            }
        }
        Ok(())
    }

    /// A block, joined with the pieces behind it for as long as it fails.
    fn join(&mut self, mut piece: Piece, mut decoded: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        loop {
            if let Ok(block) = decoded {
                self.crc = self.crc.rotate_left(1) ^ piece.crc();
                return Ok(block);
            }
            match self.take() {
                Some(Outcome::Block(next, _) | Outcome::End(next))
                    if piece.len() + next.len() <= LONGEST =>
                {
                    piece.append(&next);
                    decoded = piece.decode();
                }
                Some(Outcome::Failed(error)) => return Err(error),
                _ => return Err(damaged(piece.at, "has a block that cannot be read")),
            }
        }
    }

    /// Checks the end of a stream, and what follows it: the head of another, or zeros to the end.
    fn end(&mut self, piece: &Piece) -> io::Result<()> {
        if piece.crc() != self.crc {
            return Err(damaged(piece.at, "has a stream with a wrong checksum"));
        }
        self.crc = 0;
        let rest = piece.behind_the_end();
        match rest {
            [b'B', b'Z', b'h', b'1'..=b'9'] => {}
            rest if rest.iter().all(|byte| *byte == 0) => self.between = Between::End,
            _ => return Err(damaged(piece.at, "is followed by something else")),
        }
        Ok(())
    }
}

impl Read for Decoded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() && !buf.is_empty() {
            self.advance()?;
        }
        let n = buf.len().min(self.block.len() - self.at);
        buf[..n].copy_from_slice(&self.block[self.at..][..n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests;

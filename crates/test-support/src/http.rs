//! A small HTTP server that answers as its test says, and records what it was asked and
//! how much it sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The value of the header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Behind the last byte asked for.
    pub fn end(&self) -> usize {
        let end = self.header("range").and_then(|range| range.rsplit_once('-')?.1.parse().ok());
        end.map_or(usize::MAX, |last: usize| last + 1)
    }

    /// The first byte asked for.
    pub fn start(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.map_or(0, |range| range.split('-').next().unwrap().parse().unwrap())
    }
}

/// What to answer.
pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// How many bytes of the body are sent before the connection ends.
    pub cut: usize,
    /// How many bytes are sent at once.
    pub piece: usize,
    /// How long each piece takes.
    pub pause: Duration,
    /// How many bytes are sent behind the body, as long as somebody takes them.
    pub flood: u64,
}

/// What a server without an end sends: more than any of these tests' bounds, and no more than a
/// disk can take should there be none.
pub const FLOOD: u64 = 256 << 20;

impl Answer {
    /// All of `body`.
    pub fn ok(body: &[u8]) -> Answer {
        let headers = vec![("Content-Length", body.len().to_string())];
        Answer {
            status: "200 OK",
            headers,
            body: body.to_vec(),
            cut: usize::MAX,
            piece: 16 << 10,
            pause: Duration::ZERO,
            flood: 0,
        }
    }

    /// `body`, with no length announced: in chunks.
    pub fn chunked(body: &[u8]) -> Answer {
        let headers = vec![("Transfer-Encoding", "chunked".to_string())];
        Answer { headers, ..Answer::ok(body) }
    }

    /// `body` and then more and more, with no length announced.
    pub fn flood(body: &[u8]) -> Answer {
        Answer { flood: FLOOD, ..Answer::chunked(body) }
    }

    /// `body` and then as much as is announced: more than any bound.
    pub fn long(body: &[u8]) -> Answer {
        let headers = vec![("Content-Length", (body.len() as u64 + FLOOD).to_string())];
        Answer { headers, flood: FLOOD, ..Answer::ok(body) }
    }

    /// A refusal with this status line.
    pub fn refusal(status: &'static str) -> Answer {
        Answer { status, ..Answer::ok(b"no\n") }
    }

    /// What a good server answers: the part asked for, if it is still of the same file.
    pub fn part(request: &Request, body: &[u8], tag: &str) -> Answer {
        let (start, end) = (request.start(), request.end().min(body.len()));
        let same = request.header("if-range").is_none_or(|wanted| wanted == tag);
        let total = body.len();
        let answer = match start {
            start if start > 0 && start >= total && same => {
                Answer::refusal("416 Range Not Satisfiable")
                    .with("Content-Range", format!("bytes */{total}"))
            }
            start if (start > 0 || end < total) && same => Answer {
                status: "206 Partial Content",
                ..Answer::ok(&body[start..end])
                    .with("Content-Range", format!("bytes {start}-{}/{total}", end - 1))
            },
            _ => Answer::ok(body),
        };
        answer.with("ETag", tag.to_string())
    }

    /// The file of a path below `directory`, or 404.
    pub fn file(directory: &Path, path: &str) -> Answer {
        let path = path.replace("%2b", "+").replace("%3a", ":");
        match std::fs::read(directory.join(path.trim_start_matches('/'))) {
            Ok(body) => Answer::ok(&body),
            Err(_) => Answer::refusal("404 Not Found"),
        }
    }

    /// With one more header.
    pub fn with(mut self, name: &'static str, value: String) -> Answer {
        self.headers.push((name, value));
        self
    }

    /// Ends the connection after `cut` bytes.
    pub fn cut(self, cut: usize) -> Answer {
        Answer { cut, ..self }
    }

    /// With a pause before each piece.
    pub fn slow(self, pause: Duration) -> Answer {
        Answer { pause, ..self }
    }
}

/// A server that runs until the test ends.
#[derive(Debug)]
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicU64>,
}

impl Server {
    /// `answer` gets each request and its number, from 0.
    pub fn start(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let sent = Arc::<AtomicU64>::default();
        let (seen, counted) = (requests.clone(), sent.clone());
        let serve = Arc::new(move |stream: TcpStream| {
            let Some(request) = read(&stream) else { return };
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(request.clone());
                seen.len() - 1
            };
            send(stream, &answer(number, &request), &counted);
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, stream) = (serve.clone(), stream.unwrap());
                std::thread::spawn(move || serve(stream));
            }
        });
        Server { address, requests, sent }
    }

    /// How many bytes of bodies were taken so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The paths asked for since the last time.
    pub fn asked(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        requests.into_iter().map(|request| request.path).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_string);
    let (method, path) = (words.next()?, words.next()?);
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_lowercase(), value.to_string()))
        })
        .collect();
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// The other end may have gone.
fn send(mut stream: TcpStream, answer: &Answer, counted: &AtomicU64) {
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = &answer.body[..answer.cut.min(answer.body.len())];
    let mut sent = stream.write_all(format!("{head}\r\n").as_bytes());
    let flood = [b'x'; 16 << 10];
    let floods = std::iter::repeat_n(&flood[..], (answer.flood / flood.len() as u64) as usize);
    let chunked = answer.headers.iter().any(|(name, _)| *name == "Transfer-Encoding");
    for piece in body.chunks(answer.piece).chain(floods) {
        std::thread::sleep(answer.pause);
        sent = sent.and_then(|()| match chunked {
            true => {
                let head = format!("{:x}\r\n", piece.len());
                stream.write_all(&[head.as_bytes(), piece, b"\r\n"].concat())
            }
            false => stream.write_all(piece),
        });
        if sent.is_err() {
            return;
        }
        counted.fetch_add(piece.len() as u64, Ordering::SeqCst);
    }
    if chunked {
        let _ = stream.write_all(b"0\r\n\r\n");
    }
}

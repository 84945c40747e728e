//! A small HTTP server that answers as its test tells it to, and remembers what it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request: its path, and its headers in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
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
    /// So much of the body is sent before the connection ends.
    pub cut: usize,
    /// How long each 16 KiB of it take.
    pub pause: Duration,
}

impl Answer {
    /// All of `body`.
    pub fn ok(body: &[u8]) -> Answer {
        let headers = vec![("Content-Length", body.len().to_string())];
        Answer {
            status: "200 OK",
            headers,
            body: body.to_vec(),
            cut: usize::MAX,
            pause: Duration::ZERO,
        }
    }

    pub fn refusal(status: &'static str) -> Answer {
        Answer { status, ..Answer::ok(b"no\n") }
    }

    /// What a good server answers: the part asked for, if it is still of the same file.
    pub fn part(request: &Request, body: &[u8], tag: &str) -> Answer {
        let start = request.start();
        let same = request.header("if-range").is_none_or(|wanted| wanted == tag);
        let total = body.len();
        let answer = match start {
            start if start > 0 && start >= total && same => {
                Answer::refusal("416 Range Not Satisfiable")
                    .with("Content-Range", format!("bytes */{total}"))
            }
            start if start > 0 && same => Answer {
                status: "206 Partial Content",
                ..Answer::ok(&body[start..])
                    .with("Content-Range", format!("bytes {start}-{}/{total}", total - 1))
            },
            _ => Answer::ok(body),
        };
        answer.with("ETag", tag.to_string())
    }

    pub fn with(mut self, name: &'static str, value: String) -> Answer {
        self.headers.push((name, value));
        self
    }

    /// Ends the connection after `cut` bytes.
    pub fn cut(self, cut: usize) -> Answer {
        Answer { cut, ..self }
    }

    pub fn slow(self, pause: Duration) -> Answer {
        Answer { pause, ..self }
    }
}

/// A server that runs until the test ends.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` gets each request and its number, from 0.
    pub fn start(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let seen = requests.clone();
        let serve = Arc::new(move |stream: TcpStream| {
            let Some(request) = read(&stream) else { return };
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(request.clone());
                seen.len() - 1
            };
            send(stream, &answer(number, &request));
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, stream) = (serve.clone(), stream.unwrap());
                std::thread::spawn(move || serve(stream));
            }
        });
        Server { address, requests }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_string();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_lowercase(), value.to_string()))
        })
        .collect();
    Some(Request { path, headers })
}

/// The other end may have gone.
fn send(mut stream: TcpStream, answer: &Answer) {
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = &answer.body[..answer.cut.min(answer.body.len())];
    let mut sent = stream.write_all(format!("{head}\r\n").as_bytes());
    for piece in body.chunks(16 << 10) {
        std::thread::sleep(answer.pause);
        sent = sent.and_then(|()| stream.write_all(piece));
    }
}

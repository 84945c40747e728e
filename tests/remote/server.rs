//! A small HTTP server that stores what it is sent, and misbehaves as its test tells it to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Its work.
    Good,
    /// Answers 500.
    Fault,
    /// Says nothing.
    Hang,
    /// Sends a byte now and then.
    Dribble,
    /// Gives the bytes of another file.
    Lie,
    /// Sends half and ends the connection.
    Cut,
    /// Sends without end.
    Flood,
}

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;
type Rule = Arc<Mutex<Box<dyn FnMut(&str, &str) -> Manner + Send>>>;

pub struct Server {
    pub address: String,
    rule: Rule,
    requests: Requests,
}

impl Server {
    /// One that behaves.
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/cache", listener.local_addr().unwrap());
        let files = Files::default();
        let rule: Rule = Arc::new(Mutex::new(Box::new(|_, _| Manner::Good)));
        let (shared, requests) = (rule.clone(), Requests::default());
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, rule, seen) = (files.clone(), shared.clone(), seen.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &files, &rule, &seen));
            }
        });
        Server { address, rule, requests }
    }

    /// The path and the body of each request so far.
    pub fn requests(&self) -> Vec<(String, Vec<u8>)> {
        self.requests.lock().unwrap().clone()
    }

    /// `rule` gets the method and path of each request.
    pub fn behave(&self, rule: impl FnMut(&str, &str) -> Manner + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }
}

fn serve(stream: TcpStream, files: &Files, rule: &Rule, seen: &Requests) {
    let mut reader = BufReader::new(&stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(n) if n > 0 && !line.trim().is_empty() => lines.push(line.trim().to_string()),
            Ok(_) => break,
            Err(_) => return,
        }
    }
    let Some(first) = lines.first() else { return };
    let mut words = first.split(' ').map(str::to_string);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    seen.lock().unwrap().push((path.clone(), body.clone()));
    let manner = (rule.lock().unwrap())(&method, &path);
    let file = match manner {
        Manner::Lie => {
            let files = files.lock().unwrap();
            let kind = path.rsplit_once('.').map(|(_, kind)| kind.to_string());
            let other = files.iter().find(|(name, _)| {
                **name != path && name.rsplit_once('.').map(|(_, it)| it.to_string()) == kind
            });
            other.map(|(_, bytes)| bytes.clone())
        }
        _ => files.lock().unwrap().get(&path).cloned(),
    };
    let mut out = &stream;
    let mut answer = |status: &str, body: &[u8], length: usize| {
        let head =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        // The other end may have gone.
        let _ = out.write_all(head.as_bytes()).and_then(|()| out.write_all(body));
    };
    match (manner, method.as_str(), file) {
        (Manner::Fault, ..) => answer("500 Internal Server Error", b"", 0),
        (Manner::Hang, ..) => std::thread::sleep(Duration::from_secs(60)),
        (Manner::Dribble, "GET", Some(bytes)) => {
            answer("200 OK", &bytes[..1], bytes.len());
            for byte in &bytes[1..] {
                std::thread::sleep(Duration::from_millis(300));
                if (&stream).write_all(&[*byte]).is_err() {
                    break;
                }
            }
        }
        (Manner::Cut, "GET", Some(bytes)) => {
            answer("200 OK", &bytes[..bytes.len() / 2], bytes.len());
        }
        (Manner::Flood, "GET", _) => {
            let mut out = &stream;
            let _ = out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while out.write_all(&[b'x'; 1 << 16]).is_ok() {}
        }
        (_, "MKCOL", _) => answer("201 Created", b"", 0),
        // A directory, or a file.
        (_, "PROPFIND", file) => {
            let kind = match (&file, path.ends_with('/')) {
                (Some(bytes), _) => format!(
                    "<D:getcontentlength>{}</D:getcontentlength><D:resourcetype/>",
                    bytes.len()
                ),
                (None, true) => "<D:resourcetype><D:collection/></D:resourcetype>".to_string(),
                (None, false) => return answer("404 Not Found", b"", 0),
            };
            let body = format!(
                "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\"><D:response>\
                 <D:href>{path}</D:href><D:propstat><D:prop>\
                 <D:getlastmodified>Wed, 01 Jan 2025 10:00:00 GMT</D:getlastmodified>{kind}\
                 </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>\
                 </D:multistatus>"
            );
            answer("207 Multi-Status", body.as_bytes(), body.len());
        }
        (_, "PUT", _) => {
            files.lock().unwrap().insert(path, body);
            answer("201 Created", b"", 0);
        }
        (_, "HEAD", Some(bytes)) => answer("200 OK", b"", bytes.len()),
        (_, _, Some(bytes)) => answer("200 OK", &bytes, bytes.len()),
        (_, _, None) => answer("404 Not Found", b"", 0),
    }
}

//! A small HTTP server that stores what it is sent, and misbehaves as its test tells it to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kuth_test_support::http::{self, Answer, Request};

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

type Rule = Arc<Mutex<Box<dyn FnMut(&str, &str) -> Manner + Send>>>;

pub struct Server {
    pub address: String,
    rule: Rule,
    server: http::Server,
}

impl Server {
    /// One that behaves.
    pub fn start() -> Server {
        let rule: Rule = Arc::new(Mutex::new(Box::new(|_, _| Manner::Good)));
        let (shared, files) = (rule.clone(), Mutex::default());
        let server = http::Server::start(move |_, request| {
            let manner = (shared.lock().unwrap())(&request.method, &request.path);
            answer(request, manner, &files)
        });
        Server { address: format!("{}/cache", server.address), rule, server }
    }

    /// The path and the body of each request so far.
    pub fn requests(&self) -> Vec<(String, Vec<u8>)> {
        let requests = self.server.requests().into_iter();
        requests.map(|request| (request.path, request.body)).collect()
    }

    /// `rule` gets the method and path of each request.
    pub fn behave(&self, rule: impl FnMut(&str, &str) -> Manner + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }
}

fn answer(request: &Request, manner: Manner, files: &Mutex<BTreeMap<String, Vec<u8>>>) -> Answer {
    let path = request.path.as_str();
    let kind = |path: &str| path.rsplit_once('.').map(|(_, kind)| kind.to_string());
    let mut files = files.lock().unwrap();
    let other = || files.iter().find(|(name, _)| *name != path && kind(name) == kind(path));
    let file = match manner {
        Manner::Lie => other().map(|(_, bytes)| bytes.clone()),
        _ => files.get(path).cloned(),
    };
    let empty = |status| Answer { status, ..Answer::ok(b"") };
    match (manner, request.method.as_str(), file) {
        (Manner::Fault, ..) => empty("500 Internal Server Error"),
        (Manner::Hang, ..) => {
            drop(files);
            std::thread::sleep(Duration::from_secs(60));
            empty("200 OK")
        }
        (Manner::Dribble, "GET", Some(bytes)) => {
            let pause = Duration::from_millis(300);
            Answer { piece: 1, ..Answer::ok(&bytes) }.slow(pause)
        }
        (Manner::Cut, "GET", Some(bytes)) => Answer::ok(&bytes).cut(bytes.len() / 2),
        (Manner::Flood, "GET", _) => Answer { headers: Vec::new(), ..Answer::flood(b"") },
        (_, "MKCOL", _) => empty("201 Created"),
        // A directory, or a file.
        (_, "PROPFIND", file) => {
            let kind = match (&file, path.ends_with('/')) {
                (Some(bytes), _) => format!(
                    "<D:getcontentlength>{}</D:getcontentlength><D:resourcetype/>",
                    bytes.len()
                ),
                (None, true) => "<D:resourcetype><D:collection/></D:resourcetype>".to_string(),
                (None, false) => return empty("404 Not Found"),
            };
            let body = format!(
                "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\"><D:response>\
                 <D:href>{path}</D:href><D:propstat><D:prop>\
                 <D:getlastmodified>Wed, 01 Jan 2025 10:00:00 GMT</D:getlastmodified>{kind}\
                 </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>\
                 </D:multistatus>"
            );
            Answer { status: "207 Multi-Status", ..Answer::ok(body.as_bytes()) }
        }
        (_, "PUT", _) => {
            files.insert(path.to_string(), request.body.clone());
            empty("201 Created")
        }
        (_, "HEAD", Some(bytes)) => Answer::ok(&bytes).cut(0),
        (_, _, Some(bytes)) if request.header("range").is_some() => {
            Answer::part(request, &bytes, "tag")
        }
        (_, _, Some(bytes)) => Answer::ok(&bytes),
        (_, _, None) => empty("404 Not Found"),
    }
}

//! A web server for a directory that remembers what it was asked. It answers for an archive of old
//! packages too: with the last day before the one asked for, and with files by their hash.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// It runs until the tests end.
pub struct Server {
    pub address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(directory: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (seen, directory) = (asked.clone(), directory.to_path_buf());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, seen, directory) = (stream.unwrap(), seen.clone(), directory.clone());
                std::thread::spawn(move || {
                    let _ = serve(stream, &seen, &directory);
                });
            }
        });
        Server { address, asked }
    }

    /// The paths asked for since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    directory: &Path,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_string();
        while line.trim_end() != "" {
            line.clear();
            reader.read_line(&mut line)?;
        }
        seen.lock().unwrap().push(path.clone());
        let path = path.replace("%2b", "+").replace("%3a", ":");
        let (status, body) = match std::fs::read(place(directory, path.trim_start_matches('/'))) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", b"not here\n".to_vec()),
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(&body)?;
    }
}

/// The file of a path. `archive/debian/DAY/` is the last day there that is not after `DAY`.
fn place(directory: &Path, path: &str) -> PathBuf {
    let days = directory.join("archive/debian");
    let Some((day, rest)) =
        path.strip_prefix("archive/debian/").and_then(|path| path.split_once('/'))
    else {
        return directory.join(path);
    };
    let names = std::fs::read_dir(&days).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    match names.filter(|name| name.as_str() <= day).max() {
        Some(name) => days.join(name).join(rest),
        None => directory.join(path),
    }
}

//! Real servers for the time of a test: nginx with its WebDAV module, and S3 as moto plays it.
//! `None` where one is not installed, which is said.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::judge::{missing, search_path};

/// A server that ends with the test.
pub struct Server {
    child: Child,
    /// What it is reached by: `http://127.0.0.1:PORT`.
    pub address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process is this test's own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// nginx, which keeps what is PUT below `/cache/` in `files/` of the directory.
    pub fn nginx(directory: &Path) -> Option<Server> {
        let program = program("nginx")?;
        let port = free_port();
        let at = directory.display();
        std::fs::create_dir_all(directory.join("files")).unwrap();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log {at}/error.log;\n\
             events {{}}\nhttp {{\naccess_log off;\nclient_max_body_size 0;\n\
             client_body_temp_path {at}/body;\nproxy_temp_path {at}/p;\nfastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u;\nscgi_temp_path {at}/s;\n\
             server {{\nlisten 127.0.0.1:{port};\nlocation /cache/ {{\nalias {at}/files/;\n\
             dav_methods PUT;\ncreate_full_put_path on;\n}}\n}}\n}}\n"
        );
        std::fs::write(directory.join("nginx.conf"), config).unwrap();
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(directory.join("nginx.conf"))
            .arg("-e")
            .arg(directory.join("error.log"));
        Some(Server::start(command, port))
    }

    /// S3 with an empty bucket `bucket`.
    pub fn s3() -> Option<Server> {
        let program = program("moto_server")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server = Server::start(command, port);
        // As anybody may make one there.
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = "PUT /bucket HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n";
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        Some(server)
    }

    /// What leads a client to an S3 server and lets it in.
    pub fn s3_variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.address),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// Starts a program that listens on `port`, and waits until it does.
    pub fn start(mut command: Command, port: u16) -> Server {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Server { child, address: format!("http://127.0.0.1:{port}") };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

/// A port that nobody listens on, and that the system gives to no client: it takes theirs from
/// those above 32767. Other test programs begin to look elsewhere.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(37).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = 16_384 + (number % 16_384) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A program, also where `scripts/setup` puts what has no package; says so where there is none.
pub fn program(name: &str) -> Option<PathBuf> {
    let own =
        ["target/moto/bin", "target/ci/bin", "target/ci/node_modules/.bin", "target/tombi/bin"];
    let own = own.map(|directory| crate::checkout().join(directory));
    let directories = search_path().into_iter().chain(own);
    let found = directories.map(|directory| directory.join(name)).find(|it| it.is_file());
    if found.is_none() {
        missing(name);
    }
    found
}

//! Servers that tests start for themselves, and where their programs are found. Each test target
//! uses some of it.

#![allow(dead_code)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The process is this test's own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens.
pub fn wait_for(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "the server does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A program, also where `scripts/setup` puts what has no package.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = ["target/moto/bin", "target/ci/bin", "target/ci/node_modules/.bin"];
    let own = own.map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let folders = path.split(':').map(PathBuf::from).chain(own).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|it| it.is_file());
    if found.is_none() {
        assert!(std::env::var_os("KUTH_REQUIRE_TOOLS").is_none(), "{name} is not installed");
        eprintln!("SKIPPED: {name} is not installed");
    }
    found
}

/// S3 as moto plays it, with a bucket `bucket`; it ends with the first of the pair. The second is
/// the environment of who uses it.
pub fn s3() -> Option<(Running, [(&'static str, String); 4])> {
    let program = tool("moto_server")?;
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = Running(child);
    wait_for(port);
    let endpoint = format!("http://127.0.0.1:{port}");
    // A bucket, as anybody may make one there.
    let http = reqwest::blocking::Client::new();
    let answer = http.put(format!("{endpoint}/bucket")).send().unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "id".to_string()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_string()),
        ("AWS_REGION", "us-east-1".to_string()),
    ];
    Some((running, variables))
}

//! A little of QMP, QEMU's control protocol: lines of JSON over a local socket.
//!
//! Source: QEMU's docs/interop/qmp-spec.rst.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Context, Result, bail};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection that takes commands.
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to the QEMU of the machine in `place`.
    pub fn connect(place: &Path) -> Result<Qmp> {
        let what = || format!("asking the QEMU of {}", place.display());
        // A socket's path may have 107 bytes; through the directory's handle it is always short.
        let directory = File::open(place).with_context(what)?;
        let path = format!("/proc/self/fd/{}/qmp.sock", directory.as_raw_fd());
        let stream = UnixStream::connect(path).with_context(what)?;
        stream.set_read_timeout(Some(ANSWER)).with_context(what)?;
        stream.set_write_timeout(Some(ANSWER)).with_context(what)?;
        let mut qmp = Qmp { stream: BufReader::new(stream) };
        qmp.read().with_context(what)?;
        qmp.execute("qmp_capabilities").with_context(what)?;
        Ok(qmp)
    }

    /// Executes a command without arguments.
    pub fn execute(&mut self, command: &str) -> Result<Value> {
        let line = json!({ "execute": command }).to_string() + "\n";
        self.stream.get_mut().write_all(line.as_bytes()).context("writing to QEMU")?;
        loop {
            // Events come in between.
            let answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses `{command}`: {error}");
            }
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("reading from QEMU")? == 0 {
            bail!("QEMU closed the connection");
        }
        serde_json::from_str(&line).context("reading from QEMU")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn events_between_command_and_answer_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("qmp.sock")).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"QMP\": {}}\r\n").unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in ["{\"return\": {}}\n", "{\"event\": \"X\"}\n{\"return\": 1}\n"] {
                lines.next().unwrap().unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
            lines.next().unwrap().unwrap();
            stream.write_all(b"{\"error\": {\"desc\": \"no\"}}\n").unwrap();
        });
        let mut qmp = Qmp::connect(directory.path()).unwrap();
        assert_eq!(qmp.execute("query").unwrap(), 1);
        assert!(qmp.execute("query").unwrap_err().to_string().contains("QEMU refuses `query`"));
        server.join().unwrap();
    }
}

//! Receives the output of a build host: lines of JSON, some followed by the data of a file without
//! its holes. Writes exports and the lock file, and nothing else.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::cli::progress::wire;
use crate::engine::Observer;
use crate::error::{Context, Result, anyhow, bail};

/// The limit for the length of a line.
const MAX_LINE: usize = 16 << 20;

/// Parses the output of a build host.
pub struct Receiver<'r> {
    observer: Arc<dyn Observer>,
    place: &'r (dyn Fn(&str, &str) -> String + Sync),
    output: &'r Path,
    lock: PathBuf,
    line: Vec<u8>,
    /// The file being received: temporary file and destination.
    file: Option<(NamedTempFile, PathBuf)>,
    /// The bytes of it that come next.
    left: u64,
    /// Their offset in the file.
    at: u64,
    status: Option<Result<i32>>,
}

impl<'r> Receiver<'r> {
    /// A receiver that notifies `observer` and writes to the directory `output` and the file `lock`.
    pub fn new(
        observer: Arc<dyn Observer>,
        place: &'r (dyn Fn(&str, &str) -> String + Sync),
        output: &'r Path,
        lock: PathBuf,
    ) -> Receiver<'r> {
        let (line, file, status) = (Vec::new(), None, None);
        Receiver { observer, place, output, lock, line, file, left: 0, at: 0, status }
    }

    /// The exit status of the build, once everything was received.
    pub fn status(self) -> Option<Result<i32>> {
        self.status
    }

    /// Processes received bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        // After a failure, the rest is ignored.
        if !matches!(self.status, Some(Err(_)))
            && let Err(error) = self.process(bytes)
        {
            self.status = Some(Err(error));
        }
    }

    fn process(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (these, rest) = bytes.split_at(count);
                self.data(these)?;
                bytes = rest;
                continue;
            }
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.line.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end + 1..];
                    let line = std::mem::take(&mut self.line);
                    self.read(&line)?;
                }
                None if self.line.len() + bytes.len() > MAX_LINE => {
                    bail!("the build host sends a line that is too long")
                }
                None => {
                    self.line.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let (file, to) = self.file.as_ref().context("receiving data without a file")?;
        let what = || format!("writing {}", to.display());
        file.as_file().write_all_at(bytes, self.at).with_context(what)?;
        self.at += bytes.len() as u64;
        self.left -= bytes.len() as u64;
        Ok(())
    }

    fn read(&mut self, line: &[u8]) -> Result<()> {
        let line: Value = serde_json::from_slice(line)
            .map_err(|_| anyhow!("{}", String::from_utf8_lossy(line)))
            .context("reading the output of the build host")?;
        let number = |name: &str| line[name].as_u64().context("reading a number");
        match line["event"].as_str().unwrap_or_default() {
            "file" => {
                let to = self.destination(line["name"].as_str().unwrap_or_default())?;
                let what = || format!("writing {}", to.display());
                let directory = to.parent().unwrap_or(Path::new("."));
                std::fs::create_dir_all(directory).with_context(what)?;
                let file = NamedTempFile::new_in(directory).with_context(what)?;
                file.as_file().set_len(number("size")?).with_context(what)?;
                self.file = Some((file, to));
            }
            "data" => (self.at, self.left) = (number("at")?, number("bytes")?),
            "whole" => self.keep()?,
            "exit" => {
                let status = i32::try_from(number("status")?).context("reading a status")?;
                self.status = Some(Ok(status));
            }
            "error" => return Err(wire::read_error(&line["error"])),
            _ => wire::replay(&line, &*self.observer, self.place),
        }
        Ok(())
    }

    /// The destination of a file: the lock file, or a path below the directory of exports.
    fn destination(&self, name: &str) -> Result<PathBuf> {
        if name == "lock" {
            return Ok(self.lock.clone());
        }
        let below = name.strip_prefix("out/").map(Path::new);
        let is_plain = |path: &&Path| {
            let mut parts = path.components();
            path.components().next().is_some()
                && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        let below = below.filter(is_plain);
        let below =
            below.with_context(|| format!("the build host sends an unexpected file `{name}`"))?;
        Ok(self.output.join(below))
    }

    fn keep(&mut self) -> Result<()> {
        let (file, to) = self.file.take().context("ending a file that was not begun")?;
        let what = || format!("writing {}", to.display());
        // The mode of files that a build writes; a temporary file has another.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode).with_context(what)?;
        let kept: File = file.persist(&to).with_context(what)?;
        kept.sync_all().with_context(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Event;

    struct Deaf;
    impl Observer for Deaf {
        fn notify(&self, _event: &Event<'_>) {}
    }

    fn after(text: &[u8], pieces: usize) -> (tempfile::TempDir, Option<Result<i32>>) {
        let directory = tempfile::tempdir().unwrap();
        let (output, lock) = (directory.path().join("out/p"), directory.path().join("p.lock"));
        let place = |_: &str, path: &str| path.to_string();
        let mut receiver = Receiver::new(Arc::new(Deaf), &place, &output, lock);
        text.chunks(pieces).for_each(|bytes| receiver.receive(bytes));
        let status = receiver.status();
        (directory, status)
    }

    const GOOD: &[u8] = b"{\"event\":\"file\",\"name\":\"out/x\",\"size\":9}\n\
        {\"event\":\"data\",\"at\":6,\"bytes\":3}\na\nc{\"event\":\"whole\"}\n\
        {\"event\":\"exit\",\"status\":0}\n";

    #[test]
    fn files_are_received_in_pieces_of_any_size_with_holes() {
        for pieces in [1, 2, 7, 1000] {
            let (directory, status) = after(GOOD, pieces);
            assert_eq!(status.unwrap().unwrap(), 0);
            let bytes = std::fs::read(directory.path().join("out/p/x")).unwrap();
            assert_eq!(bytes, b"\0\0\0\0\0\0a\nc");
        }
    }

    #[test]
    fn truncated_output_leaves_no_partial_file() {
        for end in 0..GOOD.len() - 1 {
            let (directory, status) = after(&GOOD[..end], 1000);
            assert!(status.is_none(), "{end}");
            let is_whole = end >= GOOD.len() - 30;
            let left = std::fs::read_dir(directory.path().join("out/p"));
            let left = left.map(|left| left.count()).unwrap_or_default();
            assert!(left == 0 || is_whole, "{end}: {left}");
        }
    }

    #[test]
    fn nothing_is_written_outside_the_output() {
        for name in ["../x", "out/../../x", "/etc/x", "out//etc/../x", "", "out/", "x", "out/./.."]
        {
            let text = format!("{{\"event\":\"file\",\"name\":\"{name}\",\"size\":0}}\n");
            let (_directory, status) = after(text.as_bytes(), 1000);
            assert!(status.unwrap().is_err(), "{name}");
        }
        for text in
            ["hello\n", "{\"event\":\"whole\"}\n", "{\"event\":\"data\",\"at\":0,\"bytes\":1}\nx"]
        {
            assert!(after(text.as_bytes(), 1000).1.unwrap().is_err(), "{text}");
        }
    }
}

//! Why a program of the tree cannot be started, in words: of a missing interpreter the kernel says that
//! the program is missing.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use crate::error::{Error, anyhow, with_hint};

/// More of the first line of a script is not read, by the kernel neither.
const FIRST_LINE: u64 = 256;
const PACKAGE: &str = "add the package that has it to `packages`";

/// Explains why `program`, which was looked for in the directories of `path`, could not be started.
pub(super) fn explain(error: io::Error, program: &str, path: &str) -> Error {
    let places: Vec<PathBuf> = match program.contains('/') {
        true => vec![PathBuf::from(program)],
        false => path.split(':').map(|directory| Path::new(directory).join(program)).collect(),
    };
    let Some(file) = places.into_iter().find(|place| place.is_file()) else {
        return match error.kind() {
            ErrorKind::NotFound => {
                with_hint(anyhow!("the tree has no program `{program}`"), PACKAGE)
            }
            _ => error.into(),
        };
    };
    match error.kind() {
        ErrorKind::NotFound => explain_start(&first_bytes(&file)),
        ErrorKind::PermissionDenied if cannot_execute(&file) => with_hint(
            anyhow!("the tree lies on a file system that is mounted with `noexec`"),
            "use a cache on another one, with `--cache DIR`, or mount it with `exec`",
        ),
        _ => error.into(),
    }
}

/// What is missing of a program that is there and begins with `start`.
fn explain_start(start: &[u8]) -> Error {
    let Some(line) = start.strip_prefix(b"#!") else {
        return with_hint(
            anyhow!("the loader of the program is not in the tree"),
            "add the package of the library that it was built for, or give a program that was built \
             for the architecture of the tree",
        );
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.contains(&b'\r') {
        return with_hint(
            anyhow!("its first line ends with a carriage return, as Windows writes lines"),
            "write the script with the line ends of Unix: `sed -i 's/\\r$//' FILE`",
        );
    }
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_ascii_whitespace().next().unwrap_or_default();
    with_hint(
        anyhow!("its interpreter `{}` is not in the tree", interpreter.escape_debug()),
        "name one that is there in the first line, or add its package to `packages`",
    )
}

fn first_bytes(file: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    // What cannot be read is explained without.
    let _ =
        std::fs::File::open(file).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut start));
    start
}

fn cannot_execute(file: &Path) -> bool {
    rustix::fs::statvfs(file).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::hints;

    #[test]
    fn what_is_missing_is_named() {
        for (start, what, help) in [
            (&b"#!/bin/bash\r\nset -e\r\n"[..], "a carriage return", "line ends of Unix"),
            (b"#!/usr/bin/python3 -u\nx", "its interpreter `/usr/bin/python3`", "`packages`"),
            (b"#! /bin/zsh", "its interpreter `/bin/zsh`", "`packages`"),
            (b"\x7fELF", "the loader of the program", "architecture"),
        ] {
            let error = explain_start(start);
            assert!(error.to_string().contains(what), "{error}");
            assert!(hints(&error)[0].contains(help), "{error:?}");
        }
        let missing = || io::Error::from(ErrorKind::NotFound);
        let error = explain(missing(), "useradd", "/nowhere:/sbin-of-none");
        assert_eq!(error.to_string(), "the tree has no program `useradd`");
        assert_eq!(hints(&error), [PACKAGE]);
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        let error = explain(denied, "/nowhere/x", "");
        assert_eq!(error.to_string(), "permission denied");
    }
}

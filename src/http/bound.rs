//! Where a download ends: at the size that is known of it. A server that announces or sends more is
//! cut there, so that none can fill the disk or the memory.

use std::fmt;

use crate::error::{Error, Result};

/// A server has more to send than the file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The bytes that the file may have.
    pub most: u64,
    /// The bytes that there are more than that.
    pub got: Got,
}

/// How it is known that there are more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// The server announces so many bytes in all; nothing was read of them.
    Announced(u64),
    /// So many bytes came until the connection was cut.
    Sent(u64),
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.most;
        match self.got {
            Got::Announced(got) => {
                write!(f, "expected at most {most} bytes, the server announces {got}")
            }
            Got::Sent(got) => {
                write!(f, "expected at most {most} bytes, got {got} and cut the connection")
            }
        }
    }
}

impl std::error::Error for TooLong {}

/// Refuses an answer that is announced with more than `most` bytes.
pub(super) fn announced(length: Option<u64>, most: u64) -> Result<()> {
    match length {
        Some(length) if length > most => {
            Err(Error::new(TooLong { most, got: Got::Announced(length) }))
        }
        _ => Ok(()),
    }
}

/// Refuses to go on once `got` bytes came of a file that may have `most`.
pub(super) fn sent(got: u64, most: u64) -> Result<()> {
    match got > most {
        true => Err(Error::new(TooLong { most, got: Got::Sent(got) })),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_itself_is_let_pass() {
        assert!(announced(Some(5), 5).is_ok() && announced(None, 5).is_ok() && sent(5, 5).is_ok());
        let why = |outcome: Result<()>| outcome.unwrap_err().to_string();
        let expected = "expected at most 5 bytes, the server announces 6";
        assert_eq!(why(announced(Some(6), 5)), expected);
        let expected = "expected at most 5 bytes, got 6 and cut the connection";
        assert_eq!(why(sent(6, 5)), expected);
    }
}

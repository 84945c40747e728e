//! Size limits of downloads. A server that announces or sends more than the limit is cut off, so that
//! it cannot fill the disk or the memory.

use std::fmt;

use crate::error::{Error, Result};

/// A server announces or sends more than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The limit in bytes.
    pub most: u64,
    /// What exceeded it.
    pub excess: Excess,
}

/// How the limit was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The server announced this many bytes; none were read.
    Announced(u64),
    /// This many bytes were received before the connection was closed.
    Sent(u64),
    /// There is more, and no more was read than needed to notice.
    Unknown,
}

impl TooLong {
    /// There are more than `most` bytes.
    pub fn than(most: u64) -> TooLong {
        TooLong { most, excess: Excess::Unknown }
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.most;
        match self.excess {
            Excess::Announced(got) => {
                write!(f, "expected at most {most} bytes, the server announces {got}")
            }
            Excess::Sent(got) => {
                write!(f, "expected at most {most} bytes, got {got} and closed the connection")
            }
            Excess::Unknown => write!(f, "expected at most {most} bytes, there are more"),
        }
    }
}

impl std::error::Error for TooLong {}

/// Fails if the announced length is more than `most` bytes.
pub(super) fn announced(length: Option<u64>, most: u64) -> Result<()> {
    match length {
        Some(length) if length > most => {
            Err(Error::new(TooLong { most, excess: Excess::Announced(length) }))
        }
        _ => Ok(()),
    }
}

/// Fails if `got` bytes were received of at most `most`.
pub(super) fn sent(got: u64, most: u64) -> Result<()> {
    match got > most {
        true => Err(Error::new(TooLong { most, excess: Excess::Sent(got) })),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_limit_is_accepted() {
        assert!(announced(Some(5), 5).is_ok() && announced(None, 5).is_ok() && sent(5, 5).is_ok());
        let why = |outcome: Result<()>| outcome.unwrap_err().to_string();
        let expected = "expected at most 5 bytes, the server announces 6";
        assert_eq!(why(announced(Some(6), 5)), expected);
        let expected = "expected at most 5 bytes, got 6 and closed the connection";
        assert_eq!(why(sent(6, 5)), expected);
    }
}

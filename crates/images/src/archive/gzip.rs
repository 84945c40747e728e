//! gzip, decompressed by one thread: all members, whose checksums are compared, and the zeros that tapes
//! and padding tools leave behind them, as gzip itself reads them.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The content of all members.
pub(super) struct Members<R: BufRead> {
    /// `None`: all was read.
    member: Option<GzDecoder<R>>,
}

pub(super) fn gzip<R: BufRead>(input: R) -> Members<R> {
    Members { member: Some(GzDecoder::new(input)) }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n = member.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            let input = self.member.take().map(GzDecoder::into_inner);
            self.member = input.map(next).transpose()?.flatten().map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// The input at its next member, if there is one. Only zeros may be there instead, up to the end.
fn next<R: BufRead>(mut input: R) -> io::Result<Option<R>> {
    if input.fill_buf()?.first().is_some_and(|byte| *byte != 0) {
        return Ok(Some(input));
    }
    loop {
        let bytes = input.fill_buf()?;
        let length = bytes.len();
        if bytes.iter().any(|byte| *byte != 0) {
            let what = "something follows the gzip data";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if length == 0 {
            return Ok(None);
        }
        input.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn member(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn content(parts: &[Vec<u8>]) -> io::Result<String> {
        let mut text = String::new();
        // A buffer smaller than what follows the members.
        let input = io::BufReader::with_capacity(100, io::Cursor::new(parts.concat()));
        gzip(input).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn zeros_may_follow_members_and_nothing_else() {
        let (one, two) = (member("one "), member("two"));
        for parts in [
            vec![one.clone(), member(""), two.clone()],
            vec![one.clone(), two.clone(), vec![0; 1]],
            vec![one.clone(), two.clone(), vec![0; 5000]],
        ] {
            assert_eq!(content(&parts).unwrap(), "one two");
        }
        for parts in [
            vec![one.clone(), vec![0; 500], two.clone()],
            vec![one.clone(), vec![0; 500], vec![1]],
            vec![one.clone(), b"more".to_vec()],
            vec![vec![0; 500]],
            vec![one[..one.len() - 1].to_vec()],
        ] {
            assert!(content(&parts).is_err(), "{parts:?}");
        }
    }
}

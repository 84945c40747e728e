//! Zstandard, decompressed by one thread: any number of frames, those to skip skipped, the
//! checksum of each compared where it has one.

use std::io::{self, BufRead, Read};

use zstd::stream::read::Decoder;

/// What the `zstd` command decompresses without an option: `--long=27`.
const WINDOW_LOG: u32 = 27;

/// The content of all frames.
pub(super) struct Frames<R: BufRead>(Decoder<'static, R>);

impl<R: BufRead> Frames<R> {
    pub(super) fn new(input: R) -> io::Result<Frames<R>> {
        let mut decoder = Decoder::with_buffer(input)?;
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(Frames(decoder))
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(|error| match error.kind() {
            // What the library says of the data has no kind of its own.
            io::ErrorKind::Other | io::ErrorKind::UnexpectedEof => {
                let text = format!("the Zstandard data is damaged: {error}");
                io::Error::new(io::ErrorKind::InvalidData, text)
            }
            _ => error,
        })
    }
}

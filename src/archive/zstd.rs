//! Zstandard, decompressed by one thread: any number of frames, those to skip skipped, the
//! checksum of each compared where it has one.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What the `zstd` command decompresses without being told to: `--long=27`.
const WINDOW: u64 = 1 << 27;

/// The content of all frames.
pub(super) struct Frames<R> {
    input: R,
    decoder: FrameDecoder,
    place: Place,
}

#[derive(PartialEq, Eq)]
enum Place {
    Inside,
    Between,
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the Zstandard data is damaged: {error}"))
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(input: R) -> Frames<R> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Frames { input, decoder, place: Place::Between }
    }

    /// Begins the next frame; the place is `Between` still at the end of the input.
    fn begin(&mut self) -> io::Result<()> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.place = Place::Inside;
                    return Ok(());
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.input).take(length), &mut io::sink())? < length {
                        return Err(invalid("cut short"));
                    }
                }
                Err(error) => return Err(invalid(error)),
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.place == Place::Between {
                self.begin()?;
                if self.place == Place::Between {
                    return Ok(0);
                }
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let some = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.input, some).map_err(invalid)?;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buf);
            }
            let told = self.decoder.get_checksum_from_data();
            if told.is_some() && told != self.decoder.get_calculated_checksum() {
                return Err(invalid("a frame has a wrong checksum"));
            }
            self.place = Place::Between;
        }
    }
}

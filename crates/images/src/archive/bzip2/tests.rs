//! Streams of several kinds, whole and damaged.

use super::*;
use ::bzip2::Compression;
use ::bzip2::write::BzEncoder;
use std::io::Write;

fn compressed(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn decompressed(bytes: &[u8], threads: usize) -> Result<Vec<u8>> {
    decode(bytes, threads, |reader| {
        let mut out = Vec::new();
        reader.read_to_end(&mut out)?;
        Ok(out)
    })
}

/// Hard to compress, so that every block is its own.
fn noise(length: u32) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn streams_come_back_with_any_number_of_threads() {
    let noise = noise(700_000);
    for level in [1, 3, 9] {
        for threads in [1, 2, 5] {
            let bytes = compressed(&noise, level);
            assert!(decompressed(&bytes, threads).unwrap() == noise, "{level} {threads}");
        }
    }
    let zeros = vec![0; 60_000_000];
    assert!(decompressed(&compressed(&zeros, 9), 2).unwrap() == zeros);
    assert!(decompressed(&compressed(b"", 9), 2).unwrap().is_empty());
}

#[test]
fn streams_that_follow_each_other_are_one() {
    let (one, two, none) = (noise(150_000), noise(250_000), compressed(b"", 5));
    let parts =
        [compressed(&one, 1), none.clone(), compressed(&two, 9), none, vec![0; 1000]].concat();
    assert!(decompressed(&parts, 3).unwrap() == [one, two].concat());
}

/// A mark inside a block cuts it in two; that such a mark is not an end shows when the half fails.
#[test]
fn a_false_mark_is_seen_through() {
    let noise = noise(300_000);
    let bytes = compressed(&noise, 9);
    let mut scanner = Scanner::new();
    let mut pieces = Vec::new();
    scanner.feed(&bytes, |piece| pieces.push(piece));
    let end = scanner.finish().unwrap();
    assert_eq!((pieces.len(), end.mark), (1, Mark::End));
    let block_ends = bytes.len() as u64 * 8 - end.len() as u64 * 8;
    let last = Piece::new(Mark::End, 0, &bytes, block_ends, bytes.len() as u64 * 8);
    assert_eq!(last.len(), end.len());
    // The end mark begins somewhere in its first byte.
    let bits = (0..8).map(|skip| block_ends + skip).find(|at| {
        Piece::new(Mark::End, 0, &bytes, *at, bytes.len() as u64 * 8).crc() == end.crc()
    });
    let block_ends = bits.unwrap();
    for (false_at, mark) in [(40_000, Mark::Block), (1_000_003, Mark::End), (77_777, Mark::Block)] {
        let cuts = [(Mark::Block, 32), (mark, false_at), (Mark::End, block_ends)];
        let ends = [false_at, block_ends, bytes.len() as u64 * 8];
        let (sender, receiver) = sync_channel(3);
        for ((mark, start), end) in cuts.into_iter().zip(ends) {
            let piece = Piece::new(mark, 0, &bytes, start, end);
            let outcome = match mark {
                Mark::Block => {
                    let decoded = piece.decode();
                    Outcome::Block(piece, decoded)
                }
                Mark::End => Outcome::End(piece),
            };
            sender.send(outcome).unwrap();
        }
        drop(sender);
        let mut out = Vec::new();
        Decoded::new(vec![receiver]).read_to_end(&mut out).unwrap();
        assert!(out == noise, "{false_at}");
    }
}

#[test]
fn damage_is_told() {
    let noise = noise(400_000);
    let bytes = compressed(&noise, 1);
    let why = |bytes: &[u8]| decompressed(bytes, 2).unwrap_err().to_string();
    assert!(why(&bytes[..bytes.len() - 3]).contains("wrong checksum"));
    assert!(why(&bytes[..bytes.len() / 2]).contains("cannot be read"));
    assert!(why(b"BZh9").contains("does not begin"));
    assert!(why(b"").contains("does not begin"));
    assert!(why(&[&bytes[..], b"garbage"].concat()).contains("is followed by something else"));
    assert!(why(&[&bytes[..], b"BZh9"].concat()).contains("ends inside a stream"));
    assert!(why(&[&b"x"[..], &bytes].concat()).contains("does not begin"));
    for at in [9, 11, 40_000, bytes.len() - 12, bytes.len() - 3] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        decompressed(&bytes, 2).unwrap_err();
    }
}

#[test]
fn whoever_stops_reading_ends_the_threads() {
    let bytes = compressed(&noise(3_000_000), 1);
    decode(&bytes[..], 4, |reader| {
        let mut start = [0; 10];
        reader.read_exact(&mut start)?;
        Ok(())
    })
    .unwrap();
}

/// The first block of a stream, decoded by our own code alone.
fn first_block(stream: &[u8]) -> Option<Vec<u8>> {
    let mut scanner = Scanner::new();
    let mut pieces = Vec::new();
    scanner.feed(stream, |piece| pieces.push(piece));
    pieces.extend(scanner.finish());
    pieces[0].decode_fast()
}

#[test]
fn ordinary_blocks_need_no_library() {
    let words: Vec<u8> = (0..200_000_u32)
        .flat_map(|at| format!("{} {:x} ", at % 977, at.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    for text in [noise(400_000), words, vec![7; 3_000_000], b"x".to_vec(), b"abab".repeat(9_000)] {
        for level in [1, 9] {
            let block = first_block(&compressed(&text, level)).unwrap();
            assert!(!block.is_empty() && text.starts_with(&block), "{} {level}", text.len());
        }
    }
}

/// A bit anywhere in a block: never another text, and no panic.
#[test]
fn no_damage_is_taken_for_a_block() {
    let text: Vec<u8> =
        (0..3_000_u32).flat_map(|at| format!("{}\n", at % 71).into_bytes()).collect();
    let stream = compressed(&text, 1);
    assert!(first_block(&stream).unwrap() == text);
    for bit in 80..stream.len() * 8 - 80 {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 0x80 >> (bit % 8);
        assert!(first_block(&damaged).is_none_or(|block| block == text), "bit {bit}");
    }
    for length in 14..stream.len() {
        assert!(first_block(&stream[..length]).is_none_or(|block| block == text), "{length} bytes");
    }
}

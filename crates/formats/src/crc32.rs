//! CRC-32, its most significant bit first, of which a journal of ext4 has one for a transaction. It
//! knows no journal.
//!
//! Source: IEEE 802.3, with the polynomial as it is written there; `crc32_be` of the kernel.

/// CRC-32, not inverted at either end, to go on from one part to the next.
pub fn update(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| CRC32[((crc >> 24) as u8 ^ byte) as usize] ^ (crc << 8))
}

static CRC32: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_that_of_bzip2() {
        // The check value of CRC-32/BZIP2, which is inverted at the end.
        assert_eq!(!super::update(!0, b"123456789"), 0xfc89_1918);
    }
}

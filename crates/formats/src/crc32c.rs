//! CRC-32C, which ext4, its journal and XFS protect their structures with. It knows none of them.
//!
//! Source: RFC 3720, appendix B.4 (Castagnoli's polynomial).

/// CRC-32C, not inverted at either end, to go on from one part to the next.
pub fn update(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| CRC32C[(crc as u8 ^ byte) as usize] ^ (crc >> 8))
}

static CRC32C: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
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
    fn the_checksum_is_castagnoli_s() {
        assert_eq!(!super::update(!0, b"123456789"), 0xe306_9283);
    }
}

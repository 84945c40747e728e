//! IBM 437, the charset of MS-DOS: short names of FAT, and names in zips that do not say otherwise.
//!
//! Source: <https://www.unicode.org/Public/MAPPINGS/VENDORS/MICSFT/PC/CP437.TXT>.

/// The characters from 128 on.
const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// The character of a byte.
pub fn character(byte: u8) -> char {
    let upper = byte.checked_sub(128).and_then(|at| UPPER.chars().nth(at.into()));
    upper.unwrap_or(char::from(byte))
}

/// The text of bytes.
pub fn decode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| character(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_have_a_character() {
        assert_eq!(UPPER.chars().count(), 128);
        assert_eq!(decode(b"Az~\x80\x81\xe1\xff"), "Az~Çüß\u{a0}");
    }
}

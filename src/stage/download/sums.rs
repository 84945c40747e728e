//! Lists of checksums, as `sha256sum` of GNU, `sha256` of BSD, `openssl dgst` and people write them.

use std::borrow::Cow;
use std::path::Path;

use crate::error::{Context, Result, anyhow, bail};
use crate::lock::Checksum;

/// The longest name of an algorithm; a sum is longer.
const LONGEST_ALGORITHM: usize = 16;

fn from_hex(hex: &str) -> Option<Checksum> {
    let long = || hex.parse().ok().map(Checksum::Sha512);
    hex.parse().ok().map(Checksum::Sha256).or_else(long)
}

/// The text of a list, whose mark of the byte order says whether it is UTF-16, as Windows writes it.
pub fn text(bytes: &[u8]) -> String {
    let utf16 = |rest: &[u8], number: fn([u8; 2]) -> u16| -> String {
        let units = rest.chunks_exact(2).map(|pair| number([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8_lossy(rest).into_owned(),
    }
}

/// The checksum of the file at `path`, as an address has it, in the list `text`: of the entry whose
/// name agrees with most parts of the path, from its end. A list of one sum alone needs no name.
pub fn find(text: &str, path: &str) -> Result<Checksum> {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let entries: Vec<Entry<'_>> = text.lines().filter_map(entry).collect();
    let mut found: Vec<(usize, &Entry<'_>)> = Vec::new();
    for entry in &entries {
        let Some(name) = &entry.name else { continue };
        // Names may begin with spaces; more often somebody has aligned them.
        let names = [&**name, name.trim_start()];
        let paths = [path, &*decoded].map(Path::new);
        let pairs =
            names.iter().flat_map(|name| paths.iter().map(move |path| agreement(path, name)));
        let parts = pairs.max().unwrap_or(0);
        if parts > 0 {
            found.push((parts, entry));
        }
    }
    if let ([only @ Entry { name: None, .. }], []) = (&entries[..], &found[..]) {
        found.push((1, only));
    }
    let longest = found.iter().map(|(parts, _)| *parts).max();
    let file = Path::new(&*decoded).file_name().unwrap_or_default();
    let name = file.to_string_lossy();
    let longest = longest.with_context(|| format!("the list does not name {name}"))?;
    found.retain(|(parts, _)| *parts == longest);
    // A list may have the sums of several kinds; the longer one is as good as the other.
    let mut known: Vec<Checksum> = found.iter().filter_map(|(_, entry)| entry.sum).collect();
    known.sort_by_key(|sum| matches!(sum, Checksum::Sha512(_)));
    known.dedup();
    match known[..] {
        [] => {
            Err(anyhow!("the sum that the list has of {name} is neither a SHA-256 nor a SHA-512"))
        }
        [one] | [one @ Checksum::Sha256(_), Checksum::Sha512(_)] => Ok(one),
        _ => bail!("the list has several sums of {name}"),
    }
}

/// How many parts of `path`, from its end, a name in a list agrees with. A relative name agrees as a
/// whole or not at all; of an absolute one, which is a path of another machine, the last part has to.
fn agreement(path: &Path, name: &str) -> usize {
    let relative = name.strip_prefix("./").unwrap_or(name);
    if !relative.is_empty() && path.ends_with(relative) {
        return Path::new(relative).components().count();
    }
    if !name.starts_with('/') {
        return 0;
    }
    let pairs = path.components().rev().zip(Path::new(name).components().rev());
    pairs.take_while(|(a, b)| a == b).count()
}

/// A line of a list.
#[derive(Debug)]
struct Entry<'a> {
    /// `None`: of a kind that kuth does not use.
    sum: Option<Checksum>,
    /// `None`: the line has the sum alone, or the name of standard input.
    name: Option<Cow<'a, str>>,
}

/// The sum and the name of a line.
fn entry(line: &str) -> Option<Entry<'_>> {
    let line = line.trim_end();
    // What GNU's tools put before a line with escapes in its name.
    let (line, is_escaped) = match line.strip_prefix('\\') {
        Some(line) => (line, true),
        None => (line, false),
    };
    let name = |name| {
        let name = if is_escaped { unescaped(name) } else { Cow::Borrowed(name) };
        Some(name).filter(|name| !matches!(&**name, "" | "-"))
    };
    // `SHA256 (name) = sum` and `SHA2-256(name)= sum`.
    if let Some((head, sum)) = line.rsplit_once(')')
        && let Some(sum) = sum.trim_start().strip_prefix('=')
        && let Some((algorithm, file)) = head.split_once('(')
        && algorithm.len() <= LONGEST_ALGORITHM
    {
        let algorithm: String = algorithm.chars().filter(char::is_ascii_alphanumeric).collect();
        let known = ["SHA256", "SHA512", "SHA2256", "SHA2512"]
            .iter()
            .any(|known| algorithm.eq_ignore_ascii_case(known));
        return Some(Entry { sum: from_hex(sum.trim()).filter(|_| known), name: name(file) });
    }
    let (sum, rest) = line.split_at(line.find([' ', '\t']).unwrap_or(line.len()));
    let sum = sum.split_once(':').map_or(sum, |(algorithm, rest)| {
        let known = ["sha256", "sha512", "sha-256", "sha-512"].iter();
        if known.into_iter().any(|known| algorithm.eq_ignore_ascii_case(known)) {
            rest
        } else {
            sum
        }
    });
    // A sum of any kind, so that one of another kind says so.
    if sum.len() < 32 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    // GNU's two characters, behind which a name may begin with a space; or whatever others write.
    let exact = rest.strip_prefix(' ').and_then(|rest| rest.strip_prefix([' ', '*']));
    Some(Entry { sum: from_hex(sum), name: name(exact.unwrap_or(rest.trim_start())) })
}

/// `\\`, `\n` and `\r` as the characters that they stand for.
fn unescaped(name: &str) -> Cow<'_, str> {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => c,
            },
            c => c,
        });
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const TWO: &str = "aa7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn sha256(hex: &str) -> Checksum {
        Checksum::Sha256(hex.parse().unwrap())
    }

    #[test]
    fn both_forms_are_read() {
        let gnu = format!("{ONE}  other.iso\n{TWO} *x.iso\n");
        assert_eq!(find(&gnu, "/a/x.iso").unwrap(), sha256(TWO));
        let bsd = format!("# x.iso: 1 bytes\nSHA256 (x.iso) = {ONE}\n");
        assert_eq!(find(&bsd, "/a/x.iso").unwrap(), sha256(ONE));
        let long = format!("{ONE}{TWO}  x.iso");
        assert!(matches!(find(&long, "x.iso").unwrap(), Checksum::Sha512(_)));
    }

    #[test]
    fn all_forms_are_read() {
        for (list, path) in [
            // GNU's: text, binary, tagged, with escapes, of a name that begins with a space.
            (format!("{ONE}  x.iso"), "/a/x.iso"),
            (format!("{ONE} *x.iso"), "/a/x.iso"),
            (format!("\\{ONE}  a\\\\b\\nc\n"), "/a/a\\b\nc"),
            (format!("\\SHA256 (a\\\\b) = {ONE}\n"), "/a/a\\b"),
            (format!("{ONE}   x\n"), "/a/%20x"),
            // One space, a tab, several; line ends of Windows.
            (format!("{ONE} x.iso\r\n{TWO} y.iso\r\n"), "/a/x.iso"),
            (format!("{ONE}\tx.iso\n"), "/a/x.iso"),
            (format!("{ONE}\t*x.iso\n{TWO}\ty"), "/a/*x.iso"),
            (format!("{ONE}      x.iso\n"), "/a/x.iso"),
            // OpenSSL's, of two versions.
            (format!("SHA256(x.iso)= {ONE}\n"), "/a/x.iso"),
            (format!("SHA2-256(x (1).iso)= {ONE}\n"), "/a/x (1).iso"),
            // A sum alone, or of standard input.
            (format!("{ONE}\n"), "/a/x.iso"),
            (format!("# of x.iso\n\n  \n{ONE}  -\n"), "/a/x.iso"),
            (format!("SHA2-256(stdin)= {TWO}\nSHA2-256(x.iso)= {ONE}"), "/a/x.iso"),
            // Prefixes, capitals, paths of other machines, encoded addresses.
            (format!("sha256:{ONE}  x.iso\n"), "/a/x.iso"),
            (format!("SHA256:{}\n", ONE.to_uppercase()), "/a/x.iso"),
            (format!("{ONE}  /srv/out/x.iso\n{TWO}  /srv/out/y.iso\n"), "/a/x.iso"),
            (format!("{ONE}  /srv/amd64/x.iso\n{TWO}  /srv/arm64/x.iso\n"), "/a/amd64/x.iso"),
            (format!("{ONE}  an image \u{e9}.iso\n"), "/a/an%20image%20%C3%A9.iso"),
            (format!("{ONE}  an%20image.iso\n"), "/a/an%20image.iso"),
            // A sum of another kind beside it.
            (format!("BLAKE2b (x) = {TWO}{TWO}\nSHA256 (x) = {ONE}\n"), "/a/x"),
            (format!("SHA3-256(x)= {TWO}\nSHA256(x)= {ONE}\n"), "/a/x"),
            // A text that is signed in itself.
            (
                format!(
                    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{ONE}  x.iso\n- -- \n\
                     -----BEGIN PGP SIGNATURE-----\n\niHUEARYKAB0WIQQ\n=abcd\n-----END"
                ),
                "/a/x.iso",
            ),
        ] {
            let found = find(&list, path);
            let found = found.unwrap_or_else(|error| panic!("{list:?}: {error:#}"));
            assert_eq!(found, sha256(ONE), "{list:?}");
        }
    }

    #[test]
    fn a_list_in_another_encoding_is_read() {
        let list = format!("{ONE}  x\r\n");
        let utf16: Vec<u16> = list.encode_utf16().collect();
        let little: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for bytes in [
            list.clone().into_bytes(),
            [b"\xef\xbb\xbf", list.as_bytes()].concat(),
            [&b"\xff\xfe"[..], &little].concat(),
            [&b"\xfe\xff"[..], &big].concat(),
        ] {
            assert_eq!(find(&text(&bytes), "/x").unwrap(), sha256(ONE), "{bytes:?}");
        }
    }

    #[test]
    fn the_longest_matching_name_wins() {
        let list = format!("{ONE}  ./netboot/mini.iso\n{TWO}  ./netboot/gtk/mini.iso\n");
        assert_eq!(find(&list, "/d/netboot/gtk/mini.iso").unwrap(), sha256(TWO));
        assert_eq!(find(&list, "/d/netboot/mini.iso").unwrap(), sha256(ONE));
        assert!(find(&list, "/d/mini.iso").is_err());
        assert!(find(&list, "/d/xnetboot/mini.iso").is_err());
    }

    #[test]
    fn an_ambiguous_list_is_refused() {
        let why = |list: &str| find(list, "/x").unwrap_err().to_string();
        assert!(why(&format!("{ONE}  x\n{TWO}  x\n")).contains("several sums"));
        assert!(why("900150983cd24fb0d6963f7d28e17f72  x\n").contains("neither"));
        assert!(why("").contains("does not name x"));
        assert_eq!(find(&format!("{ONE}  x\n{ONE}  x\n"), "x").unwrap(), sha256(ONE));
        // Sums without names are of one file each; which, nothing says.
        assert!(why(&format!("{ONE}\n{TWO}\n")).contains("does not name x"));
        assert!(why(&format!("{ONE}\n{TWO}  y\n")).contains("does not name x"));
        assert!(why(&format!("{ONE}  y\n")).contains("does not name x"));
        assert!(why(&format!("BLAKE2b (x) = {ONE}{TWO}\n")).contains("neither"));
        assert!(why(&format!("{ONE}  /a/x\n{TWO}  /b/x\n")).contains("several sums"));
    }
}

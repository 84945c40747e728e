//! Lists of checksums, as GNU's `sha256sum` and BSD's `sha256` write them.

use std::path::Path;

use crate::error::{Context, Result, anyhow, bail};
use crate::lock::Checksum;

fn from_hex(hex: &str) -> Option<Checksum> {
    let long = || hex.parse().ok().map(Checksum::Sha512);
    hex.parse().ok().map(Checksum::Sha256).or_else(long)
}

/// The checksum of the file at `path` in the list `text`: of the entry whose name is the longest
/// suffix of the path.
pub fn find(text: &str, path: &str) -> Result<Checksum> {
    let file = Path::new(path);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for line in text.lines() {
        let Some((hex, name)) = entry(line) else { continue };
        let name = name.strip_prefix("./").unwrap_or(name);
        if !name.is_empty() && file.ends_with(name) {
            found.push((Path::new(name).components().count(), hex));
        }
    }
    let longest = found.iter().map(|(parts, _)| *parts).max();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let longest = longest.with_context(|| format!("the list does not name {name}"))?;
    found.retain(|(parts, _)| *parts == longest);
    // A list may have the sums of several kinds; the longer one is as good as the other.
    let mut known: Vec<Checksum> = found.iter().filter_map(|(_, hex)| from_hex(hex)).collect();
    known.dedup();
    known.sort_by_key(|sum| matches!(sum, Checksum::Sha512(_)));
    match known[..] {
        [] => {
            Err(anyhow!("the sum that the list has of {name} is neither a SHA-256 nor a SHA-512"))
        }
        [one] | [one @ Checksum::Sha256(_), Checksum::Sha512(_)] => Ok(one),
        _ => bail!("the list has several sums of {name}"),
    }
}

/// The sum and the name of a line.
fn entry(line: &str) -> Option<(&str, &str)> {
    if let Some((head, hex)) = line.trim_end().rsplit_once(") = ") {
        return Some((hex, head.split_once(" (")?.1));
    }
    let (hex, name) = line.trim_end().split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    Some((hex, name))
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
    }
}

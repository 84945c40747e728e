//! The records that pax puts before an entry: `LENGTH KEY=VALUE`, each with a line end. A value may
//! hold any bytes, line ends among them, so records are taken apart by their lengths alone.
//!
//! Source: POSIX.1-2017 "pax"; `SCHILY.xattr` as star writes it; the manual of GNU tar for
//! `GNU.sparse`.

use super::ATTRIBUTE;
use crate::error::{Context, Result, ensure};

/// The keys of access lists, which are texts.
const LISTS: [&str; 2] = ["SCHILY.acl.access", "SCHILY.acl.default"];

/// The records of one entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records(Vec<(String, Vec<u8>)>);

impl Records {
    /// Adds the records of a pax header. The last of two with one key counts, except that a sparse map
    /// may consist of many.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let space = bytes.iter().take(20).position(|byte| *byte == b' ');
            let length = space.and_then(|at| number(&bytes[..at]));
            let (length, space) = length.zip(space).context("a pax record has no length")?;
            let length = length as usize;
            ensure!(
                length <= bytes.len() && length > space + 1 && bytes[length - 1] == b'\n',
                "a pax record is {length} bytes long, which cannot be"
            );
            let record = &bytes[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=');
            let equals = equals.context("a pax record has no value")?;
            let key = String::from_utf8_lossy(&record[..equals]).into_owned();
            self.0.push((key, record[equals + 1..].to_vec()));
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_slice())
    }

    fn number(&self, key: &str) -> Result<Option<u64>> {
        let value = self.get(key).map(|value| {
            number(value).with_context(|| format!("the pax record `{key}` is not a number"))
        });
        value.transpose()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path; that of a sparse file has a key of its own.
    pub(super) fn path(&self) -> Option<Vec<u8>> {
        self.get("GNU.sparse.name").or(self.get("path")).map(<[u8]>::to_vec)
    }

    /// The target of a link.
    pub(super) fn link(&self) -> Option<Vec<u8>> {
        self.get("linkpath").map(<[u8]>::to_vec)
    }

    /// The bytes of data that follow the header.
    pub(super) fn size(&self) -> Result<Option<u64>> {
        self.number("size")
    }

    /// The owner.
    pub(super) fn uid(&self) -> Result<Option<u64>> {
        self.number("uid")
    }

    /// The group.
    pub(super) fn gid(&self) -> Result<Option<u64>> {
        self.number("gid")
    }

    /// Whole seconds since 1970; 0 for earlier times.
    pub(super) fn mtime(&self) -> Option<u64> {
        let text = std::str::from_utf8(self.get("mtime")?).ok()?;
        let seconds: i64 = text.split('.').next()?.parse().ok()?;
        Some(u64::try_from(seconds).unwrap_or(0))
    }

    /// The size of a sparse file.
    pub(super) fn sparse_size(&self) -> Result<Option<u64>> {
        Ok(self.number("GNU.sparse.realsize")?.or(self.number("GNU.sparse.size")?))
    }

    /// The parts of a sparse file of the versions 0.0 and 0.1; `None` for 1.0, where they precede the
    /// data.
    pub(super) fn sparse_map(&self) -> Result<Option<Vec<(u64, u64)>>> {
        let what = "the sparse map in a pax record is wrong";
        if self.get("GNU.sparse.major") == Some(b"1") {
            return Ok(None);
        }
        let numbers: Option<Vec<u64>> = match self.get("GNU.sparse.map") {
            Some([]) => Some(Vec::new()),
            Some(map) => map.split(|byte| *byte == b',').map(number).collect(),
            None => {
                let parts = ["GNU.sparse.offset", "GNU.sparse.numbytes"];
                let given = self.0.iter().filter(|(key, _)| parts.contains(&key.as_str()));
                given
                    .enumerate()
                    .map(|(at, (key, value))| number(value).filter(|_| key == parts[at % 2]))
                    .collect()
            }
        };
        let numbers = numbers.filter(|numbers| numbers.len() % 2 == 0).context(what)?;
        Ok(Some(numbers.chunks(2).map(|pair| (pair[0], pair[1])).collect()))
    }

    /// The extended attributes, by name.
    pub(super) fn attributes(&self) -> Vec<(String, Vec<u8>)> {
        let attribute = |(key, value): &(String, Vec<u8>)| {
            key.strip_prefix(ATTRIBUTE).map(|name| (name.to_string(), value.clone()))
        };
        self.0.iter().filter_map(attribute).collect()
    }

    /// The access lists, by the keys of their records.
    pub(super) fn access_lists(&self) -> Vec<(&'static str, Vec<u8>)> {
        LISTS.into_iter().filter_map(|key| Some((key, self.get(key)?.to_vec()))).collect()
    }

    /// The keys of the records that have no other method here.
    pub(super) fn others(&self) -> Vec<String> {
        let is_read = |key: &str| {
            ["path", "linkpath", "size", "uid", "gid", "mtime"].contains(&key)
                || [ATTRIBUTE, "GNU.sparse."].iter().any(|prefix| key.starts_with(prefix))
        };
        self.0.iter().map(|(key, _)| key.clone()).filter(|key| !is_read(key)).collect()
    }

    /// Whether they give the path, the target or the size of an entry.
    pub(super) fn is_about_an_entry(&self) -> bool {
        ["path", "linkpath", "size"].iter().any(|key| self.get(key).is_some())
            || self.0.iter().any(|(key, _)| key.starts_with("GNU.sparse."))
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with its length, which counts itself.
    fn record(text: &str) -> String {
        let length = (1..99).find(|length| format!("{length} {text}\n").len() == *length);
        format!("{} {text}\n", length.unwrap())
    }

    fn read(bytes: &[u8]) -> Result<Records> {
        let mut records = Records::default();
        records.read(bytes).map(|()| records)
    }

    fn records(texts: &[&str]) -> Records {
        let bytes: String = texts.iter().map(|text| record(text)).collect();
        read(bytes.as_bytes()).unwrap()
    }

    #[test]
    fn records_are_read() {
        let records = records(&["path=a\nb\n", "size=12345678901", "mtime=1700000000.5"]);
        assert_eq!(records.path().unwrap(), b"a\nb\n");
        assert_eq!(records.size().unwrap(), Some(12_345_678_901));
        assert_eq!(records.mtime(), Some(1_700_000_000));
        assert!(records.is_about_an_entry());
    }

    #[test]
    fn a_time_before_1970_is_the_earliest() {
        for (text, expected) in [
            ("mtime=-5", Some(0)),
            ("mtime=-0.5", Some(0)),
            ("mtime=0.999", Some(0)),
            ("mtime=9", Some(9)),
            ("mtime=x", None),
        ] {
            assert_eq!(records(&[text]).mtime(), expected, "{text}");
        }
    }

    #[test]
    fn values_may_hold_any_bytes() {
        let bytes = b"30 SCHILY.xattr.user.x=a\nb\0=c\n12 path=./p\n14 size=12345\n11 odd=yes\n";
        let records = read(bytes).unwrap();
        assert_eq!(records.attributes(), [("user.x".to_string(), b"a\nb\0=c".to_vec())]);
        assert_eq!(records.path().as_deref(), Some(&b"./p"[..]));
        assert_eq!((records.size().unwrap(), records.others()), (Some(12345), vec!["odd".into()]));
        assert!(read(b"8 uid=x\n").unwrap().uid().is_err());
    }

    #[test]
    fn maps_of_both_old_versions_are_read() {
        let map = |texts: &[&str]| records(texts).sparse_map();
        let old = map(&["GNU.sparse.offset=5", "GNU.sparse.numbytes=6", "GNU.sparse.numblocks=1"]);
        assert_eq!(old.unwrap().unwrap(), [(5, 6)]);
        assert_eq!(map(&["GNU.sparse.map=0,1,10,20"]).unwrap().unwrap(), [(0, 1), (10, 20)]);
        assert_eq!(map(&["GNU.sparse.major=1"]).unwrap(), None);
        map(&["GNU.sparse.map=0,1,10"]).unwrap_err();
        map(&["GNU.sparse.numbytes=6", "GNU.sparse.offset=5"]).unwrap_err();
    }

    #[test]
    fn broken_records_are_refused() {
        for bytes in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"3 \n",
            b"0 a=b\n",
            b"6 a=bc\n",
            b"5 ab\n",
            b"a=b\n",
            b"7 abcd\n",
        ] {
            read(bytes).unwrap_err();
        }
    }
}

//! Debian packages (`.deb`): an `ar` archive with the control data and the files, each a tar. The reader
//! takes out the control file; of the files it only knows where they are, and that they are all there.
//!
//! Source: deb(5), deb-control(5), ar(5), POSIX ustar.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::{Fault, deb822};

const FORMAT: &str = "deb";
const MAGIC: &[u8] = b"!<arch>\n";
/// The length of a member's header.
const HEADER: usize = 60;
/// What ends a member's header.
const HEADER_END: &[u8] = b"`\n";
/// The most bytes of the control data as it is stored, and of the same unpacked.
const MOST_CONTROL: u64 = 16 << 20;
/// The memory that xz data may ask for, in KiB: dpkg-deb's highest level takes 64 MiB.
const XZ_MEMORY: u32 = 128 << 10;
/// A tar has blocks of this length.
const BLOCK: usize = 512;

/// The control file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `Package`.
    pub name: String,
    /// `Version`, with its epoch and revision.
    pub version: String,
    /// `Architecture`: `amd64`, `all`, ...
    pub architecture: String,
    /// The whole paragraph, as it is written.
    pub text: String,
}

/// A member of the archive, by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: `data.tar.xz`.
    pub name: String,
    /// In bytes from the start of the file.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

/// Reads the control file of a package. Fails for what is not a package, for one that is cut short,
/// and for one whose control data is damaged.
pub fn read(mut reader: impl Read + Seek) -> io::Result<Control> {
    let (control, _) = members(&mut reader)?;
    let tar = unpacked(&control.name, content(&mut reader, &control)?)?;
    let text = control_file(&tar)?;
    let text = String::from_utf8(text.to_vec())
        .map_err(|_| fault("its control file is not UTF-8"))?
        .trim_start_matches('\n')
        .to_string();
    Ok(of_text(&text)?)
}

/// The member with the files of a package, a tar in the compression that its name says. Fails for what
/// is not a package, and for one that is cut short.
pub fn files(mut reader: impl Read + Seek) -> io::Result<Member> {
    members(&mut reader).map(|(_, files)| files)
}

/// The members with the control data and with the files.
fn members(mut reader: &mut (impl Read + Seek)) -> io::Result<(Member, Member)> {
    let end = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut magic = Vec::new();
    reader.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    if magic != MAGIC {
        return Err(fault("it is not a Debian package").into());
    }
    let mut at = MAGIC.len() as u64;
    let version = member(&mut reader, &mut at, end)?;
    if version.name != "debian-binary" {
        return Err(fault("it is an archive, but not a Debian package").into());
    }
    let version = content(&mut reader, &version)?;
    if !version.starts_with(b"2.") {
        let version = String::from_utf8_lossy(&version).trim().escape_debug().to_string();
        return Err(fault(format!("it has the unknown version `{version}` of the format")).into());
    }
    let mut next = || loop {
        let member = member(&mut reader, &mut at, end)?;
        // Members of others, which dpkg ignores as well.
        if !member.name.starts_with('_') {
            return Ok::<Member, io::Error>(member);
        }
    };
    let (control, files) = (next()?, next()?);
    if !files.name.starts_with("data.tar") {
        return Err(fault(format!("`{}` is in the place of its files", files.name)).into());
    }
    Ok((control, files))
}

/// The control data of a control file's text.
fn of_text(text: &str) -> Result<Control, Fault> {
    let mut paragraphs = deb822::paragraphs(text);
    let paragraph = paragraphs.next().ok_or_else(|| fault("its control file is empty"))?;
    paragraph.check(FORMAT)?;
    let field = |name: &str| {
        let value = paragraph.value(name).filter(|value| !value.is_empty());
        value.map(str::to_string).ok_or_else(|| fault(format!("its control file has no `{name}`")))
    };
    Ok(Control {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
        text: text.trim_end().to_string() + "\n",
    })
}

fn fault(why: impl Into<String>) -> Fault {
    Fault::new(FORMAT, why)
}

/// The member whose header is at `at`, which is moved behind it.
fn member(reader: &mut (impl Read + Seek), at: &mut u64, end: u64) -> io::Result<Member> {
    let mut header = Vec::new();
    reader.seek(SeekFrom::Start(*at))?;
    reader.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
    if header.len() < HEADER {
        return Err(fault("it is cut short").into());
    }
    let text = |range: std::ops::Range<usize>| {
        String::from_utf8_lossy(&header[range]).trim_end().to_string()
    };
    let length: Option<u64> = text(48..58).parse().ok();
    let (Some(length), HEADER_END) = (length, &header[58..]) else {
        return Err(fault(format!("the header at {at} is damaged")).into());
    };
    // GNU ar ends names with a slash.
    let name = text(0..16).trim_end_matches('/').to_string();
    let offset = *at + HEADER as u64;
    if offset.checked_add(length).is_none_or(|after| after > end) {
        return Err(fault(format!("it is cut short: `{name}` has {length} bytes")).into());
    }
    *at = (offset + length).next_multiple_of(2);
    Ok(Member { name, offset, length })
}

fn content(reader: &mut (impl Read + Seek), member: &Member) -> io::Result<Vec<u8>> {
    let Member { name, offset, length } = member;
    let is_small = *length <= MOST_CONTROL;
    Fault::unless(is_small, FORMAT, || format!("`{name}` has more than {MOST_CONTROL} bytes"))?;
    let mut bytes = Vec::new();
    reader.seek(SeekFrom::Start(*offset))?;
    reader.take(*length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Decompresses the member `name` as its ending says.
fn unpacked(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let mut tar = Vec::new();
    let most = MOST_CONTROL + 1;
    let read = match name {
        "control.tar" => return Ok(bytes),
        "control.tar.gz" => MultiGzDecoder::new(&bytes[..]).take(most).read_to_end(&mut tar),
        "control.tar.xz" => {
            let reader = XzReader::new_mem_limit(&bytes[..], true, XZ_MEMORY);
            reader.take(most).read_to_end(&mut tar)
        }
        "control.tar.zst" => zstd::stream::read::Decoder::new(&bytes[..])
            .and_then(|reader| reader.take(most).read_to_end(&mut tar)),
        other => return Err(fault(format!("`{other}` is in the place of its control data"))),
    };
    read.map_err(|error| fault(format!("its control data is damaged: {error}")))?;
    let is_small = tar.len() as u64 <= MOST_CONTROL;
    Fault::unless(is_small, FORMAT, || {
        format!("its control data has more than {MOST_CONTROL} bytes")
    })?;
    Ok(tar)
}

/// The file `control` of the control data.
fn control_file(tar: &[u8]) -> Result<&[u8], Fault> {
    let mut rest = tar;
    while let Some(header) = rest.get(..BLOCK).filter(|header| header[0] != 0) {
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            field.split(|byte| *byte == 0).next().unwrap_or_default()
        };
        let octal = String::from_utf8_lossy(text(124..136)).trim().to_string();
        let length = usize::from_str_radix(&octal, 8)
            .map_err(|_| fault("a length in its control data is damaged"))?;
        let after = length.checked_next_multiple_of(BLOCK).and_then(|it| it.checked_add(BLOCK));
        let content = BLOCK.checked_add(length).and_then(|end| rest.get(BLOCK..end));
        let (Some(content), Some(after)) = (content, after) else {
            return Err(fault("its control data is cut short"));
        };
        let name = text(0..100);
        // A regular file; old archives have a zero there.
        if matches!(header[156], 0 | b'0') && name.strip_prefix(b"./").unwrap_or(name) == b"control"
        {
            return Ok(content);
        }
        rest = rest.get(after..).unwrap_or_default();
    }
    Err(fault("it has no control file"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    const CONTROL: &str = "Package: app\nVersion: 1:2-3\nArchitecture: all\nDepends: jq (>= 1),\n less\n\
                           Description: x\n y\n";

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, text) in files {
            let mut header = vec![0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..136].copy_from_slice(format!("{:011o}\0", text.len()).as_bytes());
            header[156] = if name.ends_with('/') { b'5' } else { b'0' };
            tar.extend(header);
            tar.extend(text.as_bytes());
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
        tar.resize(tar.len() + 2 * BLOCK, 0);
        tar
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in members {
            let length = content.len();
            writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`", 0, 0, 0, 100644)
                .unwrap();
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    /// A package whose control data is `control` under the name of a member.
    fn package(member: &str, control: &[u8]) -> Vec<u8> {
        let members: [(&str, &[u8]); 4] = [
            ("debian-binary", b"2.0\n"),
            ("_others", b"odd"),
            (member, control),
            ("data.tar.xz", b"files"),
        ];
        archive(&members)
    }

    pub(crate) fn sample() -> Vec<u8> {
        package("control.tar.gz", &gzip(&tar(&[("./", ""), ("./control", CONTROL)])))
    }

    fn why(bytes: &[u8]) -> String {
        read(Cursor::new(bytes)).unwrap_err().to_string()
    }

    #[test]
    fn the_control_file_is_read_whatever_compresses_it() {
        let tar = tar(&[("./", ""), ("./md5sums", "0 x\n"), ("./control", CONTROL)]);
        let zstd = zstd::bulk::compress(&tar, 3).unwrap();
        for (member, control) in [
            ("control.tar", tar.clone()),
            ("control.tar.gz", gzip(&tar)),
            ("control.tar.zst/", zstd),
        ] {
            let control = read(Cursor::new(package(member, &control))).unwrap();
            assert_eq!((&*control.name, &*control.version), ("app", "1:2-3"), "{member}");
            assert_eq!(control.architecture, "all");
            assert_eq!(control.text, CONTROL);
        }
    }

    #[test]
    fn other_and_damaged_files_are_refused_with_the_reason() {
        let sample = sample();
        assert_eq!(why(b""), "deb: it is not a Debian package");
        assert_eq!(why(&[b'x'; 200]), "deb: it is not a Debian package");
        assert!(why(&archive(&[("x.o", b"x")])).contains("but not a Debian package"));
        assert!(why(&archive(&[("debian-binary", b"3.0\n")])).contains("unknown version `3.0`"));
        // The padding and the last byte of the files.
        let short = &sample[..sample.len() - 2];
        assert_eq!(why(short), "deb: it is cut short: `data.tar.xz` has 5 bytes");
        assert_eq!(why(&sample[..MAGIC.len() + 20]), "deb: it is cut short");
        let control = gzip(&tar(&[("control", CONTROL)]));
        assert!(why(&package("control.tar.gz", &control[..30])).contains("is damaged"));
        assert!(why(&package("control.tar.lzma", &control)).contains("`control.tar.lzma` is in"));
        assert!(why(&package("control.tar", &tar(&[("a", "")]))).contains("has no control file"));
        assert!(
            why(&package("control.tar", &tar(&[("control", "Package: a\nVersion: 1\n")])))
                .contains("has no `Architecture`")
        );
        let members: [(&str, &[u8]); 3] =
            [("debian-binary", b"2.0\n"), ("control.tar", b""), ("other", b"")];
        assert!(why(&archive(&members)).contains("`other` is in the place of its files"));
    }
}

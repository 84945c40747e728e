//! Package URLs of Debian packages: `pkg:deb/debian/htop@3.4.1-5?arch=amd64&distro=debian-13`.
//!
//! Source: the Package URL specification (ECMA-427) and its `deb` type; RFC 3986 for the encoding.

use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode,
};

use super::dpkg::Package;
use super::os_release::System;

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// The URL of a package that is installed in `system`. The qualifier `upstream` names the source
/// package where name or version differ from it, as vulnerability scanners look it up.
pub fn installed(package: &Package, system: &System) -> String {
    let Package { name, version, architecture, source, source_version, .. } = package;
    let upstream = match (source == name, source_version == version) {
        (true, true) => None,
        (false, true) => Some(source.clone()),
        (_, false) => Some(format!("{source}@{source_version}")),
    };
    let mut url = write(&system.id, name, version, architecture);
    for (key, value) in [("distro", Some(system.distro())), ("upstream", upstream)] {
        if let Some(value) = value {
            url += &format!("&{key}={}", encoded(&value));
        }
    }
    url
}

/// The URL of a package of `vendor`, such as `debian`.
pub fn write(vendor: &str, name: &str, version: &str, architecture: &str) -> String {
    let [vendor, name, version, arch] = [vendor, name, version, architecture].map(encoded);
    format!("pkg:deb/{vendor}/{name}@{version}?arch={arch}")
}

/// Name, version and architecture of the Debian package that a URL names; `None` for any other URL.
pub fn read(url: &str) -> Option<[String; 3]> {
    let rest = url.strip_prefix("pkg:deb/")?;
    let (path, qualifiers) = rest.split_once('?')?;
    let (name, version) = path.rsplit_once('/')?.1.split_once('@')?;
    let architecture = qualifiers.split('&').find_map(|pair| pair.strip_prefix("arch="))?;
    Some([decoded(name)?, decoded(version)?, decoded(architecture)?])
}

/// Undoes [`encoded`]; `None` where a `%` is not followed by two hexadecimal digits.
fn decoded(text: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        rest.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let is_whole = text.split('%').skip(1).all(is_escape);
    is_whole.then(|| percent_decode_str(text).decode_utf8().ok())?.map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpkg;
    use crate::dpkg::tests::STATUS;

    const RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME='Debian GNU/Linux'\n\
                           VERSION_ID=\"13\"\nVERSION_CODENAME=trixie\nID=debian\n";

    #[test]
    fn urls_are_read_back() {
        let (packages, system) = (dpkg::read(STATUS).unwrap(), System::read(RELEASE));
        for package in &packages {
            let read = super::read(&installed(package, &system)).unwrap();
            assert_eq!(
                read,
                [&package.name, &package.version, &package.architecture].map(Clone::clone)
            );
        }
        for url in ["pkg:npm/a@1?arch=x", "pkg:deb/debian/a@1", "pkg:deb/debian/a@%4?arch=x"] {
            assert_eq!(read(url), None, "{url}");
        }
    }

    #[test]
    fn urls_name_version_architecture_and_source() {
        let (packages, system) = (dpkg::read(STATUS).unwrap(), System::read(RELEASE));
        assert_eq!(
            installed(&packages[1], &system),
            "pkg:deb/debian/zlib1g@1%3A1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64\
             &distro=debian-13&upstream=zlib"
        );
        assert_eq!(
            installed(&packages[0], &system),
            "pkg:deb/debian/base-files@13.8?arch=amd64&distro=debian-13&upstream=base%402~x"
        );
    }
}

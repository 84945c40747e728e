//! Software bills of materials (SBOM) of an image, as CycloneDX and SPDX. Times and ids follow from
//! the image, so the same image has the same SBOM, to the byte.
//!
//! Source: CycloneDX 1.6 (ECMA-424); SPDX 2.3.

use serde_json::Value;

use super::dpkg::{Inventory, Package};
use super::{Guid, purl};
use crate::digest::Digest;

mod cyclonedx;
mod spdx;

/// The content of an SBOM.
#[derive(Clone, Copy)]
pub struct Sbom<'a> {
    /// The image's file name.
    pub name: &'a str,
    /// The image's SHA-256.
    pub digest: Digest,
    /// What is installed in it.
    pub inventory: &'a Inventory,
    /// The SHA-256 of the `.deb` that a package was installed from, where that is known.
    pub archive: &'a dyn Fn(&Package) -> Option<Digest>,
    /// The version of kuth that made the image; empty if unknown.
    pub tool: &'a str,
    /// `SOURCE_DATE_EPOCH` of the image, in seconds since 1970.
    pub epoch: u64,
}

/// The format of an SBOM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SbomFormat {
    /// CycloneDX 1.6, JSON.
    CycloneDx,
    /// SPDX 2.3, JSON.
    Spdx,
}

impl SbomFormat {
    /// All formats.
    pub const ALL: [SbomFormat; 2] = [SbomFormat::CycloneDx, SbomFormat::Spdx];

    /// Its name in pipelines and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            SbomFormat::CycloneDx => "cyclonedx",
            SbomFormat::Spdx => "spdx",
        }
    }

    /// The extension that the file name of the SBOM adds to that of the image.
    pub fn extension(self) -> &'static str {
        match self {
            SbomFormat::CycloneDx => "cdx.json",
            SbomFormat::Spdx => "spdx.json",
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            SbomFormat::CycloneDx => "application/vnd.cyclonedx+json",
            SbomFormat::Spdx => "application/spdx+json",
        }
    }

    /// The document as text.
    pub fn write(self, sbom: &Sbom<'_>) -> String {
        let value = match self {
            SbomFormat::CycloneDx => cyclonedx::document(sbom),
            SbomFormat::Spdx => spdx::document(sbom),
        };
        format!("{value:#}\n")
    }
}

/// The package URLs in an SBOM of either format, sorted; `None` for any other text.
pub fn packages(text: &str) -> Option<Vec<String>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let mut urls = match value.get("bomFormat") {
        Some(_) => cyclonedx::urls(&value)?,
        None => spdx::urls(&value)?,
    };
    urls.sort();
    Some(urls)
}

impl Sbom<'_> {
    /// The UUID of the document, derived from all of its content.
    fn id(&self, format: &str) -> Guid {
        let mut text = format!("{}\n{}\n{}\n{}\n", self.name, self.digest, self.tool, self.epoch);
        for package in &self.inventory.packages {
            let archive = (self.archive)(package).map_or(String::new(), |it| it.to_string());
            text += &format!("{} {archive}\n", self.purl(package));
        }
        Guid::derived(text, format)
    }

    fn purl(&self, package: &Package) -> String {
        purl::installed(package, &self.inventory.system)
    }

    fn time(&self) -> String {
        rfc3339(self.epoch)
    }
}

/// `2026-01-01T00:00:00Z`
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days of the Gregorian calendar, from years that begin in March.
    let day = days + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (date, month) = (of_year - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os_release::System;

    fn inventory() -> Inventory {
        let package = |name: &str, homepage: &str| Package {
            name: name.into(),
            architecture: "amd64".into(),
            version: "1:2+b1".into(),
            source: "source".into(),
            source_version: "1:2".into(),
            maintainer: "A B <a@b.example>".into(),
            summary: "does things".into(),
            homepage: homepage.into(),
            installed: 5,
        };
        let system = System::read("ID=debian\nVERSION_ID=13\nPRETTY_NAME=\"Debian 13\"");
        Inventory { system, packages: vec![package("a", ""), package("libb++", "https://b")] }
    }

    fn written(format: SbomFormat, name: &str) -> String {
        let inventory = inventory();
        let sbom = Sbom {
            name,
            digest: Digest::of("image"),
            inventory: &inventory,
            archive: &|package| (package.name == "a").then(|| Digest::of("a.deb")),
            tool: "0.1.0",
            epoch: 1_767_225_600,
        };
        format.write(&sbom)
    }

    #[test]
    fn both_formats_name_the_same_packages() {
        let [cyclonedx, spdx] =
            SbomFormat::ALL.map(|format| packages(&written(format, "x.qcow2")).unwrap());
        assert_eq!(cyclonedx, spdx);
        assert_eq!(cyclonedx.len(), 2);
        assert!(cyclonedx[1].starts_with("pkg:deb/debian/libb%2B%2B@1%3A2%2Bb1?arch=amd64"));
        assert_eq!(packages("{}"), None);
        assert_eq!(packages("nothing"), None);
    }

    #[test]
    fn documents_depend_on_their_content_alone() {
        for format in SbomFormat::ALL {
            assert_eq!(written(format, "x"), written(format, "x"));
            let (x, y) = (written(format, "x"), written(format, "y"));
            let id = |text: &str| {
                let value: Value = serde_json::from_str(text).unwrap();
                let key = ["serialNumber", "documentNamespace"].map(|key| value[key].clone());
                key.into_iter().find(Value::is_string).unwrap()
            };
            assert_ne!(id(&x), id(&y));
        }
    }

    #[test]
    fn times_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}

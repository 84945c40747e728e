//! SPDX 2.3 as JSON. Unknown values, licences above all, are `NOASSERTION`.
//!
//! Source: the SPDX specification 2.3 (ISO/IEC 5962 is 2.2.1) and its JSON schema.

use serde_json::{Map, Value, json};

use super::{Sbom, cyclonedx::is_url};
use crate::dpkg::Package;

const UNKNOWN: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

/// The document.
pub fn document(sbom: &Sbom<'_>) -> Value {
    let image = json!({
        "SPDXID": IMAGE,
        "name": sbom.name,
        "versionInfo": sbom.inventory.system.name,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": sbom.digest }],
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "OPERATING_SYSTEM",
    });
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut packages = vec![image];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for item in &sbom.inventory.packages {
        let id = id(item);
        relations.push(relation(IMAGE, "CONTAINS", &id));
        packages.push(package(sbom, item, id));
    }
    let version = if sbom.tool.is_empty() { "unknown" } else { sbom.tool };
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": sbom.name,
        // Nothing lies there, but nobody else has it either.
        "documentNamespace": format!("urn:uuid:{}", sbom.id("spdx")),
        "creationInfo": {
            "created": sbom.time(),
            "creators": [format!("Tool: kuth-{version}")],
        },
        "documentDescribes": [IMAGE],
        "packages": packages,
        "relationships": relations,
    })
}

/// Names have small letters only, so what stands for the rest is a large one.
fn id(package: &Package) -> String {
    let letter = |c: char| match c {
        '+' => "PLUS".to_string(),
        c if c.is_ascii_alphanumeric() || "-.".contains(c) => c.to_string(),
        c => format!("X{:X}", u32::from(c)),
    };
    let text = format!("{}-{}", package.name, package.architecture);
    format!("SPDXRef-Package-{}", text.chars().map(letter).collect::<String>())
}

fn package(sbom: &Sbom<'_>, package: &Package, id: String) -> Value {
    let mut value = Map::new();
    let mut add = |key: &str, it: Value| {
        value.insert(key.to_string(), it);
    };
    add("SPDXID", id.into());
    add("name", package.name.clone().into());
    add("versionInfo", package.version.clone().into());
    if let Some(supplier) = supplier(&package.maintainer) {
        add("supplier", supplier.into());
    }
    add("downloadLocation", UNKNOWN.into());
    add("filesAnalyzed", false.into());
    if let Some(digest) = (sbom.archive)(package) {
        add("checksums", json!([{ "algorithm": "SHA256", "checksumValue": digest }]));
    }
    if is_url(&package.homepage) {
        add("homepage", package.homepage.clone().into());
    }
    let (source, version) = (&package.source, &package.source_version);
    add("sourceInfo", format!("built from the source package {source} {version}").into());
    add("licenseConcluded", UNKNOWN.into());
    add("licenseDeclared", UNKNOWN.into());
    add("copyrightText", UNKNOWN.into());
    if !package.summary.is_empty() {
        add("summary", package.summary.clone().into());
    }
    add(
        "externalRefs",
        json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": sbom.purl(package),
        }]),
    );
    Value::Object(value)
}

/// `Name <address>` as SPDX writes it. Most are teams; nothing distinguishes them from people.
fn supplier(maintainer: &str) -> Option<String> {
    let (name, rest) = maintainer.split_once('<').unwrap_or((maintainer, ""));
    let name = name.trim().trim_matches('"').replace(['(', ')'], "");
    let address = rest.split('>').next().unwrap_or_default().trim();
    match (name.is_empty(), address.contains('@')) {
        (true, _) => None,
        (false, true) => Some(format!("Organization: {name} ({address})")),
        (false, false) => Some(format!("Organization: {name}")),
    }
}

/// The URLs of the packages of a document.
pub fn urls(document: &Value) -> Option<Vec<String>> {
    document.get("spdxVersion")?;
    let packages = document.get("packages")?.as_array()?;
    let references =
        packages.iter().filter_map(|package| package.get("externalRefs")?.as_array()).flatten();
    let urls = references
        .filter(|reference| reference.get("referenceType").is_some_and(|kind| kind == "purl"))
        .filter_map(|reference| reference.get("referenceLocator")?.as_str());
    Some(urls.map(str::to_string).collect())
}

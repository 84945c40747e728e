//! CycloneDX 1.6 as JSON.
//!
//! Source: ECMA-424 and `bom-1.6.schema.json` of the CycloneDX specification.

use serde_json::{Map, Value, json};

use super::Sbom;
use crate::dpkg::Package;

/// The document.
pub fn document(sbom: &Sbom<'_>) -> Value {
    let system = &sbom.inventory.system;
    let image = json!({
        "type": "file",
        "bom-ref": "image",
        "name": sbom.name,
        "hashes": [{ "alg": "SHA-256", "content": sbom.digest }],
    });
    let mut base = Map::new();
    base.insert("type".into(), "operating-system".into());
    base.insert("bom-ref".into(), "system".into());
    base.insert("name".into(), system.id.clone().into());
    if !system.version.is_empty() {
        base.insert("version".into(), system.version.clone().into());
    }
    base.insert("description".into(), system.name.clone().into());
    let packages = &sbom.inventory.packages;
    let references: Vec<String> = packages.iter().map(|package| sbom.purl(package)).collect();
    let mut components = vec![Value::Object(base)];
    components.extend(packages.iter().map(|package| component(sbom, package)));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", sbom.id("cyclonedx")),
        "version": 1,
        "metadata": {
            "timestamp": sbom.time(),
            "tools": { "components": [tool(sbom.tool)] },
            "component": image,
        },
        "components": components,
        // The image holds the system, and that its packages.
        "dependencies": [
            { "ref": "image", "dependsOn": ["system"] },
            { "ref": "system", "dependsOn": references },
        ],
    })
}

fn tool(version: &str) -> Value {
    match version {
        "" => json!({ "type": "application", "name": "kuth" }),
        version => json!({ "type": "application", "name": "kuth", "version": version }),
    }
}

fn component(sbom: &Sbom<'_>, package: &Package) -> Value {
    let mut component = Map::new();
    let mut add = |key: &str, value: Value| {
        component.insert(key.to_string(), value);
    };
    let url = sbom.purl(package);
    add("type", "library".into());
    add("bom-ref", url.clone().into());
    if !package.maintainer.is_empty() {
        add("supplier", json!({ "name": package.maintainer }));
    }
    add("name", package.name.clone().into());
    add("version", package.version.clone().into());
    if !package.summary.is_empty() {
        add("description", package.summary.clone().into());
    }
    if let Some(digest) = (sbom.archive)(package) {
        add("hashes", json!([{ "alg": "SHA-256", "content": digest }]));
    }
    add("purl", url.into());
    if is_url(&package.homepage) {
        add("externalReferences", json!([{ "type": "website", "url": package.homepage }]));
    }
    add(
        "properties",
        json!([
            { "name": "kuth:source", "value": package.source },
            { "name": "kuth:source-version", "value": package.source_version },
        ]),
    );
    Value::Object(component)
}

/// Packages say all kinds of things of their homepage.
pub fn is_url(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_graphic() && !"<>\"{}|\\^`[]".contains(c);
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(legal))
}

/// The URLs of the packages of a document.
pub fn urls(document: &Value) -> Option<Vec<String>> {
    let components = document.get("components")?.as_array()?;
    let urls = components.iter().filter_map(|component| component.get("purl")?.as_str());
    Some(urls.map(str::to_string).collect())
}

//! The packages of pins as materials of provenance.

use super::Pin;
use crate::debian::Distribution;
use crate::lock::Package;
use crate::provenance::Material;

/// The packages of these pins.
pub fn packages(distribution: &Distribution, pins: &[Pin]) -> Vec<Material> {
    let packages = pins.iter().flat_map(Pin::packages);
    let material = |package: &Package| {
        let Package { name, version, architecture, sha256, .. } = package;
        Material::of_package(distribution.name, name, version, architecture, *sha256)
    };
    packages.map(material).collect()
}

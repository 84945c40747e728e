//! Where a stage takes its packages from: a mirror, or an installation medium that another stage
//! makes. It does not know which packages.

use super::{Inputs, Resource};
use crate::artifact::ArtifactKind;
use crate::debian::PackageSource;
use crate::error::Result;
use crate::host_path::HostPath;
use crate::pipeline::Input;

/// What may be an installation medium: an ISO image, or its files.
pub const MEDIA: &[ArtifactKind] = &[ArtifactKind::File, ArtifactKind::Directory];

/// The package source of a stage.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The mirror that the pipeline names.
    pub mirror: Option<String>,
    /// The keyring that it names.
    pub keyring: Option<HostPath>,
    /// The input that is the medium.
    pub medium: Option<Input>,
    /// The pockets that the pipeline names, if it does.
    pub pockets: Option<Vec<&'static str>>,
    /// Packages to take from the suite's backports.
    pub backports: Vec<String>,
}

/// The words of `pockets`, which Debian and Ubuntu share.
pub const POCKETS: [&str; 2] = ["updates", "security"];

impl Origin {
    /// The package source that requests go to.
    pub fn package_source(&self, inputs: &Inputs) -> Result<PackageSource> {
        match &self.medium {
            Some(medium) if inputs.predicted.contains_key(medium.key) => {
                Ok(PackageSource::Medium(None))
            }
            Some(medium) => Ok(PackageSource::Medium(Some(inputs.get(medium.key)?.clone()))),
            None => Ok(PackageSource::Mirror(self.mirror.clone())),
        }
    }

    /// The pockets that requests search; `default` where the pipeline names none.
    pub fn searched(&self, default: Vec<&'static str>) -> Vec<&'static str> {
        match (&self.medium, &self.pockets) {
            // A medium has the release alone.
            (Some(_), _) => Vec::new(),
            (None, Some(pockets)) => pockets.clone(),
            (None, None) => default,
        }
    }

    /// The resource that getting packages needs most.
    pub fn resource(&self) -> Resource {
        if self.medium.is_some() { Resource::Cpu } else { Resource::Network }
    }
}

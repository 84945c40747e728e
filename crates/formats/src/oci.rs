//! Container images: descriptors, indexes, manifests and configurations, and the files of an image
//! layout. Also the manifests of Docker, which differ in their media types alone, and the table of an
//! archive of `docker save`. It knows no tar and no registry.
//!
//! Field names are those of the specification. Digests are SHA-256 alone: a reader refuses others.
//!
//! Source: OCI Image Format Specification 1.1; Docker's "Image Manifest Version 2, Schema 2" and
//! "Docker Image Specification v1.2.0".

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::digest::Digest;

const FORMAT: &str = "oci";

/// The most bytes of an index, a manifest or a configuration: what registries accept.
pub const MOST_DOCUMENT: u64 = 4 << 20;

/// The file that marks an image layout, and its content.
pub const LAYOUT_FILE: &str = "oci-layout";
/// The content of [`LAYOUT_FILE`].
pub const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The index of an image layout.
pub const INDEX_FILE: &str = "index.json";
/// The blobs of an image layout, each named by the digits of its SHA-256.
pub const BLOBS: &str = "blobs/sha256";
/// The table of an archive of `docker save`.
pub const DOCKER_FILE: &str = "manifest.json";

/// The prefix of a file in a layer that removes the file without the prefix.
pub const WHITEOUT: &[u8] = b".wh.";
/// The file in a directory of a layer that hides what layers below have in it.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// An image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer, compressed with gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The content `{}`, of manifests that have no configuration.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The media types of layers that are read.
const LAYERS: [&str; 7] = [
    "application/vnd.oci.image.layer.v1.tar",
    LAYER_GZIP,
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    // `docker save` before 25 says nothing of its layers.
    "",
];

/// The digest of a blob: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BlobDigest(pub Digest);

impl BlobDigest {
    /// That of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> BlobDigest {
        BlobDigest(Digest::of(bytes))
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for BlobDigest {
    type Err = Fault;

    fn from_str(text: &str) -> Result<BlobDigest, Fault> {
        let digest = text.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
        digest.map(BlobDigest).ok_or_else(|| {
            Fault::new(FORMAT, format!("the digest {text:?} is not `sha256:` and 64 digits"))
        })
    }
}

impl From<BlobDigest> for String {
    fn from(digest: BlobDigest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for BlobDigest {
    type Error = Fault;

    fn try_from(text: String) -> Result<BlobDigest, Fault> {
        text.parse()
    }
}

/// Texts by name, such as annotations and labels.
pub type Texts = BTreeMap<String, String>;

/// What names a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// Its SHA-256.
    pub digest: BlobDigest,
    /// Its length in bytes.
    pub size: u64,
    /// Which machines an image is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What a manifest without an image is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub annotations: Texts,
}

impl Descriptor {
    /// Of `bytes`.
    pub fn of(media_type: &str, bytes: impl AsRef<[u8]>) -> Descriptor {
        let bytes = bytes.as_ref();
        Descriptor::new(media_type, BlobDigest::of(bytes), bytes.len() as u64)
    }

    /// Of a blob with this digest and so many bytes.
    pub fn new(media_type: &str, digest: BlobDigest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_string(),
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: Texts::new(),
        }
    }
}

/// The machines that an image is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// In Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// The version of the architecture, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on an architecture in Debian's words: `amd64`, `armhf`.
    pub fn of_debian(architecture: &str) -> Platform {
        let (architecture, variant) = match architecture {
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v5")),
            "i386" => ("386", None),
            "ppc64el" => ("ppc64le", None),
            "mips64el" => ("mips64le", None),
            other => (other, None),
        };
        let (os, variant) = ("linux".to_string(), variant.map(str::to_string));
        Platform { architecture: architecture.to_string(), os, variant }
    }
}

/// An image index, or Docker's manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// [`INDEX`] or [`DOCKER_INDEX`]; older writers leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
}

/// An image manifest, or the manifest of an artifact that refers to an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// [`MANIFEST`] or [`DOCKER_MANIFEST`]; older writers leave it out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// What it is, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub annotations: Texts,
}

/// An image configuration, as far as kuth reads and writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// In Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// The version of the architecture, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `linux`.
    pub os: String,
    /// What a container starts with.
    #[serde(default)]
    pub config: Option<Execution>,
    /// The layers, uncompressed.
    pub rootfs: RootFs,
    /// How the layers were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// `config` of an image configuration: what a container starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    /// The user, a name or a number, and a group after `:`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`, each with an empty table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Nothing>>,
    /// `NAME=VALUE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or the command where there is no entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths of volumes, each with an empty table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Nothing>>,
    /// The working directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Texts>,
    /// The signal that stops a container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
}

/// An empty table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The SHA-256 of each layer, uncompressed.
    pub diff_ids: Vec<BlobDigest>,
}

/// How a layer was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The program or the command.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Whether there is no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// One image in the table of an archive of `docker save`. All of them are names of files in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// The configuration.
    pub config: String,
    /// The layers, the lowest first.
    pub layers: Vec<String>,
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Of one image.
    Manifest(Box<Manifest>),
    /// Of several.
    Index(Index),
}

impl Document {
    /// Reads what a registry or an index calls a manifest. Errors for media types of other things.
    pub fn read(bytes: &[u8]) -> Result<Document, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            schema_version: u32,
            #[serde(default)]
            media_type: String,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = json(bytes, "a manifest")?;
        Fault::unless(kind.schema_version == 2, FORMAT, || {
            format!("a manifest of version {}, not 2", kind.schema_version)
        })?;
        match (kind.media_type.as_str(), kind.manifests.is_some()) {
            (INDEX | DOCKER_INDEX, _) | ("", true) => json(bytes, "an index").map(Document::Index),
            (MANIFEST | DOCKER_MANIFEST | "", _) => {
                json(bytes, "a manifest").map(Document::Manifest)
            }
            (other, _) => Err(Fault::new(FORMAT, format!("{other:?} is not an image"))),
        }
    }
}

impl Index {
    /// The manifest for `architecture` of Linux: the only one where none has a platform.
    pub fn image_for(&self, architecture: &str) -> Result<&Descriptor, Fault> {
        let is_image = |it: &&Descriptor| {
            matches!(it.media_type.as_str(), MANIFEST | DOCKER_MANIFEST | INDEX | DOCKER_INDEX | "")
                && it.artifact_type.is_none()
        };
        let images: Vec<&Descriptor> = self.manifests.iter().filter(is_image).collect();
        let fits = |it: &&&Descriptor| {
            it.platform.as_ref().is_some_and(|platform| {
                platform.os == "linux" && platform.architecture == architecture
            })
        };
        if let Some(found) = images.iter().find(fits) {
            return Ok(found);
        }
        if let [only] = images.as_slice()
            && only.platform.is_none()
        {
            return Ok(only);
        }
        let platforms = images.iter().map(|it| match &it.platform {
            Some(platform) => format!("{}/{}", platform.os, platform.architecture),
            None => "one without a platform".to_string(),
        });
        let there = match images.is_empty() {
            true => "it has no images".to_string(),
            false => format!("it has {}", platforms.collect::<Vec<_>>().join(", ")),
        };
        Err(Fault::new(FORMAT, format!("there is no image for linux/{architecture}: {there}")))
    }
}

impl Manifest {
    /// Fails where a layer cannot be read, naming its media type.
    pub fn check_layers(&self) -> Result<(), Fault> {
        match self.layers.iter().find(|layer| !LAYERS.contains(&layer.media_type.as_str())) {
            None => Ok(()),
            Some(layer) => Err(Fault::new(
                FORMAT,
                format!("a layer of the unknown media type {:?}", layer.media_type),
            )),
        }
    }
}

impl ImageConfig {
    /// Reads a configuration of OCI or Docker.
    pub fn read(bytes: &[u8]) -> Result<ImageConfig, Fault> {
        json(bytes, "an image configuration")
    }
}

impl Index {
    /// Reads an index.
    pub fn read(bytes: &[u8]) -> Result<Index, Fault> {
        json(bytes, "an index")
    }
}

/// Reads the table of an archive of `docker save`.
pub fn read_docker_table(bytes: &[u8]) -> Result<Vec<DockerImage>, Fault> {
    json(bytes, DOCKER_FILE)
}

/// A document as bytes. The order of its fields is fixed, so equal values give equal bytes.
pub fn write(document: &impl Serialize) -> Vec<u8> {
    // Texts and numbers alone: this cannot fail.
    serde_json::to_vec(document).unwrap_or_default()
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, Fault> {
    Fault::unless(bytes.len() as u64 <= MOST_DOCUMENT, FORMAT, || {
        format!("{what} has {} bytes, more than 4 MiB", bytes.len())
    })?;
    serde_json::from_slice(bytes).map_err(|error| Fault::new(FORMAT, format!("{what}: {error}")))
}

/// A time as RFC 3339 has it, in UTC. `epoch` is in seconds since 1970.
pub fn time(epoch: u64) -> String {
    crate::sbom::rfc3339(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(architecture: Option<&str>) -> Descriptor {
        let platform = architecture.map(|architecture| Platform {
            architecture: architecture.to_string(),
            os: "linux".to_string(),
            variant: None,
        });
        Descriptor { platform, ..Descriptor::of(MANIFEST, architecture.unwrap_or("")) }
    }

    fn index(manifests: Vec<Descriptor>) -> Index {
        Index { schema_version: 2, media_type: INDEX.to_string(), manifests }
    }

    #[test]
    fn an_index_gives_the_image_of_an_architecture() {
        let both = index(vec![descriptor(Some("arm64")), descriptor(Some("amd64"))]);
        assert_eq!(both.image_for("amd64").unwrap(), &both.manifests[1]);
        assert_eq!(
            both.image_for("riscv64").unwrap_err().to_string(),
            "oci: there is no image for linux/riscv64: it has linux/arm64, linux/amd64"
        );
        let only = index(vec![descriptor(None)]);
        assert_eq!(only.image_for("amd64").unwrap(), &only.manifests[0]);
        assert!(index(Vec::new()).image_for("amd64").is_err());
        let attestation = Descriptor { artifact_type: Some("a/b".to_string()), ..descriptor(None) };
        let with_attestation = index(vec![attestation, descriptor(None)]);
        assert_eq!(with_attestation.image_for("amd64").unwrap(), &with_attestation.manifests[1]);
    }

    #[test]
    fn documents_are_told_apart_with_and_without_media_types() {
        let digest = BlobDigest::of("x");
        let blob = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1}}"#);
        let manifest = |media: &str| {
            format!(r#"{{"schemaVersion":2{media},"config":{blob},"layers":[{blob}]}}"#)
        };
        let list = |media: &str| format!(r#"{{"schemaVersion":2{media},"manifests":[{blob}]}}"#);
        let media = |media: &str| format!(r#","mediaType":"{media}""#);
        for text in [manifest(""), manifest(&media(MANIFEST)), manifest(&media(DOCKER_MANIFEST))] {
            let read = Document::read(text.as_bytes()).unwrap();
            assert!(matches!(read, Document::Manifest(_)), "{text}");
        }
        for text in [list(""), list(&media(INDEX)), list(&media(DOCKER_INDEX))] {
            assert!(matches!(Document::read(text.as_bytes()).unwrap(), Document::Index(_)));
        }
        let old = manifest("").replace("\"schemaVersion\":2", "\"schemaVersion\":1");
        for (text, reason) in [
            (old, "oci: a manifest of version 1, not 2"),
            (manifest(&media("a/b")), "oci: \"a/b\" is not an image"),
        ] {
            assert_eq!(Document::read(text.as_bytes()).unwrap_err().to_string(), reason);
        }
        let Document::Manifest(read) = Document::read(manifest("").as_bytes()).unwrap() else {
            panic!("not a manifest")
        };
        let reason = "oci: a layer of the unknown media type \"a/b\"";
        assert_eq!(read.check_layers().unwrap_err().to_string(), reason);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let execution = Execution {
            entrypoint: Some(vec!["/bin/sh".to_string()]),
            exposed_ports: Some([("80/tcp".to_string(), Nothing {})].into()),
            ..Execution::default()
        };
        let config = ImageConfig {
            created: Some(time(0)),
            architecture: "amd64".to_string(),
            variant: None,
            os: "linux".to_string(),
            config: Some(execution),
            rootfs: RootFs { kind: "layers".to_string(), diff_ids: vec![BlobDigest::of("x")] },
            history: vec![History::default()],
        };
        let text = write(&config);
        let shown = String::from_utf8_lossy(&text);
        assert!(shown.contains(r#""ExposedPorts":{"80/tcp":{}}"#), "{shown}");
        assert!(shown.starts_with(r#"{"created":"1970-01-01T00:00:00Z""#), "{shown}");
        assert_eq!(ImageConfig::read(&text).unwrap(), config);
    }

    #[test]
    fn other_digests_are_refused() {
        for text in ["sha512:00", "sha256:00", "00", "sha256:../../etc/passwd"] {
            assert!(text.parse::<BlobDigest>().is_err(), "{text}");
        }
    }
}

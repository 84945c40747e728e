//! The tools that shape the bytes of a disk (mke2fs, mkfs.xfs, grub-mkimage), from locked Debian
//! packages rather than from the host: they are unpacked, never configured, and run through their
//! own dynamic loader, so that an image comes out the same on every host, as any user.
//! It knows neither mirrors nor what the tools are used for.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use crate::archive;
use crate::artifact::{ArtifactKind, Output};
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow, bail};
use crate::process::Command;
use crate::recipe::Recipe;
use crate::stage_context::{Pin, StageContext};
use crate::threads;

/// The suite the packages come from, whatever suite an image has.
pub const SUITE: &str = "trixie";

/// The packages to lock: exactly these, dependencies are not followed. They hold every library
/// that the tools load (a test runs each), and leave out what only maintainer scripts and unused
/// programs of the same packages want, Python among it: 14 MB instead of 43 MB.
pub const PACKAGES: [&str; 30] = [
    "e2fsprogs",
    "xfsprogs",
    "grub-common",
    // mke2fs and debugfs.
    "libc6",
    "libext2fs2t64",
    "libcom-err2",
    "libss2",
    "libblkid1",
    "libuuid1",
    // mke2fs loads libarchive by itself to read a tar.
    "libarchive13t64",
    "libacl1",
    "libbz2-1.0",
    "liblz4-1",
    "liblzma5",
    "libnettle8t64",
    "libxml2",
    "libxxhash0",
    "libzstd1",
    "zlib1g",
    // mkfs.xfs and xfs_db.
    "libbsd0",
    "libedit2",
    "libinih1",
    "libmd0",
    "libtinfo6",
    "liburcu8t64",
    // grub-mkimage.
    "libcap2",
    "libdevmapper1.02.1",
    "libpcre2-8-0",
    "libselinux1",
    "libudev1",
];

/// The packages that hold GRUB for an image of `architecture` (Debian's word).
pub fn boot_packages(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "amd64" => &["grub-pc-bin", "grub-efi-amd64-unsigned"],
        "arm64" => &["grub-efi-arm64-unsigned"],
        _ => &[],
    }
}

/// Directory of libraries and name of the loader, by the host's architecture (Rust's word).
const LOADERS: [(&str, &str, &str); 2] = [
    ("x86_64", "usr/lib/x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    ("aarch64", "usr/lib/aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
];

/// Unpacked packages.
#[derive(Clone, Debug)]
pub struct ToolsTree {
    directory: PathBuf,
    libraries: PathBuf,
    loader: PathBuf,
    digest: Digest,
}

impl ToolsTree {
    /// Unpacks `debs` into the new directory `into`, some at a time.
    /// `digest` names what they are.
    pub fn unpack(
        debs: &[PathBuf],
        into: &Path,
        digest: Digest,
        context: &StageContext,
    ) -> Result<ToolsTree> {
        std::fs::create_dir(into).with_context(|| format!("making {}", into.display()))?;
        threads::for_each(debs, context.settings.jobs.clamp(1, 4), |deb| -> Result<()> {
            archive::deb::extract(deb, into, &context.unpacking())?;
            Ok(())
        })?;
        ToolsTree::open(into, digest)
    }

    /// The tree that was unpacked in `directory` before.
    pub fn open(directory: &Path, digest: Digest) -> Result<ToolsTree> {
        let host = std::env::consts::ARCH;
        let Some((_, libraries, loader)) = LOADERS.iter().find(|(arch, ..)| *arch == host) else {
            bail!("there are no tools for hosts of the architecture {host}");
        };
        let libraries = directory.join(libraries);
        let loader = libraries.join(loader);
        if !loader.is_file() {
            bail!("the tools tree {} has no {}", directory.display(), loader.display());
        }
        Ok(ToolsTree { directory: directory.to_path_buf(), libraries, loader, digest })
    }

    /// What it is unpacked from; belongs in the recipe of whatever its tools make.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// A file of the tree, such as `usr/lib/grub/i386-pc/boot.img`.
    pub fn file(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// The bytes of a file of the tree.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.file(path);
        std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// The command that runs a program of the tree, such as `usr/sbin/mke2fs`, with the tree's
    /// own libraries. Its times are `epoch` where the program asks for SOURCE_DATE_EPOCH.
    pub fn command(&self, program: &str, epoch: u64) -> Command {
        Command::new(&self.loader)
            .arg("--library-path")
            .arg(&self.libraries)
            .arg(self.file(program))
            .env("SOURCE_DATE_EPOCH", epoch.to_string())
    }
}

/// Raised when the same packages would make another tar.
const REVISION: u32 = 1;

/// The tools that `pin` locks, unpacked into the work directory of `context`; the packages' files
/// are in the cache already. Their decompression takes a second, so the cache has their files as a
/// tar.
pub fn tools(context: &StageContext, pin: &Pin) -> Result<ToolsTree> {
    let mut digests: Vec<Digest> = pin.packages().iter().map(|package| package.sha256).collect();
    digests.sort();
    let debs: Vec<PathBuf> = digests.iter().map(|sha256| context.cache.package(sha256)).collect();
    if let Some(missing) = debs.iter().find(|deb| !deb.is_file()) {
        return Err(anyhow!("the package {} is not in the cache", missing.display()))
            .hint("build without `--offline`, so that it can be downloaded");
    }
    let digest = digest_of(&digests);
    let mut recipe = Recipe::new("tools", REVISION);
    recipe.value("packages", digest);
    let (tar, _) = context.cached(&recipe, |context| {
        let directory = context.scratch("tools");
        ToolsTree::unpack(&debs, &directory, digest, context)?;
        let file = context.scratch("tools.tar");
        pack(&directory, &file).with_context(|| format!("writing {}", file.display()))?;
        Output::file(ArtifactKind::File, file)
    })?;
    let (file, into) = (context.object(&tar), context.scratch("tools"));
    File::open(&file)
        .and_then(|file| tar::Archive::new(BufReader::new(file)).unpack(&into))
        .with_context(|| format!("unpacking {}", file.display()))?;
    ToolsTree::open(&into, digest)
}

/// Writes the files below `directory` into a tar: sorted, without times and owners.
fn pack(directory: &Path, file: &Path) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(BufWriter::new(File::create_new(file)?));
    tar.mode(tar::HeaderMode::Deterministic);
    tar.follow_symlinks(false);
    let mut directories = vec![PathBuf::new()];
    while let Some(below) = directories.pop() {
        let entries = std::fs::read_dir(directory.join(&below))?;
        let mut entries = entries.collect::<std::io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = below.join(entry.file_name());
            tar.append_path_with_name(entry.path(), &path)?;
            if entry.file_type()?.is_dir() {
                directories.push(path);
            }
        }
    }
    tar.into_inner()?.into_inner()?.sync_all()
}

/// The boot loader that firmware with Secure Boot starts.
#[derive(Clone, Debug)]
pub struct SignedBoot {
    /// The first stage, signed by the key that firmware comes with.
    pub shim: Vec<u8>,
    /// GRUB, signed by a key that `shim` has.
    pub grub: Vec<u8>,
}

/// The packages that hold them for an image of `architecture` (Debian's word).
pub fn signed_packages(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "amd64" => &["shim-signed", "grub-efi-amd64-signed"],
        "arm64" => &["shim-signed", "grub-efi-arm64-signed"],
        _ => &[],
    }
}

/// The signed boot loader in the packages that `pin` locks, whose files are in the cache already;
/// `None` where it locks none.
pub fn signed_boot(context: &StageContext, pin: &Pin) -> Result<Option<SignedBoot>> {
    if pin.packages().is_empty() {
        return Ok(None);
    }
    let directory = context.scratch("signed");
    for package in pin.packages() {
        let deb = context.cache.package(&package.sha256);
        archive::deb::extract(&deb, &directory, &context.unpacking())?;
    }
    let (shims, grub): (&[&str], &str) = match context.settings.architecture.as_str() {
        "arm64" => (
            &["usr/lib/shim/shimaa64.efi.signed", "usr/lib/shim/shimaa64.efi.signed.latest"],
            "usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed",
        ),
        _ => (
            // Ubuntu has the first name as a link that its package makes when it is configured.
            &["usr/lib/shim/shimx64.efi.signed", "usr/lib/shim/shimx64.efi.signed.latest"],
            "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        ),
    };
    let read = |path: &str| {
        let file = directory.join(path);
        std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
    };
    let shim = shims.iter().find(|path| directory.join(path).is_file()).unwrap_or(&shims[0]);
    Ok(Some(SignedBoot { shim: read(shim)?, grub: read(grub)? }))
}

/// What names a tree made of these packages.
pub fn digest_of(packages: &[Digest]) -> Digest {
    let mut lines: Vec<String> = packages.iter().map(Digest::to_string).collect();
    lines.sort();
    Digest::of(lines.join("\n"))
}

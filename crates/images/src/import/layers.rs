//! The layers of a container image as the canonical tar of a tree: each is read twice, first for what it
//! removes from the layers below it, then for what it has.
//!
//! Source: OCI Image Format Specification 1.1, "Image Layer Filesystem Changeset".

use std::io::{self, BufReader, Read};
use std::path::Path;

use super::Imported;
use super::rootfs::{Key, Table, key};
use crate::archive;
use crate::digest::{Digest, Hasher};
use crate::error::{Context, Result, bail, ensure};
use crate::format::oci::{BlobDigest, OPAQUE, WHITEOUT};
use crate::oci::{Layer, Layout};
use crate::tree::{Kind, Metadata, Reader};

/// More layers than any image has.
const MOST_LAYERS: usize = 500;

/// Writes what the layers of the image for `architecture` (in Debian's words) make together as the
/// canonical tar `to`.
pub fn import(
    layout: &Layout,
    architecture: &str,
    to: &Path,
    options: &archive::Options<'_>,
) -> Result<Imported> {
    let layers = layout.layers(architecture).context("reading the image")?;
    ensure!(layers.len() <= MOST_LAYERS, "the image has {} layers", layers.len());
    let mut table = Table::new(options)?;
    let file = options.work.join("layer");
    for (number, layer) in layers.iter().enumerate() {
        let what = || format!("reading layer {} of {}", number + 1, layers.len());
        layout.copy_layer(layer, &file, options.cancel).with_context(what)?;
        remove(&mut table, layer, &file, options).with_context(what)?;
        add(&mut table, &file, options).with_context(what)?;
        std::fs::remove_file(&file).with_context(what)?;
    }
    let count = layers.len();
    table.finish(to, options, &format!("an image of {count} layers"))
}

/// Removes what a layer hides of those below, and compares the layer with its digest.
fn remove(
    table: &mut Table,
    layer: &Layer,
    file: &Path,
    options: &archive::Options<'_>,
) -> Result<()> {
    let mut found = None;
    archive::read_tar(file, options, |reader| {
        let mut hashing = Hashing { reader, hasher: Hasher::default() };
        let mut buffered = BufReader::with_capacity(1 << 18, &mut hashing);
        let mut entries = Reader::new(&mut buffered).without_end();
        while let Some((entry, _)) = entries.next_entry()? {
            options.cancel.check()?;
            let what = || format!("reading {}", entry.path.escape_ascii());
            remove_below(table, key(&entry.path).with_context(what)?, &entry.metadata);
        }
        io::copy(&mut buffered, &mut io::sink())?;
        found = Some(hashing.hasher.finish());
        Ok(())
    })?;
    let found: Digest = found.context("it was not read")?;
    if BlobDigest(found) != layer.diff_id {
        bail!("its SHA-256 is {found}, uncompressed, and the image says {}", layer.diff_id);
    }
    Ok(())
}

/// What a layer with this entry removes from those below.
fn remove_below(table: &mut Table, key: Key, metadata: &Metadata) {
    let base = base(&key);
    let above = &key[..key.len() - base.len()];
    if base == OPAQUE {
        table.remove_below(above.strip_suffix(&[0]).unwrap_or(above));
    } else if let Some(name) = base.strip_prefix(WHITEOUT) {
        table.remove(&[above, name].concat());
    } else if metadata.kind != Kind::Directory && table.has_directory(&key) {
        table.remove(&key);
    }
}

fn base(key: &[u8]) -> &[u8] {
    key.rsplit(|byte| *byte == 0).next().unwrap_or(key)
}

fn add(table: &mut Table, file: &Path, options: &archive::Options<'_>) -> Result<()> {
    archive::read_tar(file, options, |reader| {
        let mut entries = Reader::new(reader).without_end();
        while let Some((entry, mut content)) = entries.next_entry()? {
            options.cancel.check()?;
            if base(&key(&entry.path)?).starts_with(WHITEOUT) {
                continue;
            }
            let shown = entry.path.escape_ascii().to_string();
            let added = table.add(entry, &mut content, options.cancel);
            added.with_context(|| format!("reading {shown}"))?;
        }
        Ok(())
    })
}

/// A reader that hashes what passes.
struct Hashing<R> {
    reader: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Options;
    use crate::cancel::Cancel;
    use crate::format::oci::{
        self, BLOBS, CONFIG, Descriptor, INDEX, INDEX_FILE, ImageConfig, Index, MANIFEST, Manifest,
        RootFs,
    };
    use crate::oci::{ImageOptions, write_tree};
    use crate::tree::{Data, FileWriter};

    /// A tar from rows of a path, what it is (`d`, `f`, `>TARGET`, `=TARGET`) and a time.
    fn tar(rows: &[(&str, &str, u64)], to: &Path) {
        let mut writer = FileWriter::create(to, 100).unwrap();
        for (path, what, time) in rows {
            let link = |kind| Metadata {
                kind,
                link: what.as_bytes()[1..].to_vec(),
                ..Metadata::file(0, *time)
            };
            let metadata = match &what[..1] {
                "d" => Metadata::directory(0o755, *time),
                ">" => Metadata::symlink(what.as_bytes()[1..].to_vec(), *time),
                "=" => link(Kind::Link),
                _ => Metadata::file(path.len() as u64, *time),
            };
            let mut content = path.as_bytes();
            let data = match metadata.kind {
                Kind::Regular => Data::Stored(&mut content),
                _ => Data::Nothing,
            };
            writer.add(Path::new(path), &metadata, data).unwrap();
        }
        writer.finish().unwrap();
    }

    /// An image layout with these layers, whose digests may be changed.
    fn layout(work: &Path, layers: &[&[(&str, &str, u64)]], change: impl Fn(&mut ImageConfig)) {
        std::fs::create_dir_all(work.join(BLOBS)).unwrap();
        let blob = |media_type: &str, bytes: &[u8]| {
            let descriptor = Descriptor::of(media_type, bytes);
            std::fs::write(work.join(BLOBS).join(descriptor.digest.0.to_string()), bytes).unwrap();
            descriptor
        };
        let layers: Vec<Descriptor> = layers
            .iter()
            .map(|rows| {
                let file = work.join("new");
                tar(rows, &file);
                blob("application/vnd.oci.image.layer.v1.tar", &std::fs::read(file).unwrap())
            })
            .collect();
        let diff_ids = layers.iter().map(|layer| layer.digest).collect();
        let mut config = ImageConfig {
            created: None,
            architecture: "amd64".to_string(),
            variant: None,
            os: "linux".to_string(),
            config: None,
            rootfs: RootFs { kind: "layers".to_string(), diff_ids },
            history: Vec::new(),
        };
        change(&mut config);
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_string(),
            artifact_type: None,
            config: blob(CONFIG, &oci::write(&config)),
            layers,
            subject: None,
            annotations: Default::default(),
        };
        let manifests = vec![blob(MANIFEST, &oci::write(&manifest))];
        let index = Index { schema_version: 2, media_type: INDEX.to_string(), manifests };
        std::fs::write(work.join(INDEX_FILE), oci::write(&index)).unwrap();
    }

    fn imported(directory: &Path, architecture: &str) -> Result<Vec<String>> {
        let (work, to) = (tempfile::tempdir().unwrap(), directory.join("tree.tar"));
        let cancel = Cancel::default();
        let options = Options {
            limit: None,
            threads: 1,
            epoch: 100,
            work: work.path(),
            cancel: &cancel,
            report: &|_, _| (),
        };
        import(&Layout::in_directory(directory), architecture, &to, &options)?;
        let mut entries = Reader::new(std::fs::File::open(to).unwrap());
        let mut names = Vec::new();
        while let Some((entry, _)) = entries.next_entry().unwrap() {
            let link = match entry.metadata.kind {
                Kind::Link | Kind::Symlink => {
                    format!(" -> {}", entry.metadata.link.escape_ascii())
                }
                _ => String::new(),
            };
            let time = entry.metadata.mtime;
            names.push(format!("{}{link} {time}", entry.path.escape_ascii()));
        }
        Ok(names)
    }

    #[track_caller]
    fn gives(layers: &[&[(&str, &str, u64)]], expected: &[&str]) {
        let directory = tempfile::tempdir().unwrap();
        layout(directory.path(), layers, |_| ());
        assert_eq!(imported(directory.path(), "amd64").unwrap(), expected);
    }

    const LOWER: &[(&str, &str, u64)] = &[
        ("./", "d", 1),
        ("etc", "d", 1),
        ("etc/a", "f", 1),
        ("etc/b", "=etc/a", 1),
        ("opt", "d", 1),
        ("opt/d", "d", 1),
        ("opt/d/x", "f", 1),
    ];

    #[test]
    fn whiteouts_remove_from_layers_below_alone() {
        let upper: &[_] = &[("etc/.wh.a", "f", 2), ("etc/a", "f", 2), ("opt/.wh.d", "f", 2)];
        gives(&[LOWER, upper], &["./ 1", "etc/ 1", "etc/a 2", "etc/b 1", "opt/ 1"]);
        // In whatever order they come.
        let upper: &[_] = &[("etc/a", "f", 2), ("etc/.wh.a", "f", 2), ("opt/.wh.d", "f", 2)];
        gives(&[LOWER, upper], &["./ 1", "etc/ 1", "etc/a 2", "etc/b 1", "opt/ 1"]);
        gives(&[LOWER, &[(".wh.opt", "f", 2)]], &["./ 1", "etc/ 1", "etc/a 1", "etc/b -> etc/a 1"]);
        gives(
            &[LOWER, &[(".wh.none", "f", 2), ("etc/.wh.a", "f", 2), (".wh.opt", "f", 2)]],
            &["./ 1", "etc/ 1", "etc/b 1"],
        );
    }

    #[test]
    fn an_opaque_directory_keeps_what_its_own_layer_has() {
        let upper: &[_] = &[("opt/new", "f", 2), ("opt/.wh..wh..opq", "f", 2), ("opt", "d", 2)];
        gives(
            &[LOWER, upper],
            &["./ 1", "etc/ 1", "etc/a 1", "etc/b -> etc/a 1", "opt/ 2", "opt/new 2"],
        );
    }

    #[test]
    fn a_file_replaces_a_directory_and_the_other_way_round() {
        let upper: &[_] = &[("opt", ">etc", 2), ("etc/a", "d", 2), ("etc/a/n", "f", 2)];
        gives(
            &[LOWER, upper],
            &["./ 1", "etc/ 1", "etc/a/ 2", "etc/a/n 2", "etc/b 1", "opt -> etc 2"],
        );
    }

    #[test]
    fn damaged_and_other_images_are_refused() {
        let wrong = |change: &dyn Fn(&mut ImageConfig), architecture: &str| {
            let directory = tempfile::tempdir().unwrap();
            layout(directory.path(), &[LOWER], change);
            format!("{:#}", imported(directory.path(), architecture).unwrap_err())
        };
        let other = wrong(&|config| config.rootfs.diff_ids[0] = BlobDigest::of("x"), "amd64");
        assert!(other.contains("uncompressed, and the image says sha256:2d711642"), "{other}");
        let fewer = wrong(&|config| config.rootfs.diff_ids.clear(), "amd64");
        assert!(fewer.contains("the image has 1 layers and the digests of 0"), "{fewer}");
        let architecture = wrong(&|_| (), "arm64");
        assert!(architecture.contains("for linux/amd64, not for linux/arm64"), "{architecture}");
    }

    #[test]
    fn what_is_written_in_layers_is_read_back_as_the_same_tree() {
        let directory = tempfile::tempdir().unwrap();
        let trees: Vec<_> = [
            LOWER,
            &[
                ("./", "d", 1),
                ("etc", "d", 2),
                ("etc/a", "f", 1),
                ("etc/b", "=etc/a", 1),
                ("etc/c", "=etc/a", 1),
                ("opt", ">etc", 2),
            ],
            &[("./", "d", 1), ("etc", "d", 2), ("etc/c", "f", 1), ("opt", "d", 2)],
        ]
        .iter()
        .enumerate()
        .map(|(number, rows)| {
            let path = directory.path().join(format!("{number}.tar"));
            tar(rows, &path);
            path
        })
        .collect();
        let cancel = Cancel::default();
        let progress = crate::cancel::Progress { cancel: &cancel, report: &|_, _| () };
        for upto in 1..=trees.len() {
            let trees: Vec<&Path> = trees[..upto].iter().map(|it| it.as_path()).collect();
            let work = tempfile::tempdir().unwrap();
            let archive = work.path().join("image.tar");
            let options = ImageOptions {
                execution: &Default::default(),
                architecture: "amd64",
                epoch: 100,
                level: 6,
                threads: 2,
                work: work.path(),
            };
            write_tree(&trees, &options, &archive, progress).unwrap();
            let layout = Layout::in_archive(&archive, "", &cancel).unwrap().unwrap();
            assert_eq!(layout.layers("amd64").unwrap().len(), upto);
            let options = Options {
                limit: None,
                threads: 1,
                epoch: 100,
                work: work.path(),
                cancel: &cancel,
                report: &|_, _| (),
            };
            let to = work.path().join("tree.tar");
            import(&layout, "amd64", &to, &options).unwrap();
            let last = trees.last().unwrap();
            assert!(std::fs::read(&to).unwrap() == std::fs::read(last).unwrap(), "{upto}");
        }
    }
}

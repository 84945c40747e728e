//! FAT32 from a tar, in two passes: the first reads names and sizes and allocates clusters, one file
//! after the other; the second copies. FAT keeps neither owners nor modes: they are left out without
//! an error, as they are when a system mounts FAT. Links, devices and extended attributes are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tar::EntryType;

use crate::error::{Context, Result, anyhow, ensure, with_hint};
use crate::format::fat::{
    END_OF_CHAIN, ENTRY, Geometry, Name, NewItem, ROOT_CLUSTER, Timestamp, attribute, padded,
};
use crate::tree::Content;

use super::layout::Filesystem;
use super::part::Part;
use super::source::entries;

/// A file or directory.
struct FatFile {
    name: Name,
    item: NewItem,
    /// Directories by index, in the order of the tar.
    children: Vec<usize>,
    parent: usize,
}

/// Writes `part` into the sparse file `image`, which is as long as the filesystem and empty.
pub fn make(image: &Path, filesystem: &Filesystem, part: &Part) -> Result<()> {
    let geometry = Geometry::new(filesystem.size)?;
    let mut nodes = read(part, filesystem)?;
    let used = allocate(&mut nodes, &geometry, filesystem)?;

    let what = || format!("writing {}", image.display());
    let file = File::options().write(true).open(image).with_context(what)?;
    let label = filesystem.label.as_str();
    for (at, bytes) in geometry.boot_sectors(filesystem.volume_id(), label, used) {
        file.write_all_at(&bytes, at.0).with_context(what)?;
    }
    let mut fat: Vec<u8> =
        [0x0fff_fff8u32, END_OF_CHAIN].into_iter().flat_map(u32::to_le_bytes).collect();
    for (cluster, length) in chains(&nodes, &geometry) {
        let next = (1..length).map(|step| cluster + step).chain([END_OF_CHAIN]);
        fat.extend(next.flat_map(u32::to_le_bytes));
    }
    for at in geometry.fats() {
        file.write_all_at(&fat, at.0).with_context(what)?;
    }
    for (index, node) in nodes.iter().enumerate() {
        if node.item.attribute == attribute::DIRECTORY {
            let bytes = directory(&nodes, index, label);
            let at = geometry.cluster_at(node.item.first_cluster);
            file.write_all_at(&bytes, at.0).with_context(what)?;
        }
    }
    let mut index = 0;
    each(part, |path, _, content| {
        index += usize::from(!path.is_empty());
        let item = &nodes[index].item;
        if path.is_empty() || item.attribute != attribute::ARCHIVE || item.first_cluster == 0 {
            return Ok(());
        }
        content.write_to(&file, geometry.cluster_at(item.first_cluster).0).with_context(what)
    })
}

fn each(
    part: &Part,
    each: impl FnMut(&[u8], super::part::Meta, &mut Content<'_>) -> Result<()>,
) -> Result<()> {
    let path = part.file()?;
    let tar = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    entries(BufReader::with_capacity(1 << 18, tar), each)
}

/// Every file of the tar, the root first, else in its order.
fn read(part: &Part, filesystem: &Filesystem) -> Result<Vec<FatFile>> {
    if let Some(attribute) = part.attributes.first() {
        let path = String::from_utf8_lossy(&attribute.path);
        let error = anyhow!("`{path}`: FAT has no extended attributes (`{}`)", attribute.name);
        return Err(with_hint(error, format!("use ext4 for `{}`", filesystem.name)));
    }
    let item = |attribute, size, mtime| NewItem {
        attribute,
        first_cluster: 0,
        size,
        time: Timestamp::from_epoch(mtime),
    };
    let mut nodes = vec![FatFile {
        // Nobody writes the root's own name.
        name: Name::new("ROOT", &mut BTreeSet::new())?,
        item: item(attribute::DIRECTORY, 0, 0),
        children: Vec::new(),
        parent: 0,
    }];
    let mut directories: BTreeMap<Vec<u8>, usize> = BTreeMap::from([(Vec::new(), 0)]);
    let mut taken: BTreeMap<usize, (BTreeSet<[u8; 11]>, BTreeSet<String>)> = BTreeMap::new();
    each(part, |path, meta, _| {
        if path.is_empty() {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(path).into_owned();
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        let parent =
            *directories.get(above).with_context(|| format!("`{shown}` has no directory"))?;
        let name = std::str::from_utf8(name)
            .with_context(|| format!("writing `{shown}`: FAT needs names in UTF-8"))?;
        let (shorts, longs) = taken.entry(parent).or_default();
        ensure!(longs.insert(name.to_uppercase()), "`{shown}`: FAT has that name in another case");
        let size = u32::try_from(meta.size);
        let size = size.with_context(|| format!("writing `{shown}`: FAT ends at 4 GiB"))?;
        let item = match meta.kind {
            EntryType::Directory => item(attribute::DIRECTORY, 0, meta.mtime),
            EntryType::Regular => item(attribute::ARCHIVE, size, meta.mtime),
            kind => {
                let error = anyhow!("`{shown}`: FAT cannot hold a {kind:?}");
                return Err(with_hint(error, format!("use ext4 for `{}`", filesystem.name)));
            }
        };
        let index = nodes.len();
        if item.attribute == attribute::DIRECTORY {
            directories.insert(path.to_vec(), index);
        }
        nodes.push(FatFile { name: Name::new(name, shorts)?, item, children: Vec::new(), parent });
        nodes[parent].children.push(index);
        Ok(())
    })?;
    Ok(nodes)
}

/// Gives every node its clusters; how many are used.
fn allocate(nodes: &mut [FatFile], geometry: &Geometry, filesystem: &Filesystem) -> Result<u32> {
    let sizes: Vec<u64> = (0..nodes.len()).map(|index| size(nodes, index)).collect();
    let mut next = u64::from(ROOT_CLUSTER);
    for (node, size) in nodes.iter_mut().zip(sizes) {
        if size > 0 {
            node.item.first_cluster = u32::try_from(next)?;
            next += size.div_ceil(geometry.cluster_size().0);
        }
    }
    let used = u32::try_from(next - u64::from(ROOT_CLUSTER))?;
    if used > geometry.clusters {
        let error = anyhow!("the files do not fit in {}", filesystem.size);
        return Err(with_hint(error, format!("make `{}` larger", filesystem.name)));
    }
    Ok(used)
}

/// Bytes on the disk.
fn size(nodes: &[FatFile], index: usize) -> u64 {
    let node = &nodes[index];
    if node.item.attribute == attribute::ARCHIVE {
        return u64::from(node.item.size);
    }
    // `.` and `..`, or the label; an empty directory takes a cluster too.
    let entries: usize = node.children.iter().map(|child| nodes[*child].name.entries()).sum();
    ((entries + 2) * ENTRY) as u64
}

/// First cluster and length of everything that has clusters, in order.
fn chains(nodes: &[FatFile], geometry: &Geometry) -> Vec<(u32, u32)> {
    let lengths = nodes.iter().enumerate().map(|(index, node)| {
        (node.item.first_cluster, size(nodes, index).div_ceil(geometry.cluster_size().0) as u32)
    });
    lengths.filter(|(_, length)| *length > 0).collect()
}

/// The entries of a directory.
fn directory(nodes: &[FatFile], index: usize, label: &str) -> Vec<u8> {
    let node = &nodes[index];
    let mut bytes = Vec::new();
    if index == 0 {
        if !label.is_empty() {
            let item =
                NewItem { attribute: attribute::VOLUME_ID, first_cluster: 0, ..node.item.clone() };
            bytes.extend(item.entry(&padded(label)));
        }
    } else {
        bytes.extend(node.item.entry(&padded(".")));
        // The root is called 0 here.
        let first_cluster =
            if node.parent == 0 { 0 } else { nodes[node.parent].item.first_cluster };
        bytes.extend(NewItem { first_cluster, ..node.item.clone() }.entry(&padded("..")));
    }
    for child in &node.children {
        bytes.extend(nodes[*child].name.write(&nodes[*child].item));
    }
    bytes
}

//! A system put together: the root among the volumes of a disk, and, by its /etc/fstab, what is
//! mounted in it.

use std::io::Read;

use crate::error::{Context, Error, Hint, Result, anyhow, bail, ensure, with_hint};

use super::filesystem::{Filesystem, Kind};
use super::fstab;
use super::volume::{Location, Volume, VolumeContent};

/// A longer table of mounts is none.
const LONGEST_FSTAB: u64 = 1 << 20;
/// Nor is a longer os-release one.
const LONGEST_OS_RELEASE: u64 = 1 << 16;
/// A directory on the way to a file has no more names.
const MOST_NAMES: usize = 1 << 20;

/// A file system in its place.
pub struct Mounted<'a> {
    /// The directory it is mounted on, as the file system's index and a node; none for the root.
    pub on: Option<(usize, u64)>,
    /// What it is.
    pub filesystem: &'a dyn Filesystem,
    /// Which volume, for people.
    pub place: String,
    /// The path it is mounted on, for people.
    pub point: String,
}

/// A system, and what of it was left out.
pub struct System<'a> {
    /// The root first, then every other behind the one it is mounted in.
    pub mounted: Vec<Mounted<'a>>,
    /// Sentences about mounts that were left out.
    pub left_out: Vec<String>,
}

/// Puts together what is in `volumes`. `root` names the root's volume where there are several.
pub fn assemble<'a>(volumes: &'a [Volume], root: Option<&str>) -> Result<System<'a>> {
    let root = find_root(volumes, root)?;
    let filesystem = readable(root)?;
    let place = root.place.to_string();
    let mut system = System {
        mounted: vec![Mounted { on: None, filesystem, place, point: "/".into() }],
        left_out: Vec::new(),
    };
    let Some(table) = read_file(filesystem, &["etc", "fstab"], LONGEST_FSTAB)? else {
        return Ok(system);
    };
    for mount in fstab::read(&table)? {
        let point = mount.shown();
        let volume = match volumes.iter().find(|volume| volume.is(&mount.device)) {
            // Some systems name their root by a device that only their own start makes up.
            _ if mount.point.is_empty() => continue,
            Some(volume) => volume,
            None if mount.optional => {
                let device = &mount.device;
                system.left_out.push(format!("{point} is left out: {device} is not on the disk"));
                continue;
            }
            None => {
                let device = &mount.device;
                let error =
                    anyhow!("/etc/fstab mounts {device} at {point}, which is not on the disk");
                return Err(with_hint(error, format!("the disk has {}", listed(volumes))));
            }
        };
        let filesystem = match readable(volume) {
            Ok(filesystem) => filesystem,
            Err(error) if mount.optional => {
                system.left_out.push(format!("{point} is left out: {error:#}"));
                continue;
            }
            Err(error) => {
                return Err(error.context(format!("mounting {} at {point}", volume.place)));
            }
        };
        let place = volume.place.to_string();
        ensure!(
            system.mounted.iter().all(|other| other.place != place),
            "/etc/fstab mounts {place} at {point} and elsewhere"
        );
        match directory(&system, &mount.point)? {
            Some(on) => {
                system.mounted.push(Mounted { on: Some(on), filesystem, place, point });
            }
            None if mount.optional => {
                system.left_out.push(format!("{point} is left out: there is no such directory"));
            }
            None => bail!("/etc/fstab mounts {place} at {point}, and there is no such directory"),
        }
    }
    Ok(system)
}

/// Whether one of `volumes` has a system's root, or several have.
pub fn has_root(volumes: &[Volume], root: Option<&str>) -> Result<bool> {
    match root {
        Some(_) => Ok(find_root(volumes, root).is_ok()),
        None => Ok(!roots(volumes)?.is_empty()),
    }
}

/// The volumes that look like a system's root.
fn roots(volumes: &[Volume]) -> Result<Vec<&Volume>> {
    let mut roots = Vec::new();
    for volume in volumes {
        if let VolumeContent::Filesystem(_, filesystem) = &volume.holds {
            let looks = looks_like_a_root(&**filesystem);
            if looks.with_context(|| format!("reading {}", volume.place))? {
                roots.push(volume);
            }
        }
    }
    Ok(roots)
}

/// The volume that has a system's root.
fn find_root<'a>(volumes: &'a [Volume], named: Option<&str>) -> Result<&'a Volume> {
    if let Some(name) = named {
        let found = volumes.iter().find(|volume| match &volume.place {
            Location::Logical(group, lv) => format!("{group}/{lv}") == name || volume.is(name),
            Location::Partition(number) => number.to_string() == name || volume.is(name),
            Location::Disk => volume.is(name),
        });
        return found
            .ok_or_else(|| anyhow!("`root` names {name}, which is not on the disk"))
            .hint(format!("the disk has {}", listed(volumes)));
    }
    let roots = roots(volumes)?;
    match roots[..] {
        [root] => Ok(root),
        [] => {
            let error =
                anyhow!("no file system of the disk has an /etc with an fstab or os-release");
            // What cannot be read may have been it.
            let why = volumes.iter().find_map(|volume| match &volume.holds {
                VolumeContent::Unreadable(kind, error) => {
                    Some(anyhow!("{}, {kind}, cannot be read: {error:#}", volume.place))
                }
                _ => None,
            });
            let error = why.map_or(error, |why| carry(&why, volumes));
            Err(with_hint(error, format!("the disk has {}", listed(volumes))))
        }
        _ => {
            let names: Vec<String> = roots.iter().map(|root| root.place.to_string()).collect();
            Err(anyhow!("the disk has {} systems: {}", names.len(), names.join(", ")))
                .hint("say which with `root`: the number of a partition, or GROUP/VOLUME")
        }
    }
}

/// The reason with the hints of the error below it.
fn carry(why: &Error, volumes: &[Volume]) -> Error {
    let mut error = anyhow!("{why}");
    for volume in volumes {
        if let VolumeContent::Unreadable(_, below) = &volume.holds {
            for hint in crate::error::hints(below) {
                error = with_hint(error, hint);
            }
        }
    }
    error
}

/// Whether a file system has the /etc of a system.
fn looks_like_a_root(filesystem: &dyn Filesystem) -> Result<bool> {
    let Some(etc) = child(filesystem, filesystem.root(), b"etc")? else { return Ok(false) };
    if filesystem.node(etc)?.kind != Kind::Directory {
        return Ok(false);
    }
    let names = filesystem.names(etc, MOST_NAMES)?;
    Ok(names.iter().any(|(name, _)| name == b"fstab" || name == b"os-release"))
}

/// The file system of a volume, or why there is none.
fn readable(volume: &Volume) -> Result<&dyn Filesystem> {
    match &volume.holds {
        VolumeContent::Filesystem(_, filesystem) => Ok(&**filesystem),
        VolumeContent::Unreadable(kind, error) => {
            let mut failure = anyhow!("{}, {kind}, cannot be read: {error:#}", volume.place);
            for hint in crate::error::hints(error) {
                failure = with_hint(failure, hint);
            }
            Err(failure)
        }
        VolumeContent::Other(what) => Err(anyhow!("{} holds {what}", volume.place))
            .hint("kuth reads ext2, ext3, ext4, XFS, FAT and SquashFS file systems"),
    }
}

/// For people: `partition 1 (ext4), the volume vg0/root (swap)`.
fn listed(volumes: &[Volume]) -> String {
    let shown = volumes.iter().map(|volume| {
        let kind = match &volume.holds {
            VolumeContent::Filesystem(kind, _)
            | VolumeContent::Unreadable(kind, _)
            | VolumeContent::Other(kind) => kind,
        };
        format!("{} ({kind})", volume.place)
    });
    Some(shown.collect::<Vec<_>>().join(", "))
        .filter(|all| !all.is_empty())
        .unwrap_or("nothing".into())
}

/// The node called `name` in the directory `node`.
fn child(filesystem: &dyn Filesystem, node: u64, name: &[u8]) -> Result<Option<u64>> {
    let names = filesystem.names(node, MOST_NAMES)?;
    Ok(names.into_iter().find(|(other, _)| other == name).map(|(_, node)| node))
}

/// What the file at `path` holds, if there is one; links are not followed.
fn read_file(filesystem: &dyn Filesystem, path: &[&str], most: u64) -> Result<Option<Vec<u8>>> {
    let mut node = filesystem.root();
    for part in path {
        if filesystem.node(node)?.kind != Kind::Directory {
            return Ok(None);
        }
        let Some(next) = child(filesystem, node, part.as_bytes())? else { return Ok(None) };
        node = next;
    }
    let found = filesystem.node(node)?;
    ensure!(found.kind == Kind::File, "/{} is not a file", path.join("/"));
    ensure!(found.size <= most, "/{} has {} bytes", path.join("/"), found.size);
    let mut bytes = Vec::new();
    filesystem.content(node)?.take(most).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The directory at `path`, through what is mounted so far.
fn directory(system: &System<'_>, path: &[Vec<u8>]) -> Result<Option<(usize, u64)>> {
    let mut at = (0, system.mounted[0].filesystem.root());
    for part in path {
        at = system.over(at);
        let filesystem = system.mounted[at.0].filesystem;
        let Some(node) = child(filesystem, at.1, part)? else { return Ok(None) };
        match filesystem.node(node)?.kind {
            Kind::Directory => at = (at.0, node),
            Kind::Symlink => {
                let path: Vec<_> = path.iter().map(|part| String::from_utf8_lossy(part)).collect();
                bail!("the mount point /{} leads over a link", path.join("/"));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(at))
}

impl System<'_> {
    /// What the system says it is; nothing where it does not.
    pub fn os_release(&self) -> Result<Vec<u8>> {
        for path in [["usr", "lib"].as_slice(), &["etc"]] {
            let path: Vec<Vec<u8>> = path.iter().map(|part| part.as_bytes().to_vec()).collect();
            let Ok(Some(at)) = directory(self, &path) else { continue };
            let (index, node) = self.over(at);
            let filesystem = self.mounted[index].filesystem;
            let Some(node) = child(filesystem, node, b"os-release")? else { continue };
            let found = filesystem.node(node)?;
            if found.kind == Kind::File && found.size <= LONGEST_OS_RELEASE {
                return filesystem.content(node)?.all(LONGEST_OS_RELEASE);
            }
        }
        Ok(Vec::new())
    }

    /// The root of what is mounted on a directory, or the directory itself.
    pub fn over(&self, (index, node): (usize, u64)) -> (usize, u64) {
        let over = self.mounted.iter().position(|mounted| mounted.on == Some((index, node)));
        over.map_or((index, node), |index| (index, self.mounted[index].filesystem.root()))
    }
}

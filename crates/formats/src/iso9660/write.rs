//! Writes an ISO 9660 image with the same files in three views: plain, Joliet and Rock Ridge. The
//! whole image is in memory: it is for seeds, not for installation media.
//!
//! Source: see [`super`]; Rock Ridge as `RRIP_1991A`, which every reader knows.

use std::collections::{BTreeMap, BTreeSet};

use super::descriptor::{self, Extent, Moment, Tree, both32, record};
use super::names::{self, NameKind};
use super::{DESCRIPTORS, DIRECTORY, FORMAT, SECTOR};
use crate::Fault;

/// Path tables number directories with 16 bits; this many files cannot make too many.
const MOST_FILES: usize = 8000;
/// Sizes in directory records have 32 bits.
const MOST_BYTES: usize = u32::MAX as usize;

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it lies, `/`-separated and relative; directories come by themselves.
    pub path: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// An image to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// At most 16 printable ASCII characters; `cidata` for cloud-init.
    pub label: String,
    /// The time of everything in it, seconds since 1970.
    pub time: u64,
    /// In any order.
    pub files: Vec<File>,
}

/// A file or directory with its names in both trees.
struct Node<'a> {
    name: &'a str,
    plain: Vec<u8>,
    joliet: Vec<u8>,
    content: Content<'a>,
}

enum Content<'a> {
    /// Its number among the files given, and its bytes.
    File(usize, &'a [u8]),
    Directory(Vec<Node<'a>>),
}

/// One tree of the image, as the directories' numbers: 0 is the root.
struct Directories<'n, 'a> {
    tree: Tree,
    /// Per directory: its parent's number, its name, what it holds.
    list: Vec<(usize, &'n [u8], Vec<&'n Node<'a>>)>,
}

/// Where the parts of an image lie; all zero while lengths are counted.
#[derive(Default)]
struct Places {
    directories: Vec<Extent>,
    /// Where the contents of each file begin, by its number.
    files: Vec<u32>,
    /// Holds Rock Ridge's name, too long for a record.
    extension: u32,
}

impl Volume {
    /// The image. Refuses names that are not portable, paths that clash, directories nested deeper
    /// than eight levels, and times past 2155.
    pub fn write(&self) -> Result<Vec<u8>, Fault> {
        let printable = |c: char| c.is_ascii_graphic() || c == ' ';
        let fits = self.label.len() <= 16 && self.label.chars().all(printable);
        Fault::unless(fits, FORMAT, || {
            format!("the label `{}` is not 16 printable characters", self.label.escape_default())
        })?;
        let time = Moment::from_epoch(self.time)?;
        let total: usize = self.files.iter().map(|file| file.bytes.len()).sum();
        Fault::unless(self.files.len() <= MOST_FILES && total <= MOST_BYTES, FORMAT, || {
            format!("{} files of {total} bytes are more than a seed", self.files.len())
        })?;
        let mut paths = BTreeMap::new();
        for (number, file) in self.files.iter().enumerate() {
            let parts: Vec<&str> = file.path.split('/').collect();
            parts.iter().try_for_each(|part| names::check(part))?;
            Fault::unless(parts.len() <= 8, FORMAT, || {
                format!("`{}` is nested deeper than eight levels", file.path)
            })?;
            let twin = paths.insert(parts, (number, &file.bytes[..]));
            Fault::unless(twin.is_none(), FORMAT, || format!("`{}` is there twice", file.path))?;
        }
        let paths: Vec<_> = paths.iter().map(|(path, file)| (&path[..], *file)).collect();
        let nodes = grow(&paths)?;
        Ok(image(&self.label, &time, &nodes, self.files.len()))
    }
}

/// A path in its parts, and the number and bytes of the file there.
type Path<'p, 'a> = (&'p [&'a str], (usize, &'a [u8]));

/// The nodes of one directory, in the order of their plain names; `paths` are sorted.
fn grow<'a>(paths: &[Path<'_, 'a>]) -> Result<Vec<Node<'a>>, Fault> {
    let mut nodes = Vec::new();
    let mut taken = BTreeSet::new();
    for group in paths.chunk_by(|a, b| a.0[0] == b.0[0]) {
        let name = group[0].0[0];
        let (of, content) = match group {
            [([_], (number, bytes))] => (NameKind::File, Content::File(*number, bytes)),
            _ => {
                let clash = group.iter().any(|(path, _)| path.len() == 1);
                Fault::unless(!clash, FORMAT, || format!("`{name}` is a file and a directory"))?;
                let below: Vec<_> = group.iter().map(|(path, file)| (&path[1..], *file)).collect();
                (NameKind::Directory, Content::Directory(grow(&below)?))
            }
        };
        let (plain, joliet) = (names::plain(name, of, &mut taken), names::joliet(name, of));
        nodes.push(Node { name, plain, joliet, content });
    }
    nodes.sort_by(|a, b| a.plain.cmp(&b.plain));
    Ok(nodes)
}

impl<'n, 'a> Directories<'n, 'a> {
    /// All directories by level, then by parent, then by name: the order of a path table.
    fn of(tree: Tree, root: &'n [Node<'a>]) -> Directories<'n, 'a> {
        let mut directories = Directories { tree, list: Vec::new() };
        directories.add(0, &[0], root);
        let mut at = 0;
        while at < directories.list.len() {
            for node in directories.list[at].2.clone() {
                if let Content::Directory(below) = &node.content {
                    directories.add(at, directories.name(node), below);
                }
            }
            at += 1;
        }
        directories
    }

    fn add(&mut self, parent: usize, name: &'n [u8], nodes: &'n [Node<'a>]) {
        let mut nodes: Vec<_> = nodes.iter().collect();
        nodes.sort_by_key(|node| self.name(node));
        self.list.push((parent, name, nodes));
    }

    fn name(&self, node: &'n Node<'a>) -> &'n [u8] {
        if self.tree == Tree::Primary { &node.plain } else { &node.joliet }
    }

    /// The number of the directory called `name` in directory `parent`.
    fn child(&self, parent: usize, name: &[u8]) -> usize {
        let is_it = |directory: &(usize, &[u8], _)| directory.0 == parent && directory.1 == name;
        self.list.iter().skip(1).position(is_it).map_or(0, |at| at + 1)
    }

    /// The records of directory `at`; none crosses the end of a sector.
    fn records(&self, at: usize, places: &Places, time: &Moment) -> Vec<u8> {
        let place =
            |directory: usize| places.directories.get(directory).copied().unwrap_or_default();
        let (parent, _, nodes) = &self.list[at];
        let rock_ridge = |system_use: Vec<u8>| match self.tree {
            Tree::Primary => system_use,
            Tree::Joliet => Vec::new(),
        };
        let mut own = if at == 0 { sharing_protocol(places.extension) } else { Vec::new() };
        own.extend(posix(nodes, time));
        let mut records = record(&[0], place(at), DIRECTORY, time, &rock_ridge(own));
        let above = posix(&self.list[*parent].2, time);
        records.extend(record(&[1], place(*parent), DIRECTORY, time, &rock_ridge(above)));
        for node in nodes {
            let name = self.name(node);
            let (extent, flags, mut system_use) = match &node.content {
                Content::File(number, bytes) => {
                    let sector = places.files.get(*number).copied().unwrap_or_default();
                    let extent = Extent { sector, length: bytes.len() as u32 };
                    (extent, 0, posix_of(0o100_444, 1, time))
                }
                Content::Directory(below) => {
                    let below: Vec<_> = below.iter().collect();
                    (place(self.child(at, name)), DIRECTORY, posix(&below, time))
                }
            };
            system_use.extend([b'N', b'M', 5 + node.name.len() as u8, 1, 0]);
            system_use.extend(node.name.as_bytes());
            let record = record(name, extent, flags, time, &rock_ridge(system_use));
            if records.len() % SECTOR + record.len() > SECTOR {
                records.resize(records.len().next_multiple_of(SECTOR), 0);
            }
            records.extend(record);
        }
        records.resize(records.len().next_multiple_of(SECTOR), 0);
        records
    }

    /// The path table, its numbers in the byte order `order` gives.
    fn path_table(&self, places: &Places, order: Order) -> Vec<u8> {
        let mut table = Vec::new();
        for ((parent, name, _), extent) in self.list.iter().zip(&places.directories) {
            table.extend([name.len() as u8, 0]);
            let (sector, parent) = (extent.sector, *parent as u16 + 1);
            match order {
                Order::Little => {
                    table.extend(sector.to_le_bytes());
                    table.extend(parent.to_le_bytes());
                }
                Order::Big => {
                    table.extend(sector.to_be_bytes());
                    table.extend(parent.to_be_bytes());
                }
            }
            table.extend(*name);
            table.resize(table.len().next_multiple_of(2), 0);
        }
        table
    }
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

/// Rock Ridge's mode and times of a directory that holds `nodes`.
fn posix(nodes: &[&Node<'_>], time: &Moment) -> Vec<u8> {
    let directories =
        nodes.iter().filter(|node| matches!(node.content, Content::Directory(_))).count();
    posix_of(0o040_555, 2 + directories as u32, time)
}

fn posix_of(mode: u32, links: u32, time: &Moment) -> Vec<u8> {
    let mut entries = vec![b'P', b'X', 36, 1];
    for number in [mode, links, 0, 0] {
        entries.extend(both32(number));
    }
    // Modified, accessed, attributes changed.
    entries.extend([b'T', b'F', 26, 1, 0x0e]);
    entries.extend([time.short(); 3].concat());
    entries
}

/// The root says that Rock Ridge is in use, its name in the sector `extension`.
fn sharing_protocol(extension: u32) -> Vec<u8> {
    let mut entries = vec![b'S', b'P', 7, 1, 0xbe, 0xef, 0];
    entries.extend([b'C', b'E', 28, 1]);
    for number in [extension, 0, rock_ridge_name().len() as u32] {
        entries.extend(both32(number));
    }
    entries
}

fn rock_ridge_name() -> Vec<u8> {
    let (id, description) = (b"RRIP_1991A", b"ROCK RIDGE INTERCHANGE PROTOCOL");
    let length = (8 + id.len() + description.len()) as u8;
    let head = [b'E', b'R', length, 1, id.len() as u8, description.len() as u8, 0, 1];
    [&head[..], id, description].concat()
}

/// Lays everything out, then writes it, both through the same functions.
fn image(label: &str, time: &Moment, root: &[Node<'_>], files: usize) -> Vec<u8> {
    let sectors = |length: usize| length.div_ceil(SECTOR) as u32;
    let trees = [Tree::Primary, Tree::Joliet].map(|tree| Directories::of(tree, root));
    let mut places = [Places::default(), Places::default()];
    // The descriptors are two and their end.
    let mut next = DESCRIPTORS as u32 + 3;
    let mut tables = [[0; 2]; 2];
    for (directories, tables) in trees.iter().zip(&mut tables) {
        let unplaced = Places {
            directories: vec![Extent::default(); directories.list.len()],
            ..Places::default()
        };
        let length = sectors(directories.path_table(&unplaced, Order::Little).len());
        *tables = [next, next + length];
        next += 2 * length;
    }
    for (directories, places) in trees.iter().zip(&mut places) {
        for at in 0..directories.list.len() {
            let length = directories.records(at, &Places::default(), time).len();
            places.directories.push(Extent { sector: next, length: length as u32 });
            next += sectors(length);
        }
    }
    let extension = next;
    next += 1;
    let mut contents: Vec<(u32, &[u8])> = Vec::new();
    let mut starts = vec![0; files];
    for (_, _, nodes) in &trees[0].list {
        for node in nodes {
            if let Content::File(number, bytes) = node.content {
                starts[number] = next;
                contents.push((next, bytes));
                next += sectors(bytes.len());
            }
        }
    }
    for places in &mut places {
        places.extension = extension;
        places.files.clone_from(&starts);
    }

    let mut image = vec![0; next as usize * SECTOR];
    let mut lay = |sector: u32, bytes: &[u8]| {
        let at = sector as usize * SECTOR;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    for (i, ((directories, places), [little, big])) in
        trees.iter().zip(&places).zip(tables).enumerate()
    {
        let table = directories.path_table(places, Order::Little);
        let volume = descriptor::Volume {
            tree: directories.tree,
            label,
            sectors: next,
            path_table: table.len() as u32,
            path_little: little,
            path_big: big,
            root: places.directories[0],
            time: *time,
        };
        lay((DESCRIPTORS + i) as u32, &volume.descriptor());
        lay(little, &table);
        lay(big, &directories.path_table(places, Order::Big));
        for (at, extent) in places.directories.iter().enumerate() {
            lay(extent.sector, &directories.records(at, places, time));
        }
    }
    lay(DESCRIPTORS as u32 + 2, &descriptor::terminator());
    lay(extension, &rock_ridge_name());
    for (at, bytes) in contents {
        lay(at, bytes);
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn volume(paths: &[&str]) -> Volume {
        let file = |path: &&str| File { path: path.to_string(), bytes: path.as_bytes().to_vec() };
        let files = paths.iter().map(file).collect();
        Volume { label: "cidata".into(), time: 1_767_225_600, files }
    }

    #[test]
    fn bytes_are_pinned_and_do_not_depend_on_the_order() {
        let image = volume(&["user-data", "meta-data", "d/e/f.txt"]).write().unwrap();
        assert_eq!(Digest::of(&image).short(), "832fc0b78a95");
        assert_eq!(image, volume(&["d/e/f.txt", "meta-data", "user-data"]).write().unwrap());
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let fault = |paths: &[&str]| volume(paths).write().unwrap_err().to_string();
        assert_eq!(fault(&["a", "a"]), "iso9660: `a` is there twice");
        assert_eq!(fault(&["a", "a/b"]), "iso9660: `a` is a file and a directory");
        assert!(fault(&["a/b/c/d/e/f/g/h/i"]).contains("deeper than eight"));
        assert!(fault(&["/a"]).contains("the name ``"));
        let long = Volume { label: "x".repeat(17), ..volume(&[]) };
        assert!(long.write().is_err());
    }
}

//! Layers of a system as one [`Filesystem`], as Linux's overlayfs shows them: of one name in
//! several layers the upper one counts, directories are the union of all, whiteouts hide what is
//! below, and below an opaque directory nothing is looked at.
//!
//! Source: the kernel's Documentation/filesystems/overlayfs.rst.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Context, Hint, Result, anyhow, bail, ensure};

use super::filesystem::{Content, Device, Filesystem, Kind, Names, Node};

/// The prefix of the names of overlayfs's own attributes.
const SPACES: [&str; 2] = ["trusted.overlay.", "user.overlay."];
/// Of a layer's own number of a node the upper bits are free, in which its layer is kept.
const LAYER_SHIFT: u32 = 56;
/// Marks the number of a directory, which is an index of the table of directories.
const DIRECTORY: u64 = 1 << 63;
/// No more layers fit into a number.
const MOST_LAYERS: usize = 64;

/// A node of a layer.
type At = (usize, u64);

/// Layers, put together.
pub struct Overlay {
    /// The topmost first, each with its name for people.
    layers: Vec<(String, Box<dyn Filesystem>)>,
    directories: Mutex<Directories>,
}

/// The directories that were met so far.
#[derive(Default)]
struct Directories {
    /// What each is made of, the topmost first.
    stacks: Vec<Vec<At>>,
    /// Where the directory of a layer belongs.
    known: HashMap<At, usize>,
}

/// What layers have under a name.
enum Found {
    /// It is hidden.
    Nothing,
    /// What counts, and the layers below do not.
    One(At),
    /// Directories, and whether one further below would be a part as well.
    Directory(Vec<At>, bool),
}

/// What overlayfs's own attributes say of a node.
#[derive(Default)]
struct Marks {
    /// The value of `opaque`.
    opaque: Option<u8>,
    is_whiteout: bool,
    is_redirected: bool,
    is_metadata_alone: bool,
}

impl Overlay {
    /// Puts `layers` together, the lowest first.
    pub fn new(mut layers: Vec<(String, Box<dyn Filesystem>)>) -> Result<Overlay> {
        ensure!((1..=MOST_LAYERS).contains(&layers.len()), "{} layers", layers.len());
        layers.reverse();
        // The roots are one directory, the first.
        let mut root = Vec::new();
        let overlay = Overlay { layers, directories: Mutex::default() };
        for (layer, (name, filesystem)) in overlay.layers.iter().enumerate() {
            let at = (layer, filesystem.root());
            let node = filesystem.node(at.1).with_context(|| format!("reading {name}"))?;
            ensure!(node.kind == Kind::Directory, "the root of {name} is not a directory");
            root.push(at);
            if overlay.is_opaque(at).with_context(|| format!("reading {name}"))? {
                break;
            }
        }
        overlay.directory(root)?;
        Ok(overlay)
    }

    fn directories(&self) -> MutexGuard<'_, Directories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the directory made of `stack`.
    fn directory(&self, stack: Vec<At>) -> Result<u64> {
        let mut directories = self.directories();
        let first = *stack.first().context("a directory of nothing")?;
        if let Some(index) = directories.known.get(&first)
            && directories.stacks[*index] == stack
        {
            return Ok(DIRECTORY | *index as u64);
        }
        let index = directories.stacks.len();
        for at in &stack {
            // So directories that are in each other cannot be combined in many ways. One that is in
            // itself has the same number again, by which whoever walks through knows it.
            let other = directories.known.insert(*at, index);
            ensure!(other.is_none(), "a directory of {} has two names", self.layers[at.0].0);
        }
        directories.stacks.push(stack);
        Ok(DIRECTORY | index as u64)
    }

    /// What the directory `node` is made of.
    fn stack(&self, node: u64) -> Result<Vec<At>> {
        let directories = self.directories();
        let stack = directories.stacks.get((node & !DIRECTORY) as usize);
        ensure!(node & DIRECTORY != 0, "it is not a directory");
        Ok(stack.context("there is no such directory")?.clone())
    }

    /// The node of a layer that counts for `node`.
    fn at(&self, node: u64) -> Result<At> {
        if node & DIRECTORY != 0 {
            return self.stack(node)?.first().copied().context("a directory of nothing");
        }
        let (layer, node) = ((node >> LAYER_SHIFT) as usize, node & ((1 << LAYER_SHIFT) - 1));
        ensure!(layer < self.layers.len(), "there is no layer {layer}");
        Ok((layer, node))
    }

    fn of(&self, at: At) -> &dyn Filesystem {
        &*self.layers[at.0].1
    }

    fn marks(&self, at: At) -> Result<Marks> {
        let mut marks = Marks::default();
        for (name, value) in self.of(at).attributes(at.1)? {
            match own(&name) {
                Some("opaque") => marks.opaque = value.first().copied(),
                Some("whiteout") => marks.is_whiteout = true,
                Some("redirect") => marks.is_redirected = true,
                Some("metacopy") => marks.is_metadata_alone = true,
                _ => {}
            }
        }
        Ok(marks)
    }

    /// Whether nothing below the directory `at` is looked at.
    fn is_opaque(&self, at: At) -> Result<bool> {
        if at.0 + 1 == self.layers.len() {
            return Ok(true);
        }
        let marks = self.marks(at)?;
        if marks.is_redirected && marks.opaque != Some(b'y') {
            return Err(anyhow!(
                "a directory of {} was renamed from another one",
                self.layers[at.0].0
            ))
            .hint("kuth reads layers that were made without overlayfs's `redirect_dir`");
        }
        Ok(marks.opaque == Some(b'y'))
    }

    /// Takes the names that the directory `at` of a layer has.
    fn take(&self, at: At, most: usize, found: &mut BTreeMap<Vec<u8>, Found>) -> Result<usize> {
        let filesystem = self.of(at);
        let mut names = filesystem.names(at.1, most)?;
        let count = names.len();
        let has_marked_whiteouts = self.marks(at)?.opaque == Some(b'x');
        names.sort();
        if let Some(twins) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            bail!("the directory has the name {} twice", twins[0].0.escape_ascii());
        }
        for (name, child) in names {
            let below = (at.0, child);
            if let Some(Found::Nothing | Found::One(_) | Found::Directory(_, false)) =
                found.get(&name)
            {
                continue;
            }
            let node = filesystem.node(child);
            let node = node.with_context(|| format!("reading {}", name.escape_ascii()))?;
            let hides = match node.kind {
                Kind::Device(Device::Character, 0, 0) => true,
                Kind::File if has_marked_whiteouts && node.size == 0 => {
                    self.marks(below)?.is_whiteout
                }
                _ => false,
            };
            let is_directory = node.kind == Kind::Directory;
            match found.get_mut(&name) {
                Some(Found::Directory(stack, open)) => {
                    *open = is_directory && !self.is_opaque(below)?;
                    if is_directory {
                        stack.push(below);
                    }
                }
                _ => {
                    let new = if hides {
                        Found::Nothing
                    } else if is_directory {
                        Found::Directory(vec![below], !self.is_opaque(below)?)
                    } else {
                        Found::One(below)
                    };
                    found.insert(name, new);
                }
            }
        }
        Ok(count)
    }
}

/// The last part of the name of one of overlayfs's own attributes.
fn own(name: &str) -> Option<&str> {
    SPACES.iter().find_map(|space| name.strip_prefix(space))
}

impl Filesystem for Overlay {
    fn root(&self) -> u64 {
        DIRECTORY
    }

    fn node(&self, node: u64) -> Result<Node> {
        let at = self.at(node)?;
        self.of(at).node(at.1)
    }

    fn names(&self, node: u64, most: usize) -> Result<Names> {
        let mut found = BTreeMap::new();
        let mut left = most;
        for at in self.stack(node)? {
            let taken = self.take(at, left, &mut found);
            left -= taken.with_context(|| format!("in {}", self.layers[at.0].0))?;
        }
        let mut names = Names::new();
        for (name, found) in found {
            match found {
                Found::Nothing => {}
                Found::One((layer, child)) => {
                    ensure!(child >> LAYER_SHIFT == 0, "a number of a node is too large");
                    names.push((name, (layer as u64) << LAYER_SHIFT | child));
                }
                Found::Directory(stack, _) => {
                    let number = self.directory(stack);
                    let what = || format!("reading {}", name.escape_ascii());
                    let number = number.with_context(what)?;
                    names.push((name, number));
                }
            }
        }
        Ok(names)
    }

    fn target(&self, node: u64) -> Result<Vec<u8>> {
        let at = self.at(node)?;
        self.of(at).target(at.1)
    }

    /// Without overlayfs's own.
    fn attributes(&self, node: u64) -> Result<Vec<(String, Vec<u8>)>> {
        let at = self.at(node)?;
        let mut attributes = self.of(at).attributes(at.1)?;
        attributes.retain(|(name, _)| own(name).is_none());
        Ok(attributes)
    }

    fn content(&self, node: u64) -> Result<Content> {
        let at = self.at(node)?;
        if self.marks(at)?.is_metadata_alone {
            return Err(anyhow!("its content is in a layer below that of its owner and mode"))
                .hint("kuth reads layers that were made without overlayfs's `metacopy`");
        }
        self.of(at).content(at.1)
    }
}

#[cfg(test)]
mod tests;

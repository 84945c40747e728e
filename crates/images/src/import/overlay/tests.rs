//! The rules of layers, on layers that are made up.

use super::*;

/// A node: what it is, its attributes, and its names.
type Made = (Kind, &'static [(&'static str, &'static str)], &'static [(&'static str, u64)]);

/// A layer of nodes by number.
struct Layer(Vec<Made>);

impl Filesystem for Layer {
    fn root(&self) -> u64 {
        0
    }

    fn node(&self, node: u64) -> Result<Node> {
        let kind = self.0[node as usize].0;
        Ok(Node { kind, mode: 0, uid: 0, gid: 0, time: 0, size: 0, links: 1 })
    }

    fn names(&self, node: u64, _most: usize) -> Result<Names> {
        let names = self.0[node as usize].2.iter();
        Ok(names.map(|(name, node)| (name.as_bytes().to_vec(), *node)).collect())
    }

    fn target(&self, _node: u64) -> Result<Vec<u8>> {
        bail!("there are no links")
    }

    fn attributes(&self, node: u64) -> Result<Vec<(String, Vec<u8>)>> {
        let attributes = self.0[node as usize].1.iter();
        Ok(attributes.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect())
    }

    fn content(&self, node: u64) -> Result<Content> {
        Ok(Content::here(vec![node as u8]))
    }
}

const WHITEOUT: Kind = Kind::Device(Device::Character, 0, 0);

fn overlay(layers: Vec<Layer>) -> Result<Overlay> {
    let names = ('a'..).map(|name| name.to_string());
    let layers = names.zip(layers).map(|(name, layer)| (name, Box::new(layer) as Box<_>));
    Overlay::new(layers.collect())
}

/// What is below a directory: `x/y=1` for a file, with what it holds.
fn shown(overlay: &Overlay, directory: u64) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for (name, node) in overlay.names(directory, 100)? {
        let name = String::from_utf8(name).unwrap();
        match overlay.node(node)?.kind {
            Kind::Directory => {
                let below = shown(overlay, node)?;
                all.push(format!("{name}/"));
                all.extend(below.into_iter().map(|below| format!("{name}/{below}")));
            }
            _ => all.push(format!("{name}={}", overlay.content(node)?.all(1)?[0])),
        }
    }
    Ok(all)
}

fn lower() -> Layer {
    Layer(vec![
        (Kind::Directory, &[], &[("d", 1), ("f", 2), ("g", 3)]),
        (Kind::Directory, &[], &[("x", 4), ("y", 5)]),
        (Kind::File, &[], &[]),
        (Kind::File, &[], &[]),
        (Kind::File, &[], &[]),
        (Kind::File, &[], &[]),
    ])
}

#[test]
fn the_upper_counts_and_directories_are_joined() {
    let upper = Layer(vec![
        (Kind::Directory, &[], &[("d", 1), ("f", 7), ("h", 6)]),
        (Kind::Directory, &[], &[("y", 7), ("z", 8)]),
        (Kind::Fifo, &[], &[]),
        (Kind::Fifo, &[], &[]),
        (Kind::Fifo, &[], &[]),
        (Kind::Fifo, &[], &[]),
        (Kind::File, &[], &[]),
        (WHITEOUT, &[], &[]),
        (Kind::File, &[], &[]),
    ]);
    let both = overlay(vec![lower(), upper]).unwrap();
    let expected = ["d/", "d/x=4", "d/z=8", "g=3", "h=6"];
    assert_eq!(shown(&both, both.root()).unwrap(), expected);
    // A second look gives the same numbers.
    assert_eq!(both.names(both.root(), 100).unwrap(), both.names(both.root(), 100).unwrap());
    assert_eq!(shown(&both, both.root()).unwrap(), expected);
}

#[test]
fn nothing_is_seen_through_what_is_opaque() {
    let opaque: &[_] = &[("trusted.overlay.opaque", "y"), ("user.a", "b")];
    let upper = || Layer(vec![(Kind::Directory, &[], &[("d", 1)]), (Kind::Directory, opaque, &[])]);
    let both = overlay(vec![lower(), upper()]).unwrap();
    assert_eq!(shown(&both, both.root()).unwrap(), ["d/", "f=2", "g=3"]);
    let (_, directory) = both.names(both.root(), 100).unwrap().remove(0);
    assert_eq!(both.attributes(directory).unwrap(), [("user.a".to_string(), b"b".to_vec())]);
    // Nor through a file, whatever is below it.
    let file = Layer(vec![(Kind::Directory, &[], &[("d", 1)]), (Kind::File, &[], &[])]);
    let again = Layer(vec![(Kind::Directory, &[], &[("d", 1)]), (Kind::Directory, &[], &[])]);
    let three = overlay(vec![lower(), file, again]).unwrap();
    assert_eq!(shown(&three, three.root()).unwrap(), ["d/", "f=2", "g=3"]);
    let root = Layer(vec![(Kind::Directory, opaque, &[])]);
    let hidden = overlay(vec![lower(), root]).unwrap();
    assert!(shown(&hidden, hidden.root()).unwrap().is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let why = |layers: Vec<Layer>| {
        let shown = overlay(layers).and_then(|overlay| shown(&overlay, overlay.root()));
        format!("{:#}", shown.unwrap_err())
    };
    let around =
        || Layer(vec![(Kind::Directory, &[], &[("d", 1)]), (Kind::Directory, &[], &[("e", 0)])]);
    assert!(why(vec![lower(), around()]).contains("a directory of b has two names"));
    let twins = Layer(vec![(Kind::Directory, &[], &[("d", 1), ("d", 1)]), (Kind::File, &[], &[])]);
    assert!(why(vec![lower(), twins]).contains("has the name d twice"));
    let renamed: &[_] = &[("trusted.overlay.redirect", "/f")];
    let moved = Layer(vec![(Kind::Directory, &[], &[("d", 1)]), (Kind::Directory, renamed, &[])]);
    assert!(why(vec![lower(), moved]).contains("a directory of b was renamed"));
    let part: &[_] = &[("trusted.overlay.metacopy", "")];
    let part = Layer(vec![(Kind::Directory, &[], &[("f", 1)]), (Kind::File, part, &[])]);
    assert!(why(vec![lower(), part]).contains("in a layer below"));
    assert!(why(vec![Layer(vec![(Kind::File, &[], &[])])]).contains("is not a directory"));
    assert!(why(Vec::new()).contains("0 layers"));
}

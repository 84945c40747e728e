//! `install-sources.yaml` of a live medium of Ubuntu: the systems that it installs. Each source is a
//! stack of layers, and its name has those below it: `a.b.squashfs` lies on `a.squashfs`.
//!
//! Source: media of Ubuntu 22.04 to 26.04; the file is a list, or has one under `sources`.

use super::Fault;
use super::yaml::{self, Broken, Data, Node};
use crate::units::Bytes;

const FORMAT: &str = "install-sources.yaml";
/// The extension of layers.
const ENDING: &str = ".squashfs";
/// The most layers of a source.
const MOST_LAYERS: usize = 16;

/// A system to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its id, such as `ubuntu-server`.
    pub id: String,
    /// Whether it is the default.
    pub is_default: bool,
    /// The files of its layers, lowest first.
    pub layers: Vec<String>,
    /// Its size once installed, where the file says.
    pub size: Option<Bytes>,
}

/// The sources in `text`. A fault names the line.
pub fn read(text: &str) -> Result<Vec<Source>, Fault> {
    let root = yaml::read(text).map_err(|Broken { place, why }| fault(place.line, why))?;
    let root = root.ok_or_else(|| fault(1, "it says nothing"))?;
    let list = match &root.data {
        Data::Mapping(_) => root.get("sources").ok_or_else(|| at(&root, "it has no `sources`"))?,
        _ => &root,
    };
    let Data::List(elements) = &list.data else {
        return Err(at(list, format!("{} where the sources should be listed", list.describe())));
    };
    let mut sources: Vec<Source> = Vec::new();
    for element in elements {
        let source = source(element)?;
        if sources.iter().any(|other| other.id == source.id) {
            return Err(at(element, format!("a second source `{}`", source.id)));
        }
        sources.push(source);
    }
    match sources.is_empty() {
        true => Err(at(list, "it lists no sources")),
        false => Ok(sources),
    }
}

fn source(node: &Node) -> Result<Source, Fault> {
    if !matches!(node.data, Data::Mapping(_)) {
        return Err(at(node, format!("{} where a source should be", node.describe())));
    }
    let id = text(node, "id")?.ok_or_else(|| at(node, "a source without an `id`"))?;
    let default = text(node, "default")?.unwrap_or_default();
    let path = path(node, id)?;
    let layers = match text(node, "type")?.unwrap_or("fsimage-layered") {
        "fsimage" => vec![path.to_string()],
        "fsimage-layered" => chain(path),
        other => {
            return Err(at(
                node,
                format!("`{id}` is of the type `{other}`, which kuth cannot read"),
            ));
        }
    };
    if layers.len() > MOST_LAYERS {
        return Err(at(node, format!("`{id}` has {} layers", layers.len())));
    }
    let size = text(node, "size")?.and_then(|size| size.parse().ok()).map(Bytes);
    Ok(Source { id: id.to_string(), is_default: default == "true", layers, size })
}

/// The file of a source: its own, or that of the one variation it has.
fn path<'a>(node: &'a Node, id: &str) -> Result<&'a str, Fault> {
    let path = match (text(node, "path")?, node.get("variations").map(Node::pairs)) {
        (Some(path), _) => path,
        (None, Some([(_, only)])) => {
            text(only, "path")?.ok_or_else(|| at(only, "a variation without a `path`"))?
        }
        (None, Some(several)) if !several.is_empty() => {
            let names = several.iter().filter_map(|(name, _)| name.text());
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(at(node, format!("`{id}` has no `path` of its own, but those of {names}")));
        }
        _ => return Err(at(node, format!("`{id}` has no `path`"))),
    };
    let stem = path.strip_suffix(ENDING).unwrap_or_default();
    let is_name = !stem.contains(['/', '\\', '\0']) && stem.split('.').all(|part| !part.is_empty());
    Fault::unless(is_name, FORMAT, || {
        let line = node.place.line;
        format!("line {line}: `{}` is not a layer name", path.escape_default())
    })?;
    Ok(path)
}

/// The layers below and with `path`, lowest first.
fn chain(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(ENDING).unwrap_or(path);
    let ends = stem.match_indices('.').map(|(at, _)| at).chain([stem.len()]);
    ends.map(|end| format!("{}{ENDING}", &stem[..end])).collect()
}

/// The text of `key`; `None` if there is none, and a fault if it is not a scalar.
fn text<'a>(node: &'a Node, key: &str) -> Result<Option<&'a str>, Fault> {
    match node.get(key) {
        None => Ok(None),
        Some(value) => match value.text() {
            Some(text) => Ok(Some(text)),
            None => Err(at(value, format!("`{key}` is {}", value.describe()))),
        },
    }
}

fn at(node: &Node, why: impl Into<String>) -> Fault {
    fault(node.place.line, why)
}

fn fault(line: usize, why: impl Into<String>) -> Fault {
    Fault::new(FORMAT, format!("line {line}: {}", why.into()))
}

/// The source `wanted`, or the default one. A fault names the sources that there are.
pub fn choose<'a>(sources: &'a [Source], wanted: Option<&str>) -> Result<&'a Source, Fault> {
    let names = || sources.iter().map(|it| it.id.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted {
        let found = sources.iter().find(|source| source.id == wanted);
        let why = || format!("there is no source `{wanted}`, but {}", names());
        return found.ok_or_else(|| Fault::new(FORMAT, why()));
    }
    let defaults: Vec<&Source> = sources.iter().filter(|source| source.is_default).collect();
    match (defaults[..].len(), sources) {
        (1, _) => Ok(defaults[0]),
        (0, [only]) => Ok(only),
        (count, _) => {
            Err(Fault::new(FORMAT, format!("{count} of the sources are the default: {}", names())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SERVER: &str = "\
- description: {en: small}
  id: ubuntu-server-minimal
  name: {en: Ubuntu Server (minimized)}
  path: ubuntu-server-minimal.squashfs
  size: 596627456
  type: fsimage
  variant: server
- default: true
  id: ubuntu-server
  path: ubuntu-server-minimal.ubuntu-server.squashfs
  type: fsimage-layered
";

    #[test]
    fn layers_follow_from_the_name() {
        let sources = read(SERVER).unwrap();
        let server = choose(&sources, None).unwrap();
        let layers =
            ["ubuntu-server-minimal.squashfs", "ubuntu-server-minimal.ubuntu-server.squashfs"];
        assert_eq!(
            (server.id.as_str(), &server.layers[..]),
            ("ubuntu-server", &layers.map(String::from)[..])
        );
        let minimal = choose(&sources, Some("ubuntu-server-minimal")).unwrap();
        assert_eq!(minimal.layers, layers[..1]);
        assert_eq!((minimal.size, server.size), (Some(Bytes(596_627_456)), None));
        let why = choose(&sources, Some("desktop")).unwrap_err().to_string();
        assert!(
            why.ends_with("no source `desktop`, but ubuntu-server-minimal, ubuntu-server"),
            "{why}"
        );
    }

    #[test]
    fn the_newer_form_is_read() {
        let text = "version: 2\nkernel: {default: linux-generic}\nsources:\n- id: a\n  \
            type: fsimage-layered\n  variations:\n    standard: {path: x.y.z.squashfs, size: 1}\n";
        let sources = read(text).unwrap();
        assert_eq!(
            choose(&sources, None).unwrap().layers,
            ["x.squashfs", "x.y.squashfs", "x.y.z.squashfs"]
        );
    }

    #[test]
    fn faults_name_their_line() {
        for (text, why) in [
            ("", "line 1: it says nothing"),
            ("a: 1\n", "line 1: it has no `sources`"),
            ("- 7\n", "line 1: a number where a source should be"),
            ("- path: x.squashfs\n", "line 1: a source without an `id`"),
            ("- id: [a]\n", "line 1: `id` is a list"),
            ("- id: a\n", "line 1: `a` has no `path`"),
            ("- id: a\n  path: ../x.squashfs\n", "`../x.squashfs` is not a layer name"),
            ("- id: a\n  path: a/x.squashfs\n", "is not a layer name"),
            ("- id: a\n  path: a..b.squashfs\n", "is not a layer name"),
            ("- id: a\n  path: x.img\n", "`x.img` is not a layer name"),
            ("- id: a\n  path: x.squashfs\n  type: dd\n", "of the type `dd`"),
            (
                "- {id: a, path: x.squashfs}\n- {id: a, path: y.squashfs}\n",
                "line 2: a second source `a`",
            ),
            ("sources: []\n", "it lists no sources"),
            ("- id: a\n  variations: {b: {path: b}, c: {path: c}}\n", "but those of b, c"),
            ("- [\n", "line 2"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        let none = read("- {id: a, path: x.squashfs}\n- {id: b, path: y.squashfs}\n").unwrap();
        assert!(
            choose(&none, None)
                .unwrap_err()
                .to_string()
                .ends_with("0 of the sources are the default: a, b")
        );
    }

    proptest! {
        #[test]
        fn damage_is_read_or_refused(at in 0..SERVER.len(), c in "[ -~\n]") {
            let mut text = SERVER.to_string();
            text.replace_range(at..at + 1, &c);
            let _ = read(&text).map(|sources| choose(&sources, None).cloned());
        }
    }
}

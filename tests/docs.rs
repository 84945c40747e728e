//! The reference says what the code does: its examples load, every key that a kind asks for is
//! in the kind's section and the other way round, and every command is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kuth::stage::{KINDS, Table};

#[path = "docs/book.rs"]
mod book;

const REFERENCE: &str = include_str!("../docs/pipeline.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of the reference whose first line is exactly `fence`.
fn blocks(fence: &str) -> Vec<String> {
    let (mut blocks, mut open): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut wanted = false;
    for line in REFERENCE.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(after)) => {
                wanted = after == fence;
                open = Some(String::new());
            }
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|_| wanted)),
            (Some(block), None) => *block += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a block has no end");
    blocks
}

/// The kinds of the stages of a pipeline in which nothing is wrong.
fn load(source: &str) -> BTreeSet<String> {
    let path = root().join("pipelines/example.toml");
    let environment = |_: &str| Some("x".to_string());
    match kuth::pipeline::load(&path, source, &[], &environment, &Table) {
        Ok(pipeline) => pipeline.stages.into_iter().map(|stage| stage.kind).collect(),
        Err(faulty) => panic!("{faulty}\nof this example:\n{source}"),
    }
}

#[test]
fn whole_examples_load() {
    let whole = blocks("toml pipeline");
    assert!(!whole.is_empty());
    whole.iter().for_each(|source| {
        load(source);
    });
}

#[test]
fn the_parts_make_one_pipeline_with_a_stage_of_every_kind() {
    let kinds = load(&blocks("toml").concat());
    for kind in KINDS {
        assert!(kinds.contains(kind.name), "no example of the kind `{}`", kind.name);
    }
}

/// The sections by the words in their headings: "## `[pipeline]`" is `pipeline`.
fn sections() -> BTreeMap<&'static str, &'static str> {
    let sections = REFERENCE.split("\n## ").skip(1);
    let named = sections.filter_map(|section| {
        let name = section.strip_prefix('`')?.split('`').next()?;
        Some((name.trim_matches(['[', ']']), section))
    });
    named.collect()
}

/// The keys in the first cells of a section's tables, without the tables that they are in.
fn documented(section: &str) -> BTreeSet<&str> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let words = cells.flat_map(|cell| cell.split(['`', ',', ' ']));
    let is_key = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
    };
    words.filter(is_key).filter_map(|word| word.rsplit('.').next()).collect()
}

/// What stands between `start` and the next `end`, for each `start` in the text.
fn between<'a>(text: &'a str, start: &str, end: char) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

/// The literals of `"a", "b"`.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

/// The functions of `Fields` that ask for a key or for several.
fn getters() -> BTreeSet<String> {
    let files = ["fields", "references"];
    let text: String = files.map(|name| read(format!("src/pipeline/{name}.rs"))).concat();
    let functions = between(&text, "pub fn ", ')').into_iter();
    let asking = functions.filter(|it| it.contains("key: &") || it.contains("keys: &"));
    let name = |it: &str| it.split(['(', '<']).next().unwrap_or_default().to_string();
    let getters: BTreeSet<String> = asking.map(name).collect();
    assert!(getters.contains("text") && getters.contains("required_input"), "{getters:?}");
    getters
}

/// The keys that `code` asks for: `.text("key"`, `.exactly_one(&["a", "b"]`, and through a
/// function of its own that takes the reader and a key.
fn asked(code: &str, getters: &BTreeSet<String>) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut add = |key: &str| {
        keys.insert(key.to_string());
    };
    for getter in getters {
        for arguments in between(code, &format!(".{getter}("), ')') {
            match arguments.trim_start().strip_prefix("&[") {
                Some(list) => {
                    literals(list.split(']').next().unwrap_or_default()).for_each(&mut add)
                }
                None if arguments.trim_start().starts_with('"') => {
                    literals(arguments).take(1).for_each(&mut add);
                }
                None => {}
            }
        }
    }
    for function in between(code, "\nfn ", ')') {
        let Some((name, parameters)) = function.split_once('(') else { continue };
        if parameters.contains("Fields<'_>, key: &str") {
            for arguments in between(code, &format!(" {name}("), ')') {
                literals(arguments).take(1).for_each(&mut add);
            }
        }
    }
    keys
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

/// The keys of each kind, and of `pipeline`, out of the sources that read tables.
fn keys() -> BTreeMap<String, BTreeSet<String>> {
    let getters = getters();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files {
        let file = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap();
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap();
        let section = match file {
            "pipeline/document.rs" => "pipeline",
            "disk/config.rs" => "disk",
            "stage/mod.rs" => continue,
            // Where packages are from, which two kinds read.
            "stage/origin.rs" => {
                for kind in ["bootstrap", "customise"] {
                    keys.entry(kind.to_string()).or_default().extend(asked(code, &getters));
                }
                continue;
            }
            // The reader itself, and the namesake that reads bytes.
            _ if file.starts_with("pipeline/") || file.starts_with("format/") => continue,
            _ if !code.contains("Fields<'_>") => continue,
            _ => {
                let below = file.strip_prefix("stage/");
                let below =
                    below.unwrap_or_else(|| panic!("src/{file} reads keys: of which kind?"));
                below.split(['/', '.']).next().unwrap()
            }
        };
        keys.entry(section.to_string()).or_default().extend(asked(code, &getters));
    }
    keys
}

#[test]
fn every_key_is_documented_where_it_belongs() {
    let (keys, sections) = (keys(), sections());
    let mut faults = Vec::new();
    for (kind, keys) in &keys {
        let Some(section) = sections.get(kind.as_str()) else {
            faults.push(format!("no section `{kind}`"));
            continue;
        };
        let documented = documented(section);
        let missing = keys.iter().filter(|key| !documented.contains(key.as_str()));
        faults.extend(missing.map(|key| format!("`{key}` is not in the section `{kind}`")));
    }
    for kind in KINDS {
        let mut known = keys.get(kind.name).cloned().unwrap_or_default();
        if matches!(kind.name, "boot" | "clone" | "export") {
            // The shape of a machine, or some of it, is read by the code of `register`.
            known.extend(keys["register"].iter().cloned());
        }
        if kind.name == "publish" {
            // The documents and the transport are read by the code of others.
            for other in ["export", "import"] {
                known.extend(keys[other].iter().cloned());
            }
        }
        if kind.name == "install" {
            // The layout, the users and the name are read by the code of others.
            for other in ["boot", "customise", "disk", "register"] {
                known.extend(keys[other].iter().cloned());
            }
        }
        let documented = sections.get(kind.name).map(|section| documented(section));
        let unknown = documented.into_iter().flatten().filter(|key| !known.contains(*key));
        faults.extend(unknown.map(|key| format!("`{}` does not ask for `{key}`", kind.name)));
    }
    assert!(faults.is_empty(), "docs/pipeline.md: {}", faults.join("; "));
}

/// Guards the search for keys itself: one of each way of asking.
#[test]
fn keys_are_found_in_the_sources() {
    let keys = keys();
    for (kind, key) in [
        ("pipeline", "default"),
        ("customise", "script"),
        ("customise", "modules"),
        ("disk", "lvm"),
        ("boot", "timeout"),
        ("register", "name"),
        ("clone", "network-config"),
    ] {
        assert!(keys[kind].contains(key), "`{key}` of {kind}: {:?}", keys[kind]);
    }
}

/// The pipelines that people read: those of `pipelines/`, of tests and of the documentation.
#[test]
fn every_pipeline_is_as_kuth_fmt_writes_it() {
    let mut files = Vec::new();
    sources(&root().join("pipelines"), &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() >= 8, "{files:?}");
    files.extend(
        ["torture/main", "cluster/cluster"].map(|it| root().join(format!("tests/{it}.toml"))),
    );
    let files = files.iter().map(|path| (path.display().to_string(), read(path)));
    let of_docs = ["toml", "toml pipeline"].map(blocks).concat().into_iter();
    let of_docs = of_docs.map(|block| (format!("docs/pipeline.md:\n{block}"), block));
    for (name, text) in files.chain(of_docs) {
        assert!(text == formatted(&text), "`kuth fmt` writes it otherwise: {name}");
    }
}

fn formatted(text: &str) -> String {
    let formatted = kuth::pipeline::formatted("pipeline.toml".as_ref(), text);
    formatted.unwrap_or_else(|faulty| panic!("{faulty}"))
}

/// Of the pipelines of the repository, also in forms that nobody keeps them in.
#[test]
fn formatting_changes_no_value_and_no_comment() {
    let mut files = Vec::new();
    sources(&root().join("pipelines"), &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.push(root().join("tests/keys/base.toml"));
    for path in files {
        let text = read(&path);
        let loose = text.replace(" = ", "=").replace(", ", " ,").replace("\n", "  \n\n");
        for text in [&text, &loose] {
            let once = formatted(text);
            let values = |text: &str| text.parse::<toml::Table>().unwrap();
            let comments = |text: &str| -> Vec<String> {
                let lines = text.lines().map(str::trim).filter(|line| line.starts_with('#'));
                lines.map(str::to_string).collect()
            };
            assert_eq!(values(text), values(&once), "{}", path.display());
            assert_eq!(comments(text), comments(&once), "{}", path.display());
            assert_eq!(formatted(&once), once, "{}", path.display());
        }
    }
}

#[test]
fn every_command_and_variable_of_the_help_is_in_the_reference() {
    let (help, reference) = (read("tests/golden/help.txt"), read("docs/reference.md"));
    let commands = between(&help, "\n$ ", '\n').into_iter();
    let commands = commands.filter_map(|line| line.strip_suffix(" --help"));
    let commands: Vec<String> = commands.map(|command| format!("`{command}")).collect();
    assert!(commands.len() > 10, "{commands:?}");
    let variables = between(&help, "[env: ", ']').into_iter().map(|name| format!("`{name}`"));
    for word in commands.into_iter().chain(variables) {
        assert!(reference.contains(&word), "docs/reference.md does not name {word}");
    }
}

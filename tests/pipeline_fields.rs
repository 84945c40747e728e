//! Each getter of `Fields`, on a good value, an absent one and a bad one.

use std::cell::RefCell;
use std::path::Path;

use kuth::artifact::ArtifactKind;
use kuth::digest::Digest;
use kuth::pipeline::{Element, Fields, Input, Kinds, Size, load};
use kuth::units::Bytes;

/// A table of one kind that reads with a closure.
struct Once<T, F: Fn(&mut Fields<'_>) -> T>(F, RefCell<Option<T>>);

impl<T, F: Fn(&mut Fields<'_>) -> T> Kinds for Once<T, F> {
    type Stage = ();

    fn names(&self) -> Vec<&'static str> {
        vec!["it"]
    }

    fn output(&self, _: &str) -> Option<ArtifactKind> {
        Some(ArtifactKind::Tree)
    }

    fn read(&self, _: &str, _: &str, mut fields: Fields<'_>) -> Option<((), Vec<Input>)> {
        *self.1.borrow_mut() = Some((self.0)(&mut fields));
        fields.finish();
        Some(((), Vec::new()))
    }
}

/// What `with` reads from a stage whose table has `body`, and the titles of all faults.
fn read<T>(body: &str, with: impl Fn(&mut Fields<'_>) -> T) -> (T, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/x.toml");
    read_at(&path, body, with)
}

/// The same of a pipeline file at `path`.
fn read_at<T>(path: &Path, body: &str, with: impl Fn(&mut Fields<'_>) -> T) -> (T, Vec<String>) {
    let source = format!("[pipeline]\nname = \"x\"\n[stage.s]\nkind = \"it\"\n{body}\n");
    let kinds = Once(with, RefCell::new(None));
    let faults = match load(path, &source, &[], &|_| Some("s3cret".into()), &kinds) {
        Ok(_) => Vec::new(),
        Err(faulty) => faulty.faults.sorted().iter().map(|fault| fault.message.clone()).collect(),
    };
    (kinds.1.into_inner().expect("the stage was read"), faults)
}

/// Reads three bodies; gives the values, and the one fault of the last.
fn thrice<T>(bodies: [&str; 3], with: impl Fn(&mut Fields<'_>) -> T) -> ([T; 3], String) {
    let (good, first) = read(bodies[0], &with);
    let (absent, second) = read(bodies[1], &with);
    let (bad, third) = read(bodies[2], &with);
    assert_eq!((first, second), (vec![], vec![]));
    assert_eq!(third.len(), 1, "{third:?}");
    ([good, absent, bad], third[0].clone())
}

#[test]
fn sizes() {
    let size = |fields: &mut Fields<'_>| fields.size("k").map(|size| size.value);
    let (values, fault) = thrice(["k = '512 MiB'", "", "k = '1 MB'"], size);
    assert_eq!(values, [Some(Bytes::mib(512)), None, None]);
    assert_eq!(fault, "`1 MB` is not a size");
    let size = |fields: &mut Fields<'_>| fields.size_or_rest("k").map(|size| size.value);
    let (values, _) = thrice(["k = 'rest'", "", "k = 'the rest'"], size);
    assert_eq!(values, [Some(Size::Rest), None, None]);
}

#[test]
fn numbers_and_booleans() {
    let number = |fields: &mut Fields<'_>| fields.integer("k", 0..=9).map(|number| number.value);
    let (values, fault) = thrice(["k = 9", "", "k = 10"], number);
    assert_eq!((values, fault.as_str()), ([Some(9), None, None], "`k` is out of range"));
    let boolean = |fields: &mut Fields<'_>| fields.boolean("k", true);
    let (values, fault) = thrice(["k = false", "", "k = 0"], boolean);
    assert_eq!((values, fault.as_str()), ([false, true, true], "wrong type for `k`"));
}

#[test]
fn choices() {
    let rows = [("raw", 1), ("qcow2", 2)];
    let one = |fields: &mut Fields<'_>| fields.choice_of("k", &rows).map(|one| one.value);
    let (values, fault) = thrice(["k = 'qcow2'", "", "k = 'vdi'"], one);
    assert_eq!((values, fault.as_str()), ([Some(2), None, None], "`vdi` is not a valid `k`"));
    let many = |fields: &mut Fields<'_>| fields.choices("k", &["raw", "vdi"]).len();
    let (values, fault) = thrice(["k = ['raw', 'vdi']", "k = 'raw'", "k = ['raw', 'raw']"], many);
    assert_eq!((values, fault.as_str()), ([2, 1, 1], "`raw` is in `k` twice"));
}

#[test]
fn parsed_values() {
    let good = format!("k = '{}'", Digest::of("x"));
    let digest = |fields: &mut Fields<'_>| fields.parsed::<Digest>("k", "a SHA-256").is_some();
    let (values, fault) = thrice([&good, "", "k = 'zz'"], digest);
    assert_eq!((values, fault.as_str()), ([true, false, false], "`zz` is not a SHA-256"));
    let (_, faults) = read("k = '${env:X}'", digest);
    assert_eq!(faults, ["`k` cannot be a secret"]);
    let size = |fields: &mut Fields<'_>| fields.size("k").is_some();
    assert_eq!(read("k = '${env:X}'", size).1, ["`k` cannot be a secret"]);
}

#[test]
fn lists_of_strings() {
    let texts = |fields: &mut Fields<'_>| fields.text_or_texts("k").len();
    let (values, fault) = thrice(["k = ['a', 'b']", "k = 'a'", "k = 1"], texts);
    assert_eq!((values, fault.as_str()), ([2, 1, 0], "wrong type for `k`"));
    let texts = |fields: &mut Fields<'_>| fields.require("k").texts("k").len();
    assert_eq!(read("k = []", texts), (0, vec![]));
    assert_eq!(read("", texts), (0, vec!["missing key `k`".to_string()]));
    let texts = |fields: &mut Fields<'_>| fields.secret_text_or_texts("k").len();
    let (values, fault) = thrice(["k = ['a', '${env:X}']", "k = '${env:X}'", "k = 1"], texts);
    assert_eq!((values, fault.as_str()), ([2, 1, 0], "wrong type for `k`"));
    let texts = |fields: &mut Fields<'_>| fields.unique_texts_and_tables("k").len();
    let (values, fault) = thrice(["k = ['a', {}]", "", "k = ['a', {}, 'a']"], texts);
    assert_eq!((values, fault.as_str()), ([2, 0, 2], "`a` is in `k` twice"));
    let named = |fields: &mut Fields<'_>| {
        let named = fields.texts_by_name("k").into_iter();
        named.map(|(name, text)| format!("{}={}", name.value, text.text)).collect::<Vec<_>>()
    };
    let (values, _) = thrice(["k.b = 'x'\nk.a = 'y'", "", "k.b = 1"], named);
    assert_eq!(values[0], ["b=x", "a=y"]);
}

#[test]
fn tables_of_all_kinds() {
    let table = |fields: &mut Fields<'_>| {
        let mut table = fields.table("k")?;
        let text = table.text("a").map(|text| text.text);
        table.finish();
        text
    };
    let (values, fault) = thrice(["[stage.s.k]\na = 'x'", "", "k = { a = 'x', b = 1 }"], table);
    assert_eq!(values, [Some("x".into()), None, Some("x".into())]);
    assert_eq!(fault, "unknown key `b`");
    let mixed = |fields: &mut Fields<'_>| {
        let shown = |element| match element {
            Element::Text(text) => text.text,
            Element::Table(mut table) => {
                let text = table.required_text("a").map_or(String::new(), |text| text.text);
                table.finish();
                format!("a={text}")
            }
        };
        fields.texts_or_tables("k").into_iter().map(shown).collect::<Vec<_>>()
    };
    let (values, fault) = thrice(["k = ['x', { a = 'y' }]", "k = 'x'", "k = [1]"], mixed);
    assert_eq!(values, [vec!["x", "a=y"], vec!["x"], vec![]]);
    assert_eq!(fault, "wrong type for `k`");
}

#[test]
fn paths_start_at_the_root() {
    let is_there = |fields: &mut Fields<'_>| fields.existing_path("k").is_some();
    for there in ["src", "Cargo.toml"] {
        let good = format!("k = '{there}'");
        let (values, fault) = thrice([&good, "", "k = 'sr'"], is_there);
        assert_eq!((values, fault.as_str()), ([true, false, false], "there is no file `sr`"));
    }
    let path =
        |fields: &mut Fields<'_>| fields.path("k").map(|local| local.path.as_path().to_path_buf());
    let (path, _) = read("k = 'not/there'", path);
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("not/there");
    assert_eq!(path, Some(expected));
    // apt and others take a path for what it is in their own working directories.
    let told = |fields: &mut Fields<'_>| {
        let local = fields.existing_file("k").unwrap();
        (local.path.as_path().to_path_buf(), local.shown().to_string())
    };
    for relative in ["x.toml", "pipelines/x.toml", "./pipelines/a/x.toml"] {
        let ((path, shown), _) = read_at(Path::new(relative), "k = 'Cargo.toml'", told);
        assert_eq!(path, std::path::absolute("Cargo.toml").unwrap(), "{relative}");
        assert_eq!(shown, "Cargo.toml", "{relative}");
    }
}

#[test]
fn keys_together() {
    let one = |fields: &mut Fields<'_>| fields.exactly_one(&["a", "b"]);
    let (values, fault) = thrice(["a = 1", "b = 1", "a = 1\nb = 1"], one);
    assert_eq!(values, [Some("a"), Some("b"), Some("a")]);
    assert_eq!(fault, "`b` and `a` exclude each other");
    assert_eq!(read("", one), (None, vec!["missing key: one of `a` or `b`".to_string()]));
}

#[test]
fn inputs_of_a_stage_that_reads_are_what_it_returns() {
    let is_input = |fields: &mut Fields<'_>| fields.input("k", &[ArtifactKind::Tree]).is_some();
    let (values, fault) = thrice(["k = 'a'", "", "k = '${env:X}'"], is_input);
    assert_eq!((values, fault.as_str()), ([true, false, false], "`k` cannot be a secret"));
}

#[test]
fn a_key_asked_for_only_by_name_is_known() {
    let has = |fields: &mut Fields<'_>| fields.has("k");
    assert_eq!(read("k = 1", has), (true, vec![]));
}

#[test]
fn a_long_dotted_key_is_no_disaster() {
    let deep = format!("{} = 1", vec!["a"; 4000].join("."));
    let (_, faults) = read(&deep, |_| ());
    assert_eq!(faults, ["this is not TOML: recursion limit"]);
}

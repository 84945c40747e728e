//! What a stage's table says, and what of it enters the recipe.

use std::cell::RefCell;
use std::path::Path;

use kuth::artifact::ArtifactKind;
use kuth::pipeline::{Fields, Input, Kinds, load};
use kuth::recipe::Recipe;
use kuth::stage::Stage;
use kuth::stage::export::{Export, KIND};

use crate::bench::{Bench, Zeros, export, here};

#[test]
fn the_recipe_holds_what_shapes_the_bytes() {
    let bench = Bench::new();
    let text = |export: &Export| {
        let mut recipe = Recipe::new("export", export.revision());
        export.describe(&bench.context("image", 2), &mut recipe).unwrap();
        recipe.text().lines().skip(3).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(text(&Export { name: Some("x".into()), ..export("vdi") }), "format = vdi");
    assert_eq!(text(&export("vmdk")), "format = vmdk, level = 6");
}

/// The table of kinds with a disk to export, which keeps what was read.
struct OneDisk(RefCell<Vec<(Option<String>, String)>>);

impl Kinds for OneDisk {
    type Stage = ();

    fn names(&self) -> Vec<&'static str> {
        vec!["disk", "export"]
    }

    fn output(&self, kind: &str) -> Option<ArtifactKind> {
        Some(if kind == "disk" { ArtifactKind::Disk } else { KIND.output })
    }

    fn read(&self, kind: &str, _: &str, mut fields: Fields<'_>) -> Option<((), Vec<Input>)> {
        let parsed = match kind {
            "export" => Some((KIND.read)(&mut fields)),
            _ => None,
        };
        fields.finish();
        match parsed {
            None => Some(((), vec![])),
            Some(parsed) => {
                let bench = Bench::new();
                for (instance, stage) in &parsed.as_ref()?.instances {
                    let context = bench.context("image", 1);
                    let artifact = bench.disk(Zeros::Holes);
                    let path = here(stage.locate(&context, &artifact).unwrap());
                    let name = path.file_name().unwrap().to_str().unwrap().to_string();
                    self.0.borrow_mut().push((instance.clone(), name));
                }
                Some(((), parsed?.inputs))
            }
        }
    }
}

/// The instances that a table makes, with their files, and the faults.
fn read(body: &str) -> (Vec<(Option<String>, String)>, Vec<String>) {
    let source = format!(
        "[pipeline]\nname = \"x\"\n[stage.disk]\nkind = \"disk\"\n\
         [stage.image]\nkind = \"export\"\nfrom = \"disk\"\n{body}\n"
    );
    let kinds = OneDisk(RefCell::default());
    let faults = match load(Path::new("/p/pipelines/x.toml"), &source, &[], &|_| None, &kinds) {
        Ok(_) => Vec::new(),
        Err(faulty) => faulty.faults.sorted().iter().map(|fault| fault.message.clone()).collect(),
    };
    (kinds.0.into_inner(), faults)
}

#[test]
fn tables_are_read() {
    let files = |body: &str| {
        let (files, faults) = read(body);
        assert_eq!(faults, [""; 0], "{body}");
        files
    };
    let one = |name: &str| vec![(None, name.to_string())];
    assert_eq!(files("format = 'raw'"), one("debian.raw"));
    assert_eq!(files("format = 'vmdk'\nlevel = 9\nname = 'a b'"), one("a b.vmdk"));
    assert_eq!(
        files("format = ['qcow2', 'vdi']"),
        [
            (Some("qcow2".to_string()), "debian.qcow2".to_string()),
            (Some("vdi".to_string()), "debian.vdi".to_string())
        ]
    );
    for (body, fault) in [
        ("", "missing key `format`"),
        ("format = []", "`format` is empty"),
        ("format = 'vdk'", "`vdk` is not a valid `format`"),
        ("format = ['vdi', 'vdi']", "`vdi` is in `format` twice"),
        (
            "format = 'vdi'\nlevel = 6",
            "`level` is for `vmdk`, `ova`, `tar.bz2`, `oci` and `containerdisk` alone",
        ),
        ("format = 'vmdk'\nlevel = 10", "`level` is out of range"),
        ("format = 'vdi'\nname = '../x'", "`name` is not a file name"),
        ("format = 'vdi'\nnames = 'x'", "unknown key `names`"),
    ] {
        assert_eq!(read(body).1, [fault], "{body}");
    }
}

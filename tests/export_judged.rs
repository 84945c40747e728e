//! What `export` writes, judged by qemu-img, and where it puts it. A tool that is not installed
//! skips its test with a line, unless KUTH_REQUIRE_TOOLS=1.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kuth::artifact::{Artifact, Made, Product};
use kuth::cache::{Cache, hash_object, sparse};
use kuth::error::{Result, hints};
use kuth::format::vmdk::Level;
use kuth::image::Container;
use kuth::pipeline::{Fields, Input, Kinds, load};
use kuth::recipe::Recipe;
use kuth::stage::export::{Export, Format, KIND};
use kuth::stage::{Inputs, Placed, Settings, Site, Stage};

/// A cache and an output folder in a temporary folder.
struct Bench {
    folder: tempfile::TempDir,
    cache: Arc<Cache>,
}

/// How the zeros of a disk are written.
#[derive(Clone, Copy, PartialEq)]
enum Zeros {
    Holes,
    Written,
}

const SIZE: u64 = (100 << 20) + 512;

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(&folder.path().join("cache")).unwrap());
        Bench { folder, cache }
    }

    fn site(&self, stage: &str, jobs: usize) -> Site {
        let settings = Settings {
            epoch: 1_767_225_600,
            pipeline: "debian".into(),
            output: self.folder.path().join("out/debian"),
            offline: true,
            jobs,
            ..Settings::default()
        };
        let log = self.folder.path().join("log");
        Site::new(self.cache.clone(), Arc::new(settings), stage, log)
    }

    /// A disk of 100 MiB and a sector with data in odd places, as the cache keeps it.
    fn disk(&self, zeros: Zeros) -> Artifact {
        let scratch = self.cache.scratch().unwrap();
        let path = scratch.path().join("disk.raw");
        let file = File::create(&path).unwrap();
        match zeros {
            Zeros::Holes => file.set_len(SIZE).unwrap(),
            Zeros::Written => std::fs::write(&path, vec![0; SIZE as usize]).unwrap(),
        }
        for (at, length) in [(0, 4096), (3 << 20, 200_000), (50 << 20, 5 << 20), (SIZE - 512, 512)]
        {
            let byte = |i: u64| if i % 1024 < 512 { ((i * i + at) >> 7) as u8 | 1 } else { 0x55 };
            let bytes: Vec<u8> = (0..length).map(byte).collect();
            file.write_all_at(&bytes, at).unwrap();
        }
        self.keep(&path)
    }

    fn keep(&self, path: &Path) -> Artifact {
        let file = File::open(path).unwrap();
        let digest = sparse::tree_hash(&file).unwrap();
        let size = file.metadata().unwrap().len();
        let mut made = Made::hashed(Product::Disk, path, digest, size);
        made.artifact.hashing = kuth::artifact::Hashing::Sparse;
        self.cache.commit(&Recipe::new("test", 1), made, Duration::ZERO).unwrap()
    }

    /// Runs and commits, as the engine does; not yet placed.
    fn run(&self, export: &Export, site: &Site, disk: &Artifact) -> Result<Artifact> {
        let scratch = self.cache.scratch()?;
        let site = Site { work: scratch.path().into(), ..site.clone() };
        let inputs = Inputs([("from", disk.clone())].into());
        let made = export.run(&site, &inputs, &[])?;
        let mut recipe = Recipe::new("export", export.revision());
        export.describe(&site, &mut recipe)?;
        recipe.value("input from", disk.digest);
        self.cache.commit(&recipe, made, Duration::ZERO)
    }
}

fn export(word: &'static str) -> Export {
    let format = match word {
        "raw" => Format::Raw,
        "qcow2" => Format::Wrapped(Container::Qcow2),
        "vdi" => Format::Wrapped(Container::Vdi),
        "vmdk" => Format::Wrapped(Container::Vmdk(Level(6))),
        "vhd" => Format::Wrapped(Container::Vhd),
        other => panic!("{other}"),
    };
    Export { word, format, name: None }
}

const WORDS: [&str; 5] = ["raw", "qcow2", "vdi", "vmdk", "vhd"];

fn here(placed: Placed) -> PathBuf {
    match placed {
        Placed::Here(path) => path,
        other => panic!("{other:?}"),
    }
}

/// qemu-img's stdout, after it must have succeeded. `None` where it is not installed.
fn qemu_img(args: &[&str]) -> Option<String> {
    match Command::new("qemu-img").args(args).output() {
        Ok(run) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (out, err) = (text(&run.stdout), text(&run.stderr));
            assert!(run.status.success(), "qemu-img {args:?}:\n{out}{err}");
            Some(out)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let required = std::env::var_os("KUTH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
            assert!(!required, "qemu-img is not installed");
            println!("SKIPPED: qemu-img is not installed");
            None
        }
        Err(error) => panic!("running qemu-img: {error}"),
    }
}

/// The name qemu-img has for a format, and whether it can check it.
fn of_qemu(word: &str) -> (&str, bool) {
    match word {
        "vhd" => ("vpc", false),
        other => (other, other != "raw"),
    }
}

#[test]
fn every_format_passes_qemu_img() {
    let bench = Bench::new();
    let (site, disk) = (bench.site("image", 2), bench.disk(Zeros::Holes));
    for word in WORDS {
        let export = export(word);
        let artifact = bench.run(&export, &site, &disk).unwrap();
        assert_eq!(artifact.product, Product::Export);
        let object = bench.cache.object(&artifact);
        assert_eq!(hash_object(&object, artifact.hashing).unwrap(), artifact.digest, "{word}");

        let path = here(export.place(&site, &artifact).unwrap());
        assert_eq!(path, site.settings.output.join(format!("debian.{word}")));
        assert_eq!(export.look(&site, &artifact).unwrap(), Placed::Here(path.clone()));
        // 5.2 MiB of data; VHD's blocks are the largest, and none stores its zeros.
        let stored = path.metadata().unwrap().blocks() * 512;
        assert!(stored < 6 << 20, "{word}: {stored} bytes");

        let (format, checkable) = of_qemu(word);
        let (raw, image) = (bench.cache.object(&disk), path.to_str().unwrap().to_string());
        let raw = raw.to_str().unwrap();
        let Some(out) = qemu_img(&["compare", "-f", "raw", "-F", format, raw, &image]) else {
            return;
        };
        assert!(out.contains("Images are identical."), "{word}: {out}");
        let info = qemu_img(&["info", "--output=json", "-f", format, &image]).unwrap();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], SIZE, "{word}");
        if checkable {
            let out = qemu_img(&["check", "-f", format, &image]).unwrap();
            assert!(out.contains("No errors were found"), "{word}: {out}");
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_holes_threads_or_names() {
    let (one, other) = (Bench::new(), Bench::new());
    let (holes, zeros) = (one.disk(Zeros::Holes), other.disk(Zeros::Written));
    assert_eq!(holes.digest, zeros.digest);
    assert!(other.cache.object(&zeros).metadata().unwrap().blocks() * 512 >= 100 << 20);
    for word in WORDS {
        let made = one.run(&export(word), &one.site("image", 1), &holes).unwrap();
        let named = Export { name: Some("other".into()), ..export(word) };
        let again = other.run(&named, &other.site("picture", 3), &zeros).unwrap();
        assert_eq!(made, again, "{word}");
    }
}

/// Raise `REVISION` in src/stage/export.rs when one of these moves.
#[test]
fn the_bytes_are_pinned() {
    let bench = Bench::new();
    let (site, disk) = (bench.site("image", 2), bench.disk(Zeros::Holes));
    let digest = |word| bench.run(&export(word), &site, &disk).unwrap().digest.short();
    assert_eq!(
        WORDS.map(digest),
        ["16bdc4c260e6", "1ad796ef96bf", "313d110d6a67", "1f068747d292", "b6eae60730a6"]
    );
}

#[test]
fn a_raw_export_is_the_object_of_its_disk() {
    let bench = Bench::new();
    let (site, disk) = (bench.site("image", 2), bench.disk(Zeros::Holes));
    let artifact = bench.run(&export("raw"), &site, &disk).unwrap();
    assert_eq!((artifact.digest, artifact.hashing), (disk.digest, disk.hashing));
    let object = bench.cache.object(&disk);
    assert_eq!(object.metadata().unwrap().nlink(), 1, "no second name is left");
    let path = here(export("raw").place(&site, &artifact).unwrap());
    assert_ne!(path.metadata().unwrap().ino(), object.metadata().unwrap().ino());
}

#[test]
fn an_untouched_file_is_left_and_a_changed_or_missing_one_comes_back() {
    let bench = Bench::new();
    let (site, disk) = (bench.site("image", 2), bench.disk(Zeros::Holes));
    let export = export("qcow2");
    let artifact = bench.run(&export, &site, &disk).unwrap();
    let place = || here(export.place(&site, &artifact).unwrap());
    let path = place();
    let inode = || path.metadata().unwrap().ino();
    let content = || hash_object(&path, artifact.hashing).unwrap();

    let first = inode();
    let start = Instant::now();
    for _ in 0..10 {
        place();
    }
    assert!(start.elapsed() < Duration::from_millis(10), "{:?} for ten", start.elapsed());
    assert_eq!((inode(), content()), (first, artifact.digest));

    File::options().write(true).open(&path).unwrap().write_all_at(b"guest", 70_000).unwrap();
    assert_ne!(content(), artifact.digest);
    assert_eq!(
        hash_object(&bench.cache.object(&artifact), artifact.hashing).unwrap(),
        artifact.digest
    );
    // Looking changes nothing.
    assert_eq!(export.look(&site, &artifact).unwrap(), Placed::Here(path.clone()));
    assert_ne!(content(), artifact.digest);
    place();
    assert_eq!(content(), artifact.digest);

    std::fs::remove_dir_all(&site.settings.output).unwrap();
    place();
    assert_eq!(content(), artifact.digest);
    let names: Vec<_> =
        site.settings.output.read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["debian.qcow2"]);
}

#[test]
fn another_result_takes_the_place_of_the_earlier() {
    let bench = Bench::new();
    let (site, disk) = (bench.site("image", 2), bench.disk(Zeros::Holes));
    let fast = Export { format: Format::Wrapped(Container::Vmdk(Level(1))), ..export("vmdk") };
    for export in [export("vmdk"), fast, export("vmdk")] {
        let artifact = bench.run(&export, &site, &disk).unwrap();
        let path = here(export.place(&site, &artifact).unwrap());
        assert_eq!(hash_object(&path, artifact.hashing).unwrap(), artifact.digest);
    }
}

#[test]
fn two_stages_of_a_build_do_not_share_a_file() {
    let bench = Bench::new();
    let (site, disk) = (bench.site("image", 2), bench.disk(Zeros::Holes));
    let artifact = bench.run(&export("raw"), &site, &disk).unwrap();
    let other = Site { stage: "picture".into(), ..site.clone() };
    let error = bench.run(&export("raw"), &other, &disk).unwrap_err();
    assert!(error.to_string().starts_with("the stages `image` and `picture` both export to "));
    assert_eq!(hints(&error), ["give one of them another `name`"]);
    assert!(export("raw").place(&other, &artifact).is_err());
    // Another build may call its stage as it likes.
    let later = bench.site("picture", 2);
    assert!(export("raw").place(&later, &artifact).is_ok());
}

#[test]
fn cancelling_stops_the_work() {
    let bench = Bench::new();
    let (site, disk) = (bench.site("image", 2), bench.disk(Zeros::Holes));
    site.cancel.cancel();
    for word in &WORDS[1..] {
        let error = bench.run(&export(word), &site, &disk).unwrap_err();
        assert!(kuth::error::caused_by::<kuth::error::Interrupted>(&error).is_some(), "{error:#}");
    }
}

#[test]
fn the_recipe_holds_what_shapes_the_bytes() {
    let bench = Bench::new();
    let text = |export: &Export| {
        let mut recipe = Recipe::new("export", export.revision());
        export.describe(&bench.site("image", 2), &mut recipe).unwrap();
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

    fn product(&self, kind: &str) -> Option<Product> {
        Some(if kind == "disk" { Product::Disk } else { KIND.product })
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
                    let site = bench.site("image", 1);
                    let artifact = bench.disk(Zeros::Holes);
                    let path = here(stage.look(&site, &artifact).unwrap());
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
        ("format = 'vdk'", "`vdk` is no `format`"),
        ("format = ['vdi', 'vdi']", "`vdi` is in `format` twice"),
        ("format = 'vdi'\nlevel = 6", "`level` is for the format `vmdk` alone"),
        ("format = 'vmdk'\nlevel = 10", "`level` is out of range"),
        ("format = 'vdi'\nname = '../x'", "`name` is not a file name"),
        ("format = 'vdi'\nnames = 'x'", "unknown key `names`"),
    ] {
        assert_eq!(read(body).1, [fault], "{body}");
    }
}

/// Run by hand: `cargo test --test export_judged -- --ignored --nocapture`.
#[test]
#[ignore = "writes several GiB to measure"]
fn measure_28_gib_with_1_gib_of_data() {
    let bench = Bench::new();
    let scratch = bench.cache.scratch().unwrap();
    let path = scratch.path().join("disk.raw");
    let file = File::create(&path).unwrap();
    file.set_len(28 << 30).unwrap();
    let random = File::open("/dev/urandom").unwrap();
    let mut bytes = vec![0; 16 << 20];
    for i in 0..64u64 {
        std::io::Read::read_exact(&mut &random, &mut bytes).unwrap();
        file.write_all_at(&bytes, i * (440 << 20)).unwrap();
    }
    let disk = bench.keep(&path);
    let site = bench.site("image", 2);
    for word in WORDS {
        let start = Instant::now();
        let artifact = bench.run(&export(word), &site, &disk).unwrap();
        let ran = start.elapsed();
        export(word).place(&site, &artifact).unwrap();
        let placed = start.elapsed() - ran;
        let start = Instant::now();
        export(word).place(&site, &artifact).unwrap();
        println!("{word}: run {ran:.2?}, placed {placed:.2?}, again {:.2?}", start.elapsed());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

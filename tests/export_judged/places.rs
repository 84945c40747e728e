//! Where the files go, and that they stay right.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use kuth::cache::hash_object;
use kuth::error::hints;
use kuth::format::vmdk::Level;
use kuth::image::Container;
use kuth::stage::export::{Export, Format};
use kuth::stage::{Placement, Stage, StageContext};

use crate::bench::{Bench, Zeros, export, here};

#[test]
fn an_untouched_file_is_left_and_a_changed_or_missing_one_comes_back() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let export = export("qcow2");
    let artifact = bench.run(&export, &context, &disk).unwrap();
    let place = || here(export.materialize(&context, &artifact).unwrap());
    let path = place();
    let inode = || path.metadata().unwrap().ino();
    let content = || hash_object(&path, artifact.hashing).unwrap();

    let first = inode();
    // Nothing is read of the object, which is not there: what is in its place is known by its
    // stamp.
    let (object, away) = (bench.cache.object(&artifact), bench.directory.path().join("away"));
    std::fs::rename(&object, &away).unwrap();
    for _ in 0..3 {
        place();
        assert_eq!((inode(), content()), (first, artifact.digest));
    }
    std::fs::rename(&away, &object).unwrap();

    File::options().write(true).open(&path).unwrap().write_all_at(b"guest", 70_000).unwrap();
    assert_ne!(content(), artifact.digest);
    assert_eq!(
        hash_object(&bench.cache.object(&artifact), artifact.hashing).unwrap(),
        artifact.digest
    );
    // Looking changes nothing.
    assert_eq!(export.locate(&context, &artifact).unwrap(), Placement::Present(path.clone()));
    assert_ne!(content(), artifact.digest);
    place();
    assert_eq!(content(), artifact.digest);

    std::fs::remove_dir_all(&context.settings.output).unwrap();
    place();
    assert_eq!(content(), artifact.digest);
    let names: Vec<_> =
        context.settings.output.read_dir().unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["debian.qcow2"]);
}

#[test]
fn another_result_takes_the_place_of_the_earlier() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let fast = Export { format: Format::Wrapped(Container::Vmdk(Level(1))), ..export("vmdk") };
    for export in [export("vmdk"), fast, export("vmdk")] {
        let artifact = bench.run(&export, &context, &disk).unwrap();
        let path = here(export.materialize(&context, &artifact).unwrap());
        assert_eq!(hash_object(&path, artifact.hashing).unwrap(), artifact.digest);
    }
}

#[test]
fn two_stages_of_a_build_do_not_share_a_file() {
    let bench = Bench::new();
    let (context, disk) = (bench.context("image", 2), bench.disk(Zeros::Holes));
    let artifact = bench.run(&export("raw"), &context, &disk).unwrap();
    let other = StageContext { stage: "picture".into(), ..context.clone() };
    let error = bench.run(&export("raw"), &other, &disk).unwrap_err();
    assert!(error.to_string().starts_with("the stages `image` and `picture` both export to "));
    assert_eq!(hints(&error), ["give one of them another `name`"]);
    assert!(export("raw").materialize(&other, &artifact).is_err());
    // Another build may call its stage as it likes.
    let later = bench.context("picture", 2);
    assert!(export("raw").materialize(&later, &artifact).is_ok());
}

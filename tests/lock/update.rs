//! `kuth update`.

use kuth_test_support::project::Project;
use kuth_test_support::run::Run;

use crate::world::{MOVED, NEW, PIPELINE, World, world};

fn update(world: &World, project: &Project, options: &[&str]) -> Run {
    update_from(&world.mirror(), world, project, options)
}

fn update_from(mirror: &str, world: &World, project: &Project, options: &[&str]) -> Run {
    let keyring = format!("keyring={}", world.keyring());
    let words = ["update", "p.toml", "--mirror", mirror, "--var", &keyring];
    project.kuth(&[&words[..], options].concat())
}

#[test]
fn update_shows_and_writes_changes() {
    let world = world();
    let project = world.without_the_moved("update");
    let sha256 = kuth::digest::Digest::of("gone");
    let gone = format!("\n[[stage.iso]]\npart = \"http://a/x.iso\"\nsha256 = \"{sha256}\"\n");
    project.write("p.lock", format!("{}{gone}", world.lock()));
    let before = project.read("p.lock");
    let old = world.old.path.rsplit('_').nth(1).unwrap();
    let change = format!("  {MOVED}  {old} -> {NEW}\n");

    let run = update(world, &project, &["--dry-run"]).ok();
    assert!(run.out.contains(&change), "{}", run.out);
    assert!(run.err.ends_with("p.lock was not changed (--dry-run)\n"), "{}", run.err);
    assert_eq!(project.read("p.lock"), before);

    // One stage alone: what is said of others stays.
    let run = update(world, &project, &["rootfs"]).ok();
    assert!(!run.out.contains(&change), "{}", run.out);
    assert!(project.read("p.lock").contains("x.iso"), "{}", run.out);

    let run = update(world, &project, &[]).ok();
    assert!(
        run.out.contains("base: packages trixie amd64: 1 changed, 1 unchanged\n"),
        "{}",
        run.out
    );
    assert!(run.out.contains(&change), "{}", run.out);
    assert!(
        run.out.contains(&format!("iso: http://a/x.iso: 1 removed\n  sha256  {sha256} removed\n")),
        "{}",
        run.out
    );
    assert!(run.out.contains("rootfs: packages trixie amd64: "), "{}", run.out);
    assert!(run.err.ends_with("p.lock was written\n"), "{}", run.err);
    let after = project.read("p.lock");
    assert!(after.contains(&format!("version = \"{NEW}\"")) && !after.contains("x.iso"), "{after}");
    assert!(after.contains("date = \"20250101T100000Z\""), "{after}");
    let run = update(world, &project, &[]).ok();
    assert!(run.err.ends_with("p.lock is up to date\n"), "{}", run.err);

    let built = project.build(&["p.toml", "--locked", "--mirror", &world.mirror()]).ok();
    assert_eq!(built.digest("rootfs"), world.digests[0]);
    assert_ne!(built.digest("base"), world.digests[1]);

    // The pipeline asks for less.
    project.write("p.toml", PIPELINE.replace("[\"htop\"]", "[\"libncursesw6\"]"));
    let run = update(world, &project, &["base"]).ok();
    let expected = "base: packages trixie amd64: 1 removed, 1 unchanged\n";
    assert!(run.out.contains(expected), "{}", run.out);
    assert!(run.out.contains(&format!("  {MOVED}  {NEW} removed\n")), "{}", run.out);
    project.write("p.toml", PIPELINE.replace("packages = [\"htop\"]", "hostname = \"x\""));
    let run = update(world, &project, &[]).ok();
    assert!(!project.read("p.lock").contains("[[stage.base]]"), "{}", run.out);

    let run = update(world, &project, &["bse"]);
    assert_eq!(run.status, 2, "{}", run.err);
    assert!(run.err.contains("did you mean `base`?"), "{}", run.err);
}

#[test]
fn update_resolves_stages_on_top_of_a_changed_tree() {
    let world = world();
    let mirror = world.mirror_with("hostname");
    let project = world.with_packages("follows");
    let run = update_from(&mirror, world, &project, &["rootfs"]).ok();
    assert!(run.err.contains("rootfs: started (not built before)\n"), "{}", run.err);
    assert!(run.out.starts_with("base: packages trixie amd64: 2 unchanged\n"), "{}", run.out);
    assert!(run.out.contains("\nrootfs: packages trixie amd64: 1 changed, "), "{}", run.out);
    assert!(run.out.contains(&format!("-> {NEW}\n")), "{}", run.out);
    let old: toml::Table = world.lock().parse().unwrap();
    let new: toml::Table = project.read("p.lock").parse().unwrap();
    let base = |lock: &toml::Table, key: &str| lock["stage"]["base"][0][key].clone();
    assert_eq!(base(&old, "package"), base(&new, "package"));
    assert_ne!(base(&old, "request"), base(&new, "request"));
    let built = project.build(&["p.toml", "--locked", "--offline"]).ok();
    assert_eq!(built.count("run"), 1);
    assert_ne!(built.digest("rootfs"), world.digests[0]);
}

#[test]
fn update_shows_a_download_that_changed() {
    let world = world();
    let project = world.project("download");
    let file = project.path("file");
    let text = format!(
        "[pipeline]\nname = \"t\"\n[vars]\nkeyring = \"\"\n[stage.file]\nkind = \"download\"\n\
         url = \"file://{}\"\n",
        file.display()
    );
    project.write("p.toml", &text);
    project.write("p.lock", "version = 1\n");
    project.write("file", "one");
    project.build(&["p.toml"]).ok();
    project.write("file", "two");
    project.build(&["p.toml", "--locked"]).ok();
    let run = update(world, &project, &[]).ok();
    let expected = format!(
        "file: file://{}: 1 changed\n  sha256  {} -> {}\n",
        file.display(),
        kuth::digest::Digest::of("one"),
        kuth::digest::Digest::of("two")
    );
    assert_eq!(run.out, expected, "{}", run.err);
    project.build(&["p.toml", "--locked"]).ok();
}

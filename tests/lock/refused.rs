//! `--locked` where the pipeline asks for what the lock does not have: nothing runs, and the lock
//! stays as it is.

use crate::world::{PIPELINE, world};

#[test]
fn what_the_lock_does_not_answer_is_an_error_before_anything_runs() {
    let world = world();
    let project = world.project("refused");
    let iso = "\n[stage.iso]\nkind = \"download\"\nurl = \"http://127.0.0.1:1/x.iso\"\n";
    let two = "[\"htop\", \"less\"]";
    for (pipeline, options, said) in [
        (PIPELINE.replace("[\"htop\"]", two), &[][..], "`base` means: less is new"),
        (PIPELINE.replace("htop", "less"), &[], "less is new, htop is no longer asked for"),
        (
            PIPELINE.to_string(),
            &["--var", "suite=forky"],
            "`rootfs` means: it has packages of trixie on amd64, not of forky on amd64",
        ),
        (
            PIPELINE.replace("suite = \"${suite}\"", "suite = \"trixie\"\npackages = [\"less\"]"),
            &[],
            "`rootfs` means: less is new",
        ),
        (
            format!("{PIPELINE}{iso}"),
            &["base", "iso"],
            "which file `iso` means by http://127.0.0.1:1/x.iso",
        ),
    ] {
        project.write("p.toml", &pipeline);
        for command in ["build", "plan"] {
            let words = ["p.toml", "--locked", "--message-format", "json"];
            let run = project.kuth(&[&[command], &words[..], options].concat());
            assert_eq!((run.status, run.out.as_str()), (1, ""), "{}", run.err);
            assert_eq!(run.err.matches("error:").count(), 1, "{}", run.err);
            for part in [said, "error: p.lock lacks entries that p.toml needs\n"] {
                assert!(run.err.contains(part), "{part}: {}", run.err);
            }
            assert!(run.err.contains("hint: `kuth update p.toml` updates it"), "{}", run.err);
        }
        assert_eq!(project.read("p.lock"), world.lock());
    }
    project.write("p.toml", PIPELINE);
    std::fs::remove_file(project.path("p.lock")).unwrap();
    let run = project.build(&["p.toml", "--locked"]);
    assert!(
        run.err.starts_with("error: p.toml has no lock file: p.lock does not exist\n"),
        "{}",
        run.err
    );
    assert!(!project.path("p.lock").exists());
    assert!(!project.path("cache/records").join("00").exists());
}

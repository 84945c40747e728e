//! The guard against skipped tests, tested itself: a test whose tool is missing says so in a file
//! and fails where tools are required, `scripts/test-summary` counts, and `.ci/run` fails and names
//! it. One that wants what cannot be installed is named and counted, and fails nothing.
//! `scripts/test` runs the test programs side by side without mixing what they print.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kuth_test_support::judge;

/// The tool that is taken away, and the test that uses it.
const TOOL: &str = "qemu-img";
const PROBE: &str = "a_tool_gives_its_output";
const RECORD: &str = "MISSING: guard::a_tool_gives_its_output: qemu-img is not installed\n";

/// Run again below, with and without its tool.
#[test]
fn a_tool_gives_its_output() {
    let Some(said) = judge::tool(TOOL, &["--version"]) else { return };
    assert!(said.starts_with("qemu-img version "), "{said}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether the tests here are run where [`TOOL`] is installed; it is the first test that says so.
fn has_tool() -> bool {
    judge::search_path().iter().any(|directory| directory.join(TOOL).is_file())
}

/// Runs the probe in a process of its own, with nothing in PATH but an empty directory.
fn probe(directory: &Path, required: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", PROBE]).env("PATH", directory.join("empty"));
    command.env("KUTH_SKIPPED", directory.join("skipped")).env("KUTH_REQUIRE_TOOLS", required);
    command.output().unwrap()
}

fn record(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("skipped")).unwrap()
}

#[test]
fn a_skip_is_recorded_although_the_test_passes() {
    let directory = tempfile::tempdir().unwrap();
    let run = probe(directory.path(), "0");
    let out = text(&run.stdout);
    assert!(run.status.success() && out.contains("test result: ok. 1 passed"), "{out}");
    // What the passing test printed is not there: that is why there is a file.
    assert!(!out.contains("MISSING") && run.stderr.is_empty(), "{out}");
    assert_eq!(record(directory.path()), RECORD);
    // A second process writes behind the first.
    probe(directory.path(), "0");
    assert_eq!(record(directory.path()), RECORD.repeat(2));
}

#[test]
fn a_missing_tool_fails_the_test_where_tools_are_required() {
    let directory = tempfile::tempdir().unwrap();
    let run = probe(directory.path(), "1");
    let out = text(&run.stdout);
    assert!(!run.status.success() && out.contains("test result: FAILED. 0 passed; 1 failed"));
    assert!(out.contains("\nqemu-img is not installed\n"), "{out}");
    assert_eq!(record(directory.path()), RECORD);
}

#[test]
fn a_record_that_cannot_be_written_fails_the_test() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("skipped")).unwrap();
    let run = probe(directory.path(), "0");
    assert!(!run.status.success(), "{}", text(&run.stdout));
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Has `scripts/test-summary` sum up: its exit status, and the lines it prints.
fn summary(log: &str, skipped: &str) -> (i32, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let (of_log, of_skipped) = (directory.path().join("log"), directory.path().join("skipped"));
    std::fs::write(&of_log, log).unwrap();
    std::fs::write(&of_skipped, skipped).unwrap();
    let mut command = Command::new(checkout().join("scripts/test-summary"));
    let output = command.arg(of_log).arg(of_skipped).output().unwrap();
    assert_eq!(text(&output.stderr), "");
    (output.status.code().unwrap(), text(&output.stdout).lines().map(String::from).collect())
}

const GOOD: &str = "\
\u{1b}[32m     Running\u{1b}[0m unittests src/lib.rs (target/debug/deps/kuth-0123456789abcdef)

running 2 tests
test units::tests::sizes ... ok
test units::tests::names ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.03s

     Running tests/cli.rs (target/debug/deps/cli-fedcba9876543210)

running 2 tests
test help ... ok
test boots ... ignored, takes half an hour

test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

const BOOTS: &str = "     Running tests/cli.rs (target/debug/deps/cli-fedcba9876543210)
test boots ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 900.0s
";

const FAILED: &str = "     Running tests/cli.rs (target/debug/deps/cli-fedcba9876543210)
test one ... FAILED
test two ... ok
test three ... ok
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s
";

#[test]
fn a_summary_counts_and_fails_for_whatever_could_have_been_tested() {
    let by_hand = "by hand: cli::boots: takes half an hour";
    let forgotten = GOOD.replace("ignored, takes half an hour", "ignored");
    let without = "by hand: cli::boots: without a reason: write #[ignore = \"...\"]";
    for (log, skipped, status, lines) in [
        (GOOD, "", 0, &[by_hand, "3 passed, 0 failed, 1 skipped"][..]),
        // What is left out may run by itself afterwards.
        (&format!("{GOOD}{BOOTS}"), "", 0, &["4 passed, 0 failed, 0 skipped"]),
        // What cannot be installed is not a fault.
        (
            GOOD,
            "SKIPPED: cli::help: a loop device needs root\n",
            0,
            &[
                by_hand,
                "SKIPPED: cli::help: a loop device needs root",
                "2 passed, 0 failed, 2 skipped",
            ],
        ),
        // What could have been installed is one, although the test passed.
        (
            GOOD,
            "MISSING: cli::help: gpg is not installed\n",
            1,
            &[by_hand, "MISSING: cli::help: gpg is not installed", "2 passed, 0 failed, 2 skipped"],
        ),
        // A record that says neither is a fault too.
        (
            GOOD,
            "cli::help: gpg\n",
            1,
            &[by_hand, "cli::help: gpg", "2 passed, 0 failed, 2 skipped"],
        ),
        // Said twice, and in two parts of one test: one test.
        (
            GOOD,
            "SKIPPED: cli::help: a\nSKIPPED: cli::help: a\nSKIPPED: cli::help: b\n",
            0,
            &[
                by_hand,
                "SKIPPED: cli::help: a",
                "SKIPPED: cli::help: b",
                "2 passed, 0 failed, 2 skipped",
            ],
        ),
        (&forgotten, "", 1, &[without, "3 passed, 0 failed, 1 skipped"]),
        (FAILED, "", 1, &["2 passed, 1 failed, 0 skipped"]),
        // The one that failed for want of a tool is not counted twice.
        (
            FAILED,
            "MISSING: cli::one: x is not installed\nSKIPPED: cli::two: no network\n",
            1,
            &[
                "MISSING: cli::one: x is not installed",
                "SKIPPED: cli::two: no network",
                "1 passed, 1 failed, 1 skipped",
            ],
        ),
        // Of the same name in another target.
        (
            FAILED,
            "SKIPPED: other::one: x\n",
            1,
            &["SKIPPED: other::one: x", "1 passed, 1 failed, 1 skipped"],
        ),
        (
            "error: could not compile\n",
            "",
            1,
            &["no test was run", "0 passed, 0 failed, 0 skipped"],
        ),
        // Something that a command wrote without an end of line before it.
        (
            "xtest result: ok. 5 passed; 0 failed; 0 ignored; 0 measured\n",
            "",
            0,
            &["5 passed, 0 failed, 0 skipped"],
        ),
    ] {
        let said = summary(log, skipped);
        assert_eq!((said.0, said.1.iter().map(String::as_str).collect()), (status, lines.to_vec()));
    }
}

#[test]
fn a_summary_without_its_files_fails() {
    let mut command = Command::new(checkout().join("scripts/test-summary"));
    let output = command.args(["/dev/null", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
}

/// A checkout with the real `.ci/run`, Makefile and scripts of the guard; what installs, lints and
/// compiles is replaced.
struct Checkout {
    directory: tempfile::TempDir,
}

/// The place of a test program in a checkout.
fn program_of(target: &str) -> String {
    format!("target/debug/deps/{target}-0123456789abcdef")
}

impl Checkout {
    /// In place of `cargo` is a script.
    fn new(cargo: &str) -> Checkout {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for directory in [".ci", "scripts", "bin", "target/debug/deps"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in [".ci/run", "Makefile", "scripts/test", "scripts/test-summary"] {
            std::fs::copy(checkout().join(file), root.join(file)).unwrap();
        }
        for name in ["scripts/setup", "scripts/lint", "scripts/virtualbox", "scripts/test-boots"] {
            script(&root.join(name), "exit 0");
        }
        script(&root.join("bin/cargo"), cargo);
        Checkout { directory }
    }

    /// With a script in place of each test program; `cargo` says that it has compiled them.
    fn with(programs: &[(&str, &str)]) -> Checkout {
        let place = Checkout::new("");
        let root = place.directory.path();
        let mut messages = Vec::new();
        for (target, lines) in programs {
            let program = root.join(program_of(target));
            script(&program, lines);
            messages.push(compiled(root, target, &program));
        }
        place.compiles(&messages.join("\n"));
        place
    }

    /// Has `cargo` print these messages when it is asked to compile, and its arguments to a file.
    fn compiles(&self, messages: &str) {
        let root = self.directory.path();
        std::fs::write(root.join("messages"), messages).unwrap();
        let shown = root.display();
        let lines = format!(
            "echo \"$*\" >>'{shown}/cargo'\ncase \"$*\" in *--no-run*) cat '{shown}/messages' ;; esac"
        );
        script(&root.join("bin/cargo"), &lines);
    }

    /// Fills `bin` with links to all that PATH has, but for [`TOOL`].
    fn link_tools(&self) -> PathBuf {
        let bin = self.directory.path().join("bin");
        for directory in judge::search_path() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_name() != TOOL {
                    // The first in PATH is the one that counts.
                    let _ = symlink(entry.path(), bin.join(entry.file_name()));
                }
            }
        }
        assert!(bin.join("make").exists(), "no make in PATH");
        bin
    }

    /// Runs `.ci/run` with this PATH: its exit status, and the lines it prints.
    fn ci(&self, path: &str) -> (i32, Vec<String>) {
        let mut command = self.command("bash", path);
        // From elsewhere, and as a script that need not be executable.
        command.arg(self.directory.path().join(".ci/run")).current_dir("/");
        let output = command.output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout).lines().map(String::from).collect())
    }

    /// Runs a command here, as if nothing had set the guard up before.
    fn command(&self, program: &str, path: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).stdin(Stdio::null()).env("PATH", path);
        for name in
            ["KUTH_SKIPPED", "KUTH_REQUIRE_TOOLS", "KUTH_TEST_VIRTUALBOX", "MAKEFLAGS", "ARGS"]
        {
            command.env_remove(name);
        }
        command
    }
}

/// What `cargo test --no-run` says of a test program that is compiled, as far as it matters.
fn compiled(root: &Path, target: &str, program: &Path) -> String {
    let manifest = root.join("Cargo.toml");
    serde_json::json!({
        "reason": "compiler-artifact",
        "manifest_path": manifest,
        "target": { "name": target, "src_path": root.join("tests").join(target), "test": true },
        "profile": { "test": true },
        "executable": program,
    })
    .to_string()
}

fn script(path: &Path, lines: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// The directories of PATH behind `first`.
fn after(first: &Path) -> String {
    let path = [first.to_path_buf()].into_iter().chain(judge::search_path());
    std::env::join_paths(path).unwrap().into_string().unwrap()
}

#[test]
fn ci_fails_and_names_the_test_whose_tool_was_taken_away() {
    let program = std::env::current_exe().unwrap();
    let probe = format!("exec '{}' --exact {PROBE}", program.display());
    let place = Checkout::with(&[("guard", &probe)]);
    if has_tool() {
        let (status, lines) = place.ci(&after(&place.directory.path().join("bin")));
        assert_eq!(lines.last().unwrap(), "1 passed, 0 failed, 0 skipped", "{lines:#?}");
        assert_eq!(status, 0, "{lines:#?}");
    }
    let (status, lines) = place.ci(place.link_tools().to_str().unwrap());
    assert_ne!(status, 0);
    let end: Vec<&str> = lines.iter().rev().take(2).rev().map(String::as_str).collect();
    assert_eq!(end, [RECORD.trim_end(), "0 passed, 1 failed, 0 skipped"], "{lines:#?}");
}

#[test]
fn ci_fails_for_what_could_have_been_installed_and_for_whatever_fails() {
    const GOOD: &str = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'";
    let says = |what: &str| format!("echo '{what}: x::y: no gpg' >>\"$KUTH_SKIPPED\"\n{GOOD}");
    let (skips, misses) = (says("SKIPPED"), says("MISSING"));
    let ends_badly = format!("{GOOD}\nexit 101");
    for (place, is_good, last) in [
        (Checkout::with(&[("x", GOOD)]), true, "2 passed, 0 failed, 0 skipped"),
        (Checkout::with(&[("x", GOOD), ("y", GOOD)]), true, "4 passed, 0 failed, 0 skipped"),
        // What no installation would have given is counted.
        (Checkout::with(&[("x", &skips)]), true, "1 passed, 0 failed, 1 skipped"),
        (Checkout::with(&[("x", &misses)]), false, "1 passed, 0 failed, 1 skipped"),
        // A program did not end well, although its line says so.
        (
            Checkout::with(&[("x", &ends_badly), ("y", GOOD)]),
            false,
            "4 passed, 0 failed, 0 skipped",
        ),
        (Checkout::new("exit 101"), false, "0 passed, 0 failed, 0 skipped"),
        (Checkout::with(&[]), false, "0 passed, 0 failed, 0 skipped"),
    ] {
        let (status, lines) = place.ci(&after(&place.directory.path().join("bin")));
        assert_eq!(lines.last().unwrap(), last, "{lines:#?}");
        assert_eq!(status == 0, is_good, "{lines:#?}");
    }
}

#[test]
fn ci_boots_whole_systems_once_the_other_tests_have_passed() {
    const GOOD: &str = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'";
    let boots = |first: &str, boots: &str| {
        let place = Checkout::with(&[("x", first)]);
        script(&place.directory.path().join("scripts/test-boots"), boots);
        let (status, lines) = place.ci(&after(&place.directory.path().join("bin")));
        (status == 0, lines.last().unwrap().clone())
    };
    assert_eq!(boots(GOOD, GOOD), (true, "4 passed, 0 failed, 0 skipped".into()));
    let misses = format!("echo 'MISSING: x::y: no qemu' >>\"$KUTH_SKIPPED\"\n{GOOD}");
    assert_eq!(boots(GOOD, &misses), (false, "3 passed, 0 failed, 1 skipped".into()));
    assert!(!boots(GOOD, "exit 1").0);
    let bad = format!("{GOOD}\nexit 1");
    assert_eq!(boots(&bad, GOOD), (false, "2 passed, 0 failed, 0 skipped".into()));
}

#[test]
fn make_test_hands_its_arguments_on_and_lists_what_was_skipped() {
    let place = Checkout::with(&[(
        "cli",
        "echo \"cli $*\"\necho 'SKIPPED: x::y: no loop device' >>\"$KUTH_SKIPPED\"",
    )]);
    let file = place.directory.path().join("target/skipped-tests");
    std::fs::write(&file, "SKIPPED: of::before: x\n").unwrap();
    let mut make = place.command("make", &after(&place.directory.path().join("bin")));
    let output = make.args(["test", "ARGS=--test cli -- --exact one"]).output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let asked = std::fs::read_to_string(place.directory.path().join("cargo")).unwrap();
    let options = "--locked --workspace --no-run --message-format json-render-diagnostics";
    assert_eq!(asked, format!("test {options} --test cli\n"));
    assert!(out.contains("\ncli --exact one\n"), "{out}");
    assert_eq!(err, "test: skipped, wholly or in part:\nSKIPPED: x::y: no loop device\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "SKIPPED: x::y: no loop device\n");
}

#[test]
fn test_programs_run_side_by_side_and_their_outputs_do_not_mix() {
    // Each waits for the other, in the midst of what it prints.
    let place = Checkout::with(&[
        ("one", "echo 'one begins'\ntimeout 60 sh -c 'echo >pipe' || exit\necho 'one ends'"),
        ("two", "echo 'two begins'\ntimeout 60 sh -c 'read x <pipe' || exit\necho 'two ends'"),
    ]);
    let pipe = place.directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let mut test = place.command("scripts/test", &after(&place.directory.path().join("bin")));
    let output = test.env("KUTH_TEST_LANES", "2").output().unwrap();
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}{}", text(&output.stderr));
    for name in ["one", "two"] {
        let program = program_of(name);
        let whole = format!("     Running tests/{name} ({program})\n{name} begins\n{name} ends\n");
        assert!(out.contains(&whole), "{out}");
    }
}

#[test]
fn nothing_else_says_that_it_is_skipped() {
    let mut directories = ["src", "tests", "crates"].map(|name| checkout().join(name)).to_vec();
    let mut seen = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(checkout()).unwrap().to_str().unwrap();
            let own = name == "tests/guard.rs";
            if path.extension().is_none_or(|it| it != "rs") || own {
                continue;
            }
            seen += 1;
            let source = std::fs::read_to_string(&path).unwrap();
            let says = source.contains("!(\"SKIPPED");
            assert!(!says, "{name}: say it through judge::skip or judge::missing, which record it");
        }
    }
    assert!(seen > 300, "the sources were not found");
}

#[test]
fn areas_of_make_check_are_modules_and_their_tests_are_there() {
    let script = std::fs::read_to_string(checkout().join("scripts/check")).unwrap();
    let rows = script.lines().filter_map(|line| line.split_once(") targets='"));
    let mut seen = 0;
    for (areas, targets) in rows {
        for area in areas.split(" | ") {
            let rooms = ["src/", "crates/", "crates/images/src/"];
            let places = rooms.map(|room| checkout().join(format!("{room}{area}")));
            let module = checkout().join(format!("src/{area}.rs"));
            assert!(places.iter().chain([&module]).any(|place| place.exists()), "{area}");
            seen += 1;
        }
        for target in targets.trim_end_matches("' ;;").split(' ') {
            let places = [format!("tests/{target}.rs"), format!("tests/{target}/main.rs")];
            let is_there = |place: &String| checkout().join(place).exists();
            assert!(places.iter().any(is_there), "{target}");
        }
    }
    assert!(seen > 15, "the table was not found");
}

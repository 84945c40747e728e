//! The command line from outside: what it prints, to where, and how it ends. Each run has an
//! empty environment and a directory of its own. `KUTH_BLESS=1 cargo test --test cli` writes the
//! golden help anew.

use std::process::Command;

use kuth_test_support::home::{self, Home, Said};
use kuth_test_support::servers::program;

const PIPELINE: &str = r#"[pipeline]
name = "small"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.base]
kind = "customise"
from = "rootfs"
hostname = "small"
"#;

const FAULTY: &str = r#"[pipeline]
name = "small"

[stage.rootfs]
kind = "bootsrap"

[stage.base]
kind = "customise"
form = "rootfs"
"#;

/// Every subcommand whose help is golden.
const COMMANDS: &[&str] = &[
    "",
    "build",
    "plan",
    "update",
    "explain",
    "path",
    "check",
    "fmt",
    "graph",
    "report",
    "verify",
    "diff",
    "inspect",
    "cache",
    "cache list",
    "cache size",
    "cache verify",
    "cache clean",
    "cache push",
    "cache pull",
    "cache keygen",
    "cache public-key",
    "machine",
    "machine list",
    "machine start",
    "machine stop",
    "machine remove",
    "machine clean",
    "machine console",
    "machine ssh",
    "machine hosts",
    "machine doctor",
    "create-image",
    "ci",
    "remote-build",
    "network",
    "network plan",
    "network apply",
    "network undo",
    "init",
    "doctor",
    "schema",
    "completions",
    "man",
];

#[test]
fn help_is_what_the_golden_file_says_and_fits_80_columns() {
    let home = Home::new();
    let mut text = String::new();
    for words in COMMANDS {
        let arguments: Vec<&str> = words.split_whitespace().chain(["--help"]).collect();
        let said = home.kuth(&arguments);
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{words}");
        text += &format!("$ kuth {}\n{}\n", arguments.join(" "), said.out);
    }
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(wide, Vec::<&str>::new());
    home::golden("help.txt", &text);
}

#[test]
fn every_subcommand_is_in_the_reference() {
    let reference = include_str!("../docs/reference.md");
    for words in COMMANDS.iter().filter(|words| !words.is_empty()) {
        assert!(reference.contains(&format!("`kuth {words}")), "{words}");
    }
}

#[test]
fn misuse_ends_with_2() {
    let home = Home::with(PIPELINE);
    for arguments in [
        &[][..],
        &["biuld"],
        &["cache"],
        &["build"],
        &["build", "pipelines/small.toml", "--jobs", "0"],
        &["build", "pipelines/small.toml", "--var", "novalue"],
        &["cache", "clean", "--all", "--older-than", "30d"],
        &["cache", "clean", "--older-than", "soon"],
        &["init", "Not/Legal"],
        &["machine", "start", "nobody"],
    ] {
        let said = home.kuth(arguments);
        assert_eq!(said.status, 2, "{arguments:?}: {}", said.err);
        assert_eq!(said.out, "", "{arguments:?}");
        assert_ne!(said.err, "", "{arguments:?}");
    }
}

#[test]
fn a_missing_pipeline_names_those_that_exist() {
    let home = Home::with(PIPELINE);
    for (given, err) in [
        (
            "smal",
            "error: there is no pipeline file smal\n\
             hint: the pipelines here are `pipelines/small.toml`\n",
        ),
        (
            "small",
            "error: there is no pipeline file small\nhint: did you mean `pipelines/small.toml`?\n",
        ),
        (
            "pipelines/smal.toml",
            "error: there is no pipeline file pipelines/smal.toml\n\
             hint: did you mean `pipelines/small.toml`?\n",
        ),
        ("pipelines", "error: pipelines is a directory, not a pipeline file\n"),
    ] {
        assert_eq!(home.kuth(&["build", given]), Said::err(2, err), "{given}");
    }
}

#[test]
fn an_unknown_stage_is_refused_wherever_it_is_named() {
    let home = Home::with(PIPELINE);
    let err = "error: the pipeline small has no stage `bsae`\nhint: did you mean `base`?\n";
    let file = "pipelines/small.toml";
    for arguments in [
        &["build", file, "bsae"][..],
        &["plan", file, "bsae"],
        &["build", file, "--rebuild", "bsae"],
        &["explain", file, "bsae"],
        &["path", file, "bsae"],
    ] {
        assert_eq!(home.kuth(arguments), Said::err(2, err), "{arguments:?}");
    }
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let home = Home::new();
    assert_eq!(home.kuth(&["man", "deep/man"]), Said::out("deep/man\n"));
    for words in COMMANDS {
        let name = format!("kuth {words}").trim().replace(' ', "-");
        let page = home.path(&format!("deep/man/{name}.1"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("{name}"));
        assert!(text.contains(".TH ") && text.contains(".SH OPTIONS"), "{name}");
        let Some(mandoc) = program("mandoc") else { continue };
        let output = Command::new(mandoc).args(["-T", "lint", "-W", "error"]).arg(&page).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn fmt_writes_the_one_form_and_check_names_files_that_have_another() {
    let home = Home::with(PIPELINE);
    let messy = "[pipeline]\nname='x'  \n[stage.a]\n\n# why\nkind = 'any'\n";
    let tidy = "[pipeline]\nname = 'x'\n\n[stage.a]\n# why\nkind = 'any'\n";
    home.write("messy.toml", messy);
    home.write("broken.toml", "[pipeline\n");
    let read = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
    let said = home.kuth(&["fmt", "--check", "pipelines/small.toml", "messy.toml"]);
    assert_eq!(said, Said { status: 1, out: "messy.toml\n".into(), err: String::new() });
    assert_eq!(read("messy.toml"), messy);

    let said = home.kuth(&["fmt", "broken.toml", "messy.toml", "pipelines/small.toml"]);
    assert_eq!((said.status, said.out.as_str()), (2, ""));
    assert!(said.err.contains("broken.toml:1:"), "{}", said.err);
    assert_eq!(read("broken.toml"), "[pipeline\n");
    assert_eq!(
        (read("messy.toml").as_str(), read("pipelines/small.toml").as_str()),
        (tidy, PIPELINE)
    );
    assert_eq!(home.kuth(&["fmt", "--check", "messy.toml"]), Said::out(""));

    let said = home.kuth(&["fmt", "none.toml"]);
    assert_eq!(said.status, 2);
    assert!(said.err.contains("none.toml"), "{}", said.err);
}

#[test]
fn fmt_formats_standard_input_to_standard_output() {
    let home = Home::new();
    home.write("in", "a=1");
    let fmt = |more: &[&str]| {
        let mut command = home::bare(&home.path("."));
        command.args(["fmt", "-"]).args(more).stdin(std::fs::File::open(home.path("in")).unwrap());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(fmt(&[]), (Some(0), "a = 1\n".to_string()));
    assert_eq!(fmt(&["--check"]), (Some(1), "-\n".to_string()));
    home.write("in", "a = 1\n");
    assert_eq!(fmt(&["--check"]), (Some(0), String::new()));
}

#[test]
fn check_shows_every_fault_and_counts_stages() {
    let home = Home::with(PIPELINE);
    home.write("pipelines/faulty.toml", FAULTY);
    let said = home.kuth(&["check", "pipelines/small.toml"]);
    assert_eq!(said, Said::out("pipelines/small.toml: ok, 2 stages\n"));
    let said = home.kuth(&["check", "pipelines/faulty.toml", "pipelines/small.toml"]);
    assert_eq!(said.status, 2);
    assert_eq!(said.out, "pipelines/small.toml: ok, 2 stages\n");
    let expected = "\
error: unknown kind `bootsrap`
 --> pipelines/faulty.toml:5:8
  |
5 | kind = \"bootsrap\"
  |        ^^^^^^^^^^
  |
  = help: did you mean `bootstrap`?
";
    assert!(said.err.starts_with(expected), "{}", said.err);
    assert!(said.err.contains("did you mean `from`?"), "{}", said.err);
    // Any command refuses it with the same words.
    let built = home.kuth(&["build", "pipelines/faulty.toml"]);
    assert_eq!(built, Said::err(2, &said.err));
}

#[test]
fn plan_says_what_would_run_and_why() {
    let home = Home::with(PIPELINE);
    let said = home.kuth(&["plan", "pipelines/small.toml"]);
    assert_eq!(
        said.out,
        "rootfs  run  its packages are not resolved yet\nbase    run  not built before\n"
    );
    assert_eq!((said.status, said.err.as_str()), (0, "2 stages: 2 would run\n"));
    let said = home.kuth(&["plan", "pipelines/small.toml", "rootfs", "--message-format", "json"]);
    assert_eq!(
        said,
        Said::out(
            "{\"event\":\"plan\",\"stage\":\"rootfs\",\"state\":\"run\",\
             \"reason\":\"its packages are not resolved yet\"}\n"
        )
    );
    assert!(home.path("cache").is_dir() && !home.path("pipelines/small.lock").exists());
}

#[test]
fn the_cache_is_found_from_any_directory() {
    let home = Home::with(PIPELINE);
    let said = home.kuth_in("pipelines", &["plan", "small.toml"]);
    assert_eq!(said.status, 0, "{}", said.err);
    let elsewhere = home.kuth_with(&["plan", "pipelines/small.toml"], &[("KUTH_CACHE", "other")]);
    assert_eq!(elsewhere.status, 0);
    assert!(home.path("other/objects").is_dir());
    let said = home.kuth_in("pipelines", &["cache", "size"]);
    assert!(
        said.out.starts_with("results   0 B\npackages  0 B\nlayers    0 B\nother     "),
        "{}",
        said.out
    );
}

#[test]
fn explain_shows_the_recipe_and_path_asks_to_build() {
    let home = Home::with(PIPELINE);
    let said = home.kuth(&["explain", "pipelines/small.toml", "base"]);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("recipe = 1\nkind = customise\nrevision = "), "{}", said.out);
    assert!(said.out.contains("\nhostname = small\n"), "{}", said.out);
    assert!(said.out.ends_with("\nbase: run (not built before)\n"), "{}", said.out);
    let said = home.kuth(&["path", "pipelines/small.toml", "base"]);
    let expected = "error: base is not built: not built before\n\
                    hint: build it with `kuth build pipelines/small.toml base`\n";
    assert_eq!(said, Said::err(1, expected));
}

#[test]
fn a_failed_build_ends_with_1_and_tells_people_and_programs() {
    let home = Home::with(PIPELINE);
    let said = home.kuth(&["build", "pipelines/small.toml", "--offline"]);
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    let lines: Vec<&str> = said.err.lines().collect();
    assert!(lines[0].starts_with("rootfs: failed after "), "{}", said.err);
    assert!(lines[1].starts_with("error: "), "{}", said.err);
    assert_eq!(lines[lines.len() - 2], "base: skipped (rootfs failed)");
    assert!(lines[lines.len() - 1].starts_with("2 stages: 1 failed, 1 skipped, in "));

    let json = ["build", "pipelines/small.toml", "--offline", "--message-format", "json"];
    let said = home.kuth(&json);
    assert_eq!(said.status, 1);
    let events: Vec<serde_json::Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names = |event: &serde_json::Value| {
        event.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        events.iter().map(names).collect::<Vec<_>>(),
        [
            "event stage state seconds reason",
            "event stage state reason",
            "event stages cached run failed seconds"
        ]
    );
    assert_eq!(events[0]["state"], "failed");
    assert_eq!(events[1]["reason"], "rootfs failed");
    assert_eq!(events[2]["failed"], 1);
    // The failure block is talk, so it stays on standard error.
    assert!(said.err.starts_with("rootfs: failed after "), "{}", said.err);
}

#[test]
fn graphs_are_text() {
    let home = Home::with(PIPELINE);
    let expected = "\
digraph \"small\" {
  rankdir = LR;
  node [shape = box];
  \"rootfs\" [label = \"rootfs\\nbootstrap\"];
  \"base\" [label = \"base\\ncustomise\"];
  \"rootfs\" -> \"base\";
}
";
    let file = "pipelines/small.toml";
    assert_eq!(home.kuth(&["graph", file, "--format", "dot"]), Said::out(expected));
    let svg = home.kuth(&["graph", file, "--format", "svg"]);
    assert!(svg.out.starts_with("<svg xmlns=") && svg.out.ends_with("</svg>\n"));
    let mermaid = home.kuth(&["graph", file, "--format", "mermaid"]);
    assert!(mermaid.out.starts_with("graph LR\n"));
}

/// A project that unpacks a file of this content, in two stages and without a network.
fn unpacking(content: &[u8]) -> Home {
    let home = Home::new();
    let archive = home.path("archive.tar");
    std::fs::write(&archive, content).unwrap();
    let pipeline = format!(
        "[pipeline]\nname = \"small\"\n\n[stage.archive]\nkind = \"download\"\n\
         url = \"file://{}\"\nsha256 = \"{}\"\n\n\
         [stage.files]\nkind = \"unpack\"\nfrom = \"archive\"\n",
        archive.display(),
        kuth_test_support::sha256(content),
    );
    home.write("pipelines/small.toml", &pipeline);
    home
}

/// A tar with a directory in it.
fn tar_archive() -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "directory", std::io::empty()).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn a_build_is_on_record_and_has_a_report() {
    let (home, file) = (unpacking(&tar_archive()), "pipelines/small.toml");
    let none = "error: no build of pipelines/small.toml is on record\n\
                hint: build it with `kuth build pipelines/small.toml`\n";
    assert_eq!(home.kuth(&["report", file]), Said::err(1, none));
    assert!(!home.path("cache").exists());
    let built = home.kuth(&["build", file, "--report", "out/report.html"]);
    assert_eq!(built.status, 0, "{}", built.err);
    let page = std::fs::read_to_string(home.path("out/report.html")).unwrap();
    assert!(page.contains("2 stages: 2 done, in ") && page.contains(">not built before"), "{page}");
    assert_eq!(home.kuth(&["report", file]), Said::out(&page));
    assert_eq!(home.kuth(&["report", file, "--output", "other.html"]), Said::out(""));
    assert_eq!(std::fs::read_to_string(home.path("other.html")).unwrap(), page);

    let again = home.kuth(&["build", file]);
    assert_eq!(
        (again.status, again.err.as_str()),
        (0, "archive: cached\nfiles: cached\n2 stages, 2 cached\n")
    );
    let page = home.kuth(&["report", file]).out;
    assert!(
        page.contains("2 stages: 2 cached, in ") && page.contains("No stage changed."),
        "{page}"
    );
    let graph = home.kuth(&["graph", file, "--last-build"]);
    assert!(graph.out.contains("[label = \"files\\nunpack\\ncached\"]"), "{}", graph.out);
}

#[test]
fn a_build_that_cannot_be_recorded_is_as_good_as_any() {
    let (home, file) = (unpacking(&tar_archive()), "pipelines/small.toml");
    home.write("cache/builds/small.json", "{\"version\":99}");
    let built = home.kuth(&["build", file]);
    assert_eq!(built.status, 0, "{}", built.err);
    let warning = "warning: no report will have this build: ";
    let line = built.err.lines().find(|line| line.starts_with(warning)).unwrap();
    let remove = format!("remove {}", home.path("cache/builds/small.json").display());
    assert!(line.contains("has format 99, this kuth knows 1") && line.contains(&remove), "{line}");
    let said = home.kuth(&["report", file]);
    assert_eq!((said.status, said.out.as_str()), (1, ""));
    assert!(said.err.contains(&remove), "{}", said.err);
    let graph = home.kuth(&["graph", "pipelines/small.toml", "--last-build"]);
    assert_eq!(graph.status, 1);
}

#[test]
fn a_quiet_build_prints_failures_and_a_verbose_one_logs() {
    let (home, file) = (unpacking(b"no archive"), "pipelines/small.toml");
    let quiet = home.kuth(&["build", file, "-q", "--report", "report.html"]);
    assert_eq!((quiet.status, quiet.out.as_str()), (1, ""));
    assert!(quiet.err.starts_with("files: failed after "), "{}", quiet.err);
    assert!(!quiet.err.contains("archive: ") && !quiet.err.contains("2 stages"), "{}", quiet.err);
    // A build that failed has a report too.
    let page = std::fs::read_to_string(home.path("report.html")).unwrap();
    assert!(page.contains("1 done, 1 failed") || page.contains("1 cached, 1 failed"), "{page}");
    assert!(page.contains("<pre class=\"error\">error: "), "{page}");
    assert_eq!(home.kuth(&["build", file, "-q", "-v"]).status, 2);
    let verbose = home.kuth(&["build", file, "--verbose"]);
    assert!(verbose.err.starts_with("archive: cached\nfiles: started ("), "{}", verbose.err);
}

#[test]
fn a_failed_stage_can_be_looked_at_in_a_shell() {
    use std::io::Write;
    use std::process::Stdio;
    let (home, file) = (unpacking(b"no archive"), "pipelines/small.toml");
    let said = home.kuth(&["build", file, "--on-error", "shell"]);
    assert_eq!(said.status, 1);
    let work = home.path("cache/work");
    let last = said.err.lines().last().unwrap();
    let start = format!("to inspect the failure: `cd {}/", work.display());
    assert!(last.starts_with(&start) && last.ends_with("then `/bin/sh`"), "{last}");

    let kuth = kuth_test_support::program();
    let words = format!("{} build {file} --on-error shell", kuth.display());
    let mut command = Command::new("script");
    command.args(["-qec", &words, "/dev/null"]).env_clear().env("PATH", home::path());
    command.env("TERM", "dumb").current_dir(home.path(".")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let marker = home.path("where");
    input.write_all(format!("pwd >{}; exit 7\n", marker.display()).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    // The exit status is that of the build.
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    let place = std::fs::read_to_string(marker).unwrap();
    assert!(place.starts_with(&format!("{}/", work.display())), "{place}");
}

#[test]
fn init_writes_a_pipeline_without_faults_and_overwrites_none() {
    let home = Home::new();
    let said = home.kuth(&["init", "web"]);
    assert_eq!(said.out, "pipelines/web.toml\n");
    assert_eq!(said.err, "next: `kuth plan pipelines/web.toml`\n");
    assert_eq!(home.kuth(&["fmt", "--check", "pipelines/web.toml"]), Said::out(""));
    let checked = home.kuth(&["check", "pipelines/web.toml"]);
    assert_eq!(checked, Said::out("pipelines/web.toml: ok, 4 stages\n"));
    let again = home.kuth(&["init", "web"]);
    assert_eq!(again.status, 1);
    assert!(again.err.starts_with("error: pipelines/web.toml already exists\n"), "{}", again.err);
    assert!(again.err.ends_with("hint: give another name: `kuth init NAME`\n"), "{}", again.err);
}

#[test]
fn looking_at_no_cache_makes_none() {
    let home = Home::new();
    for action in ["list", "size", "verify", "clean"] {
        let said = home.kuth(&["cache", action, "--cache", "none"]);
        let expected = format!("there is no cache in {}\n", home.path("none").display());
        assert_eq!(said, Said::err(0, &expected), "{action}");
    }
    assert!(!home.path("none").exists());
}

#[test]
fn no_machines_are_an_empty_list() {
    let home = Home::new();
    for action in ["list", "hosts"] {
        assert_eq!(home.kuth(&["machine", action]), Said::out(""));
    }
}

#[test]
fn doctor_says_ok_or_missing_and_nothing_else() {
    let said = Home::new().kuth(&["doctor", "--mirror", "http://[::1]:9/"]);
    assert!(matches!(said.status, 0 | 1), "{}", said.err);
    for line in said.out.lines() {
        assert!(line.starts_with("ok  ") || line.starts_with("missing  "), "{line}");
    }
    for what in ["sandbox", "apt-get", "overlayfs", "mirror", "free space", "KVM"] {
        assert!(said.out.contains(&format!("  {what} ")), "{what}: {}", said.out);
    }
}

#[test]
fn completions_are_for_the_shell_that_was_asked_for() {
    let home = Home::new();
    assert!(home.kuth(&["completions", "bash"]).out.contains("complete -F _kuth"));
    assert!(home.kuth(&["completions", "zsh"]).out.starts_with("#compdef kuth\n"));
}

#[test]
fn a_terminal_gets_colour_unless_no_color_is_set() {
    let home = Home::new();
    let on_a_terminal = |variables: &[(&str, &str)]| {
        let kuth = kuth_test_support::program();
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{} plan missing.toml", kuth.display()), "/dev/null"]);
        command.env_clear().env("PATH", home::path()).env("TERM", "xterm");
        command.envs(variables.iter().copied()).current_dir(home.path("."));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let said = on_a_terminal(&[]);
    assert!(said.contains("\u{1b}[1;31merror:\u{1b}[0m there is no pipeline"), "{said:?}");
    let said = on_a_terminal(&[("NO_COLOR", "1")]);
    assert!(said.starts_with("error: there is no pipeline file missing.toml"), "{said:?}");
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::with(PIPELINE);
    let mut child = home::bare(&home.path("."))
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_interrupted_build_ends_in_time_with_130() {
    use rustix::process::{Pid, Signal, kill_process};
    let home = Home::with(PIPELINE);
    // A mirror that takes calls and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}/debian", listener.local_addr().unwrap());
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = home::bare(&home.path("."))
            .args(["build", "pipelines/small.toml", "--mirror", &mirror])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let call = listener.accept().unwrap();
        let start = std::time::Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130));
        // It did not wait until the call is given up, after 60 s. That the end comes within two
        // seconds on a machine that is not busy, src/cli/interrupt.rs makes sure of.
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
        drop(call);
    }
}

//! Names and values that would be more than that: to YAML, to a shell, to the service.

use std::io::{Seek, Write};
use std::process::Command;

use serde_json::Value;

use crate::judges::{SERVICES, judge};
use kuth_test_support::home::Home;
use kuth_test_support::servers::program;

const PIPELINE: &str = r#"[pipeline]
name = "small"

[vars]
word = "trixie"
a0 = ""
a1 = ""
a2 = ""
a3 = ""
a4 = ""
a5 = ""
a6 = ""
a7 = ""
a8 = ""
token = "${env:SOME_TOKEN}"

[stage."1.on"]
kind = "bootstrap"
suite = "trixie"

[stage.image]
kind = "customise"
from = "1.on"

[stage.image.file."/etc/word"]
content = "${word} ${token}"

[stage.yes]
kind = "customise"
from = "image"
"#;

/// What a shell, YAML, or one of the services could take for something else.
const WORDS: [&str; 9] = [
    "it's \"quoted\"",
    "a b; touch pwned",
    "$(touch pwned)`touch pwned`$HOME",
    "two\nlines: [x]\n  - y\n",
    "# no comment",
    "ä\u{85}\u{2028}😀\t",
    "{ a: *b, c: &d !e }",
    "-- --output /etc",
    "${word}",
];

/// The text of a YAML file as JSON, by another's reader.
pub fn read(text: &str) -> Option<Value> {
    // The reader that the judges have brought with them.
    let python = program("check-jsonschema")?.with_file_name("python");
    let script = "import json,sys,ruamel.yaml\n\
        print(json.dumps(ruamel.yaml.YAML(typ='safe').load(sys.stdin.buffer)))";
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    let output = Command::new(python).args(["-c", script]).stdin(file).output().unwrap();
    assert!(output.status.success(), "{output:?}\nof\n{text}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The words of the command that builds, as whoever runs the file sees them.
fn words(service: &str, file: &Value, job: &str) -> Vec<String> {
    let script = match service {
        "github" => {
            let steps = file["jobs"][job]["steps"].as_array().unwrap();
            let mut runs = steps.iter().filter_map(|step| step["run"].as_str());
            runs.rfind(|run| run.contains("kuth build")).unwrap()
        }
        "gitlab" => file[job]["script"].as_array().unwrap().last().unwrap().as_str().unwrap(),
        _ => {
            let templates = file["spec"]["templates"].as_array().unwrap();
            let name = format!("build-{job}");
            let pod = templates.iter().find(|template| template["name"] == *name).unwrap();
            let args = pod["container"]["args"].as_array().unwrap();
            return args.iter().map(|arg| arg.as_str().unwrap().to_string()).collect();
        }
    };
    // A real shell; its words one by one.
    let script = format!("kuth() {{ printf '%s\\0' \"$@\"; }}\n{script}\n");
    let directory = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    let output = shell.arg("-ec").arg(script).current_dir(directory.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "a word did something");
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim_end_matches('\0').split('\0').map(str::to_string).collect()
}

#[test]
fn a_value_stays_one_word() {
    let home = Home::with(PIPELINE);
    let values: Vec<String> =
        WORDS.iter().enumerate().map(|(at, word)| format!("a{at}={word}")).collect();
    let vars: Vec<&str> = values.iter().flat_map(|value| ["--var", value]).collect();
    for (service, options) in SERVICES {
        let common = ["ci", service, "pipelines/small.toml"];
        let said = home.kuth(&[&common, &vars[..], options].concat());
        assert_eq!((said.status, said.err.as_str()), (0, ""));
        judge(service, &said.out);
        let Some(file) = read(&said.out) else { return };
        let words = words(service, &file, "stage-image");
        assert_eq!(words[..3], ["build", "pipelines/small.toml", "image"], "{words:?}");
        let at = words.iter().position(|word| word == "--var").unwrap();
        assert_eq!(words[at..at + vars.len()], vars, "{service}");
    }
}

#[test]
fn names_stay_names() {
    let home = Home::with(PIPELINE);
    for (service, options) in SERVICES {
        let said = home.kuth(&[&["ci", service, "pipelines/small.toml"], options].concat());
        judge(service, &said.out);
        let Some(file) = read(&said.out) else { return };
        for (job, stage) in [("stage-1-on", "1.on"), ("stage-image", "image"), ("yes", "yes")] {
            assert_eq!(words(service, &file, job)[2], stage);
        }
        // What the pipeline takes from the environment is a secret.
        assert!(said.out.contains("SOME_TOKEN"), "{}", said.out);
    }
}

#[test]
fn what_a_service_would_evaluate_is_refused() {
    let home = Home::with(PIPELINE);
    home.write("pipelines/${{ x }}.toml", PIPELINE);
    let file = "pipelines/small.toml";
    for arguments in [
        &["github", file, "--var", "word=${{ secrets.KUTH_CACHE_KEY }}"][..],
        &["github", file, "--setup", "echo ${{ github.head_ref }}"],
        &["github", "pipelines/${{ x }}.toml"],
        &["github", file, "--branch", "**"],
        &["github", file, "--branch", "a b"],
        &["github", file, "--runner", "a ${{ x }}"],
        &["github", file, "--secret", "A-B"],
        &["gitlab", file, "--var", "word=$[[ inputs.x ]]"],
        &["gitlab", file, "--image", "a\nb"],
        &["gitlab", file, "--branch", "a\" || \"b"],
        &["argo", file, "--image", "a", "--var", "word={{workflow.name}}"],
        &["argo", file, "--image", "a", "--var", "word={{=sprig.env('X')}}"],
        &["argo", file],
        &["github", file, "--matrix", "word=a b"],
        &["github", file, "--matrix", "word="],
        &["github", "../p.toml"],
    ] {
        let said = home.kuth(&[&["ci"], arguments].concat());
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(said.err.starts_with("error: "), "{}", said.err);
    }
}

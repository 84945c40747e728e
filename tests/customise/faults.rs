//! What `kuth check` says of faulty keys about packages: one error each, with its place and a hint.

use kuth::stage::Table;

/// The faults of a `customise` with these keys.
fn faults(keys: &str) -> String {
    let source = format!(
        "[pipeline]\nname = \"p\"\n\n[stage.rootfs]\nkind = \"bootstrap\"\nsuite = \"trixie\"\n\n\
         [stage.file]\nkind = \"download\"\nurl = \"https://example.org/a.deb\"\n\n\
         [stage.directory]\nkind = \"unpack\"\nfrom = \"file\"\n\n\
         [stage.base]\nkind = \"customise\"\nfrom = \"rootfs\"\n{keys}\n"
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("directory.deb")).unwrap();
    let path = directory.path().join("p.toml");
    let environment = |_: &str| Some("SECRET".to_string());
    kuth::pipeline::load(&path, &source, &[], &environment, &Table)
        .err()
        .map_or(String::new(), |faulty| faulty.to_string())
}

#[test]
fn faults_about_packages_are_one_error_each_with_its_place() {
    let many: Vec<String> = (0..9).map(|at| format!("{{ from = \"file{at}\" }}")).collect();
    let stages: String = (0..9)
        .map(|at| format!("\n[stage.file{at}]\nkind = \"download\"\nurl = \"https://a/{at}\"\n"))
        .collect();
    let many = format!("packages = [{}]\n{stages}", many.join(", "));
    for (keys, message, help) in [
        ("packages = \"htop\"", "wrong type for `packages`", "write `packages = [\"htop\"]`"),
        ("packages = [1]", "wrong type for `packages`", "write `\"1\"`"),
        ("packages = [\"a\", \"b\", \"a\"]", "`a` is in `packages` twice", "first here"),
        ("packages = [\"${env:X}\"]", "`packages` cannot be a secret", "`--var`"),
        ("packages = [\"files/a.deb\"]", "there is no file `files/a.deb`", "project root"),
        (
            "[stage.other]\nkind = \"bootstrap\"\nsuite = \"trixie\"\npackages = [\"a.deb\"]",
            "`a.deb` is a file",
            "let a `customise` behind this stage",
        ),
        ("packages = [\"./a\"]", "there is no file `./a`", "project root"),
        ("packages = [\"directory.deb\"]", "`directory.deb` is a directory", "expected a file"),
        ("packages = [{ path = \"a.deb\" }]", "missing key `from`", "is required here"),
        ("packages = [{ from = \"fil\" }]", "there is no stage `fil`", "did you mean `file`?"),
        (
            "packages = [{ from = \"directory\" }]",
            "`packages.from` takes a file, but `directory` (kind `unpack`) makes a directory",
            "what fits: `file`",
        ),
        (
            "packages = [{ from = \"file\", path = \"a.deb\" }]",
            "`packages.from` takes a directory, but `file` (kind `download`) makes a file",
            "what fits: `directory`",
        ),
        (
            "packages = [{ from = \"directory\", path = \"../a.deb\" }]",
            "`../a.deb` is not a relative path without `..`",
            "it starts at the top of the stage's output",
        ),
        (
            "packages = [{ from = \"file\", name = \"a\" }]",
            "unknown key `name`",
            "`path` and `from`",
        ),
        (many.as_str(), "`packages` takes files of more than 8 stages", "one `unpack`"),
        ("recommends = \"true\"", "wrong type for `recommends`", "without quotes"),
        ("hold = [\"-a\"]", "`-a` is not the name of a package", "linux-image-amd64"),
        ("hold = [\"a b\"]", "`a b` is not the name of a package", "linux-image-amd64"),
        ("hold = [\"a\"]\nremove = [\"a\"]", "`a` is both held and removed", "removed here"),
        ("debconf = 1", "wrong type for `debconf`", "write `\"1\"`"),
        ("debconf = [\"a a/b\"]", "`a a/b` is not an answer for debconf", "write PACKAGE QUESTION"),
        (
            "debconf = \"a a/b bool true\"",
            "`a a/b bool true` has the unknown type `bool`",
            "the types are select, boolean",
        ),
        (
            "debconf = [\"a a/b string x\", \"a  a/b  string y\"]",
            "`a a/b string` is answered twice",
            "first here",
        ),
        ("debconf = 'a a/b string x\\'", "ends in `\\`", "write PACKAGE QUESTION"),
        (
            "debconf = \"${env:X} a/b\"",
            "a line of the secret value is not an answer for debconf",
            "write PACKAGE QUESTION",
        ),
    ] {
        let said = faults(keys);
        assert_eq!(said.matches("error: ").count(), 1, "{keys}: {said}");
        assert!(said.contains(message) && said.contains(help), "{keys}: {said}");
        assert!(said.contains("p.toml:") && !said.contains("SECRET"), "{keys}: {said}");
    }
}

#[test]
fn names_with_a_suite_and_comments_among_answers_are_no_faults() {
    for keys in [
        "packages = [\"htop/trixie-updates\", \"vim=2:9\", \"vim:amd64\"]",
        "packages = [{ from = \"directory\", path = \"a.deb\" }, { from = \"file\" }]",
        "debconf = \"\"\"\n# a comment\n\na a/b string\na a/c password ${env:X}\n\"\"\"",
        "hold = [\"g++\", \"libc6:amd64\"]",
    ] {
        assert_eq!(faults(keys), "", "{keys}");
    }
}

#[test]
fn keys_with_options_and_any_comment_are_no_faults() {
    let user = "[[stage.base.user]]\nname = \"ops\"\n";
    for keys in [
        "ssh-keys = ['from=\"10.0.0.0/8\",command=\"echo \\\"a b\\\"\" ssh-ed25519 AAAAC3 me']",
        "ssh-keys = ['ssh-rsa AAAAB3 \"J\u{f6}rg\" & | $(x) #1']",
        "ssh-keys = [\"# mine\\nssh-rsa AAAAB3 a\\n\\nssh-ed25519 AAAAC3 b\\n\"]",
        "ssh-keys = []",
    ] {
        assert_eq!(faults(&format!("{user}{keys}")), "", "{keys}");
    }
}

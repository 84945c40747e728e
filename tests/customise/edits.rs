//! Edits of a stage: only the actions from the edit on run, and the tree has the bytes that it has
//! when all of them run, or none can be kept.

use kuth_test_support::base::{self, MINIMAL};
use kuth_test_support::processes;
use kuth_test_support::project::Project;
use kuth_test_support::tree::Tree;

use crate::package_files::deb;

mod batches;

/// What every pipeline of these tests begins with: a tree with a package to remove, and files to change.
const BEFORE: &str = r#"
[stage.before]
kind = "customise"
from = "rootfs"
packages = ["data/old.deb"]
run = '''
mkdir -p /srv/whole/below
for name in 1 2 3; do echo $name >/srv/whole/below/$name; done
echo names >/srv/names
chmod 751 /
touch -d @1000 /
'''
"#;

/// Scripts, each of which changes a tree in another way that layers have to get right.
const SCRIPTS: [&str; 10] = [
    // A file with two names.
    "mkdir -p /srv/d; echo one >/srv/d/one; ln -f /srv/d/one /srv/d/two",
    // One of its names is changed, or moved away.
    "chmod 600 /srv/d/one 2>/dev/null || :",
    "mv /srv/d/two /srv/d/three 2>/dev/null || :",
    // A directory that hides one.
    "rm -rf /srv/whole; mkdir -p /srv/whole/below; echo new >/srv/whole/below/4",
    // A directory moves, which is an error between layers.
    "perl -e '-d \"/srv/whole\" or exit; rename \"/srv/whole\", \"/srv/moved\" or die \"$!\\n\"'",
    // What no tree has, and what every tree may have.
    "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => \"/srv/socket\", Listen => 1)'; \
     rm -f /srv/pipe; mkfifo -m 640 /srv/pipe",
    // What earlier actions left where no tree has anything.
    "cat /tmp/left >/srv/left 2>/dev/null || :; echo left >>/tmp/left",
    // What depends on the times of files.
    "find / -xdev -newer /srv/names -type f | sort >/srv/newer",
    // What depends on the content of files.
    "cat /srv/a /etc/b >/srv/copy 2>/dev/null || :",
    "rm -f /srv/a; printf 'x\\n' >>/etc/hosts; ln -sf /srv/names /etc/link",
];

/// A small generator of numbers: the same seed, the same edits.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A stage that is edited.
#[derive(Clone, Debug, Default)]
struct Edited {
    packages: [bool; 2],
    removes: bool,
    hostname: Option<usize>,
    user: bool,
    /// The content of `/srv/a` and `/etc/b`, and whether its owner is one that few file systems show.
    files: [Option<(usize, bool)>; 2],
    sysctl: Option<usize>,
    scripts: Vec<usize>,
    seal: bool,
}

impl Edited {
    fn edit(&mut self, numbers: &mut Numbers) {
        match numbers.below(9) {
            0 => self.packages[0] = !self.packages[0],
            1 => self.packages[1] = !self.packages[1],
            2 => self.removes = !self.removes,
            3 => self.hostname = numbers.chance().then(|| numbers.below(3)),
            4 => self.user = !self.user,
            5 => {
                let (which, content) = (numbers.below(2), numbers.below(3));
                // A high owner forbids layers; now and then is enough.
                let high = numbers.below(6) == 0;
                self.files[which] = (numbers.below(4) > 0).then_some((content, high));
            }
            6 => self.sysctl = numbers.chance().then(|| numbers.below(3)),
            7 if !self.scripts.is_empty() && numbers.chance() => {
                let at = numbers.below(self.scripts.len());
                self.scripts.remove(at);
            }
            7 => {
                let (at, script) = (numbers.below(self.scripts.len() + 1), SCRIPTS.len());
                self.scripts.insert(at, numbers.below(script));
            }
            _ => self.seal = !self.seal,
        }
    }

    fn stage(&self) -> String {
        let mut text = "\n[stage.set]\nkind = \"customise\"\nfrom = \"before\"\n".to_string();
        let names = ["data/one.deb", "data/two.deb"].into_iter().zip(self.packages);
        let names: Vec<&str> = names.filter(|(_, is)| *is).map(|(name, _)| name).collect();
        text += &format!("packages = {names:?}\nseal = {}\n", self.seal);
        if self.removes {
            text += "remove = [\"old\"]\n";
        }
        if let Some(number) = self.hostname {
            text += &format!("hostname = \"host{number}\"\n");
        }
        if let Some(number) = self.sysctl {
            text += &format!("sysctl.\"vm.swappiness\" = {number}\n");
        }
        let scripts: Vec<&str> = self.scripts.iter().map(|script| SCRIPTS[*script]).collect();
        text += &format!("run = {}\n", serde_json::to_string(&scripts).unwrap());
        for (path, file) in ["/srv/a", "/etc/b"].into_iter().zip(self.files) {
            if let Some((content, high)) = file {
                text += &format!("[stage.set.file.\"{path}\"]\ncontent = \"{content}\\n\"\n");
                text += if high { "owner = \"70000:7\"\n" } else { "mode = \"0640\"\n" };
            }
        }
        if self.user {
            text += "[[stage.set.user]]\nname = \"ann\"\nuid = 1234\n";
        }
        text
    }
}

fn project(name: &str) -> (Project, tempfile::TempDir) {
    let directory = tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let directory = directory.unwrap();
    let project = Project::at(directory.path());
    base::minimal(&project, "p.lock");
    std::fs::create_dir_all(project.path("data")).unwrap();
    for name in ["old", "one", "two"] {
        deb(&project.path("data"), name, "Architecture: all", &[]);
    }
    project.write("p.toml", format!("{MINIMAL}{BEFORE}"));
    (project, directory)
}

/// The lines of the stage's log that say what became of its actions.
fn actions(project: &Project) -> Vec<String> {
    let log = project.log("base", "set");
    let lines = log.lines().filter_map(|line| line.strip_prefix("# "));
    let lines =
        lines.filter(|line| line.contains(": from the cache") || line.contains(": done in"));
    lines.map(|line| line.split(" in ").next().unwrap().to_string()).collect()
}

fn set(project: &Project, stage: &str) -> String {
    project.write("p.toml", format!("{MINIMAL}{BEFORE}{stage}"));
    project.build(&["p.toml", "set"]).ok().digest("set").to_string()
}

/// The digest of `set` when every action runs, with these options besides.
fn anew(project: &Project, options: &[&str]) -> String {
    let run = project.build(&[&["p.toml", "set", "--rebuild", "set"], options].concat()).ok();
    let actions = actions(project);
    assert!(!actions.iter().any(|line| line.ends_with("cache")), "{actions:?}");
    run.digest("set").to_string()
}

/// Keeps a tree to be looked at, for which it has to be in one directory.
const IN_PLACE: [&str; 2] = ["--on-error", "keep"];

#[test]
fn any_sequence_of_edits_gives_the_bytes_of_a_build_without_layers() {
    for seed in [88_172_645_463_325_252, 1_234_567] {
        let (project, _directory) = project("edits-");
        let (mut cold, _other) = self::project("cold-");
        cold.root = project.root.clone();
        let mut numbers = Numbers(seed);
        let mut edited = Edited { seal: true, ..Edited::default() };
        let mut cached = 0;
        for at in 0..10 {
            (0..=numbers.below(2)).for_each(|_| edited.edit(&mut numbers));
            let stage = edited.stage();
            let warm = set(&project, &stage);
            cached += actions(&project).iter().filter(|line| line.ends_with("cache")).count();
            let options = if at % 2 == 0 { &[][..] } else { &IN_PLACE };
            let expected = anew(&cold, options);
            assert_eq!(warm, expected, "edit {at} of seed {seed}, {options:?}: {stage}");
        }
        assert!(cached > 5, "only {cached} actions came from the cache");
    }
}

/// A stage with an action of each kind that needs no kernel.
const EACH: &str = r#"
[stage.set]
kind = "customise"
from = "before"
packages = ["data/one.deb"]
hostname = "web"
sysctl."vm.swappiness" = 10
run = ["cat /srv/b >/srv/c", "echo 2 >/srv/second"]
file."/srv/a" = { content = "a" }
file."/srv/b" = { content = "b" }
file."/etc/sysctl.d/90-kuth.conf" = { content = "replaced" }
"#;

#[test]
fn only_the_actions_from_an_edit_on_run() {
    let (project, _directory) = project("only-");
    let first = set(&project, EACH);
    let all =
        ["packages", "settings", "files", "system", "initial RAM disks", "script 1", "script 2"];
    for (from, to, expected) in [
        // Scripts see all files, and what is kuth's own those that it opened.
        ("\"a\"", "\"other\"", &["files", "script 1", "script 2"][..]),
        // `system` writes over this one.
        ("\"replaced\"", "\"other\"", &["files", "system", "script 1", "script 2"]),
        // Whether a file is empty is seen without opening it.
        ("\"a\"", "\"\"", &all[2..]),
        ("echo 2", "echo 3", &all[6..]),
        // Commands see the name of the host, those of packages too.
        ("\"web\"", "\"db\"", &all),
        ("data/one.deb", "data/two.deb", &all),
        // The same change in other words.
        ("cat /srv/b", "cat  /srv/b", &all[5..6]),
    ] {
        let edited = EACH.replace(from, to);
        assert_ne!(edited, EACH, "{from}");
        set(&project, &edited);
        let done: Vec<String> = expected.iter().map(|name| format!("{name}: done")).collect();
        let ran = actions(&project).into_iter().filter(|line| line.ends_with("done"));
        assert_eq!(ran.collect::<Vec<_>>(), done, "{from} -> {to}");
        assert_eq!(actions(&project).len(), all.len(), "{from} -> {to}");
    }
    assert_eq!(set(&project, EACH), first);
    assert_eq!(anew(&project, &[]), first);
    assert_eq!(anew(&project, &IN_PLACE), first);
}

/// A stage on top of a file with two names.
const LINKED: &str = r#"
[stage.linked]
kind = "customise"
from = "before"
run = "mkdir /srv/linked; echo 1 >/srv/linked/1; ln /srv/linked/1 /srv/linked/2"

[stage.set]
kind = "customise"
from = "linked"
"#;

#[test]
fn what_layers_cannot_do_is_done_in_one_directory() {
    let (project, _directory) = project("unlayered-");
    for (what, why) in [
        ("run = 'chmod 600 /srv/linked/1'", "/srv/linked/1 has several names, and is changed"),
        ("run = 'mv /srv/linked/1 /srv/3'", "/srv/3 has several names, and is changed"),
        (
            "run = \"perl -e 'rename(\\\"/srv/linked\\\", \\\"/srv/x\\\") or die $!'\"",
            "a command renames a directory",
        ),
        ("file.\"/srv/a\" = { content = \"\", owner = \"70000\" }", "owners above 65535"),
    ] {
        let stage = format!("{LINKED}{what}\n");
        let digest = set(&project, &stage);
        let log = project.log("base", "set");
        let line = log.lines().find(|line| line.starts_with("# all actions run")).unwrap();
        assert!(line.contains(why), "{what}: {line}");
        assert_eq!(anew(&project, &IN_PLACE), digest, "{what}");
    }
    let tree = Tree::read(&project.artifact("p.toml", "set"));
    assert_eq!(tree.entry("/srv/a").owner.0, 70_000);
    // As when a package is upgraded: nothing is left of the file with the names.
    let replaced = "cd /srv/linked; echo new >a; ln a b; mv a 1; mv b 2";
    let stage = format!("{LINKED}run = '{replaced}'\n");
    let digest = set(&project, &stage);
    assert_eq!(actions(&project), ["script 1: done"]);
    assert_eq!(anew(&project, &IN_PLACE), digest);
}

#[test]
fn a_damaged_layer_is_made_again() {
    let (project, _directory) = project("damaged-");
    let first = set(&project, EACH);
    let layers = project.cache.join("layers");
    let damaged = std::fs::read_dir(&layers).unwrap().flatten().filter(|layer| {
        let file = layer.path().join("changes/srv/c");
        file.exists() && std::fs::write(file, "damaged").is_ok()
    });
    assert_eq!(damaged.count(), 1);
    // Nothing reads layers again while the host runs, unless it is asked to.
    project.kuth(&["cache", "verify"]).ok();
    let edited = set(&project, &EACH.replace("echo 2", "echo 3"));
    assert!(actions(&project).contains(&"script 1: done".to_string()), "{:?}", actions(&project));
    assert_eq!(anew(&project, &IN_PLACE), edited);
    assert_eq!(set(&project, EACH), first);
}

#[test]
fn a_killed_action_leaves_those_before_it() {
    let (project, _directory) = project("killed-");
    let stopped = EACH.replace("echo 2 >/srv/second", "sleep 600");
    project.write("p.toml", format!("{MINIMAL}{BEFORE}{stopped}"));
    let mut live = project.begin(&["p.toml", "set"]);
    live.wait_for("set", "started");
    let kuth = live.pid();
    live.wait_until("the script", || processes::run_below(kuth, "sleep"));
    let started = processes::below(kuth);
    live.kill();
    assert_eq!(live.finish().status, -1);
    processes::assert_gone(&started, project.root.parent().unwrap());
    for layer in std::fs::read_dir(project.cache.join("layers")).unwrap() {
        assert!(layer.unwrap().path().join("layer.json").is_file());
    }
    let digest = set(&project, EACH);
    let ran = actions(&project).into_iter().filter(|line| line.ends_with("done"));
    assert_eq!(ran.collect::<Vec<_>>(), ["script 2: done"]);
    project.assert_clean();
    assert_eq!(anew(&project, &IN_PLACE), digest);
}

#[test]
fn layers_are_counted_and_cleaned() {
    let (project, _directory) = project("cleaned-");
    let digest = set(&project, EACH);
    let layers = || std::fs::read_dir(project.cache.join("layers")).unwrap().count();
    // The two trees, a package and a script of `before`, and an action of each kind.
    assert_eq!(layers(), 2 + 3 + 7);
    let sizes = project.kuth(&["cache", "size"]).ok().out;
    let line = sizes.lines().find(|line| line.starts_with("layers")).unwrap();
    assert!(line.contains("MiB"), "{line}");
    project.kuth(&["cache", "clean"]).ok();
    assert_eq!(layers(), 12);
    let cleaned = project.kuth(&["cache", "clean", "--max-size", "1 MiB"]).ok();
    assert!(cleaned.err.contains("12 layers removed"), "{}", cleaned.err);
    assert_eq!(layers(), 0);
    assert_eq!(set(&project, EACH), digest);
    assert_eq!(layers(), 12);
    project.kuth(&["cache", "clean", "--all"]).ok();
    assert_eq!(layers(), 0);
}

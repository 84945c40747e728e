//! Where the stages of these tests are built: a mount namespace whose /etc is a copy, with a user
//! of the tests' own in it, so that no script reaches the /etc of this machine even if it should
//! get out, and nobody has to be added to this machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use kuth_test_support::base::{PIPELINE, system_in};
use kuth_test_support::judge::tool;
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;
use kuth_test_support::tree::Tree;

/// Who starts kuth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Root,
    /// Somebody with nothing but ranges of ids.
    User,
    /// Root of a container as Docker makes it by default.
    Container,
}

/// The user, in the copy of /etc alone.
const NAME: &str = "kuth-test";
const ID: u32 = 58_888;
const RANGE: &str = "2000100000:65536";

/// A build that has not ended after so many seconds waits for what will never happen.
const LIMIT: &str = "300";

/// Arguments: the copy of /etc, a secret file, the user, the command.
const ENTER: &str = r#"
set -eu
etc=$1 secret=$2 user=$3
shift 3
mount --bind "$etc" /etc
# What kuth was started with is not what scripts are.
exec 9<"$secret"
if [ "$user" = root ]; then
    exec "$@"
fi
if [ "$user" = container ]; then
    # Whoever has changed the root can make no user namespaces, and without these capabilities no others.
    mount --rbind / "$etc/../host"
    held=+chown,+dac_override,+fowner,+fsetid,+mknod,+setgid,+setuid,+setpcap,+setfcap
    held=-all,$held,+sys_chroot,+kill,+net_bind_service,+audit_write,+net_raw
    exec chroot "$etc/../host" setpriv --bounding-set="$held" --inh-caps=-all -- \
        sh -c "cd \"\$0\"; exec \"\$@\"" "$PWD" "$@"
fi
umask 077
exec setpriv --reuid="$user" --regid="$user" --init-groups --inh-caps=-all -- "$@"
"#;

/// Starts its arguments at a terminal of their own.
const TERMINAL: &str = r#"exec script -qefc "$(printf "'%s' " "$@")" /dev/null"#;

/// A project, its copy of /etc, and who builds there.
pub struct Place {
    /// Kuth is started as the caller.
    pub project: Project,
    /// The copy of /etc.
    pub etc: PathBuf,
    /// How kuth is started there.
    pub words: Vec<String>,
    /// A file that everybody may read.
    pub marker: PathBuf,
    /// Removes it all.
    _owner: Project,
}

/// Runs a test for both callers; says what is skipped for want of root.
pub fn as_root_and_as_user(mut test: impl FnMut(Caller)) {
    if !geteuid().is_root() {
        return kuth_test_support::judge::skip("making a copy of /etc to mount needs root");
    }
    for caller in [Caller::Root, Caller::User] {
        eprintln!("as {caller:?}:");
        test(caller);
    }
}

impl Place {
    /// A project with `rootfs` and these stages.
    pub fn new(caller: Caller, stages: &str) -> Place {
        // Everybody may enter it.
        let directory = tempfile::Builder::new().prefix("kuth-").tempdir_in("/var/tmp").unwrap();
        let top = directory.path().to_path_buf();
        std::fs::set_permissions(&top, PermissionsExt::from_mode(0o755)).unwrap();
        let mut project = system_in(&top, stages);
        let owner = Project::within(directory);
        let etc = top.join("etc");
        tool("cp", &["--archive", "/etc", etc.to_str().unwrap()]);
        let add = |name: &str, line: &str| {
            let file = etc.join(name);
            let mut text = std::fs::read_to_string(&file).unwrap_or_default();
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            std::fs::write(&file, text + line).unwrap();
        };
        add("passwd", &format!("{NAME}:x:{ID}:{ID}::/nonexistent:/bin/sh\n"));
        add("group", &format!("{NAME}:x:{ID}:\n"));
        add("subuid", &format!("{NAME}:{RANGE}\n"));
        add("subgid", &format!("{NAME}:{RANGE}\n"));
        add("hosts", &format!("{} {}\n", crate::resolver::HOSTS.1, crate::resolver::HOSTS.0));
        let _ = std::fs::remove_file(etc.join("resolv.conf"));
        add("resolv.conf", &format!("nameserver {}\n", crate::resolver::address()));
        let (marker, secret) = (top.join("marker"), top.join("secret"));
        std::fs::write(&marker, "of the host\n").unwrap();
        std::fs::write(&secret, "of root alone\n").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let user = match caller {
            Caller::Root => "root",
            Caller::Container => {
                std::fs::create_dir(top.join("host")).unwrap();
                "container"
            }
            Caller::User => {
                let program = top.join("kuth");
                std::fs::copy(&project.program, &program).unwrap();
                project.program = program;
                for directory in [&project.root, &project.cache] {
                    tool("chown", &["-R", &format!("{ID}:{ID}"), directory.to_str().unwrap()]);
                }
                NAME
            }
        };
        let (etc_word, secret) = (etc.to_str().unwrap(), secret.to_str().unwrap());
        let words = ["timeout", "--kill-after=30", LIMIT, "unshare", "--mount", "--", "sh", "-c"];
        let words = [&words[..], &[ENTER, "enter", etc_word, secret, user]].concat();
        let project = project.through(&words);
        let words = words.iter().map(|word| word.to_string()).collect();
        Place { project, words, etc, marker, _owner: owner }
    }

    /// Adds stages to the pipeline.
    pub fn add(&self, stages: &str) {
        let text = std::fs::read_to_string(self.project.root.join(PIPELINE)).unwrap();
        self.project.write(PIPELINE, &(text + stages));
    }

    /// Builds a stage, which must end by itself.
    pub fn attempt(&self, stage: &str) -> Run {
        let run = self.project.build(&[PIPELINE, stage]);
        assert_ne!(run.status, 124, "{stage} did not end: {run:?}");
        run
    }

    /// Builds a stage, which must succeed, and reads its tree.
    pub fn build(&self, stage: &str) -> Tree {
        // What a stage did to the cache must not keep its tree from being looked at.
        Tree::read(Path::new(self.attempt(stage).ok().of(stage, "path")))
    }

    /// The tree of a stage that was built.
    pub fn built(&self, stage: &str) -> Tree {
        Tree::read(&self.project.artifact(PIPELINE, stage))
    }

    /// The same project, with kuth started at a terminal.
    pub fn at_terminal(&self) -> Project {
        let mut words = vec!["sh", "-c", TERMINAL, "sh"];
        words.extend(self.words.iter().map(String::as_str));
        self.project.through(&words)
    }

    /// What a stage's commands said.
    pub fn log(&self, stage: &str) -> String {
        self.project.log("t", stage)
    }

    /// Puts a script into the project; its name there.
    pub fn script(&self, name: &str, text: &str) -> String {
        self.project.write(&format!("data/{name}"), text);
        format!("data/{name}")
    }

    /// The directory of all this.
    pub fn top(&self) -> &Path {
        self.project.root.parent().unwrap()
    }
}

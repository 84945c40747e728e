//! Builds the machines, starts them, and asks them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kuth::debian::{DEBIAN, mirror};

use kuth_test_support::base::{collect_packages, lend_packages};
use kuth_test_support::{program, target_tmp};

use crate::answers::Answers;

/// The way out and the name server.
pub const GATE: &str = "gate-node01";
/// The load balancer.
pub const HAPX: &str = "hapx-node01";
/// The storage server.
pub const GLUS: &str = "glus-node01";
/// In the order that they are started: the gate, which the others need, comes last.
pub const ALL: [&str; 3] = [HAPX, GLUS, GATE];

/// How long the machines may take from their start until all are set up: six minutes where nothing
/// else is at work, and many times that on a machine that is shared.
const SET_UP: Duration = Duration::from_secs(2400);

/// How long a machine may take to answer.
const ANSWER: &str = "400";

/// What cloud-init says on the console at the end of each boot; the machines boot twice.
const FINISHED: &str = "finished at";

/// The machines, and a key that they let in.
#[derive(Debug)]
pub struct Cluster {
    /// The archive that this host takes packages from.
    pub archive: String,
    home: PathBuf,
    /// For the agent's socket, whose path has to be short.
    _agent_directory: tempfile::TempDir,
    agent_socket: PathBuf,
    agent: Child,
}

impl Cluster {
    /// Builds them, in the file system of the target directory.
    pub fn build() -> Cluster {
        let home = target_tmp().join("cluster");
        let agent_directory = tempfile::tempdir().unwrap();
        let agent_socket = agent_directory.path().join("agent");
        let agent = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&agent_socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let archive = archive();
        let cluster =
            Cluster { archive, home, _agent_directory: agent_directory, agent_socket, agent };
        cluster.clear();
        cluster.make_key();
        let start = Instant::now();
        let cache = cluster.home.join("cache");
        lend_packages(&cache);
        cluster.kuth(&[
            "build",
            "pipelines/cluster.toml",
            "--var",
            &format!("ssh-key={}", cluster.home.join("key.pub").display()),
            "--var",
            &format!("archive={}", cluster.archive),
        ]);
        collect_packages(&cache);
        eprintln!("built: {:.0} s", start.elapsed().as_secs_f32());
        cluster
    }

    /// Takes away what an earlier run left, which may still run, and lays out the project.
    fn clear(&self) {
        if self.machines().is_dir() {
            self.stop(&ALL);
            fs::remove_dir_all(self.machines()).unwrap();
        }
        for directory in ["logs", "project"] {
            let _ = fs::remove_dir_all(self.home.join(directory));
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let project = self.home.join("project");
        fs::create_dir_all(self.logs()).unwrap();
        fs::create_dir_all(project.join("pipelines")).unwrap();
        fs::copy(source.join("tests/cluster/cluster.toml"), project.join("pipelines/cluster.toml"))
            .unwrap();
        std::os::unix::fs::symlink(source.join("data"), project.join("data")).unwrap();
    }

    fn make_key(&self) {
        let key = self.home.join("key");
        for file in [&key, &key.with_extension("pub")] {
            let _ = fs::remove_file(file);
        }
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).unwrap();
        let start = Instant::now();
        while !self.agent_socket.exists() {
            assert!(start.elapsed() < Duration::from_secs(10), "no ssh-agent");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut add = Command::new("ssh-add");
        run(add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &self.agent_socket)).unwrap();
    }

    fn machines(&self) -> PathBuf {
        self.home.join("machines")
    }

    /// Where console logs and answers are kept.
    pub fn logs(&self) -> PathBuf {
        self.home.join("logs")
    }

    /// kuth in the project, through the words of another command if there are any.
    fn command(&self, through: &[&str], words: &[&str]) -> Command {
        let kuth = program();
        let kuth = [kuth.to_str().unwrap()];
        let all = [through, &kuth, words].concat();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).current_dir(self.home.join("project"));
        command.env("KUTH_CACHE", self.home.join("cache")).env("KUTH_MACHINES", self.machines());
        command.env("SSH_AUTH_SOCK", &self.agent_socket).env("NO_COLOR", "1");
        command.stdin(Stdio::null());
        command
    }

    /// Runs kuth, which must succeed; its standard output.
    pub fn kuth(&self, words: &[&str]) -> String {
        run(&mut self.command(&[], words)).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts machines, one right after the other.
    pub fn start(&self, names: &[&str]) {
        let words: Vec<&str> = ["machine", "start"].iter().chain(names).copied().collect();
        self.kuth(&words);
    }

    /// Waits until each has booted for the second time, and cloud-init is through again.
    pub fn wait_until_set_up(&self, names: &[&str]) {
        let start = Instant::now();
        let mut waiting = names.to_vec();
        while !waiting.is_empty() {
            std::thread::sleep(Duration::from_secs(2));
            let list = self.kuth(&["machine", "list"]);
            waiting.retain(|name| {
                let boots = self.console(name).matches(FINISHED).count();
                if boots >= 2 {
                    eprintln!("{name} is set up: {:.0} s", start.elapsed().as_secs_f32());
                }
                boots < 2
            });
            let logs = self.logs();
            for name in &waiting {
                let line = list.lines().find(|line| line.starts_with(name)).unwrap_or_default();
                assert!(line.contains("running"), "{name} ended; see {}", logs.display());
            }
            let late = start.elapsed() > SET_UP;
            assert!(!late, "not set up: {waiting:?}; see {}", logs.display());
        }
    }

    fn console(&self, name: &str) -> String {
        let bytes = fs::read(self.machines().join(name).join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Has a machine run a script, as whoever logs in.
    pub fn ask(&self, name: &str, script: &str) -> Answers {
        let start = Instant::now();
        // A part that fails is a part that lacks something.
        let script = format!("{script}\ntrue\n");
        let words = ["machine", "ssh", name, &script];
        let answer = run(&mut self.command(&["timeout", ANSWER], &words))
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        eprintln!("{name} answered: {:.0} s", start.elapsed().as_secs_f32());
        fs::write(self.logs().join(format!("{name}.answers")), &answer).unwrap();
        Answers::parse(name, &answer)
    }

    /// Stops machines, all at once; what kuth says of each.
    pub fn stop(&self, names: &[&str]) -> String {
        let start = Instant::now();
        let stop = |name: &&str| {
            let mut stop = self.command(&[], &["machine", "stop", name]);
            stop.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let stopping: Vec<Child> = names.iter().map(stop).collect();
        let said = |child: Child| child.wait_with_output().unwrap().stderr;
        let said: Vec<u8> = stopping.into_iter().flat_map(said).collect();
        eprintln!("stopped: {:.0} s", start.elapsed().as_secs_f32());
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// However the test ends, nothing of it goes on running.
impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.stop(&ALL));
        }
        for name in ALL {
            let _ = fs::write(self.logs().join(format!("{name}.console")), self.console(name));
        }
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(self.machines());
        }
    }
}

/// The archive that kuth takes packages from on this host, which is the guests' too.
fn archive() -> String {
    let given = std::env::var("KUTH_DEBIAN_MIRROR").ok();
    mirror::find(&DEBIAN, given.as_deref(), None).unwrap()
}

/// Runs a command to its end; its standard output, or all that it said.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() { Ok(out) } else { Err(format!("{command:?}: {out}{err}")) }
}

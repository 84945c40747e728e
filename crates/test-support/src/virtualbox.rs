//! A VirtualBox with a registry of the test's own. Where it comes from, scripts/virtualbox says;
//! `KUTH_TEST_VIRTUALBOX` names that directory. It sees `work` in it, so machines lie there.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Tells a child which run it belongs to.
pub const RUN: &str = "KUTH_TEST_VIRTUALBOX_RUN";

/// A server takes no longer to end, also on a loaded machine.
const ENDING: Duration = Duration::from_secs(30);

/// VBoxManage's command line, and a directory that it sees.
pub struct VirtualBoxHome {
    pub command: String,
    pub directory: PathBuf,
}

impl VirtualBoxHome {
    /// An empty one. `None`, said aloud, where there is no VirtualBox.
    pub fn new(name: &str) -> Option<VirtualBoxHome> {
        let Some((command, directory)) = named(name) else {
            crate::judge::missing("VBoxManage");
            return None;
        };
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Some(VirtualBoxHome { command, directory })
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_string()
    }

    /// What VBoxManage answers.
    pub fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap_or_else(|why| panic!("{words:?}: {why}"))
    }

    /// What VBoxManage answers, or says of its failure. VBoxManage starts the server that it asks,
    /// and that ends by itself; a question that comes while it does is answered by nobody, so
    /// asking once more hides no answer. Every other failure is reported at once. The server ends
    /// within [`ENDING`].
    pub fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let script = format!("{} \"$@\"", self.command);
        let start = Instant::now();
        loop {
            let mut command = Command::new("sh");
            let output = command.args(["-c", &script, "sh"]).args(words).output().unwrap();
            let why = String::from_utf8_lossy(&output.stderr);
            match output.status.success() {
                true => return Ok(String::from_utf8(output.stdout).unwrap()),
                false if start.elapsed() < ENDING && why.contains("COM server is not running") => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                false => return Err(why.into_owned()),
            }
        }
    }

    /// What it says of a machine.
    pub fn info(&self, name: &str) -> String {
        self.ask(&["showvminfo", name, "--machinereadable"])
    }
}

/// The command line and the directory that `name` has.
pub fn named(name: &str) -> Option<(String, PathBuf)> {
    let virtualbox = PathBuf::from(std::env::var_os("KUTH_TEST_VIRTUALBOX")?);
    let directory = virtualbox.join("work").join(name);
    // The server of a run just before may still know what that run removed.
    let run = std::env::var(RUN).unwrap_or_else(|_| std::process::id().to_string());
    let command = format!(
        "env VBOX_USER_HOME={} VBOX_IPC_SOCKETID=kuth-{name}-{run} {}",
        directory.join("home").display(),
        virtualbox.join("VBoxManage").display()
    );
    Some((command, directory))
}

impl Drop for VirtualBoxHome {
    fn drop(&mut self) {
        // Its server ends by itself 5 s after the last question. What failed stays, to be looked
        // at.
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

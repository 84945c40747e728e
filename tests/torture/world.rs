//! A pipeline with stages of most kinds over a few hundred kilobytes, the states that builds of it start
//! from, and what a build that nothing happened to leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use kuth_test_support::judge::tool;
use kuth_test_support::processes;
use kuth_test_support::project::Project;
use kuth_test_support::run::Run;
use kuth_test_support::servers::Server;
use kuth_test_support::{sha256, target_tmp};

/// The pipeline, in the project.
pub const PIPELINE: &str = "pipelines/main.toml";

/// The words in capitals are filled in. `archive` has its digest here, and `system` in the lock file.
const TEXT: &str = include_str!("main.toml");

/// What a build begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The tools of `disk` are in the cache, and nothing else is anywhere.
    Empty,
    /// `disk` and what it is made of are in the cache, and nothing else: `disk` takes longer than all
    /// others, most of it for the unpacking of its tools.
    Disk,
    /// Everything but `disk` has been built of other content: exports and machines are replaced.
    Older,
}

/// The stages that are kept for [`Start::Disk`].
const DISK: [&str; 4] = ["system", "rootfs", "base", "disk"];

/// Which driver has the machines, and where results are pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machines {
    /// The embedded driver, and a directory.
    Qemu,
    /// The VBoxManage of tests/virtualbox_fake, and a web server.
    VirtualBox,
}

/// A directory in which a build is tried again and again, from one state.
pub struct World {
    directory: PathBuf,
    start: Start,
    /// The project.
    pub project: Project,
    /// What a build that nothing happened to said, and what it left.
    pub clean: (Run, Picture),
    /// The visible files of `out`, before and after.
    published: BTreeMap<PathBuf, BTreeSet<String>>,
    _server: Option<Server>,
    owner: Option<tempfile::TempDir>,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(directory) = self.owner.take().filter(|_| std::thread::panicking()) {
            eprintln!("left to look at: {}", directory.keep().display());
        }
    }
}

/// A directory in memory, where there is that: each build syncs some hundred times, and what is synced
/// on a disk does not matter here.
pub fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let top = if memory.is_dir() { memory.to_path_buf() } else { target_tmp() };
    tempfile::Builder::new().prefix("kuth-torture-").tempdir_in(top).unwrap()
}

impl World {
    /// Builds once, to know what comes out. `None`, said aloud, where a tool is missing.
    pub fn new(start: Start, machines: Machines) -> Option<World> {
        let owner = directory();
        let directory = owner.path().to_path_buf();
        for name in ["state/project", "state/remote", "server"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        let path = |name: &str| directory.join(name).display().to_string();
        let mut project =
            Project::at(&directory.join("state")).with("KUTH_CACHE_KEY", &path("key"));
        let mut server = None;
        match machines {
            Machines::Qemu => project.set("KUTH_CACHE_REMOTE", &path("state/remote")),
            Machines::VirtualBox => {
                symlink("../state/remote", directory.join("server/files")).unwrap();
                let nginx = Server::nginx(&directory.join("server"))?;
                project.set("KUTH_CACHE_REMOTE", &format!("{}/cache", nginx.address));
                project.set("KUTH_VBOXMANAGE", &path("state/virtualbox/VBoxManage"));
                server = Some(nginx);
            }
        }
        let mut world = World {
            project,
            directory,
            start,
            clean: (Run::of_output(String::new()), Picture::default()),
            published: BTreeMap::new(),
            _server: server,
            owner: Some(owner),
        };
        world.prepare(machines);
        let run = world.build().ok();
        world.clean = (run, world.picture());
        world.publish();
        Some(world)
    }

    /// A path beside the state.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes the state to start from.
    fn prepare(&mut self, machines: Machines) {
        if machines == Machines::VirtualBox {
            self.write_virtualbox();
        }
        let driver = if machines == Machines::Qemu { "qemu" } else { "virtualbox" };
        self.write_project("older", driver);
        let key = self.path("key").display().to_string();
        if !Path::new(&key).exists() {
            self.project.kuth(&["cache", "keygen", &key]).ok();
        }
        self.project.build(&[PIPELINE]).ok();
        match self.start {
            Start::Empty => self.keep(&[]),
            Start::Disk => self.keep(&DISK),
            Start::Older => self.publish(),
        }
        self.write_project("newer", driver);
        let [from, to] = ["state", "start"].map(|name| self.path(name));
        let _ = fs::remove_dir_all(&to);
        fs::rename(from, to).unwrap();
        self.restore();
    }

    fn write_virtualbox(&self) {
        let fake = kuth_test_support::checkout().join("tests/virtualbox_fake");
        let to = self.path("state/virtualbox");
        fs::create_dir_all(to.join("vms")).unwrap();
        fs::copy(fake.join("VBoxManage"), to.join("VBoxManage")).unwrap();
        fs::copy(fake.join("modifyvm-7.0"), to.join("modifyvm")).unwrap();
        fs::write(to.join("version"), "7.0.20r163906").unwrap();
        fs::write(to.join("adapters"), "").unwrap();
    }

    /// The pipeline, and the files that it downloads, which have this content.
    fn write_project(&self, content: &str, driver: &str) {
        let archive = archive_of_system(content);
        self.project.write("files/archive.tar", &archive);
        self.project.write("files/system.tar", archive_of_system("system"));
        self.project.write("web", "#cloud-config\nfqdn: web.local\n");
        // The packages of the tools stay as they are; `system` is asked for again, and written down.
        let lock = self.project.path("pipelines/main.lock");
        if let Ok(text) = fs::read_to_string(&lock) {
            fs::write(&lock, text.split("[[stage.system]]").next().unwrap()).unwrap();
        }
        let text = TEXT
            .replace("DIRECTORY", self.project.root.to_str().unwrap())
            .replace("SHA256", &sha256(&archive))
            .replace("DRIVER", driver)
            .replace("CONTENT", content)
            .replace("MEMORY", if content == "older" { "64 MiB" } else { "80 MiB" });
        self.project.write(PIPELINE, text);
    }

    /// Leaves of what was built these stages and the tools alone.
    fn keep(&self, stages: &[&str]) {
        let cache = &self.project.cache;
        let plan = self.project.plan(&[PIPELINE]);
        for event in plan.events.iter().filter(|event| event["key"].is_string()) {
            let key = event["key"].as_str().unwrap();
            if !stages.contains(&event["stage"].as_str().unwrap()) {
                fs::remove_file(cache.join("records").join(&key[..2]).join(key)).unwrap();
            }
        }
        self.project.kuth(&["cache", "clean", "--max-size", "100 GiB"]).ok();
        for name in ["placed", "latest", "logs", "locks", "outbox"] {
            let _ = fs::remove_dir_all(cache.join(name));
        }
        for path in
            [self.project.output(), self.project.machines.clone(), self.path("state/remote")]
        {
            let _ = fs::remove_dir_all(path);
        }
        fs::create_dir(self.path("state/remote")).unwrap();
        let vms = self.path("state/virtualbox/vms");
        if vms.exists() {
            fs::remove_dir_all(&vms).unwrap();
            fs::create_dir(&vms).unwrap();
        }
    }

    /// Puts back the state to start from. The cache is one of hard links: its files are replaced and
    /// never written to.
    pub fn restore(&self) {
        let [from, to] = ["start", "state"].map(|name| self.path(name));
        let _ = fs::remove_dir_all(&to);
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(&from).unwrap() {
            let (name, mut how) = (entry.unwrap().file_name(), "-aT");
            if name == "cache" {
                how = "-alT";
            }
            let [from, to] = [from.join(&name), to.join(&name)];
            tool("cp", &[how, from.to_str().unwrap(), to.to_str().unwrap()]).unwrap();
        }
    }

    /// The arguments of a build, whose calls come in the same order each time as far as threads allow.
    pub fn arguments() -> Vec<&'static str> {
        kuth_test_support::project::build(&[PIPELINE, "--jobs", "1"])
    }

    /// A build that nothing happens to.
    pub fn build(&self) -> Run {
        self.project.kuth(&World::arguments())
    }

    /// What lies there now.
    pub fn picture(&self) -> Picture {
        Picture::of(&self.path("state"))
    }

    /// Takes down what is published now: each visible file of `out` and of the remote.
    fn publish(&mut self) {
        for (path, text) in self.visible() {
            self.published.entry(path).or_default().insert(text);
        }
    }

    /// The visible files of `out`.
    fn visible(&self) -> Vec<(PathBuf, String)> {
        let files = files_below(&self.project.output()).into_iter();
        let files = files.filter(|path| !name_of(path).starts_with('.'));
        files.map(|path| (path.clone(), sha256(fs::read(&path).unwrap()))).collect()
    }

    /// After a build that was ended: what is wrong, or nothing. No process is left, no export is half
    /// an export, and the next build ends as one that nothing happened to.
    pub fn judge(&self) -> Result<(), String> {
        processes::assert_gone(&Default::default(), &self.path("state"));
        for (path, found) in self.visible() {
            if !self.published.get(&path).is_some_and(|known| known.contains(&found)) {
                return Err(format!("{} is neither the old one nor the new one", path.display()));
            }
        }
        self.next_is_right()
    }

    /// A build has the digests of one that nothing happened to.
    pub fn is_right(&self, run: &Run) -> Result<(), String> {
        for stage in self.clean.0.states().keys() {
            if run.digest(stage) != self.clean.0.digest(stage) {
                return Err(format!("{stage} has another digest"));
            }
        }
        Ok(())
    }

    /// The next build ends as one that nothing happened to.
    pub fn next_is_right(&self) -> Result<(), String> {
        let run = self.build();
        if run.status != 0 {
            return Err(format!("the next build failed: {}", run.err));
        }
        self.is_right(&run)?;
        let differences = self.picture().differences(&self.clean.1);
        if !differences.is_empty() {
            return Err(differences.join("\n"));
        }
        Ok(())
    }
}

/// A tar of these files.
fn archive(files: &[(&str, String)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The least that `import` takes for a system and `disk` for one that could start.
pub fn archive_of_system(content: &str) -> Vec<u8> {
    archive(&[
        ("boot/initrd.img-6.12.1", "initrd".into()),
        ("boot/vmlinuz-6.12.1", "kernel".into()),
        ("etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n".into()),
        ("usr/share/content", content.repeat(50_000)),
    ])
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The files below a directory, sorted.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files.sort();
    files
}

/// Every file and directory of a state by name, with the digest of what has to be the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture(BTreeMap<String, String>);

impl Picture {
    fn of(directory: &Path) -> Picture {
        let mut picture = Picture::default();
        picture.add(directory, "");
        picture
    }

    fn add(&mut self, directory: &Path, name: &str) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let mut name = format!("{name}{}", hide_uuids(&entry.file_name().to_string_lossy()));
            while self.0.contains_key(&name) {
                name += "'";
            }
            if entry.file_type().unwrap().is_dir() {
                self.0.insert(format!("{name}/"), String::new());
                self.add(&entry.path(), &format!("{name}/"));
            } else {
                let text = content(&name, &entry.path());
                self.0.insert(name, text);
            }
        }
    }

    /// What is different, a line each.
    fn differences(&self, clean: &Picture) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(clean.0.keys()).collect();
        let tell = |name: &String| match (self.0.get(name), clean.0.get(name)) {
            (Some(_), None) => Some(format!("{name} is too much")),
            // The locks, logs and layers of stages that were cached are those of an earlier build.
            (None, Some(_)) if MAY_BE_MISSING.iter().any(|it| name.starts_with(it)) => None,
            (None, Some(_)) => Some(format!("{name} is missing")),
            (found, expected) => {
                (found != expected).then(|| format!("{name} is {found:?} and not {expected:?}"))
            }
        };
        names.into_iter().filter_map(tell).collect()
    }
}

const MAY_BE_MISSING: [&str; 3] = ["cache/locks/", "cache/logs/", "cache/layers/"];

/// The disks of VirtualBox's snapshots have random UUIDs.
fn hide_uuids(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_uuid = |bytes: &[u8]| {
        let dashes = [8, 13, 18, 23];
        bytes.len() == 36
            && bytes.iter().enumerate().all(|(at, byte)| match dashes.contains(&at) {
                true => *byte == b'-',
                false => byte.is_ascii_hexdigit(),
            })
    };
    let (mut hidden, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes.get(at..at + 36).is_some_and(is_uuid) {
            hidden.extend(b"UUID");
            at += 36;
        } else {
            hidden.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(hidden).unwrap()
}

/// What has to be the same of a file: its bytes, but for times and what is told of the run.
fn content(name: &str, path: &Path) -> String {
    let told =
        ["cache/builds/", "cache/logs/", "cache/placed/", "cache/records/", "remote/v2/records/"];
    let of_fake = ["virtualbox/commands", "virtualbox/lock"];
    if told.iter().any(|it| name.starts_with(it)) || of_fake.contains(&name) {
        return String::new();
    }
    let bytes = fs::read(path).unwrap();
    if name.starts_with("virtualbox/") || name.starts_with("machines/virtualbox/") {
        // The note of a machine has the digest of its settings, which have them too.
        let text = hide_uuids(&String::from_utf8_lossy(&bytes));
        return text.lines().filter(|line| !line.contains("\"settings\":")).collect();
    }
    if name.ends_with("/machine.toml") {
        let text = String::from_utf8(bytes).unwrap();
        // Of a file of this run.
        return text.lines().filter(|line| !line.starts_with("stat = ")).collect();
    }
    if name.ends_with("/layer.json") {
        // What it takes of this disk, and in which run of the kernel it was looked at.
        let mut layer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        for key in ["allocated", "boot"] {
            layer.as_object_mut().unwrap().remove(key);
        }
        return layer.to_string();
    }
    match bytes.len() {
        0..100 => String::from_utf8_lossy(&bytes).into_owned(),
        _ => sha256(bytes),
    }
}

//! A project that several machines build: two archives, downloaded and unpacked. A machine has a
//! cache of its own. The file that it downloads may be missing, which shows that no stage ran.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;

use kuth_test_support::home::bare;
use kuth_test_support::run::Run;
use kuth_test_support::sha256;

/// A directory in which everything lies.
pub struct World {
    directory: tempfile::TempDir,
    archive: Vec<u8>,
}

/// How many bytes the archive's file has.
const SIZE: usize = 3 << 20;

impl World {
    pub fn new() -> World {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(SIZE as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, "data", noise(SIZE)).unwrap();
        let archive = archive.into_inner().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("archive.tar"), &archive).unwrap();
        let world = World { directory, archive };
        world.keygen("key");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a key in the file `name`; the public line.
    pub fn keygen(&self, name: &str) -> String {
        let mut command = bare(self.directory.path());
        Run::to_end(command.args(["cache", "keygen", name])).ok().out.trim().to_string()
    }

    /// A machine whose file to download is there.
    pub fn machine(&self, name: &str, remote: &str) -> Machine<'_> {
        let archive = self.path("archive.tar");
        self.machine_with(name, remote, &archive)
    }

    /// A machine that could not download.
    pub fn empty_handed(&self, name: &str, remote: &str) -> Machine<'_> {
        self.machine_with(name, remote, Path::new("/nowhere/archive.tar"))
    }

    fn machine_with(&self, name: &str, remote: &str, archive: &Path) -> Machine<'_> {
        let directory = self.path(name);
        std::fs::create_dir_all(&directory).unwrap();
        let pipeline = format!(
            "[pipeline]\nname = \"p\"\n\n[stage.file]\nkind = \"download\"\nurl = \"file://{}\"\n\
             sha256 = \"{}\"\n\n[stage.directory]\nkind = \"unpack\"\nfrom = \"file\"\n",
            archive.display(),
            sha256(&self.archive),
        );
        std::fs::write(directory.join("p.toml"), pipeline).unwrap();
        let key = self.path("key").display().to_string();
        let variables = [("KUTH_CACHE_KEY", key.as_str()), ("KUTH_CACHE_REMOTE", remote)];
        let variables = variables.map(|(name, value)| (name.to_string(), value.to_string()));
        Machine { directory, variables: variables.to_vec(), world: self }
    }
}

/// Bytes that do not compress; at most [`SIZE`].
pub fn noise(length: usize) -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    let all = NOISE.get_or_init(|| {
        let mut state = 7u64;
        let step = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8
        };
        (0..SIZE).map(step).collect()
    });
    &all[..length]
}

/// A kuth with a cache of its own.
pub struct Machine<'w> {
    directory: PathBuf,
    variables: Vec<(String, String)>,
    world: &'w World,
}

impl Machine<'_> {
    /// With another variable; an empty one is none.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_string(), value.to_string()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = bare(&self.directory);
        command.args(arguments).envs(self.variables.iter().cloned());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn kuth(&self, arguments: &[&str]) -> Run {
        Run::of_child(self.start(arguments))
    }

    pub fn build(&self, options: &[&str]) -> Run {
        self.kuth(&[&["build", "p.toml", "--message-format", "json"], options].concat())
    }

    /// Builds; all must be well, and so many stages have run. What was talked about.
    pub fn runs(&self, count: u64, options: &[&str]) -> String {
        let run = self.build(options);
        assert_eq!(run.status, 0, "{}", run.err);
        assert_eq!(run.count("run"), count, "{}\n{}", run.out, run.err);
        self.is_right();
        run.err
    }

    /// The directory holds what was packed.
    pub fn is_right(&self) {
        let run = self.kuth(&["path", "p.toml", "directory"]).ok();
        let tar = std::fs::read(run.out.trim()).unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let mut files = archive.entries().unwrap().map(|entry| entry.unwrap());
        let mut data = files.find(|entry| entry.path().unwrap().ends_with("data")).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut data, &mut bytes).unwrap();
        assert!(bytes == noise(SIZE), "the directory holds something else");
        assert_eq!(self.world.archive.len() / (1 << 20), SIZE / (1 << 20));
    }

    /// The object of a stage, whether or not it is here.
    pub fn has_object(&self, digest: &str) -> bool {
        self.path("cache/objects").join(&digest[..2]).join(digest).exists()
    }
}

/// How many lines begin with `warning:`.
pub fn warnings(err: &str) -> usize {
    err.lines().filter(|line| line.starts_with("warning:")).count()
}

/// Every file below `directory`, sorted.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

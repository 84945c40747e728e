//! The layout of the project's own image, and answers for it.

use std::path::Path;

use kuth::disk::config::Config;
use kuth::disk::layout::Layout;
use kuth::installer::{Answers, Mirror};

use crate::disk::config_of;

/// Six volumes on one group, as `pipelines/debian.toml` has them; `{disk}` stands for the keys of
/// the disk itself.
pub const VOLUMES: &str = r#"
[[stage.disk.partition]]
name = "boot"
size = "512 MiB"
filesystem = "ext4"
mount = "/boot"
[[stage.disk.partition]]
name = "system"
size = "rest"
lvm = "vg0"
[[stage.disk.volume]]
name = "root"
size = "2 GiB"
filesystem = "ext4"
mount = "/"
[[stage.disk.volume]]
name = "home"
size = "2 GiB"
filesystem = "ext4"
mount = "/home"
[[stage.disk.volume]]
name = "opt"
size = "1 GiB"
filesystem = "ext4"
mount = "/opt"
[[stage.disk.volume]]
name = "tmp"
size = "1 GiB"
filesystem = "ext4"
mount = "/tmp"
[[stage.disk.volume]]
name = "usr"
size = "10 GiB"
filesystem = "ext4"
mount = "/usr"
[[stage.disk.volume]]
name = "var"
size = "10 GiB"
filesystem = "ext4"
mount = "/var"
"#;

/// A disk with those volumes.
pub fn keys(disk: &str) -> String {
    format!("{disk}\n{VOLUMES}")
}

/// A disk read from its keys.
pub fn read(keys: &str) -> (Config, Layout) {
    config_of(keys).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Answers for a disk with these keys.
pub fn answers(keys: &str) -> Answers {
    let (config, layout) = read(keys);
    Answers {
        config,
        layout,
        architecture: "amd64".into(),
        hostname: "a.example".into(),
        locale: "en_US.UTF-8".into(),
        timezone: "Etc/UTC".into(),
        packages: vec!["cloud-init".into(), "openssh-server".into(), "sudo".into()],
        mirror: None,
        script: "useradd --create-home --shell /bin/bash ops\n".into(),
        more: String::new(),
        instead: None,
    }
}

/// The same with a mirror.
pub fn answers_with_mirror(keys: &str) -> Answers {
    let mirror = Mirror::of("http://mirror.example:3142/debian/");
    Answers { mirror, ..answers(keys) }
}

/// Compares `text` with the golden file of this name.
pub fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/install/golden").join(name);
    if std::env::var_os("KUTH_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; KUTH_BLESS=1 writes it anew", path.display());
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

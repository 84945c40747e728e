//! The seeds of every role of every pipeline, filled in, judged by those who will read them:
//! cloud-init, and the programs that it sets up. They are packages of Debian 13 in a tree that kuth
//! makes once and keeps; the seeds go in as files, and a script judges there.

mod refused;
mod roles;

use std::path::{Path, PathBuf};
use std::process::Command;

use roles::{Role, roles};

/// What judges, and how. Fails with what was wrong at its end.
const JUDGE: &str = include_str!("judge.sh");

const PIPELINE: &str = r#"
[pipeline]
name = "seeds"
default = ["judged"]

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.judges]
kind = "customise"
from = "rootfs"
packages = ["cloud-init", "nftables", "dnsmasq-base", "haproxy", "corosync", "containerd"]

[stage.judged]
kind = "customise"
from = "judges"
run = [{ source = "judge.sh" }]

[stage.judged.file."/seeds"]
source = "seeds"
"#;

/// A folder that stays, for its cache.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeds")
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn whoever_reads_a_seed_takes_it() {
    let home = home();
    let seeds = home.join("seeds");
    let _ = std::fs::remove_dir_all(&seeds);
    let mut machines = 0;
    for distribution in ["debian", "ubuntu"] {
        for Role { name, templates } in roles(distribution) {
            for template in templates {
                let faults = template.faults().unwrap();
                assert_eq!(faults, Default::default(), "{distribution}/{name}");
                let seed = template.render(kuth::machine::seed::Secrets::Withheld).unwrap();
                let folder = seeds.join(distribution).join(&template.hostname);
                write(&folder.join("user-data"), &seed.user_data);
                write(&folder.join("network-config"), &seed.network_config);
                write(&folder.join("meta-data"), &seed.meta_data);
                machines += 1;
            }
        }
    }
    assert_eq!(machines, 24, "twelve machines in each pipeline");
    // What the judges must not take: else they judge nothing.
    write(&seeds.join("wrong/user-data"), "#cloud-config\nhostnam: a\n");
    write(&home.join("pipelines/seeds.toml"), PIPELINE);
    write(&home.join("judge.sh"), JUDGE);

    let output = Command::new(env!("CARGO_BIN_EXE_kuth"))
        .args(["build", "pipelines/seeds.toml", "--cache", "cache", "--rebuild", "judged"])
        .current_dir(&home)
        .output()
        .unwrap();
    let log = std::fs::read_to_string(home.join("cache/logs/seeds/judged.log")).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{log}");
    let count = |what: &str| log.lines().filter(|line| line.starts_with(what)).count();
    for (what, number) in [
        ("user-data is sound: ", 24),
        ("network-config is sound: ", 24),
        ("nft takes ", 2),
        ("dnsmasq takes ", 2),
        ("haproxy takes ", 4),
        ("corosync takes ", 4),
        ("containerd takes ", 12),
        // The load balancers' two, the cluster's two, the storage servers' one.
        ("sh takes ", 2 * (2 * 2 + 6 * 2 + 3)),
    ] {
        assert_eq!(count(what), number, "{what}\n{log}");
    }
}

//! The seeds of every role of every pipeline, filled in, judged by those who will read them:
//! cloud-init, and the programs that it sets up. They are packages of Debian 13 in a tree that kuth
//! makes once and keeps; the seeds go in as files, and a script judges there.

mod refused;
mod roles;

use std::path::{Path, PathBuf};

use kuth::seed::Secrets;
use kuth_test_support::base::{collect_packages, lend_packages};
use kuth_test_support::project::Project;
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

/// A directory that stays, for its cache.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeds")
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn every_role_is_filled_in() {
    for distribution in ["debian", "ubuntu"] {
        let roles = roles(distribution);
        let machines: usize = roles.iter().map(|role| role.templates.len()).sum();
        assert_eq!((roles.len(), machines), (5, 12), "{distribution}");
        for Role { name, templates } in roles {
            for template in templates {
                assert!(template.user_data.is_some(), "{distribution}/{name}");
                let faults = template.faults().unwrap();
                assert_eq!(faults, Default::default(), "{distribution}/{name}");
                let seed = template.render(Secrets::Withheld).unwrap();
                let text = [seed.user_data, seed.meta_data, seed.network_config].concat();
                // Comments name the placeholders.
                let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
                for line in lines {
                    let words = ["#HOSTNAME#", "#SSH-PUB-KEY#", "#SECRET:", "#MAC", "#UUID#"];
                    let variables = template.variables.keys().map(|name| format!("${{{name}}}"));
                    for left in words.map(String::from).into_iter().chain(variables) {
                        assert!(!line.contains(&left), "{distribution}/{name}: {line}");
                    }
                }
            }
        }
    }
}

#[test]
fn whoever_reads_a_seed_takes_it() {
    let home = home();
    let seeds = home.join("seeds");
    let _ = std::fs::remove_dir_all(&seeds);
    for distribution in ["debian", "ubuntu"] {
        // The machines of a role differ in names and addresses alone.
        for template in roles(distribution).iter().map(|role| &role.templates[0]) {
            let seed = template.render(Secrets::Withheld).unwrap();
            let directory = seeds.join(distribution).join(&template.hostname);
            write(&directory.join("user-data"), &seed.user_data);
            write(&directory.join("network-config"), &seed.network_config);
            write(&directory.join("meta-data"), &seed.meta_data);
        }
    }
    // What the judges must not take: else they judge nothing.
    write(&seeds.join("wrong/user-data"), "#cloud-config\nhostnam: a\n");
    write(&home.join("pipelines/seeds.toml"), PIPELINE);
    write(&home.join("judge.sh"), JUDGE);

    let project = Project::rooted(&home);
    lend_packages(&project.cache);
    let run = project.kuth(&["build", "pipelines/seeds.toml"]);
    let log = std::fs::read_to_string(home.join("cache/logs/seeds/judged.log")).unwrap_or_default();
    assert_eq!(run.status, 0, "{}\n{log}", run.err);
    collect_packages(&project.cache);
    let count = |what: &str| log.lines().filter(|line| line.starts_with(what)).count();
    for (what, number) in [
        ("user-data is sound: ", 10),
        ("network-config is sound: ", 10),
        ("nft takes ", 2),
        ("dnsmasq takes ", 2),
        ("haproxy takes ", 2),
        ("corosync takes ", 2),
        ("containerd takes ", 4),
        // The load balancers' two, the masters' and the workers' two, the storage servers' one.
        ("sh takes ", 2 * (2 + 2 + 2 + 1)),
    ] {
        assert_eq!(count(what), number, "{what}\n{log}");
    }
}

//! The seeds under `data/`: sound as far as kuth itself can tell, and filled in without leftovers.
//! With `KUTH_TEST_SEEDS=FOLDER` the filled-in files are written there, for
//! `cloud-init schema --config-file FILE`.

use std::path::Path;

use kuth::machine::nic::Nic;
use kuth::machine::seed::{Secrets, Template};

/// Every role: its instance, its cards.
const ROLES: &[(&str, &str, &[&str])] = &[
    (
        "gate",
        "gate-node01",
        &["nat", "internal:mast", "internal:node", "internal:glus", "internal:dmz", "host-only"],
    ),
    ("hapx", "hapx-node01", &["internal:dmz"]),
];

#[test]
fn the_seeds_of_debian_are_sound() {
    for (role, instance, networks) in ROLES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/debian").join(role);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        let networks: Vec<_> = networks.iter().map(|text| text.parse().unwrap()).collect();
        let template = Template {
            hostname: instance.to_string(),
            nics: Nic::all(instance, &networks),
            user: "debian".into(),
            ssh_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@host".into()],
            variables: [("domain", "kube.local"), ("load-balancer", "192.168.4.20")]
                .map(|(name, value)| (name.to_string(), value.into()))
                .into(),
            user_data: read("user-data"),
            meta_data: read("meta-data"),
            network_config: read("network-config"),
        };
        assert!(template.user_data.is_some(), "{role}");
        assert_eq!(template.faults().unwrap(), Default::default(), "{role}");
        let seed = template.render(Secrets::Withheld).unwrap();
        assert!(!seed.network_config.contains("#MAC"), "{role}");
        for line in seed.user_data.lines().filter(|line| !line.trim_start().starts_with('#')) {
            for left in ["#HOSTNAME#", "#SSH-PUB-KEY#", "#SECRET:", "${domain}", "${load-balancer}"]
            {
                assert!(!line.contains(left), "{role}: {line}");
            }
        }
        if let Some(out) = std::env::var_os("KUTH_TEST_SEEDS") {
            let out = Path::new(&out);
            std::fs::write(out.join(format!("{role}.user-data")), &seed.user_data).unwrap();
            std::fs::write(out.join(format!("{role}.network")), &seed.network_config).unwrap();
        }
    }
}

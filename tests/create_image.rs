//! `kuth create-image` from outside, with the embedded driver: the seed's options and files, what
//! comes of them, what happens the second time, and what is refused.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kuth::cancel::Cancel;
use kuth::digest::Digest;
use kuth::embedded::Qemu;
use kuth::files::sparse;
use kuth::machine::{Disk, Driver, Firmware, Hardware, Host, MachineSpec, Source, host_at};
use kuth::units::Bytes;

use kuth_test_support::home::{Home, Said, bare};

/// With everything in its comment that breaks a script which pastes it by `sed`.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 tom&jerry|a/b \\\\1\n";
const KEY_TOLD: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 tom&jerry|a/b";

const USER_DATA: &str = "#cloud-config
hostname: \"#HOSTNAME#\"
fqdn: \"#HOSTNAME#.${domain}\"
users:
  - name: debian
    ssh_authorized_keys:
      - \"#SSH-PUB-KEY#\"
";

const ACCEPTANCE: &[&str] = &[
    "create-image",
    "-k",
    "key.pub",
    "-u",
    "hapx/user-data",
    "-i",
    "hapx/post-config-interfaces",
    "-r",
    "hapx/post-config-resources",
    "-o",
    "HAPX-Node01",
    "-b",
    "debian-base-image",
    "-l",
    "debian",
    "-a",
    "false",
];

struct World(Home);

impl World {
    /// A project, and a registered machine of 8 MiB.
    fn new() -> World {
        World::of("amd64")
    }

    /// With a machine of this architecture.
    fn of(architecture: &str) -> World {
        let home = Home::new();
        home.write("key.pub", &format!("{KEY_TOLD}\n"));
        home.write("data/debian/hapx/user-data", USER_DATA);
        let interfaces = "interfaces:\n  nic1: {id: 1, type: intnet, name: dmz}\n";
        home.write("data/debian/hapx/post-config-interfaces", interfaces);
        let resources = "resources:\n  processors: 2\n  memory: 512\n";
        home.write("data/debian/hapx/post-config-resources", resources);
        let world = World(home);
        let file = world.0.path("base.raw");
        let image = File::options().read(true).write(true).create_new(true).open(&file).unwrap();
        image.set_len(8 << 20).unwrap();
        image.write_all_at(b"base", 5000).unwrap();
        let digest = sparse::tree_hash(&image).unwrap();
        let host = Host {
            journal: Some(world.0.path("cache/journal")),
            pipeline: "debian".into(),
            ..host_at(&world.0.path("machines"), Default::default(), Cancel::default())
        };
        let hardware = Hardware {
            architecture: architecture.into(),
            cpus: 1,
            memory: 256,
            firmware: Firmware::Bios,
            vram: 33,
            disks: vec![],
            nics: vec![],
            forwards: vec![],
        };
        let spec = MachineSpec {
            name: "debian-base-image".into(),
            origin: Digest([7; 32]),
            hardware,
            user: None,
        };
        let disk = Source::from(Disk { file, digest, size: Bytes::mib(8) });
        Qemu.register(&host, &spec, &disk).unwrap();
        world
    }

    fn kuth(&self, arguments: &[&str]) -> Said {
        let machines = self.0.path("machines");
        self.0.kuth_with(arguments, &[("KUTH_MACHINES", machines.to_str().unwrap())])
    }

    /// The acceptance with further arguments.
    fn create(&self, more: &[&str]) -> Said {
        self.kuth(&[ACCEPTANCE, more].concat())
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.path("machines").join(name)
    }

    fn seed_has(&self, name: &str, text: &str) -> bool {
        let seed = std::fs::read(self.place(name).join("seed.iso")).unwrap();
        seed.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn record(&self, name: &str) -> String {
        std::fs::read_to_string(self.place(name).join("machine.toml")).unwrap()
    }
}

fn made(world: &World, name: &str, how: &str) -> Said {
    let out = format!("{}\n", world.place(name).display());
    Said { status: 0, out, err: format!("{name}: {how}\n") }
}

#[test]
fn the_seeds_command_makes_what_its_files_say() {
    let world = World::new();
    let first = world.create(&[]);
    assert_eq!(first, made(&world, "hapx-node01", "created from `debian-base-image`"));
    let record = world.record("hapx-node01");
    for line in [
        "pipeline = \"create-image\"",
        "user = \"debian\"",
        "cpus = 2",
        "memory = 512",
        "network = \"internal:dmz\"",
    ] {
        assert!(record.contains(line), "{line}: {record}");
    }
    assert!(world.seed_has("hapx-node01", &format!("      - \"{KEY_TOLD}\"\n")));
    assert!(world.seed_has("hapx-node01", "hostname: \"hapx-node01\"\n"));
    assert!(world.seed_has("hapx-node01", "local-hostname: hapx-node01\n"));
    // Linked: the disk is a header, and the base has the snapshot that it depends on.
    assert!(world.place("hapx-node01/disk.qcow2").metadata().unwrap().len() < 1 << 20);
    assert!(world.place("debian-base-image/snapshots/golden.toml").is_file());
    assert_eq!(std::fs::read_dir(world.0.path("cache/journal")).unwrap().count(), 0);
}

#[test]
fn the_second_time_changes_nothing_and_a_change_makes_it_anew() {
    let world = World::new();
    world.create(&[]);
    let record = world.record("hapx-node01");
    assert_eq!(world.create(&[]), made(&world, "hapx-node01", "up to date"));
    assert_eq!(world.record("hapx-node01"), record);
    // The long words, and `=`, mean the same.
    let long = [
        "create-image",
        "--ssh-pub-keyfile=key.pub",
        "--user-data=hapx/user-data",
        "--post-config-interfaces",
        "hapx/post-config-interfaces",
        "--post-config-resources=hapx/post-config-resources",
        "--hostname=hapx-node01",
        "--base-image=debian-base-image",
        "--auto-start=false",
    ];
    assert_eq!(world.kuth(&long), made(&world, "hapx-node01", "up to date"));
    let anew = made(&world, "hapx-node01", "created again from `debian-base-image`");
    assert_eq!(world.create(&["--var", "domain=kube.local"]), anew);
    assert!(world.seed_has("hapx-node01", "fqdn: \"hapx-node01.kube.local\"\n"));
}

#[test]
fn what_holds_state_stays_unless_it_is_given_up() {
    let world = World::new();
    world.create(&[]);
    std::fs::write(world.place("hapx-node01/started"), "").unwrap();
    let disk = std::fs::read(world.place("hapx-node01/disk.qcow2")).unwrap();
    assert_eq!(world.create(&[]), made(&world, "hapx-node01", "up to date"));
    let said = world.create(&["--var", "domain=x.org"]);
    let err = format!(
        "error: the machine `hapx-node01` in {} was not changed: made from another recipe, but it \
         has been started, so it stays; `--replace` would replace it\n",
        world.place("hapx-node01").display()
    );
    assert_eq!(said, Said::err(1, &err));
    assert!(world.place("hapx-node01/started").exists());
    assert_eq!(std::fs::read(world.place("hapx-node01/disk.qcow2")).unwrap(), disk);
    let said = world.create(&["--var", "domain=x.org", "--replace"]);
    assert_eq!(said, made(&world, "hapx-node01", "created again from `debian-base-image`"));
    assert!(!world.place("hapx-node01/started").exists());
}

#[test]
fn disks_cards_and_copies_are_what_was_asked() {
    let world = World::new();
    world
        .0
        .write("extra/storages", "storage1: {size: 512000}\nstorage2: {size: 10, format: VHD}\n");
    world.0.write("extra/interfaces", "nic1: {type: nat}\nnic2: {type: hostonly}\n");
    let arguments = [
        "create-image",
        "-k",
        "key.pub",
        "-o",
        "node",
        "-b",
        "debian-base-image",
        "-a",
        "false",
        "-s",
        "extra/storages",
        "-i",
        "extra/interfaces",
        "--full",
    ];
    let said = world.kuth(&arguments);
    let note = "storage2: stored in the driver's own format, as a sparse disk\n";
    let expected = made(&world, "node", "created from `debian-base-image`");
    assert_eq!(said, Said { err: format!("{note}{}", expected.err), ..expected });
    assert_eq!(world.place("node/disk1.raw").metadata().unwrap().len(), 512_000 << 20);
    assert_eq!(world.place("node/disk2.raw").metadata().unwrap().len(), 10 << 20);
    assert_eq!(world.place("node/disk.raw").metadata().unwrap().len(), 8 << 20);
    let record = world.record("node");
    assert!(record.contains("network = \"host-only\""), "{record}");
    // Without resources, the base's.
    assert!(record.contains("cpus = 1\nmemory = 256\n"), "{record}");
    // Without user-data, a user of the distribution's name.
    assert!(world.seed_has("node", "  - name: debian\n"));
}

#[test]
fn defaults_come_from_the_distributions_directory_and_pipeline() {
    let world = World::new();
    world.0.write("data/ubuntu/user-data", "#cloud-config\nfqdn: \"#HOSTNAME#.${domain}\"\n");
    world.0.write("data/ubuntu/meta-data", "instance-id: #UUID#\nlocal-hostname: \"#HOSTNAME#\"\n");
    world.0.write(
        "pipelines/ubuntu.toml",
        "[pipeline]\nname = \"u\"\n[vars]\ndomain = \"u.org\"\n[stage.a]\nkind = \"bootstrap\"\n\
         suite = \"trixie\"\n",
    );
    let arguments = [
        "create-image",
        "-k",
        "key.pub",
        "-o",
        "u",
        "-b",
        "debian-base-image",
        "-a",
        "false",
        "-l",
        "ubuntu",
    ];
    assert_eq!(world.kuth(&arguments), made(&world, "u", "created from `debian-base-image`"));
    assert!(world.seed_has("u", "fqdn: \"u.u.org\"\n"));
    assert!(world.seed_has("u", "local-hostname: \"u\"\n"));
    let record = world.record("u");
    assert!(record.contains("user = \"ubuntu\"") && record.contains("network = \"nat\""));
}

/// The files that come with the project, with the variables of its pipeline.
#[test]
fn the_projects_own_files_make_every_role() {
    ["debian", "ubuntu"].into_iter().for_each(every_role_of);
}

fn every_role_of(distribution: &str) {
    let world = World::new();
    let (key, cache) = (world.0.path("key.pub"), world.0.path("cache"));
    for (role, cards, disks, memory) in [
        ("gate", 6, 0, 512),
        ("hapx", 1, 0, 512),
        ("kube-mast", 1, 0, 2048),
        ("kube-node", 1, 0, 2048),
        ("glus", 1, 1, 2048),
    ] {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(distribution);
        let mut command = bare(&data);
        command.env("KUTH_MACHINES", world.0.path("machines")).env("KUTH_CACHE", &cache);
        command.arg("create-image").arg("-k").arg(&key);
        command.args(["-b", "debian-base-image", "-a", "false", "-o", role, "-l", distribution]);
        // Masters and workers share one.
        let user_data = role.split('-').next().unwrap();
        let user_data = format!("{user_data}/user-data");
        command.args(["-u", &user_data]);
        for (option, file) in [
            ("-n", "network-config"),
            ("-i", "post-config-interfaces"),
            ("-s", "post-config-storages"),
            ("-r", "post-config-resources"),
        ] {
            let file = format!("{role}/{file}");
            if data.join(&file).is_file() {
                command.args([option, &file]);
            }
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let record = world.record(role);
        assert_eq!(record.matches("[[hardware.nic]]").count(), cards, "{record}");
        let has = |name: &str| world.place(role).join(name).exists();
        assert_eq!((has("disk1.raw"), has("disk2.raw")), (disks == 1, false), "{role}");
        assert!(record.contains(&format!("memory = {memory}\n")), "{record}");
        assert!(world.seed_has(role, &format!("- name: {distribution}\n")));
        assert!(!world.seed_has(role, "#MAC") && !world.seed_has(role, "#SSH-PUB-KEY#\""));
    }
    // The domain of the distribution's pipeline.
    assert!(world.seed_has("gate", "fqdn: \"gate.kube.local\"\n"));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let world = World::new();
    world.0.write("private", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    world.0.write("quoted.pub", KEY);
    world.0.write("data/ubuntu/only/user-data", "#cloud-config\n");
    world.0.write("bad", "interfaces:\n  nic1: {type: natt}\n  nic2: {type: intnet}\n");
    world.0.write("no-header", "hostname: x\n");
    for (more, err) in [
        (
            &["-u", "hapx/user-date"][..],
            "error: there is no file data/debian/hapx/user-date\n\
             hint: did you mean `user-data`?\n",
        ),
        (
            &["-u", "only/user-data"],
            "error: there is no file data/debian/only/user-data\n\
             hint: data/ubuntu has this file: `--linux-distribution ubuntu`\n",
        ),
        (
            &["-i", "bad"],
            "error: the files of `hapx-node01` have errors:\n    \
             bad:2: `natt` is not a valid `type` (did you mean `nat`?)\n    \
             bad:3: `nic2` has no `name` (as in `name: dmz`)\n",
        ),
        (
            &["-u", "no-header"],
            "error: the files of `hapx-node01` have errors:\n    \
             no-header:1: the first line says not what this is, so cloud-init would skip it \
             (begin with the line `#cloud-config`, or with `#!` for a script)\n",
        ),
        (
            &["-b", "debian-base-imag"],
            "error: there is no base machine `debian-base-imag`\n\
             hint: did you mean `debian-base-image`?\n",
        ),
        (
            &["-o", "a.kube.local"],
            "error: `a.kube.local` is not a valid machine name\n\
             hint: give `a` only; set the domain in the files, or with `--var domain=...`\n",
        ),
        (
            &["-o", "debian-base-image"],
            "error: the machine `debian-base-image` exists; the pipeline `debian` made it\n\
             hint: use another name, or remove that machine: `kuth machine remove \
             debian-base-image`\n",
        ),
        (
            &["-k", "private"],
            "error: the files of `hapx-node01` have errors:\n    \
             private: this is a private key; give the one that ends in `.pub`\n",
        ),
        (
            &["-k", "quoted.pub"],
            "error: the files of `hapx-node01` have errors:\n    \
             quoted.pub: the key's comment has a quote or backslash; remove it\n",
        ),
    ] {
        // Each option once: what is given here takes the place of the acceptance's.
        let rest = ACCEPTANCE[1..].chunks(2).filter(|pair| pair[0] != more[0]).flatten().copied();
        let arguments: Vec<&str> = ["create-image"].into_iter().chain(rest).collect();
        let said = world.kuth(&[&arguments, more].concat());
        assert_eq!(said, Said::err(2, err), "{more:?}");
    }
    assert!(!world.place("hapx-node01").exists());
    assert!(!world.place("debian-base-image/snapshots").exists());
}

#[test]
fn a_machine_that_does_not_start_is_made_all_the_same() {
    // Of an architecture that no QEMU has: making a machine needs none.
    let world = World::of("none");
    let rest = ACCEPTANCE.iter().copied().filter(|word| !["-a", "false"].contains(word));
    let said = world.kuth(&rest.collect::<Vec<_>>());
    assert_eq!(said.status, 1, "{}", said.err);
    assert_eq!(said.out, format!("{}\n", world.place("hapx-node01").display()));
    for line in [
        "error: starting the machine `hapx-node01`, which was created\n",
        "because: there is no qemu-system-none on this host\n",
        "hint: install it: `apt-get install",
    ] {
        assert!(said.err.contains(line), "{line} in\n{}", said.err);
    }
    assert!(world.place("hapx-node01/run").is_file());
    assert!(!world.place("hapx-node01/started").exists());
    // It is as asked, so the same command would only start it.
    assert_eq!(world.create(&[]), made(&world, "hapx-node01", "up to date"));
}

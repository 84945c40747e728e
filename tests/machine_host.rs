//! The host's side of machines: `kuth network` with scripts in the place of VBoxManage and ip,
//! `kuth machine hosts` with one in the place of ssh, and `kuth machine doctor`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use kuth::digest::Digest;
use kuth::embedded::directory::{Fresh, Kind, Record};
use kuth::machine::journal::Entry;
use kuth::machine::{Firmware, Hardware, Nic};

use kuth_test_support::judge;

use kuth_test_support::home::{self, Home, Said};

const PIPELINE: &str = r#"[pipeline]
name = "demo"

[stage.rootfs]
kind = "bootstrap"
suite = "trixie"

[stage.disk]
kind = "disk"
from = "rootfs"
size = "4 GiB"
partition = [{ name = "root", size = "rest", filesystem = "ext4", mount = "/" }]

[stage.machine]
kind = "register"
from = "disk"
name = "base"

[stage.golden]
kind = "snapshot"
from = "machine"
name = "golden"

[stage.nodes]
kind = "clone"
from = "golden"
role.gate = { instances = ["gate"], nics = ["nat", "internal:dmz", "host-only"] }

[stage.nodes.network]
host = "192.168.254.1/24"
gateway = "192.168.254.254"
routes = ["192.168.1.0/24", "192.168.2.0/24"]
domain = "kube.local"
"#;

/// Keeps adapters as files that hold their address.
const VBOXMANAGE: &str = r#"#!/bin/sh
set -eu
cd "$(dirname "$0")/adapters"
echo "$*" >>../commands
case "$*" in
--version) echo 7.0.20r163906 ;;
"list hostonlyifs")
    for name in *; do
        [ -e "$name" ] || continue
        echo "Name:            $name"
        echo "IPAddress:       $(cut -d' ' -f1 "$name")"
        echo "NetworkMask:     $(cut -d' ' -f2 "$name")"
        echo
    done ;;
"hostonlyif create")
    number=0
    while [ -e "vboxnet$number" ]; do number=$((number + 1)); done
    echo "0.0.0.0 0.0.0.0" >"vboxnet$number"
    echo "0%...10%...100%"
    echo "Interface 'vboxnet$number' was successfully created" ;;
"hostonlyif ipconfig "*)
    if [ -e ../refuse ]; then echo "VBoxManage: error: E_ACCESSDENIED" >&2; exit 1; fi
    echo "$5 $7" >"$3" ;;
"hostonlyif remove "*) rm "$3" ;;
*) exit 2 ;;
esac
"#;

/// Keeps routes as files that hold their gateway.
const IP: &str = r#"#!/bin/sh
set -eu
cd "$(dirname "$0")/../routes"
[ "$1" = -4 ] && shift
file=$(echo "$3" | tr / _)
case "$1 $2" in
"route show") if [ -e "$file" ]; then echo "$3 via $(cat "$file") dev vboxnet0"; fi ;;
"route add")
    if [ "$3" = "$(cat ../refuse-route)" ]; then echo "Network is unreachable" >&2; exit 2; fi
    echo "$5" >"$file" ;;
"route del") rm "$file" ;;
*) exit 2 ;;
esac
"#;

struct World(Home);

impl World {
    fn new() -> World {
        let home = Home::with(PIPELINE);
        for directory in ["adapters", "routes", "names"] {
            std::fs::create_dir(home.path(directory)).unwrap();
        }
        home.write("refuse-route", "");
        home.write("networks.conf", "# ours\n* 192.168.0.0/16\n");
        let world = World(home);
        world.script("VBoxManage", VBOXMANAGE);
        world.script("bin/ip", IP);
        world.script(
            "bin/systemctl",
            "#!/bin/sh\necho \"$*\" >>\"$(dirname \"$0\")/../restarts\"\n",
        );
        world
    }

    /// Written by another process: a child that a test beside this one forks just then would hold
    /// the file open for writing, and nobody could run it ("text file busy").
    fn script(&self, name: &str, text: &str) {
        let written = format!("{name}.text");
        self.0.write(&written, text);
        let mut command = std::process::Command::new("install");
        command.args(["-m", "755"]).arg(self.0.path(&written)).arg(self.0.path(".").join(name));
        assert!(command.status().unwrap().success());
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let path = format!("{}:{}", self.0.path("bin").display(), home::path());
        let machines = self.0.path("machines").display().to_string();
        self.0.kuth_with(arguments, &[("PATH", &path), ("KUTH_MACHINES", &machines)])
    }

    fn network(&self, action: &str, more: &[&str]) -> Said {
        let path = |name: &str| self.0.path(name).display().to_string();
        let (vboxmanage, names) = (path("VBoxManage"), path("names"));
        let networks = path("networks.conf");
        let fixed = [
            "network",
            action,
            "--vboxmanage",
            &vboxmanage,
            "--dnsmasq",
            &names,
            "--networks-conf",
            &networks,
        ];
        self.run(&[&fixed, more].concat())
    }

    /// What the host has: adapters, routes, names.
    fn has(&self) -> Vec<String> {
        let mut all = Vec::new();
        for directory in ["adapters", "routes", "names"] {
            for entry in std::fs::read_dir(self.0.path(directory)).unwrap() {
                let entry = entry.unwrap();
                let text = std::fs::read_to_string(entry.path()).unwrap();
                all.push(format!("{} {}", entry.file_name().to_string_lossy(), text.trim()));
            }
        }
        all.sort();
        all
    }

    fn noted(&self) -> bool {
        self.0.path("cache/journal/demo.network").exists()
    }
}

/// Whether the tests run as root. Anybody else is refused, which is checked instead.
fn may_apply(world: &World) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let said = world.network("apply", &[]);
    let err = "error: only root can change routes and dnsmasq's configuration\n\
               hint: run it as root (`sudo kuth network apply ...`); nothing was changed\n";
    assert_eq!(said, Said::err(1, err));
    assert_eq!(world.has(), [""; 0]);
    assert!(!world.noted());
    false
}

const WHOLE: [&str; 4] = [
    "192.168.1.0_24 192.168.254.254",
    "192.168.2.0_24 192.168.254.254",
    "kuth-demo.conf server=/kube.local/192.168.254.254",
    "vboxnet0 192.168.254.1 255.255.255.0",
];

#[test]
fn a_plan_prints_what_apply_does_and_undo_takes_it_back() {
    let world = World::new();
    let (vboxmanage, names) = (world.0.path("VBoxManage"), world.0.path("names"));
    let commands = format!(
        "{vboxmanage} hostonlyif create\n\
         {vboxmanage} hostonlyif ipconfig vboxnet0 --ip 192.168.254.1 --netmask 255.255.255.0\n\
         ip route add 192.168.1.0/24 via 192.168.254.254\n\
         ip route add 192.168.2.0/24 via 192.168.254.254\n\
         echo server=/kube.local/192.168.254.254 >{}/kuth-demo.conf\n\
         systemctl try-restart dnsmasq.service\n",
        names.display(),
        vboxmanage = vboxmanage.display(),
    );
    assert_eq!(world.network("plan", &[]), Said::out(&commands));
    assert_eq!(world.has(), [""; 0], "a plan changes nothing");
    if !may_apply(&world) {
        return;
    }
    assert_eq!(world.network("apply", &[]), Said::err(0, &commands));
    assert_eq!(world.has(), WHOLE);
    let all = "this host is set up already\n";
    assert_eq!(world.network("plan", &["pipelines/small.toml"]), Said::err(0, all));
    assert_eq!(world.network("apply", &[]), Said::err(0, all));
    let undone = format!(
        "rm {}/kuth-demo.conf\nip route del 192.168.2.0/24 via 192.168.254.254\n\
         ip route del 192.168.1.0/24 via 192.168.254.254\n{} hostonlyif remove vboxnet0\n",
        names.display(),
        vboxmanage.display()
    );
    assert_eq!(world.network("undo", &[]), Said::err(0, &undone));
    assert_eq!(world.has(), [""; 0]);
    assert!(!world.noted());
    assert_eq!(world.network("undo", &[]), Said::err(0, "there is nothing to revert\n"));
    let restarts = std::fs::read_to_string(world.0.path("restarts")).unwrap();
    assert_eq!(restarts, "try-restart dnsmasq.service\n".repeat(2));
}

#[test]
fn what_was_there_before_stays() {
    let world = World::new();
    if !may_apply(&world) {
        return;
    }
    world.0.write("adapters/vboxnet0", "192.168.254.1 255.255.255.0\n");
    world.0.write("routes/192.168.1.0_24", "192.168.254.254\n");
    world.network("apply", &[]);
    assert_eq!(world.has(), WHOLE);
    world.network("undo", &[]);
    let before = [WHOLE[0], WHOLE[3]];
    assert_eq!(world.has(), before);
}

/// The adapters of [`VBOXMANAGE`] as devices too, which only a tap needs no module for.
fn with_devices() -> String {
    let mut script = VBOXMANAGE.to_string();
    for (from, to) in [
        (
            "    echo \"0%...10%",
            "    ip tuntap add \"vboxnet$number\" mode tap\n    echo \"0%...10%",
        ),
        (
            "    echo \"$5 $7\" >\"$3\" ;;",
            "    ip address add \"$5/24\" dev \"$3\"\n    ip link set \"$3\" up\n    \
             echo \"$5 $7\" >\"$3\" ;;",
        ),
        ("rm \"$3\" ;;\n*) exit 2", "ip tuntap del \"$3\" mode tap; rm \"$3\" ;;\n*) exit 2"),
    ] {
        assert_eq!(script.matches(from).count(), 1, "{from}");
        script = script.replace(from, to);
    }
    script
}

#[test]
fn the_real_ip_takes_the_routes_and_gives_them_back() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/net/tun").exists() {
        judge::skip("a network namespace with a device needs root and /dev/net/tun");
        return;
    }
    let is_there = |tool: &str| judge::tool(tool, &["-V"]).is_some();
    if !is_there("unshare") || !is_there("ip") {
        return;
    }
    let world = World::new();
    std::fs::remove_file(world.0.path("bin/ip")).unwrap();
    world.script("VBoxManage", &with_devices());
    let path = |name: &str| world.0.path(name).display().to_string();
    let script = "set -e
        kuth() {
            action=$1; shift
            \"$KUTH\" network \"$action\" --vboxmanage \"$PWD/VBoxManage\" \\
                --dnsmasq \"$PWD/names\" --networks-conf \"$PWD/networks.conf\" 2>&1
        }
        kuth apply >apply.out || { cat apply.out; exit 1; }
        ip -4 route show
        kuth plan
        # Somebody's own, beside kuth's.
        ip -4 route add 192.168.9.0/24 via 192.168.254.254
        ip -4 route del 192.168.2.0/24
        kuth apply
        kuth undo >undo.out || { cat undo.out; exit 1; }
        ip -4 route show
        ip -brief link show type tun";
    let output = std::process::Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .env_clear()
        .env("PATH", format!("{}:{}:/usr/sbin", path("bin"), home::path()))
        .env("KUTH", kuth_test_support::program())
        .env("KUTH_MACHINES", path("machines"))
        .current_dir(world.0.path("."))
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // A tap that nobody holds has no carrier, which VirtualBox's adapters do not need either.
    let lines: Vec<String> =
        said.lines().map(|line| line.replace("linkdown", "").trim_end().to_string()).collect();
    let expected = [
        "192.168.1.0/24 via 192.168.254.254 dev vboxnet0",
        "192.168.2.0/24 via 192.168.254.254 dev vboxnet0",
        "192.168.254.0/24 dev vboxnet0 proto kernel scope link src 192.168.254.1",
        "this host is set up already",
        "ip route add 192.168.2.0/24 via 192.168.254.254",
    ];
    assert_eq!(lines, expected, "{said}");
    assert!(output.status.success());
    assert_eq!(world.has(), [""; 0]);
}

#[test]
fn half_of_it_is_taken_back_or_gone_on_with() {
    let world = World::new();
    if !may_apply(&world) {
        return;
    }
    world.0.write("refuse-route", "192.168.2.0/24");
    let said = world.network("apply", &[]);
    assert_eq!(said.status, 1);
    for line in [
        "error: setting up the route to 192.168.2.0/24\n",
        "  | Network is unreachable\n",
        "hint: `kuth network undo` takes back what was made\n",
    ] {
        assert!(said.err.contains(line), "{}", said.err);
    }
    assert_eq!(world.has(), [WHOLE[0], WHOLE[3]]);
    world.0.write("refuse-route", "");
    // Going on does the rest alone.
    let said = world.network("apply", &[]);
    assert!(!said.err.contains("hostonlyif create"), "{}", said.err);
    assert_eq!(world.has(), WHOLE);
    assert_eq!(world.network("undo", &[]).status, 0);
    assert_eq!(world.has(), [""; 0]);

    // An adapter that got no address is not left behind by a second try.
    world.0.write("refuse", "");
    assert_eq!(world.network("apply", &[]).status, 1);
    assert_eq!(world.has(), ["vboxnet0 0.0.0.0 0.0.0.0"]);
    std::fs::remove_file(world.0.path("refuse")).unwrap();
    assert_eq!(world.network("apply", &[]).status, 0);
    assert_eq!(world.has(), WHOLE);
    assert_eq!(world.network("undo", &[]).status, 0);
    assert_eq!(world.has(), [""; 0]);
}

#[test]
fn an_adapter_of_a_killed_apply_is_found_by_what_was_there_before() {
    let world = World::new();
    world.0.write("adapters/vboxnet0", "192.168.56.1 255.255.255.0\n");
    world.0.write("adapters/vboxnet1", "0.0.0.0 0.0.0.0\n");
    let noted = r#"[{"made": "adapter", "before": ["vboxnet0"], "name": null}]"#;
    world.0.write("cache/journal/demo.network", noted);
    assert_eq!(world.network("undo", &[]).status, 0);
    assert_eq!(world.has(), ["vboxnet0 192.168.56.1 255.255.255.0"]);
    assert!(!world.noted());
}

#[test]
fn a_changed_plan_takes_the_old_one_back_first() {
    let world = World::new();
    if !may_apply(&world) {
        return;
    }
    world.network("apply", &[]);
    let changed = PIPELINE
        .replace("192.168.254.1/24", "192.168.253.1/24")
        .replace("192.168.254.254", "192.168.253.254");
    world.0.write("pipelines/small.toml", &changed);
    let said = world.network("apply", &[]);
    assert_eq!(said.status, 0, "{}", said.err);
    let expected = WHOLE.map(|line| line.replace("192.168.254.", "192.168.253."));
    assert_eq!(world.has(), expected);
    world.network("undo", &[]);
    assert_eq!(world.has(), [""; 0]);
}

#[test]
fn an_address_that_virtualbox_refuses_is_refused_with_what_allows_it() {
    let world = World::new();
    let file = world.0.path("networks.conf");
    let shown = file.display();
    world.0.write("networks.conf", "* 10.0.0.0/8\n");
    let err = format!(
        "error: VirtualBox does not allow the host-only address 192.168.254.1/24\n  \
         because: {shown} allows 10.0.0.0/8\n\
         hint: allow it, as root: `echo '* 192.168.254.0/24' >>{shown}`; or take a `host` in an \
         allowed range\n"
    );
    for action in ["plan", "apply"] {
        assert_eq!(world.network(action, &[]), Said::err(1, &err));
    }
    std::fs::remove_file(&file).unwrap();
    let said = world.network("plan", &[]);
    let fix = format!(
        "hint: allow it, as root: `mkdir -p {} && echo '* 192.168.56.0/21 192.168.254.0/24' \
         >>{shown}`;",
        world.0.path(".").display()
    );
    assert!(said.err.contains(&fix), "{}", said.err);
    assert!(said.err.contains("so only 192.168.56.0/21 is allowed"), "{}", said.err);
    // Older ones refuse nothing.
    world.script("VBoxManage", &VBOXMANAGE.replace("7.0.20r163906", "6.1.26r145957"));
    assert_eq!(world.network("plan", &[]).status, 0);
    assert_eq!(world.has(), [""; 0]);
}

#[test]
fn a_build_needs_no_leave_for_the_address() {
    // VirtualBox would refuse it; but a build makes no adapter.
    let world = World::new();
    let vboxmanage = world.0.path("VBoxManage").display().to_string();
    let words = ["nodes", "--driver", "virtualbox", "--vboxmanage", &vboxmanage];
    let said = world.run(&[&["plan", "pipelines/small.toml"], &words[..]].concat());
    assert_eq!((said.status, said.err.as_str()), (0, "5 stages: 5 would run\n"));
}

#[test]
fn a_network_that_cannot_be_is_a_fault_of_the_pipeline() {
    let world = World::new();
    let seeds = PIPELINE.replace("192.168.254.1/24", "192.168.254.1/16");
    world.0.write("pipelines/small.toml", &seeds);
    let err = "\
error: `192.168.1.0/24` lies in the host's own network 192.168.0.0/16
  --> pipelines/small.toml:32:11
   |
32 | routes = [\"192.168.1.0/24\", \"192.168.2.0/24\"]
   |           ^^^^^^^^^^^^^^^^
   |
   = help: make the host's network smaller: \"192.168.254.1/24\"

error: `192.168.2.0/24` lies in the host's own network 192.168.0.0/16
  --> pipelines/small.toml:32:29
   |
32 | routes = [\"192.168.1.0/24\", \"192.168.2.0/24\"]
   |                             ^^^^^^^^^^^^^^^^
   |
   = help: make the host's network smaller: \"192.168.254.1/24\"
";
    for arguments in [&["check", "pipelines/small.toml"][..], &["plan", "pipelines/small.toml"]] {
        let said = world.run(arguments);
        assert_eq!(said.status, 2);
        assert!(said.err.starts_with(err), "{}", said.err);
    }
}

/// A process that QEMU's driver takes for a machine: it ends with its standard input.
struct Running(Child);

impl Running {
    fn start(machine: &str) -> Running {
        let mut command = std::process::Command::new("sh");
        command.arg0("qemu-system-fake").args(["-c", "read line", &format!("kuth-{machine}")]);
        Running(command.stdin(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn machine(world: &World, name: &str, networks: &[&str]) -> Vec<Nic> {
    let directory = world.0.path("machines").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("disk.qcow2"), "disk").unwrap();
    let networks: Vec<_> = networks.iter().map(|it| it.parse().unwrap()).collect();
    let nics = Nic::all(name, &networks);
    let record = Record {
        made_by: Record::made_by(),
        name: name.into(),
        kind: Kind::Clone,
        origin: Digest([1; 32]),
        pipeline: "demo".into(),
        backing: Some("bases/none.raw".into()),
        bases: vec![],
        snapshot: None,
        user: Some("debian".into()),
        ssh_port: 22_022,
        fresh: Fresh::of(&directory.join("disk.qcow2")).unwrap(),
        hardware: Hardware {
            architecture: "amd64".into(),
            cpus: 1,
            memory: 512,
            firmware: Firmware::Bios,
            vram: 33,
            disks: vec![],
            nics: nics.clone(),
            forwards: vec![],
        },
    };
    record.write(&directory).unwrap();
    nics
}

fn run_machine(world: &World, name: &str) -> Running {
    let running = Running::start(name);
    let pid = world.0.path("machines").join(name).join("qemu.pid");
    std::fs::write(pid, running.0.id().to_string()).unwrap();
    running
}

#[test]
fn hosts_come_from_leases_and_ports() {
    let world = World::new();
    machine(&world, "gate", &["nat", "internal:dmz"]);
    let inner = machine(&world, "hapx", &["internal:dmz"]);
    machine(&world, "off", &["internal:dmz"]);
    let _running = [run_machine(&world, "gate"), run_machine(&world, "hapx")];
    world.script(
        "bin/ssh",
        &format!(
            "#!/bin/sh\nd=$(dirname \"$0\")\necho \"$*\" >\"$d/asked\"\n\
             [ -e \"$d/silent\" ] && {{ echo refused >&2; exit 255; }}\n\
             echo kube.local\necho '1767268800 {} 192.168.4.131 hapx *'\n",
            inner[0].mac
        ),
    );
    let expected = "127.0.0.1\tgate.kube.local gate\t# ssh port 22022\n\
                    192.168.4.131\thapx.kube.local hapx\n";
    assert_eq!(world.run(&["machine", "hosts"]), Said::out(expected));
    let asked = std::fs::read_to_string(world.0.path("bin/asked")).unwrap();
    assert!(asked.starts_with("-o BatchMode=yes -o ConnectTimeout=5 -p 22022 "), "{asked}");
    let said = world.run(&["machine", "hosts", "--domain", "x.org"]);
    let expected = Said::out(&expected.replace("kube.local", "x.org"));
    assert_eq!(said, expected);
    world.0.write("bin/silent", "");
    let said = world.run(&["machine", "hosts"]);
    assert_eq!((said.status, said.out.as_str()), (0, "127.0.0.1\tgate\t# ssh port 22022\n"));
    assert!(said.err.starts_with("gate: could not be asked for its leases: "), "{}", said.err);
}

#[test]
fn the_doctor_lists_what_was_left_and_takes_it_away() {
    let world = World::new();
    let doctor = |more: &[&str]| world.run(&[&["machine", "doctor"], more].concat());
    assert_eq!(doctor(&[]), Said::err(0, "nothing was left behind\n"));
    machine(&world, "gate", &["nat"]);
    machine(&world, "runs", &["nat"]);
    let running = run_machine(&world, "runs");
    let machines = world.0.path("machines");
    let base = format!("bases/{}.raw", Digest([2; 32]));
    for (name, text) in [
        ("gate/qemu.pid", "1"),
        ("gate/qmp.sock", ""),
        (".making-web-0123/.kuth", "being made by kuth\n"),
        (base.as_str(), "disk"),
        ("bases/mine.raw", "not of kuth's making"),
        (".making-mine/note", "not of kuth's making"),
    ] {
        world.0.write(&format!("machines/{name}"), text);
    }
    let entry = format!(
        r#"{{"driver":"qemu","action":"clone","machine":"web","origin":"{}","machines":"{}"}}"#,
        Digest([3; 32]),
        machines.display()
    );
    world.0.write("cache/journal/qemu-web-0.json", &entry);
    let journal = world.0.path("cache/journal/qemu-web-0.json");
    let at = |name: &str| machines.join(name).display().to_string();
    let run = "its QEMU or its snapshot was cut short, and the machine does not run";
    let out = format!(
        "{}: a machine that was never finished\n{}: no machine uses it\n{}: {run}\n{}: {run}\n\
         {}: `clone` of the machine `web` (qemu, in {}) did not end; `--clean` finishes it\n",
        at(".making-web-0123"),
        at(&base),
        at("gate/qemu.pid"),
        at("gate/qmp.sock"),
        journal.display(),
        machines.display()
    );
    let err = "take it away with `kuth machine doctor --clean`\n".to_string();
    assert_eq!(doctor(&[]), Said { status: 1, out: out.clone(), err });
    let err = "all of it was taken away\n".to_string();
    assert_eq!(doctor(&["--clean"]), Said { status: 0, out, err });
    assert_eq!(doctor(&[]), Said::err(0, "nothing was left behind\n"));
    for (name, stays) in [
        ("gate/qemu.pid", false),
        (".making-web-0123", false),
        (base.as_str(), false),
        ("gate/machine.toml", true),
        ("runs/qemu.pid", true),
        ("bases/mine.raw", true),
        (".making-mine/note", true),
    ] {
        assert_eq!(Path::new(&machines).join(name).exists(), stays, "{name}");
    }
    assert!(!journal.exists());
    drop(running);
}

/// What a killed `action` of `driver` with `machine` leaves in the journal; its file.
fn leave(world: &World, driver: &str, action: &str, machine: &str) -> String {
    let entry = Entry {
        driver: driver.into(),
        action: action.into(),
        machine: machine.into(),
        origin: Digest([3; 32]),
        machines: world.0.path("machines"),
    };
    let journal = world.0.path("cache/journal");
    drop(entry.open(Some(&journal)).unwrap());
    journal.join(format!("{driver}-{machine}-030303030303.json")).display().to_string()
}

#[test]
fn entries_that_cannot_be_finished_here_are_listed_and_dropped_by_name() {
    let world = World::new();
    // Its VBoxManage knows nothing but adapters, so it answers, and fails at everything else.
    let vboxmanage = world.0.path("VBoxManage").display().to_string();
    let doctor = |more: &[&str]| {
        world.run(&[&["machine", "doctor", "--vboxmanage", &vboxmanage], more].concat())
    };
    let mut expected = Vec::new();
    let machines = world.0.path("machines").display().to_string();
    for (driver, action, machine, why) in [
        ("hyperv", "clone", "one", "this kuth has no driver `hyperv`"),
        ("qemu", "resize", "two", "this kuth does not know the action `resize`"),
        ("virtualbox", "register", "three", "a command failed: exit status 2, command: "),
    ] {
        let path = leave(&world, driver, action, machine);
        expected.push(format!(
            "{path}: `{action}` of the machine `{machine}` ({driver}, in {machines}) did not end; it \
             cannot be finished here: {why}"
        ));
    }
    world.0.write("cache/journal/qemu-four-0.json", "{\"version\": 9}");
    let four = world.0.path("cache/journal/qemu-four-0.json").display().to_string();
    let possible = leave(&world, "qemu", "clone", "five");
    let said = doctor(&[]);
    assert_eq!(said.status, 1);
    for line in &expected {
        assert!(said.out.contains(line.as_str()), "{line} in\n{}", said.out);
    }
    let lines = [
        format!("{four}: no entry that this kuth can read: missing field `driver`"),
        format!(
            "{possible}: `clone` of the machine `five` (qemu, in {machines}) did not end; `--clean`"
        ),
    ];
    for line in &lines {
        assert!(said.out.contains(line.as_str()), "{line} in\n{}", said.out);
    }
    assert_eq!(said.out.lines().count(), 5, "{}", said.out);
    let hint = "--drop one qemu-four-0.json two three`\n";
    assert!(said.err.ends_with(hint), "{}", said.err);

    // One that can be finished is not dropped, nor is any other beside it.
    for drop in [&["--drop", "one", "five"][..], &["--drop", &possible]] {
        let said = doctor(drop);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(
            said.err.contains("can be finished here\nhint: `kuth machine doctor --clean`"),
            "{said:?}"
        );
    }
    let said = doctor(&["--drop", "six"]);
    assert_eq!(said.status, 2, "{said:?}");
    assert_eq!(doctor(&[]).out.lines().count(), 5);

    let said = doctor(&["--clean"]);
    assert_eq!(said.status, 1);
    assert!(said.err.contains("still there: "), "{}", said.err);
    assert_eq!(doctor(&[]).out.lines().count(), 4, "what can be finished is");
    let said = doctor(&["--drop", "three", "one", "two", "qemu-four-0.json"]);
    assert_eq!(said.status, 0, "{said:?}");
    let left = format!(
        "VirtualBox may still have a machine `three` that is not whole, with files in {machines}/virtualbox/three"
    );
    for part in
        [left.as_str(), "what `hyperv` had made of the machine `one`", "may", "stays as it is"]
    {
        assert!(said.err.contains(part), "{part} in\n{}", said.err);
    }
    assert_eq!(doctor(&[]).out, "");
    leave(&world, "qemu", "clone", "five");
    assert_eq!(doctor(&["--drop", "five", "--force"]).status, 0);
    assert_eq!(doctor(&[]), Said::err(0, "nothing was left behind\n"));
}

#[test]
fn an_entry_holds_up_a_plan_of_its_machine_alone() {
    let world = World::new();
    let gone = world.0.path("none/VBoxManage").display().to_string();
    for machine in ["base", "other"] {
        leave(&world, "virtualbox", "register", machine);
    }
    world.0.write("cache/journal/virtualbox-odd-0.json", "no json");
    let plan = |driver: &str, stage: &str| {
        let fixed = ["plan", "pipelines/small.toml", stage, "--vboxmanage", &gone];
        world.run(&[&fixed[..], &["--driver", driver]].concat())
    };
    assert_eq!(plan("auto", "nodes").status, 0);
    assert_eq!(plan("qemu", "nodes").status, 0);
    assert_eq!(plan("virtualbox", "disk").status, 0);
    let said = plan("virtualbox", "machine");
    let err = format!("{} {}", said.out, said.err);
    for part in [
        "finishing what an earlier run began, `register` of the machine `base` (virtualbox, in",
        "the driver `virtualbox` cannot be used here: `",
        "`kuth machine doctor --drop base`",
    ] {
        assert!(err.contains(part), "{part} in\n{err}");
    }
}

//! One row, or more, for every documented key of every kind: another value of it moves the key of
//! exactly the stages that the row names, or of none, for the reason that it gives.

use std::collections::BTreeSet;

use kuth::stage::{KINDS, Settings};

use crate::world::{BASE, World, documented, set};

/// What another value does.
enum Effect {
    /// It moves the keys of these nodes.
    Moves(&'static [&'static str]),
    /// It moves none, for this reason.
    Stays(&'static str),
}

use Effect::{Moves, Stays};

/// A key of a kind; what stands in the base pipeline, and what is put in its place.
type Row = (&'static str, &'static str, &'static str, &'static str, Effect);

const SPEED: &str = "it says how fast or how long, not what";
const ELSEWHERE: &str = "where packages come from; what came is in the pin, by digest";
const TRUST: &str = "who may have signed; what was signed is in the pin, by digest";
const PINNED: &str = "the sum that the list has of the file is in the pin";
const SAME_PORT: &str = "a port without a protocol is of TCP";
const ADDRESS: &str = "the image is known by its digest";
const ONE_VALUE: &str = "it is the one value there is";

const ROWS: &[Row] = &[
    ("download", "url", "org/first.iso", "org/other.iso", Stays("the file is known by its sum")),
    ("download", "sha256", "\"ba7816bf", "\"aa7816bf", Moves(&["iso"])),
    ("download", "sha512", "\"ddaf35a1", "\"adaf35a1", Moves(&["iso2"])),
    ("download", "checksums", "org/SUMS\"", "org/SUMS2\"", Stays(PINNED)),
    ("download", "signature", "SUMS.sign", "SUMS.asc", Stays(PINNED)),
    ("download", "keyring", "data/download.gpg", "data/bootstrap.gpg", Stays(PINNED)),
    (
        "download",
        "limit",
        "limit = \"11 GiB\"",
        "limit = \"9 GiB\"",
        Stays("a refusal keeps nothing"),
    ),
    ("unpack", "from", "from = \"listed\"", "from = \"iso\"", Moves(&["unpacked"])),
    ("unpack", "limit", "limit = \"1 GiB\"", "limit = \"9 GiB\"", Stays("a refusal keeps nothing")),
    ("import", "from", "from = \"unpacked\"", "from = \"iso\"", Moves(&["imported"])),
    ("import", "root", "\"vg0/root\"", "\"vg0/other\"", Moves(&["imported"])),
    ("import", "root", "root = \"vg0/root\"", "", Moves(&["imported"])),
    (
        "import",
        "path",
        "root = \"vg0/root\"",
        "root = \"vg0/root\"\npath = \"a/b.vmdk\"",
        Moves(&["imported"]),
    ),
    ("import", "image", "@sha256:ba7816bf", "@sha256:aa7816bf", Moves(&["pulled"])),
    ("import", "image", "registry.example/debian@", "other.example/debian:13@", Stays(ADDRESS)),
    (
        "import",
        "plain-http",
        "plain-http = false\n\n[stage.machine]",
        "plain-http = true\n\n[stage.machine]",
        Stays("it says how the image comes, not which"),
    ),
    ("import", "limit", "limit = \"2 GiB\"", "limit = \"9 GiB\"", Stays("a refusal keeps nothing")),
    (
        "bootstrap",
        "distribution",
        "distribution = \"debian\"",
        "distribution = \"ubuntu\"",
        Moves(&["rootfs"]),
    ),
    (
        "bootstrap",
        "pockets",
        "pockets = [\"updates\", \"security\"]",
        "pockets = [\"updates\"]",
        Moves(&["rootfs"]),
    ),
    ("bootstrap", "backports", "\"rootfs-backport\"", "\"another\"", Moves(&["rootfs"])),
    ("bootstrap", "guest-mirror", "guest.example", "another.example", Moves(&["rootfs"])),
    (
        "bootstrap",
        "repository",
        "repository = [{ url = \"http://one",
        "repository = [{ url = \"http://oneone",
        Moves(&["rootfs"]),
    ),
    ("bootstrap", "repository.url", "//one.example", "//one.another.example", Moves(&["rootfs"])),
    ("bootstrap", "repository.suite", "\"one-suite\"", "\"another\"", Moves(&["rootfs"])),
    ("bootstrap", "repository.components", "\"one-component\"", "\"another\"", Moves(&["rootfs"])),
    ("bootstrap", "repository.packages", "\"one-package\"", "\"another\"", Moves(&["rootfs"])),
    ("bootstrap", "repository.priority", "priority = 501", "priority = 600", Moves(&["rootfs"])),
    (
        "bootstrap",
        "repository.architectures",
        "priority = 501, architectures = [\"amd64\", \"arm64\"]",
        "priority = 501, architectures = [\"amd64\", \"arm64\", \"i386\"]",
        Moves(&["rootfs"]),
    ),
    (
        "bootstrap",
        "repository.keep",
        "priority = 501, ",
        "priority = 501, keep = false, ",
        Moves(&["rootfs"]),
    ),
    (
        "bootstrap",
        "repository.key",
        "key = \"data/one.gpg\", packages = [\"one-package\"]",
        "key = \"data/download.gpg\", packages = [\"one-package\"]",
        Moves(&["rootfs"]),
    ),
    (
        "bootstrap",
        "repository.fingerprint",
        "key = \"data/one.gpg\", packages = [\"one-package\"]",
        "key = \"http://keys.example/key\", fingerprint = \"C959BDBAFA32A2F89A153B678CFDE12197965A9A\", packages = [\"one-package\"]",
        Moves(&["rootfs"]),
    ),
    (
        "customise",
        "repository",
        "repository = [{ url = \"http://two",
        "repository = [{ url = \"http://twotwo",
        Moves(&["base"]),
    ),
    ("customise", "repository.url", "//two.example", "//two.another.example", Moves(&["base"])),
    ("customise", "repository.suite", "\"two-suite\"", "\"another\"", Moves(&["base"])),
    ("customise", "repository.components", "\"two-component\"", "\"another\"", Moves(&["base"])),
    ("customise", "repository.packages", "\"two-package\"", "\"another\"", Moves(&["base"])),
    ("customise", "repository.priority", "priority = 502", "priority = 600", Moves(&["base"])),
    (
        "customise",
        "repository.architectures",
        "priority = 502, architectures = [\"amd64\", \"arm64\"]",
        "priority = 502, architectures = [\"amd64\", \"arm64\", \"i386\"]",
        Moves(&["base"]),
    ),
    (
        "customise",
        "repository.keep",
        "priority = 502, ",
        "priority = 502, keep = false, ",
        Moves(&["base"]),
    ),
    (
        "customise",
        "repository.key",
        "key = \"data/two.gpg\", packages = [\"two-package\"]",
        "key = \"data/download.gpg\", packages = [\"two-package\"]",
        Moves(&["base"]),
    ),
    (
        "customise",
        "repository.fingerprint",
        "key = \"data/two.gpg\", packages = [\"two-package\"]",
        "key = \"http://keys.example/key\", fingerprint = \"C959BDBAFA32A2F89A153B678CFDE12197965A9A\", packages = [\"two-package\"]",
        Moves(&["base"]),
    ),
    ("bootstrap", "suite", "\"trixie\"", "\"forky\"", Moves(&["rootfs"])),
    ("bootstrap", "suite", "\"noble\"", "\"jammy\"", Moves(&["ubuntu"])),
    (
        "bootstrap",
        "components",
        "components = [\"main\"]",
        "components = [\"main\", \"contrib\"]",
        Moves(&["rootfs"]),
    ),
    (
        "bootstrap",
        "components",
        "components = [\"main\"]",
        "",
        Stays("`main` is what the absence means"),
    ),
    ("bootstrap", "packages", "\"rootfs-package\"", "\"another\"", Moves(&["rootfs"])),
    ("bootstrap", "mirror", "//bootstrap.example", "//another.example", Stays(ELSEWHERE)),
    ("bootstrap", "mirror", "//ubuntu.example", "//another.example", Moves(&["ubuntu"])),
    (
        "bootstrap",
        "from",
        "suite = \"bookworm\"\nfrom = \"iso\"",
        "suite = \"bookworm\"\nfrom = \"iso2\"",
        Moves(&["dvd"]),
    ),
    ("bootstrap", "from", "from = \"iso2\"", "from = \"iso\"", Moves(&["live"])),
    ("bootstrap", "keyring", "data/bootstrap.gpg", "data/download.gpg", Stays(TRUST)),
    ("bootstrap", "variant", "variant = \"minbase\"", "", Stays(ONE_VALUE)),
    ("bootstrap", "layers", "layers = \"ubuntu-server\"", "layers = \"default\"", Moves(&["live"])),
    ("bootstrap", "limit", "\"3 GiB\"", "\"9 GiB\"", Stays("a refusal keeps nothing")),
    ("customise", "from", "from = \"rootfs\"", "from = \"ubuntu\"", Moves(&["base", "container"])),
    ("customise", "packages", "\"base-package\"", "\"another\"", Moves(&["base"])),
    (
        "customise",
        "packages",
        "packages = [\"base-package\", ",
        "packages = [\"base-package\", \"a\", ",
        Moves(&["base"]),
    ),
    ("customise", "packages", "\"data/package.deb\", ", "", Moves(&["base"])),
    ("customise", "packages.from", "{from=\"iso\"}", "{from=\"iso2\"}", Moves(&["base"])),
    ("customise", "packages.path", "\"a/b.deb\"", "\"a/c.deb\"", Moves(&["base"])),
    ("customise", "recommends", "recommends = false", "recommends = true", Moves(&["base"])),
    ("customise", "debconf", "string base-answer", "string another", Moves(&["base"])),
    ("customise", "debconf", "[\"a a/b string", "[\"a a/c string", Moves(&["base"])),
    ("customise", "hold", "\"base-held\"", "\"another\"", Moves(&["base"])),
    ("customise", "remove", "\"removed-package\"", "\"another\"", Moves(&["base"])),
    ("customise", "suite", "\"base-suite\"", "\"another\"", Moves(&["base"])),
    ("customise", "pockets", "pockets = [\"security\"]", "pockets = []", Moves(&["base"])),
    ("customise", "backports", "\"base-backport\"", "\"another\"", Moves(&["base"])),
    ("customise", "services", ", mask = [\"base-masked\"] }", " }", Moves(&["base"])),
    ("customise", "services.enable", "\"base-enabled\"", "\"another\"", Moves(&["base"])),
    ("customise", "services.disable", "\"base-disabled\"", "\"another\"", Moves(&["base"])),
    ("customise", "services.mask", "\"base-masked\"", "\"another\"", Moves(&["base"])),
    ("customise", "sysctl", "vm.swappiness = 10", "vm.swappiness = 11", Moves(&["base"])),
    ("customise", "kernel-modules", "\"base-module\"", "\"another\"", Moves(&["base"])),
    (
        "customise",
        "unattended-upgrades",
        "unattended-upgrades = false",
        "unattended-upgrades = true",
        Moves(&["base"]),
    ),
    ("customise", "components", "\"base-component\"", "\"another\"", Moves(&["base"])),
    ("customise", "mirror", "//customise.example", "//another.example", Stays(ELSEWHERE)),
    ("customise", "keyring", "data/customise.gpg", "data/download.gpg", Stays(TRUST)),
    (
        "customise",
        "medium",
        "from = \"base\"\nmedium = \"iso\"",
        "from = \"base\"\nmedium = \"iso2\"",
        Moves(&["more"]),
    ),
    ("customise", "hostname", "\"base-host\"", "\"another\"", Moves(&["base"])),
    ("customise", "locale", "\"C.UTF-8\"", "\"en_US.UTF-8\"", Moves(&["base"])),
    ("customise", "timezone", "\"Europe/Berlin\"", "\"Europe/Paris\"", Moves(&["base"])),
    (
        "customise",
        "file",
        "file.\"/etc/source\"",
        "file.\"/etc/more\" = { content = \"\" }\nfile.\"/etc/source\"",
        Moves(&["base"]),
    ),
    ("customise", "file", "file.\"/etc/text\"", "file.\"/etc/other\"", Moves(&["base"])),
    ("customise", "file.content", "\"a text\"", "\"another\"", Moves(&["base"])),
    (
        "customise",
        "file.source",
        "source = \"data/source\"",
        "source = \"data/script\"",
        Moves(&["base"]),
    ),
    (
        "customise",
        "file.source",
        "source = \"data/directory\"",
        "source = \"data/directory/below\"",
        Moves(&["base"]),
    ),
    ("customise", "file.mode", "mode = \"0644\"", "mode = \"0600\"", Moves(&["base"])),
    ("customise", "file.mode", "mode = \"0644\", ", "", Moves(&["base"])),
    ("customise", "file.owner", "owner = \"root\"", "owner = \"root:adm\"", Moves(&["base"])),
    (
        "customise",
        "user",
        "[stage.more]",
        "[[stage.base.user]]\nname = \"another\"\n\n[stage.more]",
        Moves(&["base"]),
    ),
    ("customise", "user.name", "\"admin\"", "\"another\"", Moves(&["base"])),
    ("customise", "user.uid", "uid = 1000", "uid = 2000", Moves(&["base"])),
    ("customise", "user.groups", "[\"adm\"]", "[\"video\"]", Moves(&["base"])),
    ("customise", "user.shell", "\"/bin/sh\"", "\"/bin/bash\"", Moves(&["base"])),
    (
        "customise",
        "user.sudo",
        "sudo = false\npassword-hash = \"$6$base\"",
        "sudo = true\npassword-hash = \"$6$base\"",
        Moves(&["base"]),
    ),
    ("customise", "user.password-hash", "$6$base", "$6$another", Moves(&["base"])),
    ("customise", "user.ssh-keys", "AAAA base", "AAAA another", Moves(&["base"])),
    ("customise", "run", "run = \"echo single\"", "run = \"echo another\"", Moves(&["more"])),
    (
        "customise",
        "run",
        "run = \"echo single\"",
        "run = [\"echo single\", \"true\"]",
        Moves(&["more"]),
    ),
    (
        "customise",
        "run",
        "run = \"echo single\"",
        "run = [{ script = \"echo single\" }]",
        Stays("a string is a table with `script` alone"),
    ),
    ("customise", "run.script", "\"echo script\"", "\"echo another\"", Moves(&["base"])),
    (
        "customise",
        "run.source",
        "source = \"data/script\"",
        "source = \"data/answers\"",
        Moves(&["base"]),
    ),
    ("customise", "run.network", "network = false", "network = true", Moves(&["base"])),
    ("customise", "guest-additions", "guest-additions = \"suite\"", "", Moves(&["base"])),
    (
        "customise",
        "guest-additions",
        "guest-additions = \"suite\"",
        "guest-additions = { iso = \"data/additions.iso\" }",
        Moves(&["base"]),
    ),
    (
        "customise",
        "guest-additions.iso",
        "iso = \"data/additions.iso\"",
        "iso = \"data/script\"",
        Moves(&["more"]),
    ),
    (
        "customise",
        "guest-additions.from",
        "{ from = \"iso\" }",
        "{ from = \"listed\" }",
        Moves(&["most"]),
    ),
    (
        "customise",
        "guest-additions.modules",
        "modules = \"kernel\"",
        "modules = \"build\"",
        Moves(&["more"]),
    ),
    ("customise", "seal", "seal = true", "seal = false", Moves(&["base"])),
    ("disk", "from", "from = \"most\"", "from = \"base\"", Moves(&["disk"])),
    ("disk", "medium", "medium = \"iso\"\nsize", "medium = \"iso2\"\nsize", Moves(&["disk"])),
    ("disk", "size", "\"20 GiB\"", "\"21 GiB\"", Moves(&["disk"])),
    (
        "disk",
        "table",
        "table = \"gpt\"\nfirmware = \"uefi\"",
        "table = \"mbr\"\nfirmware = \"uefi\"",
        Moves(&["disk"]),
    ),
    (
        "disk",
        "firmware",
        "firmware = \"uefi\"\ncmdline",
        "firmware = [\"uefi\", \"bios\"]\ncmdline",
        Moves(&["disk"]),
    ),
    ("disk", "cmdline", "console=ttyS0", "console=tty1", Moves(&["disk"])),
    ("disk", "secure-boot", "secure-boot = true", "", Moves(&["disk"])),
    ("boot", "secure-boot", "secure-boot = false", "secure-boot = true", Moves(&["check"])),
    (
        "disk",
        "partition",
        "    { name = \"system\"",
        "    { name = \"more\", size = \"1 GiB\", filesystem = \"swap\" },\n    { name = \"system\"",
        Moves(&["disk"]),
    ),
    ("disk", "partition.name", "name = \"boot\"", "name = \"another\"", Moves(&["disk"])),
    ("disk", "partition.size", "\"600 MiB\"", "\"601 MiB\"", Moves(&["disk"])),
    (
        "disk",
        "partition.filesystem",
        "\"600 MiB\", filesystem = \"ext4\"",
        "\"600 MiB\", filesystem = \"xfs\"",
        Moves(&["disk"]),
    ),
    ("disk", "partition.lvm", "lvm = \"vg0\"", "lvm = \"vg1\"", Moves(&["disk"])),
    (
        "disk",
        "partition.mount",
        "mount = \"/boot\", label = \"booted\"",
        "mount = \"/opt\", label = \"booted\"",
        Moves(&["disk"]),
    ),
    (
        "disk",
        "partition.options",
        "options = [\"nodev\"]",
        "options = [\"noatime\"]",
        Moves(&["disk"]),
    ),
    ("disk", "swap-file", "\"256 MiB\"", "\"255 MiB\"", Moves(&["disk"])),
    ("disk", "swap-file", "swap-file = \"256 MiB\"\n", "", Moves(&["disk"])),
    ("disk", "tmpfs.mount", "mount = \"/tmp\"", "mount = \"/var/tmp\"", Moves(&["disk"])),
    ("disk", "tmpfs.size", "\"100 MiB\"", "\"101 MiB\"", Moves(&["disk"])),
    ("disk", "tmpfs.options", "\"strictatime\"", "\"nodiratime\"", Moves(&["disk"])),
    ("disk", "tmpfs", "tmpfs = [{", "tmpfs = [{ mount = \"/var/cache\" }, {", Moves(&["disk"])),
    (
        "disk",
        "partition.grow",
        "mount = \"/\", grow = false",
        "mount = \"/\", grow = true",
        Moves(&["small"]),
    ),
    (
        "disk",
        "volume.grow",
        "[\"nosuid\"], grow = false",
        "[\"nosuid\"], grow = true",
        Moves(&["disk"]),
    ),
    (
        "disk",
        "volume.grow",
        "[\"nosuid\"], grow = false",
        "[\"nosuid\"]",
        Stays("`false` is what the absence means"),
    ),
    ("disk", "volume.options", "\"nosuid\"", "\"noatime\"", Moves(&["disk"])),
    ("disk", "partition.label", "label = \"booted\"", "label = \"another\"", Moves(&["disk"])),
    (
        "disk",
        "volume",
        "    { name = \"root\"",
        "    { name = \"more\", size = \"1 GiB\", filesystem = \"swap\" },\n    { name = \"root\"",
        Moves(&["disk"]),
    ),
    ("disk", "volume.name", "name = \"data\"", "name = \"another\"", Moves(&["disk"])),
    (
        "disk",
        "volume.size",
        "name = \"data\", size = \"1 GiB\"",
        "name = \"data\", size = \"rest\"",
        Moves(&["disk"]),
    ),
    (
        "disk",
        "volume.filesystem",
        "filesystem = \"xfs\", mount = \"/srv\"",
        "filesystem = \"ext4\", mount = \"/srv\"",
        Moves(&["disk"]),
    ),
    ("disk", "volume.mount", "mount = \"/srv\"", "mount = \"/mnt\"", Moves(&["disk"])),
    ("disk", "volume.label", "label = \"served\"", "label = \"another\"", Moves(&["disk"])),
    (
        "install",
        "from",
        "from = \"iso\"\ninstaller",
        "from = \"iso2\"\ninstaller",
        Moves(&["installed"]),
    ),
    (
        "install",
        "installer",
        "installer = \"auto\"",
        "installer = \"preseed\"",
        Moves(&["installed"]),
    ),
    ("install", "size", "\"30 GiB\"", "\"31 GiB\"", Moves(&["installed"])),
    (
        "install",
        "table",
        "table = \"gpt\"\nfirmware = \"bios\"",
        "table = \"mbr\"\nfirmware = \"bios\"",
        Moves(&["installed"]),
    ),
    ("install", "cmdline", "console=ttyS1", "console=tty1", Moves(&["installed"])),
    ("install", "firmware", "firmware = \"bios\"", "firmware = \"uefi\"", Moves(&["installed"])),
    (
        "install",
        "partition",
        "    { name = \"whole\"",
        "    { name = \"more\", size = \"1 GiB\", filesystem = \"swap\" },\n    { name = \"whole\"",
        Moves(&["installed"]),
    ),
    ("install", "partition.name", "name = \"start\"", "name = \"another\"", Moves(&["installed"])),
    ("install", "partition.size", "\"700 MiB\"", "\"701 MiB\"", Moves(&["installed"])),
    (
        "install",
        "partition.filesystem",
        "\"700 MiB\", filesystem = \"ext4\"",
        "\"700 MiB\", filesystem = \"xfs\"",
        Moves(&["installed"]),
    ),
    ("install", "partition.lvm", "lvm = \"vg7\"", "lvm = \"vg1\"", Moves(&["installed"])),
    (
        "install",
        "partition.mount",
        "mount = \"/boot\", label = \"started\"",
        "mount = \"/opt\", label = \"started\"",
        Moves(&["installed"]),
    ),
    (
        "install",
        "partition.label",
        "label = \"started\"",
        "label = \"another\"",
        Moves(&["installed"]),
    ),
    (
        "install",
        "volume",
        "    { name = \"top\"",
        "    { name = \"more\", size = \"1 GiB\", filesystem = \"swap\" },\n    { name = \"top\"",
        Moves(&["installed"]),
    ),
    ("install", "volume.name", "name = \"home\"", "name = \"another\"", Moves(&["installed"])),
    (
        "install",
        "volume.size",
        "\"2 GiB\", filesystem = \"xfs\"",
        "\"3 GiB\", filesystem = \"xfs\"",
        Moves(&["installed"]),
    ),
    (
        "install",
        "volume.filesystem",
        "filesystem = \"xfs\", mount = \"/home\"",
        "filesystem = \"ext4\", mount = \"/home\"",
        Moves(&["installed"]),
    ),
    ("install", "volume.mount", "mount = \"/home\"", "mount = \"/mnt\"", Moves(&["installed"])),
    ("install", "volume.label", "label = \"homes\"", "label = \"another\"", Moves(&["installed"])),
    ("install", "packages", "\"installed-package\"", "\"another\"", Moves(&["installed"])),
    ("install", "hostname", "\"installed-host\"", "\"another\"", Moves(&["installed"])),
    ("install", "locale", "\"de_DE.UTF-8\"", "\"de_AT.UTF-8\"", Moves(&["installed"])),
    ("install", "timezone", "\"Europe/Vienna\"", "\"Europe/Paris\"", Moves(&["installed"])),
    (
        "install",
        "mirror",
        "//install.example",
        "//another.example",
        Stays("any mirror has the same packages"),
    ),
    ("install", "mirror", "mirror = \"http://install.example/debian\"", "", Moves(&["installed"])),
    (
        "install",
        "user",
        "[stage.check]",
        "[[stage.installed.user]]\nname = \"another\"\n\n[stage.check]",
        Moves(&["installed"]),
    ),
    ("install", "user.name", "\"ops\"", "\"another\"", Moves(&["installed"])),
    ("install", "user.uid", "uid = 1001", "uid = 2001", Moves(&["installed"])),
    ("install", "user.groups", "[\"audio\"]", "[\"video\"]", Moves(&["installed"])),
    ("install", "user.shell", "\"/bin/dash\"", "\"/bin/bash\"", Moves(&["installed"])),
    (
        "install",
        "user.sudo",
        "sudo = false\npassword-hash = \"$6$install\"",
        "sudo = true\npassword-hash = \"$6$install\"",
        Moves(&["installed"]),
    ),
    ("install", "user.password-hash", "$6$install", "$6$another", Moves(&["installed"])),
    ("install", "user.ssh-keys", "AAAA install", "AAAA another", Moves(&["installed"])),
    ("install", "answers", "\"d-i a/b string c\"", "\"d-i a/b string d\"", Moves(&["installed"])),
    ("install", "answers-file", "\"data/answers\"", "\"data/script\"", Moves(&["installed"])),
    ("install", "cpus", "cpus = 3", "cpus = 9", Stays(SPEED)),
    ("install", "memory", "\"4 GiB\"\ntimeout", "\"9 GiB\"\ntimeout", Stays(SPEED)),
    ("install", "timeout", "\"90 min\"", "\"91 min\"", Stays(SPEED)),
    (
        "boot",
        "from",
        "kind = \"boot\"\nfrom = \"disk\"",
        "kind = \"boot\"\nfrom = \"installed\"",
        Moves(&["check"]),
    ),
    (
        "boot",
        "firmware",
        "firmware = \"uefi\"\ncpus = 4",
        "firmware = \"both\"\ncpus = 4",
        Moves(&["check"]),
    ),
    ("boot", "cpus", "cpus = 4", "cpus = 9", Moves(&["check"])),
    ("boot", "memory", "\"5 GiB\"\ntimeout", "\"9 GiB\"\ntimeout", Moves(&["check"])),
    ("boot", "timeout", "\"80 min\"", "\"81 min\"", Stays(SPEED)),
    ("boot", "via", "via = \"credentials\"", "via = \"cloud-init\"", Moves(&["check"])),
    ("boot", "via", "via = \"credentials\"", "", Moves(&["check"])),
    ("boot", "expect", "services = [\"ssh\"]\nfailed-units = 2", "", Moves(&["check"])),
    ("boot", "expect.mounts", "\"/dev/mapper/vg0-root\"", "\"/dev/sda1\"", Moves(&["check"])),
    ("boot", "expect.mounts", "{ \"/\" =", "{ \"/srv\" =", Moves(&["check"])),
    ("boot", "expect.volumes", "{ root = \"4 GiB\" }", "{ root = \"5 GiB\" }", Moves(&["check"])),
    (
        "boot",
        "expect.services",
        "services = [\"ssh\"]",
        "services = [\"nginx\"]",
        Moves(&["check"]),
    ),
    ("boot", "expect.failed-units", "failed-units = 2", "failed-units = 0", Moves(&["check"])),
    ("boot", "expect.cloud-init", "cloud-init = false", "cloud-init = true", Moves(&["check"])),
    ("boot", "expect.packages", "htop = \"3.4*\"", "htop = \"3.3*\"", Moves(&["check"])),
    (
        "boot",
        "expect.packages",
        "packages = { htop = \"3.4*\" }\nports",
        "packages = [\"htop\"]\nports",
        Moves(&["check"]),
    ),
    ("boot", "expect.ports", "[22, \"53/udp\"]", "[22, \"53/tcp\"]", Moves(&["check"])),
    ("boot", "expect.ports", "[22, \"53/udp\"]", "[\"22/tcp\", \"53/udp\"]", Stays(SAME_PORT)),
    ("boot", "expect.files", "[\"/etc/motd\"]", "[\"/etc/issue\"]", Moves(&["check"])),
    ("boot", "expect.journal", "journal = [\"cron\"]", "journal = [\"ssh\"]", Moves(&["check"])),
    ("boot", "expect.boot-time", "\"90 s\"", "\"91 s\"", Moves(&["check"])),
    (
        "boot",
        "expect.command",
        "command = [{ run = \"cat /etc/motd\", output = \"Welcome\" }]",
        "",
        Moves(&["check"]),
    ),
    ("boot", "expect.command.run", "\"cat /etc/motd\"", "\"cat /etc/issue\"", Moves(&["check"])),
    ("boot", "expect.command.output", "\"Welcome\"", "\"Good morning\"", Moves(&["check"])),
    ("boot", "expect.command.output", ", output = \"Welcome\"", "", Moves(&["check"])),
    ("boot", "goss", "\"data/goss.yaml\"", "\"data/answers\"", Moves(&["check"])),
    (
        "boot",
        "goss",
        "goss = \"data/goss.json\"\ngoss-binary = \"data/goss\"\n",
        "",
        Moves(&["check2"]),
    ),
    ("boot", "goss-binary", "\"data/goss\"", "\"data/script\"", Moves(&["check2"])),
    ("boot", "goss-binary", "\"data/goss\"", "{ from = \"iso\" }", Moves(&["check2"])),
    ("boot", "goss-binary.from", "{from=\"listed\"}", "{from=\"iso2\"}", Moves(&["check"])),
    ("boot", "pytest", "pytest = \"data/tests\"", "", Moves(&["check"])),
    ("boot", "pytest", "\"data/tests\"", "\"data/directory\"", Moves(&["check"])),
    (
        "export",
        "from",
        "kind = \"export\"\nfrom = \"disk\"",
        "kind = \"export\"\nfrom = \"installed\"",
        Moves(&["image"]),
    ),
    ("export", "format", "format = \"vdi\"", "format = \"qcow2\"", Moves(&["plain"])),
    ("export", "name", "\"image-name\"", "\"another\"", Moves(&["image"])),
    ("export", "name", "\"plain-name\"", "\"another\"", Stays("this format has no name inside")),
    ("export", "level", "level = 6", "level = 7", Moves(&["image"])),
    ("export", "sbom", "sbom = \"spdx\"", "sbom = \"cyclonedx\"", Stays("it lies beside the file")),
    (
        "export",
        "provenance",
        "provenance = true",
        "provenance = false",
        Stays("it lies beside the file"),
    ),
    ("export", "cpus", "cpus = 5", "cpus = 9", Moves(&["image"])),
    ("export", "memory", "\"6 GiB\"", "\"9 GiB\"", Moves(&["image"])),
    (
        "export",
        "firmware",
        "firmware = \"uefi\"\nvram = \"40 MiB\"",
        "firmware = \"bios\"\nvram = \"40 MiB\"",
        Moves(&["image"]),
    ),
    ("export", "vram", "\"40 MiB\"", "\"99 MiB\"", Moves(&["image"])),
    (
        "export",
        "nics",
        "nics = [\"nat\"]\n\n[stage.plain]",
        "nics = []\n\n[stage.plain]",
        Moves(&["image"]),
    ),
    ("export", "from", "from = 'most'", "from = 'more'", Moves(&["container"])),
    ("export", "format", "\"oci\"\nlevel", "\"oci\"\n# level", Moves(&["container"])),
    ("export", "config", "config.stop-signal = \"SIGINT\"\n", "", Moves(&["container"])),
    ("export", "config.entrypoint", "[\"/entry\"]", "[\"/other\"]", Moves(&["container"])),
    ("export", "config.cmd", "[\"argument\"]", "[\"a\", \"b\"]", Moves(&["container"])),
    ("export", "config.user", "user = \"1000\"", "user = \"0:0\"", Moves(&["container"])),
    ("export", "config.workdir", "\"/work\"", "\"/other\"", Moves(&["container"])),
    ("export", "config.env", "{ PART = \"one\" }", "{ PART = \"two\" }", Moves(&["container"])),
    ("export", "config.ports", "[\"8080\"]", "[\"8080/udp\"]", Moves(&["container"])),
    ("export", "config.ports", "[\"8080\"]", "[\"8080/tcp\"]", Stays(SAME_PORT)),
    ("export", "config.volumes", "[\"/volume\"]", "[\"/other\"]", Moves(&["container"])),
    ("export", "config.labels", "{ part = \"one\" }", "{ part = \"two\" }", Moves(&["container"])),
    ("export", "config.stop-signal", "\"SIGINT\"", "\"SIGTERM\"", Moves(&["container"])),
    ("publish", "from", "from = \"container\"", "from = \"image\"", Moves(&["published"])),
    ("publish", "to", "example/app:one", "example/app:two", Moves(&["published"])),
    ("publish", "to", "oci://registry.example/app:one", "s3://bucket/file", Moves(&["published"])),
    (
        "publish",
        "plain-http",
        "plain-http = false\nsbom",
        "plain-http = true\nsbom",
        Stays("it says how the image is pushed, not which"),
    ),
    (
        "publish",
        "sbom",
        "sbom = []\nprovenance = false",
        "sbom = \"cyclonedx\"\nprovenance = false",
        Stays("it is attached to the image"),
    ),
    (
        "publish",
        "provenance",
        "provenance = false\n\n[stage.pulled]",
        "provenance = true\n\n[stage.pulled]",
        Stays("it is attached to the image"),
    ),
    (
        "register",
        "from",
        "kind = \"register\"\nfrom = \"disk\"",
        "kind = \"register\"\nfrom = \"installed\"",
        Moves(&["machine"]),
    ),
    ("register", "name", "\"machine-one\"", "\"another\"", Moves(&["machine"])),
    (
        "register",
        "driver",
        "driver = \"qemu\"\ncpus",
        "driver = \"virtualbox\"\ncpus",
        Moves(&["machine"]),
    ),
    ("register", "cpus", "cpus = 6", "cpus = 9", Moves(&["machine"])),
    ("register", "memory", "\"7 GiB\"", "\"9 GiB\"", Moves(&["machine"])),
    (
        "register",
        "firmware",
        "firmware = \"uefi\"\nvram = \"41 MiB\"",
        "firmware = \"bios\"\nvram = \"41 MiB\"",
        Moves(&["machine"]),
    ),
    ("register", "vram", "\"41 MiB\"", "\"99 MiB\"", Moves(&["machine"])),
    ("snapshot", "from", "from = \"machine\"", "from = \"machine2\"", Moves(&["golden"])),
    ("snapshot", "name", "\"golden-one\"", "\"another\"", Moves(&["golden"])),
    (
        "clone",
        "from",
        "from = \"golden\"",
        "from = \"golden2\"",
        Moves(&["nodes/gate1", "nodes/web1"]),
    ),
    ("clone", "linked", "linked = true", "linked = false", Moves(&["nodes/gate1", "nodes/web1"])),
    // Also gate1, whose user-data takes no key: the id of its seed is made of all.
    (
        "clone",
        "ssh-key",
        "\"data/ssh.pub\"",
        "\"ssh-ed25519 AAAA x\"",
        Moves(&["nodes/gate1", "nodes/web1"]),
    ),
    ("clone", "user", "\"somebody\"", "\"another\"", Moves(&["nodes/gate1", "nodes/web1"])),
    (
        "clone",
        "network",
        "[stage.nodes.network]\nhost = \"192.168.56.1/24\"\ngateway = \"192.168.56.254\"\nroutes = [\"192.168.1.0/24\"]\ndomain = \"example.org\"",
        "",
        Stays("it is the host's matter"),
    ),
    (
        "clone",
        "network.host",
        "\"192.168.56.1/24\"",
        "\"192.168.56.2/24\"",
        Stays("it is the host's matter"),
    ),
    (
        "clone",
        "network.gateway",
        "\"192.168.56.254\"",
        "\"192.168.56.253\"",
        Stays("it is the host's matter"),
    ),
    (
        "clone",
        "network.routes",
        "routes = [\"192.168.1.0/24\"]",
        "routes = [\"192.168.2.0/24\"]",
        Stays("it is the host's matter"),
    ),
    (
        "clone",
        "network.domain",
        "domain = \"example.org\"",
        "domain = \"example.com\"",
        Stays("it is the host's matter"),
    ),
    (
        "clone",
        "role",
        "[stage.nodes.role.web]",
        "[stage.nodes.role.more]\ninstances = [\"more1\"]\n\n[stage.nodes.role.web]",
        Moves(&["nodes/more1"]),
    ),
    ("clone", "role.instances", "[\"web1\"]", "[\"web1\", \"web2\"]", Moves(&["nodes/web2"])),
    ("clone", "role.instances", "[\"web1\"]", "[\"web2\"]", Moves(&["nodes/web1", "nodes/web2"])),
    ("clone", "role.cpus", "cpus = 7", "cpus = 9", Moves(&["nodes/gate1"])),
    ("clone", "role.memory", "\"8 GiB\"", "\"10 GiB\"", Moves(&["nodes/gate1"])),
    (
        "clone",
        "role.firmware",
        "firmware = \"uefi\"\nvram = \"42 MiB\"",
        "firmware = \"bios\"\nvram = \"42 MiB\"",
        Moves(&["nodes/gate1"]),
    ),
    ("clone", "role.vram", "\"42 MiB\"", "\"99 MiB\"", Moves(&["nodes/gate1"])),
    (
        "clone",
        "role.nics",
        "[\"nat\", \"internal:a\"]",
        "[\"nat\", \"internal:b\"]",
        Moves(&["nodes/gate1"]),
    ),
    ("clone", "role.forward", "\"8080:80\"", "\"8081:80\"", Moves(&["nodes/gate1"])),
    (
        "clone",
        "role.auto-start",
        "auto-start = false",
        "auto-start = true",
        Stays("what is done with the machine once it is made"),
    ),
    ("clone", "role.disk", "disk = \"50 GiB\"", "disk = \"51 GiB\"", Moves(&["nodes/gate1"])),
    ("clone", "role.disk", "disk = \"50 GiB\"\n", "", Moves(&["nodes/gate1"])),
    ("clone", "role.disks", "disks = [\"9 GiB\"]", "disks = [\"10 GiB\"]", Moves(&["nodes/gate1"])),
    ("clone", "role.user-data", "user-data = \"data/user-data\"", "", Moves(&["nodes/gate1"])),
    ("clone", "role.meta-data", "meta-data = \"data/meta-data\"", "", Moves(&["nodes/gate1"])),
    (
        "clone",
        "role.network-config",
        "network-config = \"data/network-config\"",
        "",
        Moves(&["nodes/gate1"]),
    ),
    ("clone", "role.label", "label = \"cidata\"", "", Stays(ONE_VALUE)),
    (
        "clone",
        "role.replace",
        "replace = \"never\"",
        "replace = \"always\"",
        Stays("it says what may be lost"),
    ),
];

#[test]
fn every_documented_key_changes_the_keys_of_its_stages_only() {
    let world = World::new();
    let base = world.recipes(BASE);
    let mut faults = Vec::new();
    for (kind, key, find, replace, effect) in ROWS {
        let what = format!("{kind} `{key}`: {find:?} -> {replace:?}");
        assert_eq!(BASE.matches(find).count(), 1, "{what}");
        let moved = base.moved(&world.recipes(&BASE.replacen(find, replace, 1)));
        let expected = match effect {
            Moves(nodes) => set(nodes),
            Stays(reason) => {
                assert!(!reason.is_empty(), "{what}: no reason");
                set(&[])
            }
        };
        if moved != expected {
            faults.push(format!("{what} moved {moved:?}, not {expected:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A key that is new in the reference, or in none of its sections, is told here.
#[test]
fn every_documented_key_has_a_row() {
    let rows: BTreeSet<(&str, &str)> = ROWS.iter().map(|(kind, key, ..)| (*kind, *key)).collect();
    let keys = documented();
    let known: BTreeSet<(&str, &str)> =
        keys.iter().map(|(kind, row)| (*kind, row.key.as_str())).collect();
    assert!(known.len() > 120, "{known:?}");
    let missing: Vec<_> = known.difference(&rows).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    let unknown: Vec<_> = rows.difference(&known).collect();
    assert!(unknown.is_empty(), "not in docs/pipeline.md: {unknown:?}");
    for (kind, row) in &keys {
        if row.meaning.contains("not part of the key") {
            let of_it = ROWS.iter().filter(|(of, key, ..)| of == kind && *key == row.key);
            for (.., effect) in of_it {
                assert!(matches!(effect, Stays(_)), "{kind} `{}` is documented otherwise", row.key);
            }
        }
    }
}

/// The form of the text, the code that reads it, the machine and the time: in every recipe.
#[test]
fn every_recipe_begins_with_architecture_and_epoch() {
    let world = World::new();
    let base = world.recipes(BASE);
    let kinds: BTreeSet<String> = base.own.values().map(|recipe| line(recipe, 1)).collect();
    let expected = KINDS.iter().map(|kind| format!("kind = {}", kind.name)).collect();
    assert_eq!(kinds, expected);
    for (name, recipe) in &base.own {
        assert_eq!(line(recipe, 0), "recipe = 1", "{name}");
        assert!(line(recipe, 2).starts_with("revision = "), "{name}");
        assert_eq!(line(recipe, 3), "architecture = amd64", "{name}");
        assert_eq!(line(recipe, 4), "epoch = 1767225600", "{name}");
    }
    let all: BTreeSet<String> = base.own.keys().cloned().collect();
    let settings = || world.settings.clone();
    let later = Settings { epoch: 1_767_225_601, ..settings() };
    assert_eq!(base.moved(&world.recipes_with(BASE, later)), all);
    let other = Settings { architecture: "arm64".into(), ..settings() };
    // No arm64 machine starts by BIOS.
    let bios = BASE.replacen("firmware = \"bios\"", "firmware = \"uefi\"", 1);
    let moved = world.recipes(&bios).moved(&world.recipes_with(&bios, other));
    assert_eq!(moved, all);
}

fn line(recipe: &kuth::recipe::Recipe, at: usize) -> String {
    recipe.lines().nth(at).unwrap_or_default().to_string()
}

/// What the command line says about a build and what is in no result.
#[test]
fn settings_of_the_build_change_no_key() {
    let world = World::new();
    let base = world.recipes(BASE);
    let settings = || world.settings.clone();
    for other in [
        Settings { mirror: Some("http://another.example/debian".into()), ..settings() },
        Settings { snapshot: Some("http://another.example".into()), ..settings() },
        Settings { allow_expired: true, locked: true, offline: false, ..settings() },
        Settings {
            allow_host_tests: true,
            replace: true,
            keep_failed: true,
            jobs: 7,
            ..settings()
        },
        Settings { output: world.at("elsewhere"), root: world.at("x"), ..settings() },
        Settings { machines: world.at("other-machines"), ..settings() },
    ] {
        assert_eq!(base.moved(&world.recipes_with(BASE, other.clone())), set(&[]), "{other:?}");
    }
}

/// Stage names, comments, and the order of keys and of packages.
#[test]
fn values_of_equal_meaning_have_equal_keys() {
    let world = World::new();
    let text = |packages: &str, more: &str| {
        format!(
            "[pipeline]\nname = \"x\"\n{more}\n[stage.a]\nkind = \"bootstrap\"\nsuite = \"trixie\"\n\
             packages = {packages}\n"
        )
    };
    let base = world.recipes(&text("[\"a\", \"b\"]", ""));
    let other = world.recipes(&text("[\"b\", \"a\"]", "summary = \"another\" # a comment"));
    assert_eq!(base.moved(&other), set(&[]));
    let swapped = "[pipeline]\nname = \"x\"\n[stage.b]\npackages = [\"a\", \"b\"]\n\
        suite = \"trixie\"\nkind = \"bootstrap\"\n";
    assert_eq!(world.recipes(swapped).own["b"].key(), base.own["a"].key());
}

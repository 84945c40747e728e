//! What kuth says of wrong values of keys, word for word: one error each, with place and hint.
//! KUTH_BLESS=1 writes the golden file anew; read the difference.

use std::fmt::Write as _;

use kuth_test_support::home::{Home, golden};

const CUSTOMISE: &str = "[stage.x]\nkind = \"customise\"\nfrom = \"rootfs\"\n";
const USER: &str = "[[stage.x.user]]\nname = \"ops\"\n";
const BOX: &str = "[stage.image]\nkind = \"download\"\nurl = \"https://example.org/a.box\"\n\
                   [stage.box]\nkind = \"unpack\"\nfrom = \"image\"\n[stage.x]\nkind = \"import\"\n";
const DISK: &str = "[stage.x]\nkind = \"disk\"\nfrom = \"rootfs\"\nsize = \"4 GiB\"\n";
const ROOT: &str = "[[stage.x.partition]]\nname = \"root\"\nsize = \"rest\"\nfilesystem = \"ext4\"\nmount = \"/\"\n";
const BOOT: &str = "[stage.x]\nkind = \"boot\"\nfrom = \"disk\"\n";

const IMPORT: &str = "[stage.x]\nkind = \"import\"\n";
const EXPORT: &str = "[stage.x]\nkind = \"export\"\n";
const OCI: &str = "from = \"rootfs\"\nformat = \"oci\"\n";
const PUBLISH: &str = "[stage.y]\nkind = \"publish\"\nfrom = \"x\"\n";
const TO_DIGEST: &str = "to = \"oci://registry.example/app@sha256:\
                         ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n";

/// A sound repository but for what the rows add or leave out.
const REPOSITORY: &str = "[[stage.x.repository]]\n";
const URL: &str = "url = \"https://packages.example/debian\"\n";
const SUITE: &str = "suite = \"stable\"\ncomponents = [\"main\"]\n";
const KEY: &str = "key = \"key.asc\"\n";

/// The parts of a stage `x`, in which one thing is wrong.
const BAD: &[&[&str]] = &[
    // Suites and settings.
    &[CUSTOMISE, "suite = \"./\"\n"],
    &[CUSTOMISE, "suite = \"\"\n"],
    &[CUSTOMISE, "pockets = [\"proposed\"]\n"],
    &[CUSTOMISE, "backports = [\"a\", \"a\"]\n"],
    &[CUSTOMISE, "services.enable = [\"a b\"]\n"],
    &[CUSTOMISE, "services = { enable = [\"a\"], mask = [\"a\"] }\n"],
    &[CUSTOMISE, "sysctl.\"a b\" = 1\n"],
    &[CUSTOMISE, "kernel-modules = [\"-x\"]\n"],
    &[CUSTOMISE, "unattended-upgrades = \"yes\"\n"],
    &[CUSTOMISE, "locale = \"\"\n"],
    &[CUSTOMISE, "locale = \"en_GB.UTF-8 UTF-8\"\n"],
    &[CUSTOMISE, "timezone = \"\"\n"],
    &[CUSTOMISE, "timezone = \"Europe/../../etc/passwd\"\n"],
    &[CUSTOMISE, "timezone = \"/usr/share/zoneinfo/Europe/Berlin\"\n"],
    &[CUSTOMISE, "timezone = \"zone.tab\"\n"],
    // Keys of users.
    &[CUSTOMISE, USER, "ssh-keys = [\"\"]\n"],
    &[CUSTOMISE, USER, "ssh-keys = [\"~/.ssh/id_ed25519.pub\"]\n"],
    &[CUSTOMISE, USER, "ssh-keys = [\"https://example.org/me.keys\"]\n"],
    &[CUSTOMISE, USER, "ssh-keys = [\"me@example.org\"]\n"],
    &[CUSTOMISE, USER, "ssh-keys = [\"-----BEGIN OPENSSH PRIVATE KEY-----\"]\n"],
    &[CUSTOMISE, USER, "ssh-keys = [\"---- BEGIN SSH2 PUBLIC KEY ----\"]\n"],
    &[CUSTOMISE, USER, "ssh-keys = ['form=\"10.*\" ssh-ed25519 AAAAC3 me']\n"],
    // Files that the finished tree would not have.
    &[CUSTOMISE, "file.\"/tmp/x\".content = \"x\"\n"],
    &[CUSTOMISE, "file.\"/run/x\".content = \"x\"\n"],
    &[CUSTOMISE, "file.\"/var/lock/x\".content = \"x\"\n"],
    &[CUSTOMISE, "file.\"/dev/x\".content = \"x\"\n"],
    &[CUSTOMISE, "file.\"/proc/x\".content = \"x\"\n"],
    &[CUSTOMISE, "file.\"/sys/x\".content = \"x\"\n"],
    &[CUSTOMISE, "file.\"/etc/machine-id\".content = \"x\"\n"],
    &[CUSTOMISE, "file.\"/etc/ssh/ssh_host_rsa_key\".content = \"x\"\n"],
    // Images of a directory.
    &[BOX, "from = \"box\"\npath = \"../a.vmdk\"\n"],
    &[BOX, "from = \"image\"\npath = \"a.vmdk\"\n"],
    // Container images.
    &[IMPORT, "image = \"docker.io/debian\"\n"],
    &[IMPORT, "image = \"oci://docker.io/debian\"\n"],
    &[IMPORT, "image = \"oci://docker.io/Debian:13\"\n"],
    &[IMPORT, "image = \"oci://docker.io/debian:13\"\nroot = \"2\"\n"],
    &[IMPORT, "image = \"oci://docker.io/debian:13\"\nfrom = \"disk\"\n"],
    &[IMPORT],
    &[IMPORT, "from = \"disk\"\nplain-http = true\n"],
    &[EXPORT, "from = \"disk\"\nformat = \"oci\"\n"],
    &[EXPORT, "from = \"rootfs\"\nformat = \"containerdisk\"\n"],
    &[EXPORT, "from = \"rootfs\"\nformat = [\"oci\", \"raw\"]\n"],
    &[EXPORT, "from = \"disk\"\nformat = \"raw\"\nconfig.user = \"1000\"\n"],
    &[EXPORT, OCI, "config.user = \"a b\"\n"],
    &[EXPORT, OCI, "config.workdir = \"srv\"\n"],
    &[EXPORT, OCI, "config.volumes = [\"srv\"]\n"],
    &[EXPORT, OCI, "config.ports = [\"http\"]\n"],
    &[EXPORT, OCI, "config.ports = [\"70000\"]\n"],
    &[EXPORT, OCI, "config.env.\"A=B\" = \"c\"\n"],
    &[EXPORT, OCI, "config.hostname = \"c\"\n"],
    &[EXPORT, OCI, PUBLISH, "to = \"registry.example/app\"\n"],
    &[EXPORT, OCI, PUBLISH, "to = \"oci://registry.example\"\n"],
    &[EXPORT, OCI, PUBLISH, "to = \"oci://registry.example/app:.x\"\n"],
    &[EXPORT, OCI, PUBLISH, TO_DIGEST],
    &[EXPORT, OCI, PUBLISH],
    &[EXPORT, OCI, PUBLISH, "to = \"s3://bucket\"\n"],
    &[EXPORT, OCI, PUBLISH, "to = \"s3://bucket/a/\"\n"],
    &[EXPORT, OCI, PUBLISH, "to = \"s3://bucket/a\"\nplain-http = true\n"],
    // Repositories.
    &[CUSTOMISE, REPOSITORY, SUITE, KEY],
    &[CUSTOMISE, REPOSITORY, "url = \"ftp://x/y\"\n", SUITE, KEY],
    &[CUSTOMISE, REPOSITORY, "url = \"https://me:secret@x/y\"\n", SUITE, KEY],
    &[CUSTOMISE, REPOSITORY, URL, KEY],
    &[CUSTOMISE, REPOSITORY, URL, "suite = \"stable\"\n", KEY],
    &[CUSTOMISE, REPOSITORY, URL, "suite = \"./\"\ncomponents = [\"main\"]\n", KEY],
    &[CUSTOMISE, REPOSITORY, URL, "suite = \"../x/\"\n", KEY],
    &[CUSTOMISE, REPOSITORY, URL, SUITE],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, "key = \"nowhere.asc\"\n"],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, "key = \"https://x/key\"\n"],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, "key = \"https://x/key\"\nfingerprint = \"abc\"\n"],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, KEY, "fingerprint = \"abc\"\n"],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, KEY, "packages = [\"a b\"]\n"],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, KEY, "priority = 2000\n"],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, KEY, "keep = 1\n"],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, KEY, "architectures = [\"x 86\"]\n"],
    &[CUSTOMISE, REPOSITORY, URL, SUITE, KEY, REPOSITORY, URL, SUITE, KEY],
    &[CUSTOMISE, "medium = \"iso\"\n", REPOSITORY, URL, SUITE, KEY],
    // Secure Boot.
    &[DISK, "firmware = [\"bios\"]\nsecure-boot = true\n", ROOT],
    &[DISK, "secure-boot = \"on\"\n", ROOT],
    &[BOOT, "firmware = \"bios\"\nsecure-boot = true\n"],
    // Tests of other tools.
    &[BOOT, "goss = \"key.asc\"\n"],
    &[BOOT, "goss-binary = \"key.asc\"\n"],
    &[BOOT, "goss = \"nowhere.yaml\"\ngoss-binary = { from = \"iso\" }\n"],
    &[BOOT, "goss = \"key.asc\"\ngoss-binary = \"nowhere\"\n"],
    &[BOOT, "goss = \"key.asc\"\ngoss-binary = { from = \"rootfs\" }\n"],
    &[BOOT, "goss = \"key.asc\"\ngoss-binary = {}\n"],
    &[BOOT, "goss = [\"key.asc\"]\ngoss-binary = { from = \"iso\" }\n"],
    &[BOOT, "pytest = \"key.asc\"\n"],
    &[BOOT, "pytest = \"no-tests\"\n"],
];

#[test]
fn a_wrong_value_has_one_clear_error() {
    let mut text = String::new();
    for parts in BAD {
        let stage: String = parts.concat();
        let pipeline = format!(
            "[pipeline]\nname = \"t\"\n\n[stage.rootfs]\nkind = \"bootstrap\"\nsuite = \"trixie\"\n\n\
             [stage.iso]\nkind = \"download\"\nurl = \"file:///x.iso\"\n\n[stage.disk]\nkind = \"disk\"\nfrom = \"rootfs\"\nsize = \"4 GiB\"\n{}\n{stage}",
            ROOT.replace("stage.x", "stage.disk")
        );
        let home = Home::with(&pipeline);
        home.write("key.asc", "a key");
        let said = home.kuth(&["check", "pipelines/small.toml"]);
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{stage}{}", said.err);
        let errors = said.err.lines().filter(|line| line.starts_with("error")).count();
        assert_eq!(errors, 1, "{stage}{}", said.err);
        let _ = writeln!(text, "# {}\n{}", stage.trim_end().replace('\n', "\n# "), said.err);
    }
    golden("bad-keys.txt", &text);
}

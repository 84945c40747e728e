//! The steps that turn package files into an installed system, inside a sandbox: pure lists of
//! steps. The first packages are unpacked before there is a dpkg to do it; the rest go through
//! the tree's own apt, as files, so that exactly the packages of the lock are installed and no
//! list or network is needed.

use crate::lock::Package;
use crate::sandbox::{EXCHANGE, Step};

/// The directory of the files of essential packages in the exchange directory.
pub const ESSENTIAL: &str = "essential";

/// The directory of all other package files in the exchange directory.
pub const PACKAGES: &str = "packages";

/// The directory of the files of earlier batches in the exchange directory; see
/// [`batches`](super::batches).
pub const EARLIER: &str = "earlier";

/// In a tree: an earlier batch could not be installed without the later ones. Removed by the last.
const PUT_OFF: &str = "/var/cache/apt/kuth-put-off";

/// The tree's apt, as it is always started.
const APT: &str = "apt-get --yes -oAPT::Sandbox::User=root -oAPT::Install-Recommends=false \
    -oDpkg::Use-Pty=false -oDpkg::Options::=--force-confold \
    -oDpkg::Options::=--force-unsafe-io";

/// What invoke-rc.d asks before it starts a service: never in a tree under construction.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A step that runs `argv`.
pub fn run(argv: impl IntoIterator<Item = impl Into<String>>) -> Step {
    let argv = argv.into_iter().map(Into::into).collect();
    Step::Run { argv, env: Vec::new(), input: String::new() }
}

/// A step that writes a text with mode 0644.
pub fn write(path: &str, content: impl Into<String>) -> Step {
    Step::Write { path: path.into(), content: content.into(), mode: 0o644 }
}

/// A step that runs `command` with all package files of a directory behind it. The shell writes
/// their names out, in the order of the C locale; in a log or an error hundreds would hide the
/// rest.
fn with_files(command: &str, directory: &str) -> Step {
    run([
        "/bin/sh",
        "-c",
        &script(command, &format!("exec {command} {EXCHANGE}/{directory}/*.deb")),
    ])
}

/// `script`, which says what is missing where the tree has no `command`.
fn script(command: &str, script: &str) -> String {
    let program = command.split(' ').next().unwrap_or_default();
    format!(
        "command -v {program} >/dev/null || {{ echo 'the tree has no {program}: packages are installed \
         by its own; install them where the tree is made' >&2; exit 127; }}; {script}"
    )
}

/// A step of apt. The initial RAM disk is made once, when everything that goes into it is there.
fn apt(script: String) -> Step {
    Step::Run {
        argv: ["/bin/sh", "-c", &self::script(APT, &script)].map(String::from).into(),
        env: vec![("INITRD".into(), "No".into())],
        input: String::new(),
    }
}

/// Unpacks and configures the essential packages of an empty tree. `tars` are their contents, in
/// the exchange directory.
pub fn essential(tars: Vec<String>, lib64: bool) -> Vec<Step> {
    // dpkg does not sort by Pre-Depends; the files being there already is what makes it work.
    let dpkg = "dpkg --force-depends --force-unsafe-io --force-confold --install";
    vec![
        Step::MergeUsr { lib64 },
        Step::Unpack { files: tars },
        write("/var/lib/dpkg/status", ""),
        write("/var/lib/dpkg/available", ""),
        no_services(),
        with_files(dpkg, ESSENTIAL),
    ]
}

/// Keeps packages from starting services; undone by [`scrub`].
pub fn no_services() -> Step {
    Step::Write { path: POLICY.into(), content: "#!/bin/sh\nexit 101\n".into(), mode: 0o755 }
}

/// Installs the packages of a batch that is not the last one. Should apt have to remove something for
/// it, or miss a package of a later batch, this batch and those after it are left to the last one.
/// Which of the two depends on the tree and the packages alone.
pub fn install_early() -> [Step; 2] {
    let files = format!("{EXCHANGE}/{PACKAGES}/*.deb");
    let script = format!(
        "[ ! -e {PUT_OFF} ] || exit 0; \
         {APT} --quiet=2 --simulate --no-remove install {files} >/dev/null && status=0 || status=$?; \
         case $status in \
         0) exec {APT} install {files} ;; \
         100) echo 'these packages are installed together with the others'; : >{PUT_OFF} ;; \
         *) exit $status ;; esac"
    );
    [no_services(), apt(script)]
}

/// Installs `packages` with the tree's apt, except what [`install_early`] did. Those that are not
/// files, and that `asked` does not name, are dependencies, and are marked as installed automatically.
pub fn install(packages: &[&Package], asked: &[String]) -> Vec<Step> {
    if packages.is_empty() {
        return Vec::new();
    }
    let files = format!("{EXCHANGE}/{PACKAGES}/*.deb");
    let install = apt(format!(
        "if [ -e {PUT_OFF} ]; then rm {PUT_OFF}; exec {APT} install {files} {EXCHANGE}/{EARLIER}/*.deb; \
         fi; exec {APT} install {files}"
    ));
    let automatic: Vec<String> = packages
        .iter()
        .filter(|package| !package.file && !asked.iter().any(|name| names(name, package)))
        .map(|package| package.name.clone())
        .collect();
    let mut steps = vec![no_services(), install];
    if !automatic.is_empty() {
        steps.push(run(["apt-mark", "-qq", "auto"].map(String::from).into_iter().chain(automatic)));
    }
    steps
}

/// Whether `name`, as apt takes it (`vim`, `vim:amd64`, `vim=2:9`), names `package`.
fn names(name: &str, package: &Package) -> bool {
    name.split(['=', ':', '/']).next() == Some(package.name.as_str())
}

/// Links of the same name in /boot to the newest kernel, which Debian's kernel packages maintain:
/// the boot menu starts them on any layout, also after an upgrade in the guest.
const KERNEL_LINKS: &str = "# The boot menu starts /boot/vmlinuz.\ndo_symlinks = yes\n\
    link_in_boot = yes\n";

/// The initial RAM disk is made before anybody knows what / and /usr will be; a checker for this
/// one it carries. XFS needs none.
const FSCK: &str = "# Checkers that the initial RAM disk carries.\nFSTYPE=ext4\n";

/// What a kernel package and initramfs-tools find when they are installed, unless the tree has its
/// own already.
pub fn kernel_defaults() -> [Step; 2] {
    let script = "[ -e \"$1\" ] || { mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" >\"$1\"; }";
    [("/etc/kernel-img.conf", KERNEL_LINKS), ("/etc/initramfs-tools/conf.d/kuth", FSCK)]
        .map(|(path, content)| run(["/bin/sh", "-c", script, "sh", path, content]))
}

/// Makes the initial RAM disks that [`install`] put off, and the links to them that the kernel
/// packages would have made had there been any.
pub fn initial_ram_disks() -> Step {
    let script = include_str!("initial-ram-disks.sh").to_string();
    Step::Run { argv: ["/bin/sh", "-s"].map(String::from).into(), env: Vec::new(), input: script }
}

/// Removes what installing leaves and no two runs leave alike: caches, logs, locks, backups of
/// dpkg's and debconf's databases.
pub fn scrub() -> Vec<Step> {
    let removed = [
        POLICY,
        "/var/log/dpkg.log",
        "/var/log/alternatives.log",
        "/var/log/bootstrap.log",
        "/var/log/fontconfig.log",
        "/var/cache/ldconfig/aux-cache",
        "/var/cache/apt/pkgcache.bin",
        "/var/cache/apt/srcpkgcache.bin",
        "/var/cache/debconf/config.dat-old",
        "/var/cache/debconf/passwords.dat-old",
        "/var/cache/debconf/templates.dat-old",
        "/var/lib/dpkg/available-old",
        "/var/lib/dpkg/diversions-old",
        "/var/lib/dpkg/statoverride-old",
        "/var/lib/dpkg/status-old",
        "/var/lib/dpkg/lock",
        "/var/lib/dpkg/lock-frontend",
        "/var/lib/dpkg/triggers/Lock",
        "/var/cache/apt/archives/lock",
        "/var/lib/apt/lists/lock",
    ];
    let emptied = ["/var/log/apt", "/var/lib/apt/lists", "/var/cache/apt/archives", "/run", "/tmp"];
    let removed = removed.map(|path| Step::Remove { path: path.into() });
    let emptied = emptied.map(|path| Step::Empty { path: path.into() });
    let identity = Step::Truncate { path: "/etc/machine-id".into() };
    removed.into_iter().chain(emptied).chain([identity]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn package(name: &str) -> Package {
        Package {
            name: name.into(),
            version: "1:2".into(),
            architecture: "amd64".into(),
            sha256: Digest([0; 32]),
            size: 1,
            path: format!("pool/{name}.deb"),
            essential: false,
            suite: None,
            repository: None,
            file: false,
        }
    }

    #[test]
    fn dependencies_are_marked_as_automatic() {
        let (vim, libc) = (package("vim"), package("libc"));
        let app = Package { file: true, ..package("app") };
        let steps = install(&[&vim, &libc, &app], &["vim=1:2".to_string()]);
        let Some(Step::Run { argv, .. }) = steps.last() else { panic!("{steps:?}") };
        assert_eq!(argv, &["apt-mark", "-qq", "auto", "libc"]);
        let Step::Run { argv, .. } = &steps[1] else { panic!("{steps:?}") };
        assert!(argv[2].ends_with("install /.kuth/packages/*.deb"), "{argv:?}");
        assert!(install(&[], &[]).is_empty());
    }
}

#!/usr/bin/env python3
"""Makes a Debian 13 installation medium out of a mirror, for the one test that really installs.

    medium.py MIRROR KEYRING WORK OUT.iso

No ISO image can be had from a package mirror, so this puts one together the way debian-cd does:
a pool of packages and of the installer's own (udebs) with their indexes, a kernel and an initrd
with what an installer on a CD needs, and isolinux. It starts by BIOS alone.

The archive's index is checked against KEYRING, each file by its SHA-256. The index of the udebs is
not always that of the same day on a mirror, so it is believed: nothing of it is used but in a
virtual machine without a network. Downloads stay in WORK and are not repeated.
"""

import concurrent.futures
import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

SUITE, ARCH = "trixie", "amd64"
NETBOOT = "debian-installer-13-netboot-amd64"
NETBOOTS = "pool/main/d/debian-installer-netboot-images/" + NETBOOT + "_20250803+deb13u%d_all.deb"

# What is on top of everything required and important.
WANTED = """
    linux-image-amd64 grub-pc grub-pc-bin grub2-common lvm2 e2fsprogs initramfs-tools busybox zstd
    openssh-server sudo cloud-init console-setup keyboard-configuration locales tasksel tasksel-data
    task-ssh-server util-linux-locales wamerican eject dosfstools xfsprogs
    debian-archive-keyring ca-certificates apt-utils discover laptop-detect os-prober usbutils
    pciutils dbus systemd-timesyncd bash-completion file
""".split()

# What a netboot initrd has not, and an installer on a CD needs to see its CD.
CD = "cdrom-detect cdrom-retriever load-cdrom".split()
CD_MODULES = "ata cdrom-core isofs sata pata scsi".split()
# Would make the installer go to the network before it has seen its CD. From there some come back.
NETWORK = """download-installer net-retriever choose-mirror choose-mirror-bin netcfg ethdetect
    media-retriever network-preseed""".split()
LATER = "netcfg ethdetect apt-mirror-setup choose-mirror choose-mirror-bin".split()


def run(*argv, **options):
    return subprocess.run(argv, check=True, **options)


def ask(request):
    """The answer's body. Hundreds of questions one after the other: a network may fail one of them."""
    for left in (3, 2, 1, 0):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if left == 0:
                raise
            time.sleep(2)


def get(address):
    return ask(address)


def there(address):
    try:
        ask(urllib.request.Request(address, method="HEAD"))
        return True
    except urllib.error.HTTPError:
        return False


def stanzas(text):
    """Package -> its stanza as a table, with the text itself under ''."""
    found = {}
    for block in text.strip().split("\n\n"):
        fields, name = {"": block}, None
        for line in block.split("\n"):
            if line.startswith((" ", "\t")):
                fields[name] += "\n" + line
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        old = found.get(fields["Package"])
        if old is None or newer(fields["Version"], old["Version"]):
            found[fields["Package"]] = fields
    return found


def newer(one, other):
    return subprocess.run(["dpkg", "--compare-versions", one, "gt", other]).returncode == 0


def names(text):
    """The first choice of every dependency."""
    for part in text.split(","):
        first = re.sub(r"[(\[<].*", "", part.split("|")[0]).strip().split(":")[0]
        if first:
            yield first


def closure(index, wanted, given=()):
    """Names with all that they depend on; a virtual one brings its first provider."""
    provided = {}
    for name, fields in index.items():
        for virtual in names(fields.get("Provides", "")):
            provided.setdefault(virtual, name)
    chosen, queue, missing = set(), list(wanted), set()
    while queue:
        name = queue.pop()
        if name not in index and name in provided:
            if any(virtual == name for have in chosen
                   for virtual in names(index[have].get("Provides", ""))):
                continue
            name = provided[name]
        if name in chosen or name in given:
            continue
        if name not in index:
            missing.add(name)
            continue
        chosen.add(name)
        for field in ("Pre-Depends", "Depends"):
            queue.extend(names(index[name].get(field, "")))
    return chosen, missing


class Mirror:
    def __init__(self, address, keyring, work):
        self.address, self.keyring, self.work = address.rstrip("/"), keyring, work

    def packages(self):
        """The index of the suite, verified."""
        signed = get(f"{self.address}/dists/{SUITE}/InRelease")
        clear = run("gpgv", "--keyring", self.keyring, "--output", "-", input=signed,
                    capture_output=True).stdout.decode()
        name = f"main/binary-{ARCH}/Packages.xz"
        digest = re.search(rf"^ ([0-9a-f]{{64}}) +\d+ {re.escape(name)}$", clear, re.M)[1]
        packed = get(f"{self.address}/dists/{SUITE}/{name}")
        assert hashlib.sha256(packed).hexdigest() == digest, f"{name} is not what is signed"
        return stanzas(lzma.decompress(packed).decode())

    def udebs(self):
        name = f"main/debian-installer/binary-{ARCH}/Packages.xz"
        packed = get(f"{self.address}/dists/{SUITE}/{name}")
        return stanzas(lzma.decompress(packed).decode())

    def fetch(self, path, sha256=None):
        """A file of the pool, in the work folder."""
        file = os.path.join(self.work, "files", os.path.basename(path))
        if not os.path.exists(file):
            data = get(f"{self.address}/{path}")
            if sha256 and hashlib.sha256(data).hexdigest() != sha256:
                raise SystemExit(f"{path} is not what the index says")
            with open(file + ".part", "wb") as out:
                out.write(data)
            os.rename(file + ".part", file)
        return file


def substitute(mirror, fields):
    """An older build of a udeb that left the mirror, with a stanza that says so."""
    found = re.fullmatch(r"(.*)\+b(\d+)_(\w+)\.udeb", fields["Filename"])
    for build in range(int(found[2]) - 1, 0, -1) if found else []:
        path = f"{found[1]}+b{build}_{found[3]}.udeb"
        if there(f"{mirror.address}/{path}"):
            file = mirror.fetch(path)
            data = open(file, "rb").read()
            other = dict(fields, Filename=path, Size=str(len(data)),
                         SHA256=hashlib.sha256(data).hexdigest())
            other["Version"] = re.sub(r"\+b\d+$", f"+b{build}", fields["Version"])
            other.pop("MD5sum", None)
            other[""] = "\n".join(f"{k}: {v}" for k, v in other.items() if k)
            return other
    return None


def netboot(mirror, udebs):
    """The newest netboot installer whose kernel's modules are on the mirror."""
    for update in range(20, 0, -1):
        path = NETBOOTS % update
        if not there(f"{mirror.address}/{path}"):
            continue
        folder = os.path.join(mirror.work, "netboot")
        shutil.rmtree(folder, ignore_errors=True)
        run("dpkg-deb", "-x", mirror.fetch(path), folder)
        images = os.path.join(folder, "usr/lib/debian-installer/images/13/amd64/text")
        images = os.path.join(images, "debian-installer/amd64")
        root = os.path.join(mirror.work, "root")
        shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root)
        with gzip.open(os.path.join(images, "initrd.gz")) as packed:
            # Without being root there are no devices; the kernel makes its own.
            subprocess.run(["cpio", "-idm", "--quiet"], cwd=root, input=packed.read(),
                           stderr=subprocess.DEVNULL)
        kernel, = os.listdir(os.path.join(root, "usr/lib/modules"))
        modules = [f"{name}-modules-{kernel}-di" for name in CD_MODULES]
        fits = all(name in udebs and there(f"{mirror.address}/{udebs[name]['Filename']}")
                   for name in modules)
        print(f"netboot installer u{update}, kernel {kernel}: {'taken' if fits else 'no modules'}")
        if fits:
            return os.path.join(images, "linux"), root, kernel, modules
    raise SystemExit("no netboot installer fits the udebs on this mirror")


def initrd(mirror, root, kernel, udebs, extra, into):
    """The initrd with some udebs more, as the installer's own build puts them in."""
    info = os.path.join(root, "var/lib/dpkg/info")
    status = os.path.join(root, "var/lib/dpkg/status")
    text = open(status).read().strip().split("\n\n")
    text = [part for part in text if part.split("\n")[0].split(": ")[1] not in NETWORK]
    for name in NETWORK:
        for file in os.listdir(info):
            if file.rsplit(".", 1)[0] == name:
                os.remove(os.path.join(info, file))
    for name in extra:
        fields = udebs[name]
        file = mirror.fetch(fields["Filename"], fields["SHA256"])
        aside, control = os.path.join(mirror.work, "aside"), os.path.join(mirror.work, "control")
        for folder in (aside, control):
            shutil.rmtree(folder, ignore_errors=True)
        run("dpkg-deb", "-x", file, aside)
        run("dpkg-deb", "-e", file, control)
        # /lib and its like are links in the initrd.
        for merged in ("lib", "bin", "sbin"):
            if os.path.isdir(os.path.join(aside, merged)):
                shutil.copytree(os.path.join(aside, merged), os.path.join(aside, "usr", merged),
                                dirs_exist_ok=True, symlinks=True)
                shutil.rmtree(os.path.join(aside, merged))
        shutil.copytree(aside, root, dirs_exist_ok=True, symlinks=True)
        for part in os.listdir(control):
            if part not in ("control", "md5sums"):
                shutil.copy(os.path.join(control, part), os.path.join(info, f"{name}.{part}"))
        kept = ("Package", "Version", "Provides", "Depends", "Installer-Menu-Item", "Description")
        lines = [f"{field}: {fields[field]}" for field in kept if field in fields]
        lines.insert(1, "Status: install ok unpacked")
        text.append("\n".join(lines))
    with open(status, "w") as out:
        out.write("\n\n".join(text) + "\n\n")
    run("depmod", "-b", os.path.join(root, "usr"), kernel, stderr=subprocess.DEVNULL)
    assert "sr_mod" in open(f"{root}/usr/lib/modules/{kernel}/modules.dep").read(), "no sr_mod"
    files = run("find", ".", "-print0", cwd=root, capture_output=True).stdout
    packed = run("cpio", "-o0", "-H", "newc", "-R", "0:0", "--quiet", cwd=root, input=files,
                 capture_output=True).stdout
    with gzip.GzipFile(into, "wb", 6, mtime=0) as out:
        out.write(packed)


def index(folder, chosen):
    os.makedirs(folder)
    text = "\n\n".join(fields[""] for fields in chosen) + "\n"
    with open(os.path.join(folder, "Packages"), "w") as out:
        out.write(text)
    with gzip.GzipFile(os.path.join(folder, "Packages.gz"), "wb", mtime=0) as out:
        out.write(text.encode())


def release(dist):
    lines = ["Origin: Debian", "Label: Debian", "Suite: stable", "Version: 13.8",
             f"Codename: {SUITE}", "Date: Sat, 21 Nov 2026 09:15:44 UTC",
             f"Architectures: {ARCH}", "Components: main", "SHA256:"]
    for folder, _, files in sorted(os.walk(dist)):
        for name in sorted(files):
            data = open(os.path.join(folder, name), "rb").read()
            where = os.path.relpath(os.path.join(folder, name), dist)
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {where}")
    with open(os.path.join(dist, "Release"), "w") as out:
        out.write("\n".join(lines) + "\n")


def main(address, keyring, work, out):
    os.makedirs(os.path.join(work, "files"), exist_ok=True)
    mirror = Mirror(address, keyring, work)
    debs, udebs = mirror.packages(), mirror.udebs()
    kernel, root, release_of_kernel, modules = netboot(mirror, udebs)
    inside = set(re.findall(r"^Package: (.*)$", open(f"{root}/var/lib/dpkg/status").read(), re.M))

    base = [name for name, fields in debs.items()
            if fields.get("Priority") in ("required", "important")]
    chosen, missing = closure(debs, base + WANTED)
    print(f"{len(chosen)} packages; not there: {sorted(missing)}")

    # All udebs but those for speech, pictures, other kernels, and disks that the test has not: each
    # that is loaded takes seconds.
    skipped = re.compile(
        r"gtk|speech|espeak|brltty|fonts|xserver|edu-|libx|cairo|pango|at-spi|atk"
        r"|kickseed|depthcharge|cros|btrfs|jfs|firewire|pcmcia|systemd-boot|iscsi|isns"
    )
    own, gone = [], []
    def look(item):
        name, fields = item
        other = "-di" in name and not name.endswith(f"-{release_of_kernel}-di")
        if other or skipped.search(name) or name in NETWORK and name not in LATER:
            return None
        if there(f"{mirror.address}/{fields['Filename']}"):
            return fields
        return None if name in inside else substitute(mirror, fields) or name
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(look, sorted(udebs.items())):
            if isinstance(found, str):
                gone.append(found)
            elif found:
                own.append(found)
    print(f"{len(own)} udebs; not there: {gone}")

    tree = os.path.join(work, "tree")
    shutil.rmtree(tree, ignore_errors=True)
    def put(fields):
        file = mirror.fetch(fields["Filename"], fields["SHA256"])
        place = os.path.join(tree, fields["Filename"])
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.link(file, place)
    packages = [debs[name] for name in sorted(chosen)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(put, packages + own))
    dist = os.path.join(tree, "dists", SUITE)
    index(os.path.join(dist, f"main/binary-{ARCH}"), packages)
    index(os.path.join(dist, f"main/debian-installer/binary-{ARCH}"), own)
    release(dist)
    os.symlink(SUITE, os.path.join(tree, "dists", "stable"))

    disk = os.path.join(tree, ".disk")
    os.makedirs(disk)
    for name, text in (
        ("info", 'Debian GNU/Linux 13.8.0 "Trixie" - kuth\'s own amd64 NETINST with no date\n'),
        ("base_installable", ""),
        ("base_components", "main\n"),
        ("cd_type", "full_cd/single\n"),
        ("udeb_include", "netcfg\nethdetect\napt-mirror-setup\napt-cdrom-setup\npartman-auto-lvm\n"),
    ):
        with open(os.path.join(disk, name), "w") as file:
            file.write(text)

    boot = os.path.join(tree, "install.amd")
    os.makedirs(boot)
    shutil.copy(kernel, os.path.join(boot, "vmlinuz"))
    by_name = {fields["Package"]: fields for fields in own}
    initrd(mirror, root, release_of_kernel, by_name, CD + modules, os.path.join(boot, "initrd.gz"))
    isolinux(mirror, debs, os.path.join(tree, "isolinux"))
    run("xorriso", "-as", "mkisofs", "-quiet", "-r", "-J", "-joliet-long", "-V", "Debian 13.8.0 amd64 n",
        "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot",
        "-boot-load-size", "4", "-boot-info-table", "-o", out, tree)
    for folder in ("tree", "root", "netboot", "aside", "control"):
        shutil.rmtree(os.path.join(work, folder), ignore_errors=True)


def isolinux(mirror, debs, folder):
    os.makedirs(folder)
    for name, part in (("isolinux", "usr/lib/ISOLINUX/isolinux.bin"),
                       ("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32")):
        file = mirror.fetch(debs[name]["Filename"], debs[name]["SHA256"])
        aside = os.path.join(mirror.work, "aside")
        shutil.rmtree(aside, ignore_errors=True)
        run("dpkg-deb", "-x", file, aside)
        shutil.copy(os.path.join(aside, part), folder)
    for name, text in (
        ("isolinux.cfg", "# D-I config version 2.0\npath\ninclude menu.cfg\ndefault vesamenu.c32\n"
                         "prompt 0\ntimeout 0\n"),
        ("menu.cfg", "menu title Debian GNU/Linux installer menu (BIOS mode)\ninclude txt.cfg\n"),
        ("txt.cfg", "label install\n\tmenu label ^Install\n\tkernel /install.amd/vmlinuz\n"
                    "\tappend vga=788 initrd=/install.amd/initrd.gz --- quiet\n"),
    ):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])

//! The table of mounts of a system: which file systems are put together to one tree.

use crate::error::{Result, bail, ensure};

/// A line that mounts something that lies on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Such as `UUID=...` or `/dev/vda1`.
    pub device: String,
    /// Where: the parts of its path, none for the root.
    pub point: Vec<Vec<u8>>,
    /// Whether the system starts without it.
    pub optional: bool,
}

impl Mount {
    /// `/boot/efi`.
    pub fn shown(&self) -> String {
        let parts = self.point.iter().map(|part| format!("/{}", String::from_utf8_lossy(part)));
        Some(parts.collect::<String>()).filter(|path| !path.is_empty()).unwrap_or("/".into())
    }
}

/// Types that are in no partition.
const VIRTUAL: [&str; 34] = [
    "9p",
    "autofs",
    "binfmt_misc",
    "bpf",
    "cephfs",
    "ceph",
    "cgroup",
    "cgroup2",
    "cifs",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.sshfs",
    "glusterfs",
    "hugetlbfs",
    "ignore",
    "iso9660",
    "mqueue",
    "nfs",
    "nfs4",
    "overlay",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "smb3",
    "swap",
    "sysfs",
    "tmpfs",
    "tracefs",
    "udf",
    "virtiofs",
];

/// Devices whose media come and go, some with a number behind the name.
const DRIVES: [&str; 6] = ["fd", "floppy", "sr", "scd", "cdrom", "dvd"];
/// What names a file system or a partition by what is in it.
const TAGS: [&str; 4] = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="];

/// The mounts of `text` that belong to the tree, those above before those below. What is mounted by
/// hand, lies in memory or comes over the network is left out.
pub fn read(text: &[u8]) -> Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in String::from_utf8_lossy(text).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [device, point, kind, ref rest @ ..] = words[..] else { continue };
        let options: Vec<&str> = rest.first().map_or(Vec::new(), |all| all.split(',').collect());
        let has = |option: &str| options.contains(&option);
        let left_out = device.starts_with('#')
            || !is_disk(device)
            || VIRTUAL.contains(&kind)
            || !point.starts_with('/')
            || ["noauto", "bind", "rbind", "_netdev"].iter().any(|option| has(option));
        if left_out {
            continue;
        }
        let point = unescaped(point);
        let parts: Vec<Vec<u8>> = point
            .split(|b| *b == b'/')
            .filter(|part| !part.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        if parts.iter().any(|part| part == b"." || part == b"..") {
            bail!("/etc/fstab: the mount point {}", String::from_utf8_lossy(&point));
        }
        let device = String::from_utf8_lossy(&unescaped(device)).into_owned();
        let optional = has("nofail");
        let mount = Mount { device, point: parts, optional };
        ensure!(
            mounts.iter().all(|other| other.point != mount.point),
            "/etc/fstab: two things are mounted at {}",
            mount.shown()
        );
        mounts.push(mount);
    }
    mounts.sort_by(|a, b| a.point.cmp(&b.point));
    Ok(mounts)
}

/// Whether a line names a disk. A share, a remote directory, a keyword or a file does not.
fn is_disk(device: &str) -> bool {
    let device = device.trim_matches('"');
    let path = device.strip_prefix("/dev/");
    let is_numbered = |path: &str, drive: &str| {
        path.strip_prefix(drive).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_drive = path.is_some_and(|path| DRIVES.iter().any(|drive| is_numbered(path, drive)));
    let is_tag = TAGS.iter().any(|tag| device.starts_with(tag));
    path.is_some() && !is_drive || is_tag
}

/// `\040` is a space.
fn unescaped(word: &str) -> Vec<u8> {
    let bytes = word.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 4;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_disks_counts() {
        let text = "# a comment\n\
            PARTUUID=1234 / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1\n\
            UUID=AB-CD /boot/efi vfat defaults,nofail 0 0\n\
            LABEL=BOOT /boot ext4 defaults 0 2\n\
            /dev/mapper/vg0-swap none swap sw 0 0\n\
            tmpfs /tmp tmpfs defaults 0 0\n\
            /dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n\
            server:/x /mnt/x nfs defaults 0 0\n\
            /srv/a /srv/b none bind 0 0\n\
            /dev/vdb1 /with\\040space ext4\n\
            share /media/share vboxsf defaults 0 0\n\
            .host:/ /mnt/hgfs fuse.vmhgfs-fuse defaults,allow_other 0 0\n\
            .host:/x /mnt/old hgfs defaults 0 0\n\
            https://example.org/dav /mnt/dav davfs rw,user 0 0\n\
            sshfs#me@host:/ /mnt/ssh fuse defaults 0 0\n\
            me@host:/ /mnt/sshfs fuse.sshfs defaults 0 0\n\
            none /mnt/ram ramfs defaults 0 0\n\
            ramfs /mnt/ram2 ramfs size=1m 0 0\n\
            host0 /mnt/9p 9p trans=virtio 0 0\n\
            tag /mnt/fs virtiofs defaults 0 0\n\
            mergerfs#/a:/b /mnt/pool fuse defaults 0 0\n\
            /images/data.img /mnt/image ext4 loop 0 0\n\
            /dev/fd0 /media/floppy auto rw,user 0 0\n\
            /dev/cdrom /media/cdrom auto ro,user 0 0\n\
            /dev/srv/data /srv ext4 defaults 0 0\n\
            short\n";
        let mounts = read(text.as_bytes()).unwrap();
        let shown: Vec<_> =
            mounts.iter().map(|m| (m.shown(), m.device.as_str(), m.optional)).collect();
        assert_eq!(
            shown,
            [
                ("/".into(), "PARTUUID=1234", false),
                ("/boot".into(), "LABEL=BOOT", false),
                ("/boot/efi".into(), "UUID=AB-CD", true),
                ("/srv".into(), "/dev/srv/data", false),
                ("/with space".into(), "/dev/vdb1", false),
            ]
        );
    }

    #[test]
    fn what_cannot_be_mounted_is_refused() {
        assert!(read(b"/dev/sda1 /a/../b ext4\n").is_err());
        assert!(read(b"/dev/sda1 /a ext4\n/dev/sda2 /a/ ext4\n").is_err());
    }
}

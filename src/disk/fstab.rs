//! /etc/fstab of a disk: volumes by their name, everything else by UUID, parents before what is
//! mounted inside them.

use super::config::Format;
use super::layout::{Filesystem, Layout};
use super::swap_file;

/// The text, which depends on the layout alone.
pub fn text(layout: &Layout) -> String {
    let mut text = String::from("# device\tmount point\ttype\toptions\tdump\tpass\n");
    let mut mounted: Vec<(&str, &Filesystem)> =
        layout.filesystems.iter().filter_map(|fs| Some((fs.mount.as_deref()?, fs))).collect();
    mounted.sort_by_key(|(mount, _)| *mount);
    for (mount, filesystem) in mounted {
        let (options, pass) = options(filesystem, mount);
        let options = match (options, filesystem.options.is_empty()) {
            ("defaults", false) => filesystem.options.join(","),
            (options, true) => options.to_string(),
            (options, false) => format!("{options},{}", filesystem.options.join(",")),
        };
        let (device, format) = (filesystem.device(), filesystem.format.word());
        text += &format!("{device}\t{mount}\t{format}\t{options}\t0\t{pass}\n");
    }
    for tmpfs in &layout.tmpfs {
        let options = match tmpfs.options.is_empty() {
            true => "defaults".to_string(),
            false => tmpfs.options.join(","),
        };
        text += &format!("tmpfs\t{}\ttmpfs\t{options}\t0\t0\n", tmpfs.mount);
    }
    for swap in layout.filesystems.iter().filter(|fs| fs.format == Format::Swap) {
        text += &format!("{}\tnone\tswap\tsw\t0\t0\n", swap.device());
    }
    if layout.swap_file.is_some() {
        text += swap_file::FSTAB_LINE;
    }
    text += "# written by kuth from the layout of the disk\n";
    text
}

/// Mount options, and when fsck looks at it.
fn options(filesystem: &Filesystem, mount: &str) -> (&'static str, u8) {
    match (filesystem.format, mount) {
        (Format::Ext4, "/") => ("errors=remount-ro", 1),
        (Format::Ext4, _) => ("defaults", 2),
        (Format::Vfat, _) => ("umask=0077", 2),
        // fsck.xfs does nothing; the journal is replayed at mount.
        (Format::Xfs | Format::Swap, _) => ("defaults", 0),
    }
}

/// Mount options under which packages cannot be installed any more, in words.
pub fn warnings(layout: &Layout) -> Vec<String> {
    let scripts = layout.holding("/var/lib/dpkg/info");
    let scripts = scripts.filter(|fs| fs.options.iter().any(|option| option == "noexec"));
    let mount = scripts.and_then(|fs| fs.mount.as_deref());
    let warning = |mount| {
        format!("`noexec` at {mount}: dpkg runs the scripts of packages in /var/lib/dpkg/info")
    };
    mount.map(warning).into_iter().collect()
}

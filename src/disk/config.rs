//! The keys of a disk's table, each value checked by itself and kept with its span; `rules`
//! and `placement` check them together.
//!
//! ```toml
//! size = "28 GiB"                      # exactly; the free space of the group stays free
//! swap-file = "1 GiB"                  # /swapfile, made at the first boot
//! table = "gpt"                        # or "mbr"; default gpt
//! firmware = ["bios", "uefi"]          # default both; ESP and BIOS boot partition come by themselves
//! cmdline = "console=tty0"             # kernel arguments behind `root=… ro`
//! [[partition]]
//! name = "boot"                        # also the name in a GPT
//! size = "512 MiB"                     # or "rest", once
//! filesystem = "ext4"                  # ext4, xfs, vfat, swap; or `lvm = "vg0"`: holds the volumes
//! mount = "/boot"                      # vfat at /boot/efi or /efi replaces the automatic ESP
//! label = "boot"                       # default: the name, where it fits
//! options = ["nodev"]                  # for fstab, besides what kuth writes
//! grow = true                          # takes what the disk gains, once; at the end of the disk
//! [[volume]]
//! name = "root"                        # a volume of the group; keys as above, no `lvm`
//! [[tmpfs]]
//! mount = "/tmp"                       # with `size` and `options`
//! ```

pub use crate::artifact::Firmware;
use crate::pipeline::{Fault, Fields, Size, Span, Spanned};
use crate::units::Bytes;

/// The kind of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A GUID partition table.
    Gpt,
    /// A DOS partition table.
    Mbr,
}

/// What a partition or volume is formatted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ext4 with the features of [`super::filesystem`].
    Ext4,
    /// XFS.
    Xfs,
    /// FAT32.
    Vfat,
    /// A swap area.
    Swap,
}

/// The unit of volumes.
pub const EXTENT: Bytes = Bytes::mib(4);

const TABLES: [(&str, Table); 2] = [("gpt", Table::Gpt), ("mbr", Table::Mbr)];
const FIRMWARE: [(&str, Firmware); 2] = [("bios", Firmware::Bios), ("uefi", Firmware::Uefi)];
const FORMATS: [(&str, Format); 4] =
    [("ext4", Format::Ext4), ("xfs", Format::Xfs), ("vfat", Format::Vfat), ("swap", Format::Swap)];

/// The kernel arguments of a disk that gives none: the screen and the first serial line.
const CMDLINE: &str = "console=tty0 console=ttyS0,115200";

/// Directories that the initramfs and systemd need before any other filesystem is mounted.
const NEVER_MOUNTED: [&str; 10] =
    ["/etc", "/bin", "/sbin", "/lib", "/lib64", "/dev", "/proc", "/sys", "/run", "/lost+found"];

impl Table {
    /// The word in the pipeline.
    pub fn word(self) -> &'static str {
        word(&TABLES, self)
    }
}

impl Format {
    /// The word in the pipeline, also the type in fstab.
    pub fn word(self) -> &'static str {
        word(&FORMATS, self)
    }

    /// The longest label in bytes.
    pub fn longest_label(self) -> usize {
        match self {
            Format::Ext4 => 16,
            Format::Xfs => 12,
            Format::Vfat => 11,
            Format::Swap => 15,
        }
    }

    /// The least size that is worth making, or that its tool makes at all.
    pub fn least(self) -> Bytes {
        match self {
            Format::Ext4 => Bytes::mib(8),
            Format::Xfs => Bytes::mib(300),
            Format::Vfat => Bytes::mib(34),
            Format::Swap => Bytes::MIB,
        }
    }
}

fn word<T: Copy + PartialEq>(rows: &[(&'static str, T)], value: T) -> &'static str {
    rows.iter().find(|(_, other)| *other == value).map_or("", |(word, _)| word)
}

/// The table of a disk.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of the whole disk.
    pub size: Spanned<Bytes>,
    /// The kind of partition table.
    pub table: Table,
    /// What starts the disk; sorted, without repeats, at least one.
    pub firmware: Vec<Firmware>,
    /// In the order on the disk.
    pub partitions: Vec<PartitionRow>,
    /// In the order in the volume group.
    pub volumes: Vec<VolumeRow>,
    /// Kernel arguments behind `root=… ro`.
    pub cmdline: String,
    /// In the order of the file.
    pub tmpfs: Vec<TmpfsRow>,
    /// The size of the swap file that the first boot makes.
    pub swap_file: Option<Spanned<Bytes>>,
}

/// One `[[tmpfs]]`: a file system in memory.
#[derive(Clone, Debug)]
pub struct TmpfsRow {
    /// Absolute, without a slash at the end.
    pub mount: Spanned<String>,
    /// The most that it holds; `None`: half of the memory.
    pub size: Option<Bytes>,
    /// Mount options besides.
    pub options: Vec<Spanned<String>>,
}

/// One `[[partition]]`.
#[derive(Clone, Debug)]
pub struct PartitionRow {
    /// Its name.
    pub name: Spanned<String>,
    /// Its size.
    pub size: Spanned<Size>,
    /// What it is for.
    pub content: Content,
}

/// What a partition is for.
#[derive(Clone, Debug)]
pub enum Content {
    /// A filesystem of its own.
    Filesystem(FilesystemRow),
    /// The physical volume of the volume group of this name.
    Lvm(Spanned<String>),
}

/// One `[[volume]]`.
#[derive(Clone, Debug)]
pub struct VolumeRow {
    /// Its name in the group.
    pub name: Spanned<String>,
    /// Its size.
    pub size: Spanned<Size>,
    /// Its filesystem.
    pub filesystem: FilesystemRow,
}

/// The keys that describe a filesystem.
#[derive(Clone, Debug)]
pub struct FilesystemRow {
    /// Its format.
    pub format: Spanned<Format>,
    /// Absolute, without a slash at the end; `None`: not mounted.
    pub mount: Option<Spanned<String>>,
    /// A label other than the name.
    pub label: Option<String>,
    /// Mount options besides those that kuth writes.
    pub options: Vec<Spanned<String>>,
    /// Whether it takes, at boot, what the disk has gained.
    pub grow: Spanned<bool>,
}

impl Config {
    /// Reads the keys of a disk. `None` when one it needs is faulty; the faults are in `fields`.
    pub fn read(fields: &mut Fields<'_>) -> Option<Config> {
        let size = fields.required_size("size");
        let table = fields.choice_of("table", &TABLES).map_or(Table::Gpt, |table| table.value);
        let firmware = firmware(fields);
        let cmdline = cmdline(fields);
        let swap_file = fields.size("swap-file");
        let swap_file =
            swap_file.filter(|size| whole(fields, "a swap file", size.clone(), Bytes::MIB));
        let rows = fields.require("partition").array_of_tables("partition");
        let partitions: Vec<_> = rows.into_iter().map(partition).collect();
        let volumes: Vec<_> = fields.array_of_tables("volume").into_iter().map(volume).collect();
        let tmpfs: Vec<_> = fields.array_of_tables("tmpfs").into_iter().map(tmpfs).collect();
        Some(Config {
            tmpfs: tmpfs.into_iter().collect::<Option<_>>()?,
            size: size.filter(|size| whole(fields, "a disk", size.clone(), Bytes::MIB))?,
            table,
            firmware: firmware?,
            partitions: partitions.into_iter().collect::<Option<_>>()?,
            volumes: volumes.into_iter().collect::<Option<_>>()?,
            cmdline: cmdline?,
            swap_file,
        })
    }
}

impl Config {
    /// The filesystems of partitions and volumes.
    pub fn filesystems(&self) -> impl Iterator<Item = &FilesystemRow> {
        let partitions = self.partitions.iter().filter_map(|row| match &row.content {
            Content::Filesystem(filesystem) => Some(filesystem),
            Content::Lvm(_) => None,
        });
        partitions.chain(self.volumes.iter().map(|row| &row.filesystem))
    }

    /// The span of the first mount option or `tmpfs`, if there is one.
    pub fn mounts_span(&self) -> Option<Span> {
        let options = self.filesystems().flat_map(|row| &row.options).map(|option| &option.span);
        options.chain(self.tmpfs.iter().map(|row| &row.mount.span)).next().cloned()
    }

    /// The span of the first `grow = true`, if there is one.
    pub fn grow_span(&self) -> Option<Span> {
        self.filesystems().find(|row| *row.grow).map(|row| row.grow.span.clone())
    }
}

fn firmware(fields: &mut Fields<'_>) -> Option<Vec<Firmware>> {
    if !fields.has("firmware") {
        return Some(vec![Firmware::Bios, Firmware::Uefi]);
    }
    let words = FIRMWARE.map(|(word, _)| word);
    let chosen = fields.choices("firmware", &words);
    let mut firmware: Vec<Firmware> = FIRMWARE
        .into_iter()
        .filter(|(word, _)| chosen.iter().any(|chosen| chosen.value == *word))
        .map(|(_, firmware)| firmware)
        .collect();
    firmware.sort();
    if firmware.is_empty()
        && let Some(span) = fields.key_span("firmware")
    {
        let fault = Fault::new(span, "nothing would start this disk");
        fields.fault(fault.hint("name at least one of `bios` and `uefi`"));
        return None;
    }
    Some(firmware)
}

fn cmdline(fields: &mut Fields<'_>) -> Option<String> {
    let Some(text) = fields.text("cmdline") else { return Some(CMDLINE.to_string()) };
    if text.secret {
        let fault = Fault::new(text.span, "`cmdline` is readable on the disk");
        fields.fault(fault.hint("do not make kernel arguments from a secret"));
        return None;
    }
    if text.text.contains(|c: char| c.is_control() || c == '\'') {
        let fault = Fault::new(text.span, "`cmdline` cannot be quoted for GRUB");
        fields.fault(fault.hint("leave out line ends and single quotes"));
        return None;
    }
    Some(text.text)
}

fn partition(mut fields: Fields<'_>) -> Option<PartitionRow> {
    let name = name(&mut fields, "partition", 36);
    let size = fields.required_size_or_rest("size");
    let size = size.filter(|size| whole_or_rest(&fields, "a partition", size, Bytes::MIB));
    let content = match fields.exactly_one(&["filesystem", "lvm"]) {
        Some("lvm") => {
            for key in ["mount", "label", "options", "grow"] {
                if fields.has(key)
                    && let Some(span) = fields.key_span(key)
                {
                    let fault = Fault::new(span, format!("`{key}` is for filesystems"));
                    fields.fault(fault.hint(format!("give `{key}` to a volume of the group")));
                }
            }
            group_name(&mut fields).map(Content::Lvm)
        }
        Some(_) => filesystem(&mut fields).map(Content::Filesystem),
        None => {
            fields.has("mount");
            fields.has("label");
            fields.has("options");
            fields.has("grow");
            None
        }
    };
    fields.finish();
    Some(PartitionRow { name: name?, size: size?, content: content? })
}

fn volume(mut fields: Fields<'_>) -> Option<VolumeRow> {
    let name = name(&mut fields, "volume", 64);
    let size = fields.required_size_or_rest("size");
    let size = size.filter(|size| whole_or_rest(&fields, "a volume", size, EXTENT));
    fields.require("filesystem");
    let filesystem = filesystem(&mut fields);
    fields.finish();
    Some(VolumeRow { name: name?, size: size?, filesystem: filesystem? })
}

fn group_name(fields: &mut Fields<'_>) -> Option<Spanned<String>> {
    let text = fields.text("lvm")?;
    checked_name(fields, "volume group", Spanned::new(text.span, text.text), 64)
}

fn name(fields: &mut Fields<'_>, what: &str, longest: usize) -> Option<Spanned<String>> {
    let text = fields.required_text("name")?;
    checked_name(fields, what, Spanned::new(text.span, text.text), longest)
}

/// What LVM2 takes as a name, which suits a GPT too.
fn checked_name(
    fields: &Fields<'_>,
    what: &str,
    name: Spanned<String>,
    longest: usize,
) -> Option<Spanned<String>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
    let fits = !name.is_empty()
        && name.len() <= longest
        && name.chars().all(plain)
        && !name.starts_with(['-', '.']);
    if !fits {
        let fault = Fault::new(name.span.clone(), format!("`{}` cannot name a {what}", *name));
        fields.fault(fault.hint(format!(
            "a name has 1 to {longest} letters, digits and `+_.-`, and begins with none of `-.`"
        )));
    }
    fits.then_some(name)
}

fn filesystem(fields: &mut Fields<'_>) -> Option<FilesystemRow> {
    let format = fields.choice_of("filesystem", &FORMATS);
    let mount = match fields.text("mount") {
        Some(text) => {
            let mount = Spanned::new(text.span, text.text);
            if let Err(why) = check_mount(&mount) {
                fields.fault(Fault::new(mount.span.clone(), why.0).hint(why.1));
                return None;
            }
            Some(mount)
        }
        None if fields.has("mount") => return None,
        None => None,
    };
    let label = fields.text("label");
    let options = options(fields);
    let grow_span = fields.key_span("grow").unwrap_or(fields.span());
    let grow = Spanned::new(grow_span, fields.boolean("grow", false));
    let format = format?;
    if mount.is_none()
        && let Some(first) = options.first()
    {
        let fault =
            Fault::new(first.span.clone(), "`options` are for file systems with a mount point");
        fields.fault(fault.hint("add `mount`, or leave out `options`"));
        return None;
    }
    if let (Format::Swap, Some(mount)) = (*format, &mount) {
        let fault = Fault::new(mount.span.clone(), "a swap area is not mounted");
        fields.fault(fault.hint("leave out `mount`"));
        return None;
    }
    if let Some(label) = &label {
        let longest = format.longest_label();
        let plain = |c: char| c.is_ascii_graphic() && !"\"\\".contains(c);
        if label.text.len() > longest || !label.text.chars().all(plain) {
            let message = format!("{} cannot be the label of {}", label.shown(), format.word());
            let fault = Fault::new(label.span.clone(), message);
            fields.fault(fault.hint(format!("at most {longest} ASCII characters, no spaces")));
            return None;
        }
    }
    let label = label.map(|label| label.text);
    Some(FilesystemRow { format, mount, label, options, grow })
}

fn tmpfs(mut fields: Fields<'_>) -> Option<TmpfsRow> {
    let mount = fields.required_text("mount");
    let mount = mount.map(|text| Spanned::new(text.span, text.text));
    let mount = mount.filter(|mount| match check_mount(mount) {
        Ok(()) => true,
        Err((message, hint)) => {
            fields.fault(Fault::new(mount.span.clone(), message).hint(hint));
            false
        }
    });
    let size = fields.size("size");
    let size = size.filter(|size| whole(&fields, "a tmpfs", size.clone(), Bytes::MIB));
    let options = options(&mut fields);
    fields.finish();
    Some(TmpfsRow { mount: mount?, size: size.map(|size| size.value), options })
}

/// Mount options of fstab, each a word.
fn options(fields: &mut Fields<'_>) -> Vec<Spanned<String>> {
    let texts = fields.unique_texts("options");
    let mut options = Vec::new();
    for text in texts {
        let plain = |c: char| c.is_ascii_graphic() && !",\"\\#".contains(c);
        if text.text.is_empty() || !text.text.chars().all(plain) {
            let fault =
                Fault::new(text.span.clone(), format!("{} is not a mount option", text.shown()));
            fields.fault(fault.hint("as in [\"nodev\", \"noatime\"]"));
            continue;
        }
        options.push(Spanned::new(text.span, text.text));
    }
    options
}

/// Why a path cannot be a mount point, and what to write.
fn check_mount(mount: &str) -> Result<(), (String, String)> {
    if mount == "/" {
        return Ok(());
    }
    let parts: Vec<&str> = mount.split('/').collect();
    let normal = parts.first() == Some(&"")
        && parts[1..].iter().all(|part| !part.is_empty() && *part != "." && *part != "..");
    let plain = !mount.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\');
    if !normal || !plain {
        let hint = "write an absolute path without `.`, `..`, spaces or a slash at its end";
        return Err((format!("`{}` is not a mount point", mount.escape_default()), hint.into()));
    }
    let inside =
        |directory: &str| mount == directory || mount.starts_with(&format!("{directory}/"));
    if let Some(directory) = NEVER_MOUNTED.into_iter().find(|directory| inside(directory)) {
        let message = format!("`{mount}` cannot be a filesystem of its own");
        return Err((message, format!("a system needs {directory} before it mounts anything")));
    }
    Ok(())
}

fn whole_or_rest(fields: &Fields<'_>, what: &str, size: &Spanned<Size>, unit: Bytes) -> bool {
    match size.value {
        Size::Exactly(bytes) => whole(fields, what, Spanned::new(size.span.clone(), bytes), unit),
        Size::Rest => true,
    }
}

/// Whether a size is a multiple of `unit`: sizes are exactly what the file says, so they are
/// refused rather than rounded.
fn whole(fields: &Fields<'_>, what: &str, size: Spanned<Bytes>, unit: Bytes) -> bool {
    if size.value.0 != 0 && size.value.0.is_multiple_of(unit.0) {
        return true;
    }
    let (below, above) = (size.round_down(unit), size.round_up(unit));
    let near = match (below.0, above) {
        (0, _) => format!("the least is \"{unit}\""),
        (_, Some(above)) => format!("the nearest are \"{below}\" and \"{above}\""),
        (_, None) => format!("the nearest is \"{below}\""),
    };
    let message = format!("the size of {what} is a multiple of {unit}");
    let label = format!("{} is not", *size);
    fields.fault(Fault::new(size.span.clone(), message).label(label).hint(near));
    false
}

//! A machine's directory as VirtualBox keeps it, out of an archive that somebody passed on: the
//! settings in a `.vbox` file and the disk beside it. What a new machine takes over of them is in
//! [`Settings`]; the directory itself is never registered, so nothing in it reaches the host, and
//! two machines made of one directory do not clash.

use std::path::{Path, PathBuf};

use crate::archive::extract;
use crate::cancel::Cancel;
use crate::cancel::Progress;
use crate::digest::Digest;
use crate::error::{Context, Hint, Result, anyhow, bail};
use crate::format::vbox::{self, Settings};
use crate::image::{self, read::OtherFiles};
use crate::units::Bytes;

use crate::hypervisor::{Controller, Disk, Storage};

/// A settings file that is larger was not written by VirtualBox.
const LARGEST: Bytes = Bytes::mib(16);

/// Reads the directory kept in `tar`, which `digest` names, and makes its disk a raw image in
/// `work`.
pub fn open(tar: &Path, digest: &Digest, work: &Path, cancel: &Cancel) -> Result<(Disk, Settings)> {
    let members = extract::members(tar)?;
    let is_settings = |path: &Path| path.extension().is_some_and(|it| it == "vbox");
    let found: Vec<_> = members.iter().filter(|it| is_settings(&it.path)).collect();
    let [file] = found.as_slice() else {
        let names = found.iter().map(|it| it.path.display().to_string()).collect::<Vec<_>>();
        return match names.is_empty() {
            true => Err(anyhow!("the directory holds no `.vbox` file"))
                .hint("a machine of VirtualBox's is a directory with its settings and its disk"),
            false => Err(anyhow!("the directory holds several machines: {}", names.join(", ")))
                .hint("pack one machine into an archive of its own"),
        };
    };
    if file.size > LARGEST {
        bail!("{} is {} long: no settings of a machine", file.path.display(), file.size);
    }
    let what = || format!("reading the machine {}", file.path.display());
    let name = normal(&file.path)?;
    let text = work.join("machine.vbox");
    extract::file(tar, &name, &text, cancel)?;
    let settings = std::fs::read_to_string(&text).with_context(what)?;
    let settings = vbox::read(&settings).with_context(what).hint(
        "in VirtualBox, make a full clone of the machine's current state, and pack the clone",
    )?;
    let (image, format) = image_of(&settings).with_context(what)?;
    let image = of_unix(image).with_context(what)?;
    let image = normal(&name.parent().unwrap_or(Path::new("")).join(image)).with_context(what)?;
    let (copy, raw) = (work.join("machine.image"), work.join("machine.raw"));
    extract::file(tar, &image, &copy, cancel).with_context(what)?;
    let opened = image::read::open(&copy, OtherFiles::Refused).with_context(what)?;
    // Without its header it would be taken for a raw disk.
    if opened.format != format {
        let error =
            anyhow!("{} is not an image of this format: it is {}", image.display(), opened.format);
        return Err(error).with_context(what);
    }
    let progress = Progress { cancel, report: &|_, _| () };
    let size = image::read::copy_disk(&opened, &raw, progress).with_context(what)?;
    // It may be as large as all else here together.
    std::fs::remove_file(&copy).with_context(what)?;
    let digest = Digest::of(format!("kuth-disk-of-directory-1\n{digest}"));
    Ok((Disk { file: raw, digest, size }, settings))
}

/// How the machine of these settings has its disk attached.
pub fn storage(settings: &Settings) -> Option<Storage> {
    let disk = settings.disks.first()?;
    let controller = |it: &vbox::Controller| Controller {
        name: it.name.clone(),
        bus: it.model.bus,
        chip: it.model.chip,
        ports: it.ports,
    };
    Some(Storage {
        system: settings.system.clone(),
        controllers: settings.controllers.iter().map(controller).collect(),
        controller: disk.controller,
        at: (disk.port, disk.device),
    })
}

/// The formats of disks, as kuth and, in capitals, VirtualBox call them.
const FORMATS: [&str; 3] = ["vdi", "vmdk", "vhd"];

/// A path as VirtualBox writes it on Windows, with the separators of Unix.
fn of_unix(path: &Path) -> Result<PathBuf> {
    let text = path.to_string_lossy();
    let has_drive =
        text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    if has_drive || text.starts_with("\\\\") {
        return Err(anyhow!("its disk is {text}, a path of a Windows host"))
            .hint("move the disk beside the `.vbox` file, and pack that directory");
    }
    Ok(PathBuf::from(text.replace('\\', "/")))
}

/// The one disk of the machine.
fn image_of(settings: &Settings) -> Result<(&Path, &'static str)> {
    let format = |disk: &vbox::Attached| {
        FORMATS.into_iter().find(|format| disk.format.eq_ignore_ascii_case(format))
    };
    match settings.disks.as_slice() {
        [disk] if let Some(format) = format(disk) => Ok((&disk.file, format)),
        [disk] => {
            Err(anyhow!("its disk is a {}, and only VDI, VMDK and VHD are read", disk.format))
                .hint("convert it: `VBoxManage clonemedium disk FROM TO.vdi --format VDI`")
        }
        [] => bail!("it has no hard disk"),
        many => Err(anyhow!("it has {} hard disks, and kuth takes machines of one", many.len()))
            .hint("detach the others; clones get disks of their own by `disks`"),
    }
}

/// A path inside the directory.
fn normal(path: &Path) -> Result<PathBuf> {
    extract::relative(path)
        .with_context(|| format!("{} lies outside its directory", path.display()))
        .hint("move the disk beside the `.vbox` file, and pack that directory")
}

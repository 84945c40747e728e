//! `guest-additions` from an ISO image, beside the pipeline or made by a stage, with an installer
//! of the test's own: what it is asked to do, and what is done about its service.

use std::path::{Path, PathBuf};

use crate::built::{built, tree};
use kuth_test_support::base::{PIPELINE, SYSTEM};
use kuth_test_support::judge::tool;
use kuth_test_support::project::Project;

/// Notes how it is run.
const INSTALLER: &str = "#!/bin/sh\n\
    echo \"MARK: $* $INSTALL_NO_MODULE_BUILDS $TARGET_VER\" >/srv/seen/installer\n\
    printf '#!/bin/sh\\n' >/usr/sbin/VBoxService\nchmod 755 /usr/sbin/VBoxService\n\
    # Without the modules of the kernel that runs, the real one ends so too.\nexit 1\n";

/// `directory/MARK.iso`. `None` where there is no tool that makes one.
pub fn iso(directory: &Path, mark: &str) -> Option<PathBuf> {
    let (files, image) = (directory.join(mark), directory.join(format!("{mark}.iso")));
    std::fs::create_dir_all(&files).unwrap();
    let installer = files.join("VBoxLinuxAdditions.run");
    std::fs::write(installer, INSTALLER.replace("MARK", mark)).unwrap();
    let paths = [image.to_str().unwrap(), files.to_str().unwrap()];
    tool("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-o", paths[0], paths[1]])?;
    Some(image)
}

#[test]
fn the_installer_of_an_iso_runs_for_the_kernel_of_the_tree_and_its_service_is_enabled() {
    // Says what is skipped.
    let directory = tempfile::tempdir().unwrap();
    if iso(directory.path(), "probe").is_none() {
        return;
    }
    for (stage, mark) in [("additions", "by-path"), ("additions-staged", "by-stage")] {
        let tree = tree(stage);
        let installer = tree.text("/srv/seen/installer");
        assert_eq!(installer, format!("{mark}: --nox11 1 6.1.0-test\n"), "{stage}");
        let systemctl = tree.text("/srv/seen/systemctl");
        let expected =
            "disable vboxadd.service vboxadd-service.service\nenable vboxadd-service.service\n";
        assert_eq!(systemctl, expected, "{stage}");
        let unit = tree.text("/etc/systemd/system/vboxadd-service.service");
        assert!(unit.contains("\nExecStart=/usr/sbin/VBoxService --foreground \n"), "{unit}");
        assert!(!tree.has("/usr/sbin/policy-rc.d"));
    }
}

#[test]
fn an_iso_without_the_installer_and_a_kernel_without_headers_are_errors() {
    let project = Project::at(built().project.root.parent().unwrap());
    let directory = project.root.join("data");
    if iso(&directory, "other").is_none() {
        return;
    }
    let image = directory.join("wrong.iso");
    let paths =
        [&image, &directory.join("directory")].map(|path| path.to_str().unwrap().to_string());
    tool("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-o", &paths[0], &paths[1]]);
    let stage = |additions: &str| {
        let head = SYSTEM.replace("\"t\"", "\"faulty\"");
        format!(
            "{head}\n[stage.kernel]\nkind = \"customise\"\nfrom = \"rootfs\"\nrun = \"mkdir -p \
             /srv/seen /usr/lib/modules/6.1.0-test\"\n\n[stage.faulty]\nkind = \"customise\"\n\
             from = \"kernel\"\nguest-additions = {additions}\n"
        )
    };
    let lock = project.root.join(PIPELINE.replace(".toml", ".lock"));
    std::fs::copy(lock, project.root.join("faulty.lock")).unwrap();
    for (additions, said) in [
        ("{ iso = \"data/wrong.iso\" }", "wrong.iso has no VBoxLinuxAdditions.run"),
        ("{ iso = \"data/other.iso\" }", "the kernel 6.1.0-test has no module vboxguest"),
        (
            "{ iso = \"data/other.iso\", modules = \"build\" }",
            "no headers of 6.1.0-test: add the package linux-headers-amd64",
        ),
    ] {
        project.write("faulty.toml", stage(additions));
        let run = project.build(&["faulty.toml", "faulty"]).ended(1);
        assert!(run.err.contains(said), "{additions}: {}", run.err);
    }
}

//! What installers are told, and whether they could read it: cpio judges the archive, a schema of
//! the keys the autoinstall file, and arithmetic the recipe.

use std::collections::BTreeSet;
use std::io::Read;

use kuth::format::cpio;
use kuth::installer::{Answers, autoinstall, preseed, recipe};
use serde_json::Value;

use crate::world::{answers, answers_with_mirror, golden, keys, text};
use kuth_test_support::judge::tool_in;

const GPT: &str = "size = \"28 GiB\"\nfirmware = [\"bios\"]";
const MBR: &str = "size = \"28 GiB\"\ntable = \"mbr\"\nfirmware = [\"bios\"]";
const UEFI: &str = "size = \"28 GiB\"\nfirmware = [\"uefi\"]";

/// Plain partitions, one of them swap and one the rest.
const PLAIN: &str = r#"
size = "4 GiB"
table = "mbr"
firmware = ["bios"]
[[stage.disk.partition]]
name = "swap"
size = "256 MiB"
filesystem = "swap"
[[stage.disk.partition]]
name = "root"
size = "rest"
filesystem = "xfs"
mount = "/"
"#;

#[test]
fn preseed_files_are_as_they_were() {
    golden("gpt.preseed", &preseed::text(&answers(&keys(GPT))).unwrap());
    let of = |answers: &Answers| recipe::lines(answers).join("\n") + "\n";
    let recipes = [
        ("GPT, BIOS", of(&answers(&keys(GPT)))),
        ("MBR, BIOS", of(&answers(&keys(MBR)))),
        ("GPT, UEFI", of(&answers(&keys(UEFI)))),
        ("plain partitions", of(&answers(PLAIN))),
    ];
    let all: String = recipes.iter().map(|(name, text)| format!("# {name}\n{text}\n")).collect();
    golden("recipes.txt", &all);
    let with = preseed::text(&answers_with_mirror(&keys(GPT))).unwrap();
    for line in [
        "d-i mirror/http/hostname string mirror.example:3142",
        "d-i mirror/http/directory string /debian",
        "d-i apt-setup/use_mirror boolean true",
    ] {
        assert!(with.lines().any(|other| other == line), "{line}");
    }
    assert!(preseed::text(&answers(PLAIN)).unwrap().contains("partman-auto/method string regular"));
}

/// debconf takes a backslash for the beginning of something else: a real run ended in a shell's
/// complaint of half a command.
#[test]
fn no_command_has_a_backslash() {
    let text = preseed::text(&answers(&keys(GPT))).unwrap();
    let commands: Vec<&str> = text.lines().filter(|line| line.contains("_command ")).collect();
    assert_eq!(commands.len(), 2);
    assert!(commands.iter().all(|line| !line.contains('\\')), "{commands:?}");
}

/// partman rounds volumes down to whole extents, and gives what is left to the last one unless it
/// is told how much of the group it may take: both must come out as the plan has it.
#[test]
fn volumes_come_out_to_the_extent() {
    let answers = answers(&keys(GPT));
    let mut sum = 0;
    for line in recipe::lines(&answers).iter().filter(|line| line.contains("$lvmok{ }")) {
        let sizes: Vec<u64> = line.split(' ').take(3).map(|size| size.parse().unwrap()).collect();
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{line}");
        let name = line.split("lv_name{ ").nth(1).unwrap().split(' ').next().unwrap();
        let volume = answers.layout.filesystems.iter().find(|fs| fs.name == name).unwrap();
        let extents = sizes[0] * 1_000_000 / (4 << 20);
        assert_eq!(extents * (4 << 20), volume.size.0, "{line}");
        sum += sizes[0];
    }
    assert_eq!(recipe::guided_size(&answers), Some(sum));
    // The measured ones.
    assert_eq!(sum, 27_920);
}

#[test]
fn a_volume_that_takes_the_rest_may_grow() {
    let keys =
        keys(GPT).replace("name = \"var\"\nsize = \"10 GiB\"", "name = \"var\"\nsize = \"rest\"");
    let answers = answers(&keys);
    assert_eq!(recipe::guided_size(&answers), None);
    let last = recipe::lines(&answers).pop().unwrap();
    assert!(last.starts_with("64 ") && last.split(' ').nth(2) == Some("-1"), "{last}");
    assert!(preseed::text(&answers).unwrap().contains("guided_size string max"));
}

#[test]
fn answers_of_ones_own_come_behind_and_never_touch_the_end() {
    let mut answers = answers(&keys(GPT));
    answers.more = "d-i time/zone string Europe/Berlin".into();
    let text = preseed::text(&answers).unwrap();
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}"));
    assert!(at("string Etc/UTC") < at("string Europe/Berlin"));
    assert!(at("string Europe/Berlin") < at("preseed/late_command"));
    answers.instead = Some("d-i a/b boolean true".into());
    let text = preseed::text(&answers).unwrap();
    assert!(text.starts_with("d-i a/b boolean true\nd-i time/zone") && !text.contains("partman"));
    answers.more = "d-i preseed/late_command string reboot".into();
    let error = preseed::text(&answers).unwrap_err().to_string();
    assert!(error.contains("`preseed/late_command`"), "{error}");
    assert!(autoinstall::text(&answers).is_err());
}

#[test]
fn the_archive_is_one_for_cpio_and_for_ourselves() {
    let packed = preseed::archive(&answers(&keys(GPT))).unwrap();
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut archive).unwrap();
    let entries = cpio::read(&archive).unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["preseed.cfg", "kuth-late", "kuth-inside"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("archive");
    std::fs::write(&file, &archive).unwrap();
    let list = ["-c", "cpio -t --quiet <archive && cpio -i --quiet <archive"];
    let Some(listed) = tool_in(directory.path(), "sh", &list) else { return };
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
    for entry in &entries {
        let read = std::fs::read(directory.path().join(&entry.name)).unwrap();
        assert_eq!(read, entry.bytes, "{}", entry.name);
        // The scripts are ones that a shell can read.
        if entry.name != "preseed.cfg" {
            tool_in(directory.path(), "sh", &["-n", &entry.name]);
        }
    }
}

/// An initrd with the answers behind it is still an archive, in which the kernel's reader finds
/// both: cpio's own does where the two are put together unpacked.
#[test]
fn answers_behind_an_initrd_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let own = cpio::write(&[cpio::Entry::file("init", 0o755, "#!/bin/sh\n")]).unwrap();
    std::fs::write(directory.path().join("own"), &own).unwrap();
    let answers = preseed::archive(&answers(&keys(GPT))).unwrap();
    std::fs::write(directory.path().join("answers"), answers).unwrap();
    let script = "gzip -c own >initrd && cat answers >>initrd && \
        gzip -dc initrd | { cpio -it --quiet; cpio -it --quiet; }";
    let Some(listed) = tool_in(directory.path(), "sh", &["-c", script]) else { return };
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(listed, ["init", "preseed.cfg", "kuth-late", "kuth-inside"]);
}

#[test]
fn debconf_reads_the_answers() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("preseed.cfg");
    std::fs::write(&file, preseed::text(&answers(&keys(GPT))).unwrap()).unwrap();
    // Checks the form of every line, and takes none of them in.
    let check = ["-c", "debconf-set-selections --checkonly preseed.cfg 2>&1"];
    let Some(said) = tool_in(directory.path(), "sh", &check) else { return };
    assert_eq!(said, "", "{}", text(&file));
}

/// Canonical's schema is not ours to pass on, so its shape is in these words: which keys there are,
/// and what each action of the storage needs.
#[test]
fn autoinstall_files_are_as_they_were_and_refer_to_what_is_there() {
    let text = autoinstall::text(&answers(&keys(UEFI))).unwrap();
    golden("uefi.autoinstall", &text);
    let body = text.strip_prefix("#cloud-config\n").unwrap();
    let document: Value = serde_json::from_str(body).unwrap();
    let autoinstall = &document["autoinstall"];
    const KEYS: [&str; 16] = [
        "version",
        "locale",
        "keyboard",
        "timezone",
        "refresh-installer",
        "source",
        "user-data",
        "ssh",
        "packages",
        "updates",
        "shutdown",
        "storage",
        "late-commands",
        "error-commands",
        "apt",
        "network",
    ];
    for key in autoinstall.as_object().unwrap().keys() {
        assert!(KEYS.contains(&key.as_str()), "{key}");
    }
    assert_eq!(autoinstall["version"], 1);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for action in autoinstall["storage"]["config"].as_array().unwrap() {
        let kind = action["type"].as_str().unwrap();
        let needs: &[&str] = match kind {
            "disk" => &["ptable", "match"],
            "partition" => &["device", "size", "number"],
            "lvm_volgroup" => &["name", "devices"],
            "lvm_partition" => &["volgroup", "name", "size"],
            "format" => &["volume", "fstype"],
            "mount" => &["device", "path"],
            other => panic!("{other}"),
        };
        needs.iter().for_each(|key| assert!(!action[*key].is_null(), "{kind} needs {key}"));
        for key in ["device", "volume", "volgroup"] {
            if let Some(name) = action[key].as_str() {
                assert!(seen.contains(name), "{kind}: {name} comes later");
            }
        }
        let more = action["devices"].as_array().into_iter().flatten();
        more.for_each(|name| assert!(seen.contains(name.as_str().unwrap()), "{name}"));
        assert!(seen.insert(action["id"].as_str().unwrap().to_string()), "{}", action["id"]);
    }
    // YAML's own reader agrees that it is one mapping.
    let node = kuth::format::yaml::read(&text).unwrap().unwrap();
    assert!(
        matches!(node.data, kuth::format::yaml::Data::Mapping(ref entries) if entries.len() == 1)
    );
}

//! The page of a report in Chromium: it writes nothing to the console, asks nobody for anything, fits
//! a phone and a wide window, and no label is on another. The pages stay in `target/tmp/report-page`,
//! to be looked at.

use std::path::PathBuf;
use std::time::Duration;

use kuth::build_record::{BuildRecord, StageRecord, StageState};
use kuth::build_report::contents::{
    Boot, Changes, Console, Contents, Disk, Expected, Packages, StageChange,
};
use kuth::build_report::page;
use kuth::compare::Change;
use kuth::format::dpkg::Package;
use kuth::import::{DiskReport, Location, Part};
use kuth::recipe::Difference;
use kuth::units::Bytes;
use kuth_test_support::{judge, target_tmp};
use serde_json::Value;

const MEASURE: &str = include_str!("measure.js");

/// A phone, a tablet, a desktop.
const WIDTHS: [u32; 3] = [400, 700, 1400];

/// Name, kind, inputs, state, begin and duration in seconds, reason.
type Row = (
    &'static str,
    &'static str,
    &'static [&'static str],
    StageState,
    f64,
    f64,
    Option<&'static str>,
);

/// A build like that of `pipelines/debian.toml`, with a boot that failed.
#[rustfmt::skip]
const STAGES: &[Row] = &[
    ("rootfs", "bootstrap", &[], StageState::Cached, 0.02, 0.0, None),
    ("base", "customise", &["rootfs"], StageState::Done, 0.1, 41.3, Some("package = htop (new)")),
    ("disk", "disk", &["base"], StageState::Done, 41.6, 17.9, Some("input from = 3ffa21d5c29ca6d1f5a3c6 (was 8be5c0a9b1a7)")),
    ("check", "boot", &["disk"], StageState::Failed, 59.6, 133.4, Some("its result could not be fetched")),
    ("image", "export", &["disk"], StageState::Done, 59.7, 8.2, Some("input from = 0a1b (was 8be5)")),
    ("vm", "register", &["disk"], StageState::Done, 59.8, 1.2, Some("input from = 0a1b (was 8be5)")),
    ("golden", "snapshot", &["vm"], StageState::Done, 61.1, 0.4, Some("input from = 77c1 (was 19fa)")),
    ("nodes/gate-node01", "clone", &["golden"], StageState::Done, 61.6, 0.9, Some("input from = 77c1 (was 19fa)")),
    ("nodes/hapx-node01", "clone", &["golden"], StageState::Skipped, 61.6, 0.0, Some("it was started, and holds state that a build does not replace by itself")),
    ("nodes/hapx-node02-with-a-name-that-does-not-end-soon", "clone", &["golden"], StageState::Done, 62.1, 0.7, Some("input from = 77c1 (was 19fa)")),
    ("report", "export", &["check"], StageState::Skipped, 193.0, 0.0, Some("check failed")),
    ("late", "boot", &["image"], StageState::NotReached, 0.0, 0.0, None),
];

fn stage(row: &Row) -> StageRecord {
    let (stage, kind, inputs, state, begin, seconds, reason) = *row;
    let error = (state == StageState::Failed).then(|| {
        "error: booting by BIOS\n  because: the unit ssh.service is not as expected\n    \
         expected: active\n    found: failed\nhint: the console has more: \
         /home/somebody/project/cache/logs/debian/check.bios.console"
            .to_string()
    });
    StageRecord {
        stage: stage.into(),
        kind: kind.into(),
        inputs: inputs.iter().map(|input| input.to_string()).collect(),
        state,
        reason: reason.map(str::to_string),
        error,
        key: None,
        digest: None,
        begin,
        seconds,
    }
}

/// A disk of 28 GiB with an EFI partition and logical volumes.
fn disk() -> DiskReport {
    let part = |place: Location, (start, mib): (u64, u64), holds, mounted: &str, used: u64| Part {
        place,
        size: Some(Bytes::mib(mib)),
        pieces: vec![(start << 20, mib << 20)],
        used: Some(Bytes::mib(used)).filter(|_| used > 0),
        holds,
        label: None,
        uuid: None,
        mounted: Some(mounted.to_string()).filter(|point| !point.is_empty()),
        fault: None,
    };
    let volume = |name: &str| Location::Logical("vg0".into(), name.into());
    DiskReport {
        format: "raw",
        size: Bytes::gib(28),
        table: Some("GPT"),
        parts: vec![
            part(Location::Partition(1), (1, 1), "unknown data", "", 0),
            part(Location::Partition(2), (2, 64), "vfat", "/boot/efi", 7),
            part(Location::Partition(3), (66, 512), "ext4", "/boot", 140),
            part(Location::Partition(4), (578, 28_093), "LVM2 physical volume", "", 0),
            part(volume("root"), (579, 2048), "ext4", "/", 310),
            part(volume("usr"), (2627, 8192), "xfs", "/usr", 1900),
            part(
                volume("a-volume-with-a-name-that-nobody-would-type-twice"),
                (10_819, 4096),
                "ext4",
                "/srv/something/that/is/deep/in/a/tree",
                4000,
            ),
            part(volume("swap"), (14_915, 2048), "swap", "", 0),
        ],
        no_system: None,
    }
}

fn package(name: &str, version: &str, installed: u64) -> Package {
    let text = String::new;
    Package {
        name: name.into(),
        architecture: "amd64".into(),
        version: version.into(),
        source: text(),
        source_version: text(),
        maintainer: text(),
        summary: text(),
        homepage: text(),
        installed,
    }
}

fn contents() -> Contents {
    let stages: Vec<StageRecord> = STAGES.iter().map(stage).collect();
    let last_runs =
        stages.iter().map(|it| (it.stage == "rootfs").then_some(Duration::from_secs(9)));
    let last_runs = last_runs.collect();
    let mut list = vec![
        package("linux-image-6.12.48+deb13-cloud-amd64-unsigned", "6.12.48-1", 106_432),
        package("libllvm19", "1:19.1.7-3+b1", 127_000),
        package("systemd", "257.8-1~deb13u2", 12_900),
    ];
    list.extend((0..40).map(|at| package(&format!("package-{at}"), "1.0-1", 4000 - at * 90)));
    let change = |name: &str, old: Option<&str>, new: Option<&str>| Change {
        what: (name.to_string(), "amd64".to_string()),
        old: old.map(str::to_string),
        new: new.map(str::to_string),
    };
    let expected = |what: &str, expected: &str, outcome: &str| Expected {
        what: what.into(),
        expected: expected.into(),
        outcome: outcome.into(),
    };
    let line = "[    0.000000] Command line: BOOT_IMAGE=/boot/vmlinuz root=/dev/mapper/vg0-root ro \
                console=ttyS0,115200 net.ifnames=0 biosdevname=0 quiet systemd.show_status=true";
    Contents {
        pipeline: "debian".into(),
        build: BuildRecord { began: 1_796_074_700, seconds: 194.2, tool: "0.1.0".into(), stages },
        last_runs,
        disks: vec![
            Disk { stage: "disk".into(), report: Ok(disk()) },
            Disk { stage: "other".into(), report: Err("it is not in the local cache".into()) },
        ],
        packages: Some(Packages { stage: "base".into(), list: Ok(list) }),
        changes: Some(Changes {
            since: 1_796_070_000,
            stages: vec![
                (
                    "base".into(),
                    StageChange::Recipe(vec![Difference::Added("package = htop".into())]),
                ),
                ("disk".into(), StageChange::Inputs),
                ("late".into(), StageChange::New),
            ],
            packages: Some(vec![
                change("htop", None, Some("3.4.1-5")),
                change("base-files", Some("13.8"), Some("13.8+deb13u1")),
            ]),
        }),
        boots: vec![Boot {
            stage: "check".into(),
            passed: Some(false),
            error: Some("error: booting by BIOS\n  because: it did not come up".into()),
            expectations: vec![(
                "bios".into(),
                vec![
                    expected("mount /", "/dev/mapper/vg0-root ext4", "as expected"),
                    expected("goss Service: ssh.service: enabled: matches", "", "skipped"),
                ],
            )],
            consoles: vec![Console {
                firmware: "bios".into(),
                left_out: 412,
                lines: vec![line.into(), "[  OK  ] Reached target basic.target.".into()],
            }],
        }],
    }
}

/// Where pages stay.
fn directory() -> PathBuf {
    let directory = target_tmp().join("report-page");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// What [`MEASURE`] finds of pages (name, width, HTML), and what they write to the console. `None` if
/// there is no Chromium.
fn measured(name: &str, pages: &[(String, u32, &str)]) -> Option<(Value, String)> {
    // `timeout` ends a browser that hangs; it would be there without the browser.
    if !judge::search_path().iter().any(|directory| directory.join("chromium").is_file()) {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        match release.lines().any(|line| line == "ID=debian") {
            true => judge::missing("chromium"),
            false => judge::skip("this distribution has no package of Chromium"),
        }
        return None;
    }
    // In a script nothing may look like its end.
    let pages = serde_json::to_string(pages).unwrap().replace("</", "<\\/");
    let html = format!(
        "<!doctype html><meta charset=\"utf-8\"><link rel=\"icon\" href=\"data:,\"><body>\
         <script>{MEASURE}\nconst report = (text) => {{ const end = document.createElement('pre');\
         end.textContent = 'FOUND' + text + 'END'; document.body.replaceChildren(end); }};\n\
         run({pages}, report);</script></body>\n"
    );
    let path = directory().join(format!("{name}.html"));
    std::fs::write(&path, html).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let profile = format!("--user-data-dir={}", profile.path().display());
    let url = format!("file://{}", path.display());
    let arguments = [
        "300",
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--enable-logging=stderr",
        "--window-size=1600,1200",
        "--virtual-time-budget=60000",
        &profile,
        "--dump-dom",
        &url,
    ];
    let (success, out, err) = judge::verdict("timeout", &arguments)?;
    assert!(success, "{err}");
    let found = out.split_once("<pre>FOUND").and_then(|(_, rest)| rest.split_once("END</pre>"));
    let (found, _) = found.unwrap_or_else(|| panic!("it measured nothing:\n{out}\n{err}"));
    let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let console: Vec<&str> = err.lines().filter(|line| line.contains("CONSOLE")).collect();
    Some((serde_json::from_str(&found).unwrap(), console.join("\n")))
}

#[test]
fn the_page_fits_every_window_and_asks_for_nothing() {
    let html = page::html(&contents());
    std::fs::write(directory().join("report.html"), &html).unwrap();
    // The policy would stop requests, so the page has to do without.
    let policy = html.lines().find(|line| line.contains("Content-Security-Policy")).unwrap();
    let open = html.replace(policy, "");
    assert_ne!(open, html);
    let mut pages: Vec<_> = WIDTHS.map(|width| (format!("{width}"), width, html.as_str())).to_vec();
    pages.push(("open".into(), 1400, &open));
    let Some((found, console)) = measured("pages", &pages) else { return };
    assert_eq!(console, "");
    for (name, ..) in &pages {
        let findings: Vec<Value> = found[name]["findings"].as_array().unwrap().clone();
        assert_eq!(findings, Vec::<Value>::new(), "{name}");
        assert!(found[name]["labels"].as_u64().unwrap() > 150, "{name}: {found}");
    }
}

/// The measure finds what it is for.
#[test]
fn faults_of_a_page_are_found() {
    let pages = [
        ("wide".to_string(), 400, "<body><div style=\"width:900px\">wide</div>"),
        (
            "overlap".to_string(),
            400,
            "<body><p>one</p><p style=\"position:absolute;top:8px\">two</p>",
        ),
        (
            "box".to_string(),
            400,
            "<body><svg><g><rect class=\"box\" width=\"9\" height=\"90\"/>\
             <text x=\"1\" y=\"40\">too long</text></g></svg>",
        ),
        ("request".to_string(), 400, "<body>x<img src=\"http://127.0.0.1:9/x.png\">"),
        ("console".to_string(), 400, "<body>x<script>console.error(\"wrong here\")</script>"),
    ];
    let Some((found, console)) = measured("faults", &pages) else { return };
    let says = |name: &str, text: &str| {
        let findings = found[name]["findings"].as_array().unwrap();
        assert!(
            findings.iter().any(|it| it.as_str().unwrap().starts_with(text)),
            "{name}: {found}"
        );
    };
    says("wide", "the page is 9");
    says("overlap", "overlap: one | two");
    says("box", "outside its box: too long");
    says("request", "a request: http://127.0.0.1:9/x.png");
    assert!(console.contains("wrong here"), "{console}");
}

//! The page: HTML with its style sheet in it and no script. It asks nobody for anything, which its
//! content security policy enforces. Pure; the same contents give the same bytes.

use std::fmt::Write as _;

use super::contents::{Boot, Changes, Console, Contents, Disk, Packages, StageChange};
use super::disk_map::{self, Form};
use super::graph::{self, Graph, seconds, with_short_digests};
use crate::build_record::{BuildRecord, StageRecord, StageState};
use crate::compare::Change;
use crate::format::dpkg::Package;
use crate::format::sbom::rfc3339;
use crate::format::xml::escaped;
use crate::units::{Bytes, Human};

const STYLE: &str = include_str!("style.css");

/// The packages that are shown at once; the others are folded away.
const PACKAGES: usize = 20;
/// The changed packages that are shown.
const CHANGED_PACKAGES: usize = 200;
/// The steps of the axis of time, in seconds.
const STEPS: [f64; 15] =
    [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0];
/// The most steps on the axis; on a phone no more labels have room.
const MOST_STEPS: f64 = 4.0;

/// The page.
pub fn html(contents: &Contents) -> String {
    let (pipeline, began) = (escaped(&contents.pipeline), utc(contents.build.began));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{pipeline}, build of {began}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{pipeline}</h1>\n<p class=\"summary\">{}</p>\n\
         <p class=\"minor\">{began}, kuth {}</p>\n</header>\n<main>\n",
        summary(&contents.build),
        escaped(&contents.build.tool),
    );
    section(&mut html, "Timeline", &timeline(contents));
    let graph = Graph::of_build(&contents.pipeline, &contents.build);
    let graph = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Graph\">\n{}</div>\n",
        graph::draw(&graph)
    );
    section(&mut html, "Graph", &graph);
    section(&mut html, "Disks", &disks(&contents.disks));
    section(&mut html, "Packages", &packages(contents.packages.as_ref()));
    section(&mut html, "Changes since the last build", &changes(contents.changes.as_ref()));
    section(&mut html, "Boots", &boots(&contents.boots));
    html + "</main>\n</body>\n</html>\n"
}

fn section(html: &mut String, heading: &str, content: &str) {
    // Writing into a string does not fail.
    let _ = writeln!(html, "<section>\n<h2>{heading}</h2>\n{content}</section>");
}

/// A sentence where there is nothing to show.
fn nothing(sentence: &str) -> String {
    format!("<p class=\"minor\">{}</p>\n", escaped(sentence))
}

/// `2026-11-30 21:38 UTC`
fn utc(seconds: u64) -> String {
    let text = rfc3339(seconds);
    format!("{} {} UTC", &text[..10], &text[11..16])
}

/// `18 stages: 3 done, 15 cached, in 61.2 s`
fn summary(build: &BuildRecord) -> String {
    let states = [
        StageState::Done,
        StageState::Cached,
        StageState::Failed,
        StageState::Skipped,
        StageState::NotReached,
    ];
    let counts = states.map(|state| (build.count(state), state.word()));
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let stages = match build.stages.len() {
        1 => "1 stage".to_string(),
        count => format!("{count} stages"),
    };
    format!("{stages}: {}, in {}", counts.join(", "), seconds(build.seconds))
}

/// Percent of the width.
fn percent(part: f64, whole: f64) -> String {
    format!("{:.3}%", (part / whole * 100.0).clamp(0.0, 100.0))
}

fn class(state: StageState) -> &'static str {
    match state {
        StageState::Cached => "cached",
        StageState::Done => "done",
        StageState::Failed => "failed",
        StageState::Skipped | StageState::NotReached => "skipped",
    }
}

fn timeline(contents: &Contents) -> String {
    let build = &contents.build;
    let critical = build.critical_path();
    let length: f64 = critical.iter().map(|at| build.stages[*at].seconds).sum();
    let saved = build.stages.iter().zip(&contents.last_runs);
    let saved = saved.filter(|(stage, _)| stage.state == StageState::Cached && !stage.took_time());
    let saved: f64 = saved.filter_map(|(_, last)| *last).map(|last| last.as_secs_f64()).sum();
    let mut sentences = Vec::new();
    if !critical.is_empty() {
        sentences.push(format!(
            "<span class=\"key\"></span> The critical path took {} of {}.",
            seconds(length),
            seconds(build.seconds)
        ));
    }
    if saved > 0.0 {
        sentences.push(format!("Stages from the cache took {} when they ran.", seconds(saved)));
    }
    let ends = build.stages.iter().map(StageRecord::end);
    // Never 0, which would divide nothing.
    let whole = ends.fold(build.seconds, f64::max).max(0.001);
    let mut html =
        format!("<p class=\"minor\">{}</p>\n<ol class=\"timeline\">\n", sentences.join(" "));
    html += &axis(whole);
    for (at, stage) in build.stages.iter().enumerate() {
        html += &row(stage, critical.contains(&at), whole);
    }
    html + "</ol>\n"
}

fn axis(whole: f64) -> String {
    let step = STEPS.into_iter().find(|step| whole / step <= MOST_STEPS);
    let step = step.unwrap_or((whole / MOST_STEPS / 3600.0).ceil() * 3600.0);
    let label = |at: f64| match at {
        at if step < 1.0 => format!("{at:.1} s"),
        at if step < 60.0 => format!("{at:.0} s"),
        at if step < 3600.0 => format!("{:.0} min", at / 60.0),
        at => format!("{:.0} h", at / 3600.0),
    };
    let ticks = (0..).map(|number| f64::from(number) * step);
    // One at the very end would stick out.
    let ticks = ticks.take_while(|at| *at <= whole * 0.9);
    let ticks: String = ticks
        .map(|at| format!("<span style=\"left:{}\">{}</span>", percent(at, whole), label(at)))
        .collect();
    format!("<li class=\"axis\" aria-hidden=\"true\"><span class=\"ticks\">{ticks}</span></li>\n")
}

fn row(stage: &StageRecord, is_critical: bool, whole: f64) -> String {
    let critical = if is_critical { " critical" } else { "" };
    let took = match stage.took_time() {
        true => format!("{}, {}", stage.state.word(), seconds(stage.seconds)),
        false => stage.state.word().to_string(),
    };
    let bar = match stage.took_time() {
        true => format!(
            "<i style=\"left:{};width:{}\"></i>",
            percent(stage.begin, whole),
            percent(stage.seconds, whole)
        ),
        false => String::new(),
    };
    let reason = stage.reason.as_deref().map(with_short_digests);
    let reason = match (reason, is_critical) {
        (Some(reason), true) => format!("{}; on the critical path", escaped(&reason)),
        (Some(reason), false) => escaped(&reason),
        (None, true) => "on the critical path".to_string(),
        (None, false) => String::new(),
    };
    let mut html = format!(
        "<li class=\"{}{critical}\"><span class=\"name\">{}</span><span class=\"took\">{took}</span>\
         <span class=\"bar\">{bar}</span>",
        class(stage.state),
        escaped(&stage.stage),
    );
    if !reason.is_empty() {
        let _ = write!(html, "<span class=\"reason\">{reason}</span>");
    }
    if let Some(error) = &stage.error {
        let _ = write!(html, "<pre class=\"error\">{}</pre>", escaped(error));
    }
    html + "</li>\n"
}

fn disks(disks: &[Disk]) -> String {
    if disks.is_empty() {
        return nothing("This build has no disk.");
    }
    let mut html = String::new();
    for disk in disks {
        let _ = writeln!(html, "<h3>{}</h3>", escaped(&disk.stage));
        match &disk.report {
            Ok(report) => html += &disk_map::draw(report, Form::Inline),
            Err(reason) => html += &nothing(&format!("The disk is not shown: {reason}.")),
        }
    }
    html
}

fn packages(packages: Option<&Packages>) -> String {
    let Some(packages) = packages else { return nothing("This build has no tree.") };
    let list = match &packages.list {
        Ok(list) => list,
        Err(reason) => return nothing(&format!("The packages are not shown: {reason}.")),
    };
    let size = |package: &Package| Bytes(package.installed.saturating_mul(1024));
    let total = list.iter().map(size).fold(0u64, |sum, size| sum.saturating_add(size.0));
    let largest = list.first().map_or(0, |package| size(package).0).max(1);
    let mut html = format!(
        "<p class=\"minor\">{} packages in {}, {} installed.</p>\n",
        list.len(),
        escaped(&packages.stage),
        Human(Bytes(total))
    );
    let table = |packages: &[Package]| {
        let mut html = "<table class=\"packages\">\n<thead><tr><th>Package</th><th>Version</th>\
            <th class=\"number\">Size</th></tr></thead>\n<tbody>\n"
            .to_string();
        for package in packages {
            let Bytes(bytes) = size(package);
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td>{}</td><td class=\"number\">{}<span class=\"meter\">\
                 <i style=\"width:{}\"></i></span></td></tr>",
                escaped(&package.name),
                escaped(&package.version),
                Human(Bytes(bytes)),
                percent(bytes as f64, largest as f64),
            );
        }
        html + "</tbody>\n</table>\n"
    };
    let (shown, others) = list.split_at(list.len().min(PACKAGES));
    if !shown.is_empty() {
        html += &table(shown);
    }
    if !others.is_empty() {
        let count = others.len();
        let _ = writeln!(
            html,
            "<details><summary>{count} smaller packages</summary>\n{}</details>",
            table(others)
        );
    }
    html
}

fn changes(changes: Option<&Changes>) -> String {
    let Some(changes) = changes else {
        return nothing("No earlier build of this pipeline is on record.");
    };
    let mut html = nothing(&format!("Compared with the build of {}.", utc(changes.since)));
    if changes.stages.is_empty() {
        html += "<p>No stage changed.</p>\n";
    }
    for (stage, change) in &changes.stages {
        let sentence = match change {
            StageChange::New => "was not in that build",
            StageChange::Gone => "was in that build only",
            StageChange::Recipe(_) => "has another recipe",
            StageChange::Inputs => "has other inputs",
            StageChange::Bytes => "has the same recipe and a result with other bytes",
            StageChange::Unknown => "has another recipe, and the earlier one is not in the cache",
        };
        let _ = writeln!(html, "<h3>{} {sentence}</h3>", escaped(stage));
        if let StageChange::Recipe(differences) = change {
            let lines: Vec<String> =
                differences.iter().map(|it| with_short_digests(&it.to_string())).collect();
            let _ = writeln!(html, "<pre>{}</pre>", escaped(&lines.join("\n")));
        }
    }
    match changes.packages.as_deref() {
        None => {}
        Some([]) => html += "<p>No package changed.</p>\n",
        Some(packages) => html += &changed_packages(packages),
    }
    html
}

fn changed_packages(changes: &[Change<(String, String), String>]) -> String {
    let count = |old: bool, new: bool| {
        changes.iter().filter(|it| (it.old.is_some(), it.new.is_some()) == (old, new)).count()
    };
    let (added, removed, changed) = (count(false, true), count(true, false), count(true, true));
    let lines = changes.iter().take(CHANGED_PACKAGES).map(|it| {
        let name = &it.what.0;
        match (&it.old, &it.new) {
            (Some(old), Some(new)) => format!("~ {name} {old} -> {new}"),
            (Some(old), None) => format!("- {name} {old}"),
            (None, new) => format!("+ {name} {}", new.as_deref().unwrap_or_default()),
        }
    });
    let mut lines: Vec<String> = lines.collect();
    if changes.len() > CHANGED_PACKAGES {
        lines.push(format!("… and {} more", changes.len() - CHANGED_PACKAGES));
    }
    format!(
        "<h3>Packages: {added} added, {removed} removed, {changed} changed</h3>\n<pre>{}</pre>\n",
        escaped(&lines.join("\n"))
    )
}

fn boots(boots: &[Boot]) -> String {
    if boots.is_empty() {
        return nothing("This build has no boot.");
    }
    boots.iter().map(boot).collect()
}

fn boot(boot: &Boot) -> String {
    let outcome = match boot.passed {
        Some(true) => "as expected",
        Some(false) => "failed",
        None => "not booted",
    };
    let mut html = format!("<h3>{}: {outcome}</h3>\n", escaped(&boot.stage));
    if let Some(error) = &boot.error {
        let _ = writeln!(html, "<pre class=\"error\">{}</pre>", escaped(error));
    }
    for (firmware, expectations) in &boot.expectations {
        let _ = writeln!(
            html,
            "<table>\n<thead><tr><th>{}</th><th>Expected</th><th>Found</th></tr></thead>\n<tbody>",
            escaped(&firmware.to_uppercase())
        );
        if expectations.is_empty() {
            html += "<tr><td>boot</td><td>it comes up</td><td>as expected</td></tr>\n";
        }
        for it in expectations {
            let [what, expected, outcome] =
                [&it.what, &it.expected, &it.outcome].map(|text| escaped(text));
            let _ = writeln!(html, "<tr><td>{what}</td><td>{expected}</td><td>{outcome}</td></tr>");
        }
        html += "</tbody>\n</table>\n";
    }
    for Console { firmware, left_out, lines } in &boot.consoles {
        let firmware = escaped(&firmware.to_uppercase());
        let above = match left_out {
            0 => String::new(),
            count => format!("… {count} lines above\n"),
        };
        let _ = writeln!(
            html,
            "<details><summary>Console of the last run, {firmware}</summary>\n\
             <pre>{above}{}</pre>\n</details>",
            escaped(&lines.join("\n"))
        );
    }
    html
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::contents::Expected;
    use super::super::disk_map::tests::disk;
    use super::*;
    use crate::build_record::tests::{build, ran};
    use crate::recipe::Difference;

    const NASTY: &str = "<script>alert(\"&\")</script>";

    fn package(name: &str, kib: u64) -> Package {
        Package {
            name: name.into(),
            architecture: "amd64".into(),
            version: "1:2.3-4+deb13u5".into(),
            source: name.into(),
            source_version: String::new(),
            maintainer: String::new(),
            summary: String::new(),
            homepage: String::new(),
            installed: kib,
        }
    }

    /// A build in which there is something of everything, with `text` wherever a text may be.
    fn contents(text: &str) -> Contents {
        let with_reason = |stage: StageRecord| StageRecord { reason: Some(text.into()), ..stage };
        let failed = StageRecord {
            state: StageState::Failed,
            error: Some(format!("error: {text}\nhint: x")),
            kind: "boot".into(),
            ..with_reason(ran("check", &["disk"], 14.0, 40.0))
        };
        let skipped = StageRecord {
            state: StageState::Skipped,
            ..with_reason(ran("image", &["check"], 54.0, 0.0))
        };
        let stages = vec![
            ran("rootfs", &[], 0.0, 0.0),
            with_reason(ran("base", &["rootfs"], 0.0, 12.0)),
            ran(text, &["base"], 12.0, 2.0),
            ran("disk", &["base"], 12.0, 1.0),
            failed,
            skipped,
        ];
        let mut build = build(stages);
        build.tool = text.to_string();
        let mut shown = disk();
        shown.parts[0].label = Some(text.into());
        let last_runs = vec![Some(Duration::from_secs(100)), None, None, None, None, None];
        let list = (0..25).map(|at| package(&format!("{text}{at}"), 5000 - at * 100)).collect();
        let change = |old: Option<&str>, new: Option<&str>| Change {
            what: (text.to_string(), "amd64".to_string()),
            old: old.map(str::to_string),
            new: new.map(str::to_string),
        };
        Contents {
            pipeline: text.to_string(),
            build,
            last_runs,
            disks: vec![
                Disk { stage: text.into(), report: Ok(shown) },
                Disk { stage: "other".into(), report: Err(text.into()) },
            ],
            packages: Some(Packages { stage: text.into(), list: Ok(list) }),
            changes: Some(Changes {
                since: 1_789_000_000,
                stages: vec![
                    (text.into(), StageChange::Recipe(vec![Difference::Added(text.into())])),
                    ("disk".into(), StageChange::Inputs),
                ],
                packages: Some(vec![
                    change(None, Some(text)),
                    change(Some(text), None),
                    change(Some("1"), Some("2")),
                ]),
            }),
            boots: vec![Boot {
                stage: text.into(),
                passed: Some(false),
                error: Some(text.into()),
                expectations: vec![(
                    text.into(),
                    vec![Expected {
                        what: text.into(),
                        expected: text.into(),
                        outcome: text.into(),
                    }],
                )],
                consoles: vec![Console {
                    firmware: "bios".into(),
                    left_out: 7,
                    lines: vec![text.into(), "end".into()],
                }],
            }],
        }
    }

    #[test]
    fn no_text_becomes_markup() {
        let html = html(&contents(NASTY));
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;"));
    }

    /// Python's parser of HTML: every element is closed, and nothing refers to anything outside.
    #[test]
    fn another_parser_finds_whole_elements_and_no_reference() {
        const JUDGE: &str = "import sys, html.parser\n\
            void = {'meta', 'link', 'br'}\n\
            class P(html.parser.HTMLParser):\n\
            \x20   open, wrong = [], []\n\
            \x20   def handle_starttag(self, tag, attributes):\n\
            \x20       for name, value in attributes:\n\
            \x20           if name in ('src', 'srcset', 'action', 'background', 'poster'):\n\
            \x20               self.wrong.append(f'{tag} {name}={value}')\n\
            \x20           if name == 'href' and value != 'data:,':\n\
            \x20               self.wrong.append(f'{tag} {name}={value}')\n\
            \x20       if tag not in void: self.open.append(tag)\n\
            \x20   def handle_startendtag(self, tag, attributes): pass\n\
            \x20   def handle_endtag(self, tag):\n\
            \x20       if not self.open or self.open.pop() != tag: self.wrong.append(f'/{tag}')\n\
            p = P()\n\
            p.feed(open(sys.argv[1], encoding='utf-8').read())\n\
            print(p.open + p.wrong)\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        std::fs::write(&path, html(&contents(NASTY))).unwrap();
        let path = path.to_str().unwrap();
        let found = kuth_test_support::judge::tool("python3", &["-c", JUDGE, path]);
        assert!(found.is_none_or(|found| found.trim() == "[]"));
        // Style sheets can ask for files too.
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn the_timeline_says_what_ran_why_and_what_was_critical() {
        let html = timeline(&contents("a reason"));
        assert!(html.contains("The critical path took 53.0 s of 55.0 s."), "{html}");
        assert!(html.contains("Stages from the cache took 100.0 s when they ran."), "{html}");
        let row = |name: &str| {
            let row = html.lines().find(|line| line.contains(&format!(">{name}</span>")));
            row.unwrap_or_else(|| panic!("no row {name}: {html}")).to_string()
        };
        let base = row("base");
        assert!(
            base.contains("class=\"done critical\"") && base.contains("done, 12.0 s"),
            "{base}"
        );
        assert!(base.contains("left:0.000%;width:21.818%"), "{base}");
        assert!(base.contains(">a reason; on the critical path<"), "{base}");
        assert!(row("rootfs").contains("class=\"cached\"") && !row("rootfs").contains("<i "));
        assert!(row("check").contains("<pre class=\"error\">error: a reason"));
        assert!(row("image").contains("skipped</span>"));
    }

    #[test]
    fn the_axis_has_few_round_labels() {
        for (whole, labels) in [
            (0.35, &["0.0 s", "0.1 s", "0.2 s", "0.3 s"][..]),
            (55.0, &["0 s", "20 s", "40 s"]),
            (100.0, &["0 s", "30 s", "60 s", "90 s"]),
            (900.0, &["0 min", "5 min", "10 min"]),
            (40_000.0, &["0 h", "3 h", "6 h", "9 h"]),
        ] {
            let axis = axis(whole);
            let found: Vec<&str> = axis
                .split("\">")
                .filter_map(|piece| piece.split_once("</span>"))
                .map(|(label, _)| label)
                .filter(|label| !label.contains('<'))
                .collect();
            assert_eq!(found, labels, "{axis}");
        }
    }

    #[test]
    fn a_build_of_nothing_has_a_sentence_for_each_section() {
        let empty = Contents {
            pipeline: "p".into(),
            build: build(Vec::new()),
            last_runs: Vec::new(),
            disks: Vec::new(),
            packages: None,
            changes: None,
            boots: Vec::new(),
        };
        let html = html(&empty);
        for sentence in [
            "This build has no disk.",
            "This build has no tree.",
            "No earlier build of this pipeline is on record.",
            "This build has no boot.",
        ] {
            assert!(html.contains(sentence), "{sentence}");
        }
    }

    #[test]
    fn packages_beyond_the_largest_are_folded() {
        let html = html(&contents("p"));
        assert!(html.contains("<summary>5 smaller packages</summary>"));
        assert!(html.contains("25 packages in p, 92.8 MiB installed."), "{html}");
        assert!(html.contains("1 added, 1 removed, 1 changed"));
    }

    #[test]
    fn durations_have_minutes_where_there_are_many_seconds() {
        for (given, text) in [(0.04, "0.0 s"), (61.25, "61.2 s"), (200.4, "3 min 20 s")] {
            assert_eq!(seconds(given), text);
        }
        assert_eq!(utc(1_790_000_000), "2026-09-21 14:13 UTC");
    }
}

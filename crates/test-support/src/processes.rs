//! Looks for processes in /proc: what a kuth has started, and what is left of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long what is being killed may take to go. What is not killed stays for ten minutes, so that
/// a busy machine is not taken for a fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process and when it began, since numbers come around.
type Process = (i32, String);

/// Field `at` of /proc/PID/stat, counted as proc(5) does, beyond the name.
fn stat(pid: i32, at: usize) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = text.rsplit_once(')')?.1;
    rest.split_whitespace().nth(at - 3).map(str::to_string)
}

/// The processor time of a process that may have ended but was not waited for.
pub fn cpu(pid: i32) -> Duration {
    let ticks = |at| stat(pid, at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(14) + ticks(15)) * 10)
}

fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The processes that `pid` started, and those that they did.
pub fn below(pid: i32) -> BTreeSet<Process> {
    let parents: Vec<(i32, i32)> =
        all().into_iter().filter_map(|pid| Some((pid, stat(pid, 4)?.parse().ok()?))).collect();
    let mut found = BTreeSet::from([pid]);
    loop {
        let next: BTreeSet<i32> = parents
            .iter()
            .filter(|(child, parent)| found.contains(parent) && !found.contains(child))
            .map(|(child, _)| *child)
            .collect();
        if next.is_empty() {
            break;
        }
        found.extend(next);
    }
    found.remove(&pid);
    found.into_iter().filter_map(|pid| Some((pid, stat(pid, 22)?))).collect()
}

/// Whether one of the processes below `pid` runs `program`, by itself or through another program.
pub fn run_below(pid: i32, program: &str) -> bool {
    let is_it = |process: &Process| {
        let words = fs::read(format!("/proc/{}/cmdline", process.0)).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.any(|word| word.rsplit(|byte| *byte == b'/').next() == Some(program.as_bytes()))
    };
    below(pid).iter().any(is_it)
}

/// Whether a process runs, that is, is neither gone nor only waited for.
fn runs(process: &Process) -> bool {
    stat(process.0, 22).as_ref() == Some(&process.1) && stat(process.0, 3).as_deref() != Some("Z")
}

/// Whether a process has to do with `directory`: runs from it, in it, has a file of it open, names
/// it in its arguments, or has a part of it mounted.
fn touches(pid: i32, directory: &str) -> bool {
    let proc = |name: &str| format!("/proc/{pid}/{name}");
    let link = |name: &str| fs::read_link(proc(name)).unwrap_or_default();
    let within = |path: &Path| path.to_string_lossy().contains(directory);
    let text = |name: &str| {
        String::from_utf8_lossy(&fs::read(proc(name)).unwrap_or_default()).contains(directory)
    };
    let opens = || {
        let entries = fs::read_dir(proc("fd")).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|path| within(&path))
    };
    ["cwd", "exe", "root"].iter().any(|name| within(&link(name)))
        || text("cmdline")
        || text("mountinfo")
        || opens()
}

/// Waits until none of `started` runs and nothing touches `directory`; panics when that takes too
/// long. Tells how long it took.
pub fn assert_gone(started: &BTreeSet<Process>, directory: &Path) -> Duration {
    let start = Instant::now();
    let directory = directory.to_str().unwrap();
    let me = std::process::id() as i32;
    loop {
        let mut left: Vec<i32> =
            started.iter().filter(|process| runs(process)).map(|process| process.0).collect();
        left.extend(all().into_iter().filter(|pid| *pid != me && touches(*pid, directory)));
        left.retain(|pid| stat(*pid, 3).is_some_and(|state| state != "Z"));
        if left.is_empty() {
            return start.elapsed();
        }
        if start.elapsed() > PATIENCE {
            let tell = |pid: &i32| {
                let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                format!("{pid} {}", String::from_utf8_lossy(&words).replace('\0', " "))
            };
            panic!("still there: {:#?}", left.iter().map(tell).collect::<Vec<_>>());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! The pages as a book: every page is in the summary, every link leads somewhere, every pipeline loads, every
//! command exists, and what can be run quickly says what the page says.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use clap::Parser;

use kuth_test_support::home::Home;

use super::{formatted, load, read, root, sources};

/// The pages of the book and the other documents, relative to the root.
fn pages() -> Vec<String> {
    let mut files = Vec::new();
    sources(&root().join("docs"), &mut files);
    let mut pages: Vec<String> = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_string())
        .collect();
    pages.extend(
        ["README", "CONTRIBUTING", "DESIGN", "SECURITY", "CHANGELOG"].map(|it| format!("{it}.md")),
    );
    pages.sort();
    assert!(pages.len() > 30, "{pages:?}");
    pages
}

/// The fenced blocks of a text: what follows the fence, and the lines.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(fence) => {
                is_open = true;
                blocks.push((fence, Vec::new()));
            }
            None if is_open => blocks.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    assert!(!is_open, "a block has no end");
    blocks
}

/// The text outside of fenced blocks.
fn prose(text: &str) -> String {
    let mut is_open = false;
    let outside = text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        is_open ^= is_fence;
        !is_open && !is_fence
    });
    outside.map(|line| format!("{line}\n")).collect()
}

/// The targets of a page's links, without those to other servers.
fn links(text: &str) -> Vec<String> {
    let targets = prose(text).replace('\n', " ");
    let targets = targets.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_string).collect()
}

/// The anchors of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// `path` without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        plain
    })
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut dead = Vec::new();
    let mut count = 0;
    for page in pages() {
        for link in links(&read(&page)) {
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let directory = Path::new(&page).parent().unwrap();
            let file =
                if file.is_empty() { PathBuf::from(&page) } else { plain(&directory.join(file)) };
            let is_there = root().join(&file).exists();
            let is_page = file.extension().is_some_and(|extension| extension == "md");
            let has_anchor =
                anchor.is_empty() || is_page && is_there && anchors(&read(&file)).contains(anchor);
            if !is_there || !has_anchor {
                dead.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(count > 150, "{count} links were found");
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_page_of_the_book_is_in_the_summary() {
    let listed: BTreeSet<String> =
        links(&read("docs/SUMMARY.md")).iter().map(|link| format!("docs/{link}")).collect();
    let pages = pages().into_iter().filter(|page| page.starts_with("docs/"));
    let pages: BTreeSet<String> = pages.filter(|page| page != "docs/SUMMARY.md").collect();
    assert_eq!(listed, pages);
}

#[test]
fn every_kind_has_a_page() {
    for kind in kuth::stage::KINDS {
        let page = read(format!("docs/stages/{}.md", kind.name));
        assert!(page.starts_with(&format!("# `{}`\n", kind.name)), "{}", kind.name);
        assert!(page.contains(&format!("](../pipeline.md#{})", kind.name)), "{}", kind.name);
        let parts = blocks(&page).into_iter().filter(|(fence, _)| *fence == "toml");
        let parts: String = parts.map(|(_, lines)| lines.join("\n") + "\n").collect();
        assert!(
            parts.contains(&format!("kind = \"{}\"", kind.name)),
            "{} has no example",
            kind.name
        );
    }
}

/// The parts on the pages of the kinds continue the first whole pipeline of the reference.
#[test]
fn the_pipelines_of_every_page_load_and_are_formatted() {
    let small = super::blocks("toml pipeline").remove(0);
    let mut whole = 0;
    for page in pages() {
        let text = read(&page);
        let mut parts = String::new();
        for (fence, lines) in blocks(&text) {
            let source = lines.join("\n") + "\n";
            match fence {
                "toml pipeline" => {
                    load(&source);
                    whole += 1;
                }
                "toml" if page.starts_with("docs/stages/") => parts += &format!("\n{source}"),
                _ => continue,
            }
            assert!(
                source == formatted(&source),
                "`kuth fmt` writes it otherwise, in {page}:\n{source}"
            );
        }
        if !parts.is_empty() {
            load(&format!("{small}{parts}"));
        }
    }
    assert!(whole >= 7, "{whole} whole pipelines");
}

/// The commands of a page's console and shell blocks: each with the page, to name it.
fn commands() -> Vec<(String, String)> {
    let mut commands = Vec::new();
    for page in pages() {
        let text = read(&page);
        for (fence, lines) in blocks(&text) {
            let is_console = fence.starts_with("console");
            if !is_console && fence != "sh" {
                continue;
            }
            let joined = lines.join("\n").replace("\\\n", " ");
            for line in joined.lines() {
                let line = if is_console { line.strip_prefix("$ ") } else { Some(line) };
                commands.extend(line.map(|line| (page.clone(), line.to_string())));
            }
        }
    }
    commands
}

/// The arguments of `line` if it runs kuth, as a shell splits them.
fn arguments(line: &str) -> Option<Vec<String>> {
    let mut words = shlex::split(line)?;
    let is_setting = |word: &String| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let at = words.iter().position(|word| !is_setting(word))?;
    if words[at] != "kuth" {
        return None;
    }
    let words = words.split_off(at);
    let is_end = |word: &String| {
        ["|", ">", "&", ";", "&&"].contains(&word.as_str()) || word.starts_with('>')
    };
    let end = words.iter().position(is_end).unwrap_or(words.len());
    Some(words[..end].to_vec())
}

#[test]
fn every_command_line_exists() {
    let mut count = 0;
    for (page, line) in commands() {
        let Some(words) = arguments(&line) else { continue };
        // `kuth build ...` stands for any arguments.
        if words.iter().any(|word| word == "...") {
            continue;
        }
        count += 1;
        if let Err(error) = kuth::cli::Cli::try_parse_from(&words) {
            assert!(!error.use_stderr(), "{page}: {line}\n{error}");
        }
    }
    assert!(count > 40, "{count} commands were found");
}

/// Blocks with the fence `console run` are run, those of a page in one directory, with the page's pipeline as
/// the file that `kuth init` writes. A line `...` stands for any lines.
#[test]
fn commands_that_can_be_run_say_what_the_page_says() {
    let mut count = 0;
    for page in pages() {
        let home = Home::new();
        for (fence, lines) in blocks(&read(&page)) {
            if fence == "toml pipeline" && home.path("pipelines/web.toml").exists() {
                home.write("pipelines/web.toml", &(lines.join("\n") + "\n"));
            }
            if fence != "console run" {
                continue;
            }
            let text = format!("\n{}", lines.join("\n"));
            for step in text.split("\n$ ").skip(1) {
                let (line, expected) = step.split_once('\n').unwrap_or((step, ""));
                let words = arguments(line).unwrap_or_else(|| panic!("{page}: {line}"));
                let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
                let said = home.kuth(&words);
                assert_eq!(said.status, 0, "{page}: {line}\n{}", said.err);
                assert!(matches(expected, &said.out), "{page}: {line}\n{}", said.out);
                count += 1;
            }
        }
    }
    assert!(count >= 5, "{count} commands were run");
}

/// Whether `text` is `expected`, in which a line `...` stands for any lines.
fn matches(expected: &str, text: &str) -> bool {
    let mut parts = expected.split("...").map(str::trim);
    let Some(first) = parts.next() else { return false };
    let text = text.trim();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        // At the end of `expected` it stands for the rest.
        rest = if part.is_empty() { "" } else { &rest[at + part.len()..] };
    }
    rest.trim().is_empty()
}

#[test]
fn the_picture_is_what_kuth_draws() {
    let mut command = kuth_test_support::home::bare(root());
    let graph = command.args(["graph", "pipelines/debian.toml", "--format", "svg"]);
    let picture = kuth_test_support::run::Run::to_end(graph).ok().out;
    let file = root().join("docs/debian.svg");
    if std::env::var_os("KUTH_BLESS").is_some() {
        std::fs::write(&file, &picture).unwrap();
    }
    assert!(std::fs::read_to_string(file).unwrap() == picture, "`KUTH_BLESS=1` draws it again");
}

#[test]
fn outputs_are_compared() {
    assert!(matches("a\nb", "a\nb\n"));
    assert!(!matches("a\nb", "a\nb\nc\n"));
    assert!(matches("a\n...", "a\nb\nc\n"));
    assert!(matches("a\n...\nc", "a\nb\nc\n"));
    assert!(!matches("a\n...\nd", "a\nb\nc\n"));
    assert!(!matches("x\n...", "a\n"));
}

/// The string literals of the sources, with `…` for what is put in.
fn messages() -> String {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("crates/images/src"), &mut files);
    let mut all = String::new();
    for path in files {
        let text = read(&path);
        // A literal that continues on the next line.
        let mut joined = String::new();
        let mut continues = false;
        for line in text.lines() {
            let line = if continues { line.trim_start() } else { line };
            continues = line.ends_with('\\');
            joined += line.strip_suffix('\\').unwrap_or(line);
            if !continues {
                joined.push('\n');
            }
        }
        let mut depth = 0;
        for c in joined.chars() {
            match c {
                '{' => {
                    depth += 1;
                    if depth == 1 {
                        all.push('…');
                    }
                }
                '}' if depth > 0 => depth -= 1,
                // Not what is put in, but a block of the program.
                '\n' => {
                    depth = 0;
                    all.push('\n');
                }
                c if depth == 0 => all.push(c),
                _ => {}
            }
        }
    }
    all
}

#[test]
fn every_message_of_the_troubleshooting_page_is_in_the_sources() {
    let (page, messages) = (read("docs/troubleshooting.md"), messages());
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(headings.len() >= 20, "{headings:?}");
    let missing = headings.iter().filter(|heading| !messages.contains(**heading));
    let missing: Vec<_> = missing.collect();
    // What people ask without a message.
    assert_eq!(missing, [&"every stage runs again on another host"]);
}

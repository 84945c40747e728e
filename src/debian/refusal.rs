//! What to say where the lock must not change and does not answer: how the question differs from
//! the one that the lock's packages were the answer to.

use super::{Archive, Base, MEDIUM, Request};
use crate::error::{Error, anyhow, with_hint};
use crate::stage_context::StageContext;

/// The keys of a lock's entry that have what was asked for, and where it was looked for.
const ASKED: [&str; 2] = ["asked", "components"];

/// Writes a request into its entry of the lock: for people, and to tell later what is new.
pub fn note(request: &Request, entry: &mut toml::Table) {
    for (key, names) in ASKED.into_iter().zip([&request.packages, &request.components]) {
        // Where nothing but the packages asked for is taken, their list says it.
        if key == ASKED[1] || request.base != Base::Exactly {
            let mut names = names.clone();
            names.sort();
            entry.insert(key.into(), names.into());
        }
    }
}

/// The names that [`note`] wrote.
fn noted(entry: &toml::Table, key: &str, request: &Request) -> Option<Vec<String>> {
    let text = |value: &toml::Value| value.as_str().map(str::to_string);
    if key == ASKED[0] && request.base == Base::Exactly {
        let packages = entry.get("package")?.as_array()?;
        return packages.iter().map(|package| text(package.get("name")?)).collect();
    }
    entry.get(key)?.as_array()?.iter().map(text).collect()
}

/// The error for a request that no entry of the lock answers.
pub fn not_locked(context: &StageContext, request: &Request) -> Error {
    let (stage, architecture) = (&context.stage, &context.settings.architecture);
    let text = |entry: &toml::Table, key: &str| {
        entry.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_string()
    };
    let of_part: Vec<&toml::Table> =
        context.locked.iter().filter(|entry| text(entry, "part") == request.part).collect();
    let same = of_part.iter().find(|entry| {
        text(entry, "suite") == request.suite && text(entry, "architecture") == *architecture
    });
    let what = match (same, of_part.first()) {
        (Some(entry), _) => changed(entry, request),
        (None, Some(other)) => format!(
            "it has packages of {} on {}, not of {} on {architecture}",
            text(other, "suite"),
            text(other, "architecture"),
            request.suite,
        ),
        (None, None) => format!("it has no {}", noun(request.part)),
    };
    with_hint(
        anyhow!("the lock does not say which {} `{stage}` means: {what}", noun(request.part)),
        format!("`kuth update PIPELINE {stage}` writes them, as does a build without `--locked`"),
    )
}

/// What a part of the lock is called.
fn noun(part: &str) -> &str {
    match part {
        "packages" => "packages",
        "tools" => "tools",
        _ => "guest additions",
    }
}

/// How a request differs from that of `entry`.
fn changed(entry: &toml::Table, request: &Request) -> String {
    if !request.archive.is_that_of(entry) {
        let label = entry.get("label").and_then(toml::Value::as_str).unwrap_or(MEDIUM);
        return match &request.archive {
            Archive::Mirror(_) => format!("it has those of the medium {label}, not of a mirror"),
            Archive::Medium(_) if entry.contains_key(MEDIUM) => {
                format!("the medium is another than the lock's, {label}")
            }
            Archive::Medium(_) => "it has those of a mirror, not of a medium".to_string(),
        };
    }
    let mut news = Vec::new();
    for (key, now) in ASKED.into_iter().zip([&request.packages, &request.components]) {
        let Some(before) = noted(entry, key, request) else {
            return "others are asked for than when it was written".to_string();
        };
        let added = now.iter().filter(|name| !before.contains(name));
        let gone = before.iter().filter(|name| !now.contains(name));
        news.extend(added.map(|name| format!("{name} is new")));
        news.extend(gone.map(|name| format!("{name} is no longer asked for")));
    }
    match news.is_empty() {
        true => "what they go on top of is another".to_string(),
        false => news.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::DEBIAN;

    #[test]
    fn the_difference_is_named() {
        let request = |packages: &[&str]| Request {
            part: "packages",
            distribution: &DEBIAN,
            suite: "trixie".into(),
            components: vec!["main".into()],
            packages: packages.iter().map(|name| name.to_string()).collect(),
            base: Base::Empty,
            archive: Archive::Mirror(None),
            keyring: None,
        };
        let mut entry = toml::Table::new();
        let unknown = "others are asked for than when it was written";
        assert_eq!(changed(&entry, &request(&["vim"])), unknown);
        note(&request(&["vim", "htop"]), &mut entry);
        assert_eq!(
            changed(&entry, &request(&["vim", "less"])),
            "less is new, htop is no longer asked for"
        );
        assert_eq!(
            changed(&entry, &request(&["vim", "htop"])),
            "what they go on top of is another"
        );
    }
}

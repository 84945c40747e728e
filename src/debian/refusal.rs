//! What to say where the lock must not change and does not answer: how the question differs from
//! the one that the lock's packages were the answer to.

use super::Request;
use crate::error::{Error, anyhow, with_hint};
use crate::site::Site;

/// The key of a lock's entry that has what was asked for.
pub const ASKED: &str = "asked";

/// The names of a request, and the components they are looked for in.
pub fn asked(request: &Request) -> Vec<String> {
    let mut asked = request.packages.clone();
    asked.extend(request.components.iter().map(|component| format!("component {component}")));
    asked.sort();
    asked
}

/// The error for a request that no entry of the lock answers.
pub fn not_locked(site: &Site, request: &Request) -> Error {
    let (stage, architecture) = (&site.stage, &site.settings.architecture);
    let text = |entry: &toml::Table, key: &str| {
        entry.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_string()
    };
    let of_part: Vec<&toml::Table> =
        site.locked.iter().filter(|entry| text(entry, "part") == request.part).collect();
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
    let Some(before) = entry.get(ASKED).and_then(toml::Value::as_array) else {
        return "others are asked for than when it was written".to_string();
    };
    let before: Vec<&str> = before.iter().filter_map(toml::Value::as_str).collect();
    let now = asked(request);
    let added = now.iter().filter(|name| !before.contains(&name.as_str()));
    let gone = before.iter().filter(|name| !now.iter().any(|other| other == *name));
    let added = added.map(|name| format!("{name} is new"));
    let gone = gone.map(|name| format!("{name} is no longer asked for"));
    let all: Vec<String> = added.chain(gone).collect();
    match all.is_empty() {
        true => "the packages that it stands on are others".to_string(),
        false => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::{Base, DEBIAN};

    #[test]
    fn the_difference_is_named() {
        let request = |packages: &[&str]| Request {
            part: "packages",
            distribution: &DEBIAN,
            suite: "trixie".into(),
            components: vec!["main".into()],
            packages: packages.iter().map(|name| name.to_string()).collect(),
            base: Base::Empty,
            mirror: None,
            keyring: None,
        };
        let mut entry = toml::Table::new();
        let unknown = "others are asked for than when it was written";
        assert_eq!(changed(&entry, &request(&["vim"])), unknown);
        entry.insert(ASKED.into(), asked(&request(&["vim", "htop"])).into());
        assert_eq!(
            changed(&entry, &request(&["vim", "less"])),
            "less is new, htop is no longer asked for"
        );
        assert_eq!(
            changed(&entry, &request(&["vim", "htop"])),
            "the packages that it stands on are others"
        );
    }
}

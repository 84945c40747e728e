//! The keys of a `#cloud-config` and the shapes of their values: all at the top, and inside those
//! that every file has: `users`, `write_files`, commands and `packages`.
//!
//! Source: `schema-cloud-config-v1.json` of cloud-init 25.1.

use super::SeedFault;
use super::keys::{KEYS, LIST, MAPPING, NOTHING, NUMBER, Shapes, TEXT, TRUTH, shapes};
use crate::format::yaml::{Data, Node};
use crate::pipeline::suggest;

/// The keys of a user; each is also taken with `-` for `_`.
const USER: &[(&str, Shapes)] = &[
    ("create_groups", &[TRUTH]),
    ("doas", &[LIST]),
    ("expiredate", &[TEXT]),
    ("gecos", &[TEXT]),
    ("groups", &[LIST, MAPPING, TEXT]),
    ("hashed_passwd", &[TEXT]),
    ("homedir", &[TEXT]),
    ("inactive", &[TEXT]),
    ("lock_passwd", &[TRUTH]),
    ("name", &[TEXT]),
    ("no_create_home", &[TRUTH]),
    ("no_log_init", &[TRUTH]),
    ("no_user_group", &[TRUTH]),
    ("passwd", &[TEXT]),
    ("plain_text_passwd", &[TEXT]),
    ("primary_group", &[TEXT]),
    ("selinux_user", &[TEXT]),
    ("shell", &[TEXT]),
    ("snapuser", &[TEXT]),
    ("ssh_authorized_keys", &[LIST]),
    ("ssh_import_id", &[LIST]),
    ("ssh_redirect_user", &[TRUTH]),
    ("sudo", &[LIST, TEXT, TRUTH]),
    ("system", &[TRUTH]),
    ("uid", &[NUMBER, TEXT]),
];

/// The keys of a file to write.
const FILE: &[(&str, Shapes)] = &[
    ("append", &[TRUTH]),
    ("content", &[TEXT]),
    ("defer", &[TRUTH]),
    ("encoding", &[TEXT]),
    ("owner", &[TEXT]),
    ("path", &[TEXT]),
    ("permissions", &[TEXT]),
    ("source", &[MAPPING]),
];

/// Adds every fault of a `#cloud-config`.
pub fn check(root: &Node, faults: &mut Vec<SeedFault>) {
    for (key, value) in root.pairs() {
        let Some(word) = key.text() else {
            faults.push(SeedFault::of(key, format!("a key is {}", key.describe())));
            continue;
        };
        let Some(shapes) = shapes(word) else {
            // Modules of a vendor have keys of their own, which cloud-init only warns of.
            if let Some(near) = suggest::nearest(word, KEYS.iter().map(|(name, _)| *name)) {
                let message = format!("cloud-init knows no key `{word}`");
                let hint = format!("did you mean `{near}`?");
                faults.push(SeedFault::of(key, message).hint(hint));
            }
            continue;
        };
        if !is_of(value, shapes) {
            faults.push(wrong(word, value, shapes));
            continue;
        }
        let elements = value.elements().iter();
        match word {
            "user" if matches!(value.data, Data::Mapping(_)) => {
                table(value, "a user", USER, &[TEXT], faults);
            }
            "users" => elements.for_each(|it| user(it, faults)),
            "write_files" => elements.for_each(|it| file(it, faults)),
            "bootcmd" | "runcmd" => elements.for_each(|it| command(it, word, faults)),
            "packages" => elements.for_each(|it| {
                if !is_of(it, &[LIST, MAPPING, TEXT]) {
                    faults.push(wrong("a package", it, &[TEXT]));
                }
            }),
            _ => {}
        }
    }
}

/// Whether a value may be what it is: what is left empty, or is set elsewhere, may be anything.
fn is_of(value: &Node, shapes: Shapes) -> bool {
    let shape = value.describe();
    shapes.is_empty() || shapes.contains(&shape) || shape == NOTHING || value.data == Data::Alias
}

fn wrong(what: &str, value: &Node, shapes: &[&str]) -> SeedFault {
    let words: Vec<String> = shapes.iter().map(|shape| shape.to_string()).collect();
    let what = if what.contains(' ') { what.to_string() } else { format!("`{what}`") };
    let message = format!("{what} is {}, not {}", value.describe(), suggest::join(&words, "or"));
    let fault = SeedFault::of(value, message);
    match value.text() {
        Some(text) if shapes.contains(&TEXT) => fault.hint(format!("write `\"{text}\"`")),
        Some(text) if shapes.contains(&LIST) => fault.hint(format!("write `[{text}]`")),
        _ => fault,
    }
}

/// An element that is a mapping with these keys, or one of `others`.
fn table(
    node: &Node,
    what: &str,
    keys: &[(&str, Shapes)],
    others: Shapes,
    faults: &mut Vec<SeedFault>,
) {
    if !matches!(node.data, Data::Mapping(_)) {
        if !is_of(node, others) || node.describe() == NOTHING {
            faults.push(wrong(what, node, &[MAPPING]));
        }
        return;
    }
    for (key, value) in node.pairs() {
        let word = key.text().unwrap_or_default();
        let plain = word.replace('-', "_");
        match keys.iter().find(|(name, _)| *name == plain) {
            _ if word == "<<" => {}
            None => {
                let near = suggest::nearest(&plain, keys.iter().map(|(name, _)| *name));
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                let fault = SeedFault::of(key, format!("{what} has no key `{word}`"));
                faults.push(SeedFault { hint, ..fault });
            }
            Some((_, shapes)) if !is_of(value, shapes) => faults.push(wrong(word, value, shapes)),
            Some(_) => {}
        }
    }
}

/// A user is a mapping or a name; names may be in a list.
fn user(node: &Node, faults: &mut Vec<SeedFault>) {
    table(node, "a user", USER, &[LIST, TEXT], faults);
    for name in node.elements().iter().filter(|name| !is_of(name, &[TEXT])) {
        faults.push(wrong("a user's name", name, &[TEXT]));
    }
}

fn file(node: &Node, faults: &mut Vec<SeedFault>) {
    table(node, "a file", FILE, &[], faults);
    let is_mapping = matches!(node.data, Data::Mapping(_));
    if is_mapping && node.get("path").is_none() && node.get("<<").is_none() {
        faults.push(SeedFault::of(node, "a file has no `path`"));
    }
}

/// A command is a line for the shell, or a list of words; a colon and a space in a line make it a
/// mapping before anybody sees it.
fn command(node: &Node, list: &str, faults: &mut Vec<SeedFault>) {
    let hint = "a command with `: ` in it needs quotes around it";
    match &node.data {
        Data::Mapping(_) => {
            let message = format!("a command of `{list}` is read as a mapping");
            faults.push(SeedFault::of(node, message).hint(hint));
        }
        Data::List(words) => {
            for word in
                words.iter().filter(|word| word.text().is_none() && word.data != Data::Alias)
            {
                let message = format!("a word of a command is {}", word.describe());
                faults.push(SeedFault::of(word, message).hint(hint));
            }
            let unquoted = |word: &&Node| ![TEXT, "an alias"].contains(&word.describe());
            for word in words.iter().filter(|word| word.text().is_some()).filter(unquoted) {
                faults.push(wrong("a word of a command", word, &[TEXT]));
            }
        }
        _ if !is_of(node, &[TEXT]) => faults.push(wrong("a command", node, &[TEXT])),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::seed::check::user_data;

    #[test]
    fn values_have_the_shapes_that_cloud_init_takes() {
        for (text, expected) in [
            ("packages: htop", "2: `packages` is text, not a list (write `[htop]`)"),
            ("hostname: 7", "2: `hostname` is a number, not text (write `\"7\"`)"),
            ("users: 1", "2: `users` is a number, not a list, a mapping or text (write `\"1\"`)"),
            ("users: [{nam: a}]", "2: a user has no key `nam` (did you mean `name`?)"),
            (
                "users:\n- name: a\n  ssh_authorized_keys: k",
                "4: `ssh_authorized_keys` is text, not a list (write `[k]`)",
            ),
            ("users:\n-", "3: a user is nothing, not a mapping"),
            (
                "write_files:\n- path: /a\n  permissions: 0644",
                "4: `permissions` is a number, not text (write `\"0644\"`)",
            ),
            ("write_files:\n- content: a", "3: a file has no `path`"),
            ("write_files: [{path: /a, mode: '1'}]", "2: a file has no key `mode`"),
            (
                "runcmd:\n- echo a: b",
                "3: a command of `runcmd` is read as a mapping \
                 (a command with `: ` in it needs quotes around it)",
            ),
            (
                "runcmd: [[sleep, 1]]",
                "2: a word of a command is a number, not text (write `\"1\"`)",
            ),
            ("packages: [1]", "2: a package is a number, not text (write `\"1\"`)"),
            ("users: [[a, 7]]", "2: a user's name is a number, not text (write `\"7\"`)"),
            ("user: {nam: a}", "2: a user has no key `nam` (did you mean `name`?)"),
            ("package_update: 'yes'", "2: `package_update` is text, not a truth value"),
        ] {
            let faults = user_data(&format!("#cloud-config\n{text}\n"));
            let reported: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(reported, [expected], "{text}");
        }
        let sound = "#cloud-config\nusers: [default, [a, b], {name: a, lock-passwd: yes, sudo: false}]\n\
                     user: {name: b, uid: 7}\nacme_agent: {on: yes}\n\
                     groups: [a, b: [c]]\nruncmd: [a, [b, '1'], ~, *x]\nbootcmd: &x [c]\n";
        let sound = sound.replace(", *x", "");
        assert_eq!(user_data(&sound), []);
    }
}

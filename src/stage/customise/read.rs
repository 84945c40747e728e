//! Reads a `customise` table.

use super::additions;
use super::cleared::{self, Cleared, Seal};
use super::debconf;
use super::packages;
use super::region;
use super::system;
use super::{Content, Customise, File, Script, User};
use crate::format::authorized_keys::{self, NotAKey};
use crate::pipeline::{Element, Fault, Fields, Text};
use crate::sandbox::Network;
use crate::stage::origin::{Origin, release};

/// Reads everything but `from`; faults go to the collector.
pub fn read(fields: &mut Fields<'_>) -> Customise {
    fields.at_most_one(&["medium", "mirror"]);
    let remove = fields.unique_texts("remove");
    let plain = |texts: Vec<Text>| texts.into_iter().map(|text| text.text).collect::<Vec<_>>();
    let seal = fields.boolean("seal", true);
    Customise {
        suite: fields.text("suite").and_then(|suite| release(fields, suite)),
        components: plain(fields.unique_texts("components")),
        origin: Origin::read(fields, "medium"),
        packages: packages::read(fields, &remove),
        debconf: debconf::read(fields),
        remove: plain(remove),
        hostname: hostname(fields),
        locale: region::locale(fields),
        timezone: region::time_zone(fields),
        files: files(fields, if seal { Seal::Yes } else { Seal::No }),
        users: users(fields),
        system: system::read(fields),
        scripts: scripts(fields),
        additions: additions::read(fields),
        seal,
    }
}

/// What the kernel takes (`HOST_NAME_MAX`), in bytes.
const LONGEST_HOSTNAME: usize = 64;

/// `hostname`: a name, with or without a domain.
pub(in crate::stage) fn hostname(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("hostname")?;
    let length = text.text.len();
    let label = |label: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !text.text.split('.').all(label) {
        let message = format!("{} is not a host name", text.shown());
        let hint = "letters, digits and `-`, in parts joined by `.`, each of at most 63";
        fields.fault(Fault::new(text.span, message).hint(hint));
        return None;
    }
    if length > LONGEST_HOSTNAME {
        let message = format!("{} is too long for a host name", text.shown());
        let label = format!("{length} characters; Linux takes {LONGEST_HOSTNAME}");
        let hint = "give a shorter name, or leave the domain to DHCP or to a `file.\"/etc/hosts\"`";
        fields.fault(Fault::new(text.span, message).label(label).hint(hint));
        return None;
    }
    Some(text.text)
}

fn files(fields: &mut Fields<'_>, seal: Seal) -> Vec<File> {
    let mut files = Vec::new();
    for (path, mut table) in fields.tables("file") {
        if !is_normal(&path.value) {
            let message = format!("`{}` is not an absolute path without `..`", path.value);
            table.fault(Fault::new(path.span.clone(), message));
        }
        table.exactly_one(&["content", "source"]);
        let content = match (table.secret_text("content"), table.existing_path("source")) {
            (Some(text), _) => Some(Content::Text(text)),
            (None, Some(local)) => Some(Content::Local(local.path)),
            (None, None) => None,
        };
        let mode = mode(&mut table);
        let owner = table.text("owner").map(|text| text.text);
        table.finish();
        if let Some((lost, Cleared { why, hint })) = lost(&path.value, content.as_ref(), seal) {
            let message = format!("`{lost}` would not be in the finished tree");
            fields.fault(Fault::new(path.span.clone(), message).label(why).hint(hint));
        }
        if let Some(content) = content {
            files.push(File { path: path.value, content, mode, owner });
        }
    }
    // The order of tables means nothing; that of paths makes a directory come before what is in it.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The path, or that of a file in the directory that is copied there, which the finished tree would not
/// have.
fn lost(path: &str, content: Option<&Content>, seal: Seal) -> Option<(String, Cleared)> {
    let is_empty = matches!(content, Some(Content::Text(text)) if text.text.is_empty());
    if let Some(cleared) = cleared::reason(path, is_empty, seal) {
        return Some((path.to_string(), cleared));
    }
    match content {
        Some(Content::Local(local)) => cleared::first_inside(local.as_path(), path, seal),
        _ => None,
    }
}

fn is_normal(path: &str) -> bool {
    path.starts_with('/')
        && path.len() > 1
        && path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn mode(table: &mut Fields<'_>) -> Option<u32> {
    let text = table.text("mode")?;
    match u32::from_str_radix(&text.text, 8) {
        Ok(mode) if mode <= 0o7777 => Some(mode),
        _ => {
            let message = format!("{} is not a mode", text.shown());
            table.fault(Fault::new(text.span, message).hint("write it in octal, as in \"0644\""));
            None
        }
    }
}

/// The tables `[[user]]`.
pub(in crate::stage) fn users(fields: &mut Fields<'_>) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    for mut table in fields.array_of_tables("user") {
        let name = table.required_text("name");
        if let Some(name) = &name {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
            let first =
                name.text.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
            if !first || !name.text.chars().all(legal) || name.text.len() > 32 {
                let message = format!("{} is not a user name", name.shown());
                let hint = "lower-case letters, digits, `-` and `_`, at most 32, a letter first";
                table.fault(Fault::new(name.span.clone(), message).hint(hint));
            }
            if users.iter().any(|user| user.name == name.text) {
                let message = format!("the user {} is there twice", name.shown());
                table.fault(Fault::new(name.span.clone(), message).label("again"));
            }
        }
        let uid = table.integer("uid", 1..=59_999).map(|uid| uid.value);
        let groups = table.unique_texts("groups").into_iter().map(|text| text.text).collect();
        let shell = table.text("shell").map_or("/bin/bash".to_string(), |text| text.text);
        let sudo = table.boolean("sudo", false);
        let password_hash = table.secret_text("password-hash");
        if let Some(hash) = &password_hash
            && !hash.text.starts_with('$')
            && !hash.secret
        {
            let fault = Fault::new(hash.span.clone(), "this is not a hashed password");
            table.fault(fault.hint("make one with `openssl passwd -6`"));
        }
        let ssh_keys = ssh_keys(&mut table);
        table.finish();
        if let Some(name) = name {
            let name = name.text;
            users.push(User { name, uid, groups, shell, sudo, password_hash, ssh_keys });
        }
    }
    users
}

/// `ssh-keys`: each a public key, or several lines of them with comments, as authorized_keys takes it.
/// A variable may be empty, which gives access to nobody.
fn ssh_keys(table: &mut Fields<'_>) -> Vec<String> {
    let mut keys = Vec::new();
    for text in table.texts("ssh-keys") {
        let lines = text.text.lines().map(str::trim);
        let lines: Vec<&str> =
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let wrong = lines.iter().find_map(|line| Some((line, authorized_keys::check(line).err()?)));
        if let Some((line, wrong)) = wrong {
            table.fault(not_a_key(&text, line, wrong));
        } else if lines.is_empty() && !(text.text.trim().is_empty() && table.is_filled_in(&text)) {
            let fault = Fault::new(text.span, "there is no public key here");
            table.fault(fault.hint(KEY_HINT));
        } else {
            keys.push(text.text);
        }
    }
    keys
}

const KEY_HINT: &str = "give a public key, as in the file ~/.ssh/id_ed25519.pub";

fn not_a_key(text: &Text, line: &str, wrong: NotAKey) -> Fault {
    let fault = |message: &str, hint: &str| Fault::new(text.span.clone(), message).hint(hint);
    match wrong {
        NotAKey::Private => fault(
            "this is a private key; give the one that ends in `.pub`",
            "replace the key if the pipeline was seen by others",
        ),
        NotAKey::OtherFormat => fault(
            "this is a public key in another format than OpenSSH's",
            "convert it with `ssh-keygen -i -f FILE`",
        ),
        NotAKey::Option(option) => {
            let message = format!("sshd knows no option `{option}` of a key");
            fault(&message, "as in `from=\"192.0.2.0/24\",no-pty ssh-ed25519 AAAA...`, see sshd(8)")
        }
        NotAKey::Other if is_path(line) => fault(
            "`user.ssh-keys` takes public keys, not the paths of files",
            "write the key itself, or a variable: `--var key=\"$(cat FILE)\"`",
        ),
        NotAKey::Other if line.contains("://") => fault(
            "`user.ssh-keys` takes public keys, not addresses",
            "download them, and write the keys themselves",
        ),
        NotAKey::Other => {
            fault("a public key is one line: its type, its data, a comment", KEY_HINT)
        }
    }
}

fn is_path(line: &str) -> bool {
    !line.contains(char::is_whitespace)
        && !line.contains("://")
        && (line.starts_with(['/', '.', '~']) || line.contains('/') || line.ends_with(".pub"))
}

fn scripts(fields: &mut Fields<'_>) -> Vec<Script> {
    let single = fields.has("run").then(|| fields.raw("run")).flatten();
    if let Some(value) = single
        && let crate::pipeline::Data::String(text) = &value.data
    {
        return vec![Script { content: Content::Text(text.clone()), network: Network::None }];
    }
    let mut scripts = Vec::new();
    for element in fields.texts_or_tables("run") {
        match element {
            Element::Text(text) => {
                scripts.push(Script { content: Content::Text(text), network: Network::None });
            }
            Element::Table(mut table) => {
                table.exactly_one(&["script", "source"]);
                let content = match (table.secret_text("script"), table.existing_file("source")) {
                    (Some(text), _) => Some(Content::Text(text)),
                    (None, Some(local)) => Some(Content::Local(local.path)),
                    (None, None) => None,
                };
                let network = match table.boolean("network", false) {
                    true => Network::Host,
                    false => Network::None,
                };
                table.finish();
                scripts.extend(content.map(|content| Script { content, network }));
            }
        }
    }
    scripts
}

//! The seed of a machine: the small medium from which cloud-init's NoCloud source learns at first
//! boot what the machine is to become. Templates go in, bytes come out; it knows no files.
//!
//! A template has placeholders `#HOSTNAME#`, `#UUID#`, `#SSH-PUB-KEY#` and `#MAC1#`, `#MAC2#` ...
//! (the address of the machine's first card, second card ...), and `${name}` for each variable of
//! the pipeline. Other `${...}` stays as it is: it is the shell's. The line of `#SSH-PUB-KEY#`
//! is repeated for each key.
//!
//! The instance-id is derived from the content, so a machine made of a changed seed applies it,
//! and one made of the same seed does not start over.
//!
//! Source: cloud-init's reference, "NoCloud" and "Networking config Version 2".

use std::collections::BTreeMap;

use crate::digest::{Digest, Hasher};
use crate::error::{Result, anyhow};
use crate::format::Guid;
use crate::format::iso9660::{File, Volume};
use crate::machine::Nic;

pub mod check;
pub mod network;

pub use check::SeedFault;

/// The label by which cloud-init finds the medium.
const LABEL: &str = "cidata";

/// What a seed is made from.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// The machine's name.
    pub hostname: String,
    /// Its cards.
    pub nics: Vec<Nic>,
    /// Who may log in, when there is no user-data that says so.
    pub user: String,
    /// Public keys, a line each.
    pub ssh_keys: Vec<String>,
    /// The pipeline's variables.
    pub variables: BTreeMap<String, String>,
    /// Templates as read from files.
    pub user_data: Option<String>,
    /// Generated when there is none.
    pub meta_data: Option<String>,
    /// Generated when there is none.
    pub network_config: Option<String>,
}

/// The files of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// What to do.
    pub user_data: String,
    /// Who the machine is.
    pub meta_data: String,
    /// How its cards are set up.
    pub network_config: String,
}

impl Template {
    /// Fills the templates in.
    pub fn render(&self) -> Result<Seed> {
        let default;
        let user_data = match &self.user_data {
            Some(text) => text.as_str(),
            None => {
                default = default_user_data(&self.user);
                &default
            }
        };
        let network_config = match &self.network_config {
            Some(text) => self.fill(text, "network-config", "")?,
            None => network::generated(&self.nics),
        };
        let id = self.instance_id(user_data, &network_config);
        let meta_data = match &self.meta_data {
            Some(text) => self.fill(text, "meta-data", &id)?,
            None => format!("instance-id: {id}\nlocal-hostname: {}\n", self.hostname),
        };
        let user_data = self.fill(user_data, "user-data", &id)?;
        Ok(Seed { user_data, meta_data, network_config })
    }

    /// Of everything that goes into the seed, with `#UUID#` itself still a placeholder.
    fn instance_id(&self, user_data: &str, network_config: &str) -> String {
        let mut hasher = Hasher::default();
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        field(&self.hostname);
        field(user_data);
        field(self.meta_data.as_deref().unwrap_or_default());
        field(network_config);
        self.ssh_keys.iter().for_each(|key| field(key));
        for (name, value) in &self.variables {
            let used = format!("${{{name}}}");
            if [Some(user_data), self.meta_data.as_deref()]
                .into_iter()
                .flatten()
                .any(|text| text.contains(&used))
            {
                field(name);
                field(value);
            }
        }
        Guid::derived(hasher.finish().0, "instance-id").to_string()
    }

    /// `text` with its placeholders filled in; `file` is for messages.
    fn fill(&self, text: &str, file: &str, id: &str) -> Result<String> {
        let mut filled = String::with_capacity(text.len());
        for (index, line) in text.split_inclusive('\n').enumerate() {
            if line.contains(KEY) {
                // Without any key the value is an empty string, which gives access to nobody.
                let none = [String::new()];
                let keys = if self.ssh_keys.is_empty() { &none[..] } else { &self.ssh_keys[..] };
                for key in keys {
                    self.fill_line(line, Some(key), id, &mut filled);
                }
            } else {
                self.fill_line(line, None, id, &mut filled);
            }
            if let Some(missing) = missing_card(line, self.nics.len()) {
                return Err(anyhow!(
                    "{file}:{}: {missing}, but `{}` has {} network card(s)",
                    index + 1,
                    self.hostname,
                    self.nics.len()
                ));
            }
        }
        Ok(filled)
    }

    /// Goes once from left to right, so that nothing that was filled in is looked at again.
    fn fill_line(&self, line: &str, key: Option<&str>, id: &str, filled: &mut String) {
        let mut rest = line;
        while let Some(at) = rest.find(['#', '$']) {
            let (before, tail) = rest.split_at(at);
            filled.push_str(before);
            match self.placeholder(tail, key, id) {
                Some((length, value)) => {
                    filled.push_str(&value);
                    rest = &tail[length..];
                }
                None => {
                    filled.push_str(&tail[..1]);
                    rest = &tail[1..];
                }
            }
        }
        filled.push_str(rest);
    }

    /// The placeholder that `tail` begins with: its length and its value.
    fn placeholder(&self, tail: &str, key: Option<&str>, id: &str) -> Option<(usize, String)> {
        if let Some(inner) = tail.strip_prefix("${") {
            let name = &inner[..inner.find('}')?];
            return Some((name.len() + 3, self.variables.get(name)?.clone()));
        }
        let inner = tail.strip_prefix('#')?;
        let name = &inner[..inner.find('#')?];
        let value = match name {
            "HOSTNAME" => self.hostname.clone(),
            "UUID" => id.to_string(),
            "SSH-PUB-KEY" => key?.to_string(),
            _ => self.nics.get(card(name)?.checked_sub(1)?)?.mac.to_string(),
        };
        Some((name.len() + 2, value))
    }
}

const KEY: &str = "#SSH-PUB-KEY#";

/// The number in `MAC7`.
fn card(name: &str) -> Option<usize> {
    name.strip_prefix("MAC")?.parse().ok()
}

/// The placeholder of a card that a machine with `cards` of them does not have.
fn missing_card(line: &str, cards: usize) -> Option<String> {
    let names = line.split('#').skip(1).filter_map(|name| Some((name, card(name)?)));
    let mut missing = names.filter(|(_, card)| !(1..=cards).contains(card));
    missing.next().map(|(name, _)| format!("`#{name}#` names a card"))
}

/// One user with the keys and `sudo`, nobody else, no passwords.
fn default_user_data(user: &str) -> String {
    format!(
        "#cloud-config
hostname: \"#HOSTNAME#\"
ssh_pwauth: false
disable_root: true
users:
  - name: {user}
    shell: /bin/bash
    lock_passwd: true
    sudo: \"ALL=(ALL) NOPASSWD:ALL\"
    ssh_authorized_keys:
      - \"{KEY}\"
"
    )
}

impl Seed {
    /// Names the content.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        for text in [&self.user_data, &self.meta_data, &self.network_config] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finish()
    }

    /// The image of the medium, every time in it `epoch`.
    pub fn iso(&self, epoch: u64) -> Result<Vec<u8>> {
        let file = |path: &str, text: &str| File { path: path.into(), bytes: text.into() };
        let files = vec![
            file("user-data", &self.user_data),
            file("meta-data", &self.meta_data),
            file("network-config", &self.network_config),
        ];
        Ok(Volume { label: LABEL.into(), time: epoch, files }.write()?)
    }
}

/// The public keys in a text, a line each; comments and empty lines are left out. Says what is
/// wrong with the first that is none.
pub fn ssh_keys(text: &str) -> Result<Vec<String>, String> {
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
    lines.map(|line| ssh_key(line).map(|()| line.to_string())).collect()
}

fn ssh_key(line: &str) -> Result<(), String> {
    if line.contains("PRIVATE KEY") {
        return Err("this is a private key; give the one that ends in `.pub`".to_string());
    }
    let mut words = line.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let body = words.next().unwrap_or_default();
    let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| kind.starts_with(prefix));
    let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    if !known || !body.starts_with("AAAA") || !body.chars().all(base64) {
        return Err("a public key is one line: its type, its data, a comment".to_string());
    }
    // It stands inside quotes in YAML.
    match line.contains(['"', '\\']) || line.contains(char::is_control) {
        true => Err("the key's comment has a quote or backslash; remove it".to_string()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Network;

    fn template() -> Template {
        Template {
            hostname: "gate-node01".into(),
            nics: Nic::all("gate-node01", &[Network::Nat, Network::HostOnly(None)]),
            user: "debian".into(),
            variables: [("domain".to_string(), "kube.local".to_string())].into(),
            ..Template::default()
        }
    }

    fn user_data(template: &Template, text: &str) -> String {
        let template = Template { user_data: Some(text.into()), ..template.clone() };
        template.render().unwrap().user_data
    }

    #[test]
    fn placeholders_are_filled_and_the_shells_own_are_not() {
        let template = template();
        for (text, expected) in [
            ("fqdn: #HOSTNAME#.${domain}", "fqdn: gate-node01.kube.local".to_string()),
            ("${x} ${domain:-a} $(y) $domain", "${x} ${domain:-a} $(y) $domain".to_string()),
            ("# a #comment# ## #HOSTNAME", "# a #comment# ## #HOSTNAME".to_string()),
            ("m: #MAC2#", format!("m: {}", template.nics[1].mac)),
            ("k: \"#SSH-PUB-KEY#\"", "k: \"\"".to_string()),
        ] {
            assert_eq!(user_data(&template, text), expected, "{text}");
        }
    }

    #[test]
    fn keys_come_as_they_are_and_one_a_line() {
        let mut template = template();
        template.ssh_keys = vec!["ssh-rsa AAAA a&b|c\\1".into(), "ssh-rsa AAAB #HOSTNAME#".into()];
        let filled = user_data(&template, "keys:\n  - \"#SSH-PUB-KEY#\"\nend: 1\n");
        let expected =
            "keys:\n  - \"ssh-rsa AAAA a&b|c\\1\"\n  - \"ssh-rsa AAAB #HOSTNAME#\"\nend: 1\n";
        assert_eq!(filled, expected);
    }

    #[test]
    fn a_card_that_is_not_there_is_told() {
        let template = Template { network_config: Some("a\nb: #MAC3#\n".into()), ..template() };
        let error = template.render().unwrap_err().to_string();
        let expected = "network-config:2: `#MAC3#` names a card, but `gate-node01` has 2 network \
                        card(s)";
        assert_eq!(error, expected);
    }

    #[test]
    fn the_instance_id_follows_the_content() {
        let id = |template: &Template| template.render().unwrap().meta_data;
        let base = template();
        assert_eq!(id(&base), id(&base.clone()));
        let mut changed = [base.clone(), base.clone(), base.clone(), base.clone()];
        changed[0].user_data = Some("#cloud-config\n".into());
        changed[1].hostname = "other".into();
        changed[2].ssh_keys = vec!["ssh-rsa AAAA".into()];
        changed[3].network_config = Some("version: 2\n".into());
        for other in &changed {
            assert_ne!(id(&base), id(other), "{other:?}");
        }
        let mut unused = base.clone();
        unused.variables.insert("unused".into(), "x".into());
        assert_eq!(id(&base), id(&unused));
        let uuid = user_data(&base, "x: #UUID#");
        assert_eq!(uuid.len(), "x: ".len() + 36);
    }

    #[test]
    fn what_kuth_writes_itself_is_sound() {
        let seed = template().render().unwrap();
        assert_eq!(check::user_data(&seed.user_data), []);
        assert!(seed.meta_data.ends_with("local-hostname: gate-node01\n"));
        let iso = seed.iso(1_767_225_600).unwrap();
        assert_eq!(&iso[0x8028..0x802e], b"cidata");
        assert_eq!(iso, seed.iso(1_767_225_600).unwrap());
    }

    #[test]
    fn only_public_keys_are_keys() {
        let keys = ssh_keys("# mine\nssh-ed25519 AAAAC3 me@host\n\necdsa-sha2-nistp256 AAAAE2\n");
        assert_eq!(keys.unwrap().len(), 2);
        for text in ["x", "ssh-rsa", "-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-rsa AAAA \"x"] {
            assert!(ssh_keys(text).is_err(), "{text}");
        }
    }
}

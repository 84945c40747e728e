//! The seed of a machine: the small medium from which cloud-init's NoCloud source learns at first
//! boot what the machine is to become. Templates go in, bytes come out; it knows no files.
//!
//! A template has placeholders `#HOSTNAME#`, `#UUID#`, `#SSH-PUB-KEY#` and `#MAC1#`, `#MAC2#` ...
//! (the address of the machine's first card, second card ...), and `${name}` for each variable of
//! the pipeline. Other `${...}` stays as it is: it is the shell's. The line of `#SSH-PUB-KEY#`
//! is repeated for each key. `#SECRET:name#` is a secret that kuth makes ([`secret`]).
//!
//! The instance-id is derived from the content, so a machine made of a changed seed applies it,
//! and one made of the same seed does not start over.
//!
//! Source: cloud-init's reference, "NoCloud" and "Networking config Version 2".

use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::format::iso9660::{File, Volume};
use crate::hardware::Nic;

pub mod check;
mod config;
mod fault;
mod fill;
mod keys;
pub mod network;
pub mod secret;

pub use fault::SeedFault;
use fill::Filled;
pub use secret::{Secrets, Variable, Variables};

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
    pub variables: Variables,
    /// Templates as read from files.
    pub user_data: Option<String>,
    /// Generated when there is none.
    pub meta_data: Option<String>,
    /// Generated when there is none.
    pub network_config: Option<String>,
}

/// The files of a seed, or what is known of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seed<T = String> {
    /// What to do.
    pub user_data: T,
    /// Who the machine is.
    pub meta_data: T,
    /// How its cards are set up.
    pub network_config: T,
}

impl<T> Seed<T> {
    /// The same of each file.
    fn map<U>(self, mut each: impl FnMut(T) -> U) -> Seed<U> {
        Seed {
            user_data: each(self.user_data),
            meta_data: each(self.meta_data),
            network_config: each(self.network_config),
        }
    }
}

impl Template {
    /// Fills the templates in.
    pub fn render(&self, secrets: Secrets<'_>) -> Result<Seed> {
        let (_, filled) = fill::Filling { template: self, secrets }.all()?;
        Ok(filled.map(|filled| filled.text))
    }

    /// Whether what is filled in depends on a secret that was given; one that kuth makes is of the
    /// host where the machine is made.
    pub fn has_given_secrets(&self) -> bool {
        let texts = [&self.user_data, &self.meta_data, &self.network_config];
        let given = self.variables.iter().filter(|(_, variable)| variable.secret);
        let mut given = given.map(|(name, _)| format!("${{{name}}}"));
        given.any(|used| texts.into_iter().flatten().any(|text| text.contains(&used)))
    }

    /// What is wrong with the templates, by their own lines.
    pub fn faults(&self) -> Result<Seed<Vec<SeedFault>>> {
        let (id, filled) = fill::Filling { template: self, secrets: Secrets::Withheld }.all()?;
        let of = |name, template: &Option<String>, filled: &Filled, found| match template {
            Some(text) => {
                let mut faults = check::placeholders(name, text, self);
                faults.extend(filled.back(text, found));
                faults
            }
            None => Vec::new(),
        };
        let Seed { user_data, meta_data, network_config } = &filled;
        let user = check::user_data(&user_data.text);
        let meta = check::meta_data(&meta_data.text, &id);
        let network = check::network_config(&network_config.text, &self.nics);
        Ok(Seed {
            user_data: of("user-data", &self.user_data, user_data, user),
            meta_data: of("meta-data", &self.meta_data, meta_data, meta),
            network_config: of("network-config", &self.network_config, network_config, network),
        })
    }
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
      - \"#SSH-PUB-KEY#\"
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
    use crate::hardware::Network;

    fn template() -> Template {
        Template {
            hostname: "gate-node01".into(),
            nics: Nic::all("gate-node01", &[Network::Nat, Network::HostOnly(None)]),
            user: "debian".into(),
            variables: [("domain".to_string(), "kube.local".into())].into(),
            ..Template::default()
        }
    }

    fn user_data(template: &Template, text: &str) -> String {
        let template = Template { user_data: Some(text.into()), ..template.clone() };
        template.render(Secrets::Withheld).unwrap().user_data
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
    fn placeholders_that_cannot_be_filled_in_are_reported() {
        for (text, expected) in [
            ("a\nb: #MAC3#\n", "2: `#MAC3#` names a card, but `gate-node01` has 2"),
            ("b: #MAC0#\n", "1: `#MAC0#` names a card, but `gate-node01` has 2"),
            ("b: #HOSTNAM#\n", "1: `#HOSTNAM#` is not a placeholder (did you mean `#HOSTNAME#`?)"),
            (
                "\nb: #SECRET:My key#\n",
                "2: `My key` cannot be the name of a secret \
                 (write `#SECRET:name#`, in lower-case letters, digits, `-`, `_` and `.`)",
            ),
            ("#UUID#\n", "1: `#UUID#` is not known in network-config"),
            ("## #Comment# #ANYTHING ELSE# $x ${y}\n", ""),
        ] {
            let faults = check::placeholders("network-config", text, &template());
            let reported: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(reported.join("\n"), expected, "{text}");
        }
    }

    #[test]
    fn faults_have_the_lines_of_the_template() {
        let mut template = template();
        template.ssh_keys = vec!["ssh-rsa AAAA a".into(), "ssh-rsa AAAB b".into()];
        let reported = |template: &Template| {
            let faults = template.faults().unwrap();
            let reported = faults.map(|it| it.iter().map(ToString::to_string).collect::<Vec<_>>());
            [reported.user_data, reported.meta_data, reported.network_config].concat().join("\n")
        };
        // Two keys push everything below them down by a line.
        let user_data = "#cloud-config\nssh_authorized_keys:\n  - \"#SSH-PUB-KEY#\"\nhostnam: a\n";
        template.user_data = Some(user_data.into());
        let hostname = "4: cloud-init knows no key `hostnam` (did you mean `hostname`?)";
        assert_eq!(reported(&template), hostname);
        template.user_data = None;
        let hint = "(write `instance-id: #UUID#`: that changes when the seed does)";
        for (meta_data, network_config, expected) in [
            ("local-hostname: a\n", "version: 2\n", format!("1: there is no `instance-id` {hint}")),
            (
                "\ninstance-id: i-1\n",
                "version: 2\n",
                format!(
                    "2: an `instance-id` of one's own: cloud-init would not see a changed seed {hint}"
                ),
            ),
            (
                "instance-id: x-#UUID#\n",
                "version: 2\nethernets: {a: {match: {macaddress: '#MAC2#'}}}",
                String::new(),
            ),
            (
                "instance-id: #UUID#\n",
                "version: 2\nethernet: {}\n",
                "2: network-config has no key `ethernet` (did you mean `ethernets`?)".into(),
            ),
            (
                "instance-id: #UUID#\n",
                "ethernets: {}\n",
                "1: `version` is neither 1 nor 2 (begin with `version: 2`)".into(),
            ),
            (
                "instance-id: #UUID#\n",
                "version: 2\nethernets:\n  a:\n    match: {macaddress: '52:54:00:00:00:01'}\n",
                "4: `52:54:00:00:00:01` is the address of no card of this machine \
                 (write `\"#MAC1#\"`, `\"#MAC2#\"` ...)"
                    .into(),
            ),
            ("instance-id: #UUID#\n", "config: disabled\n", String::new()),
            ("instance-id: #UUID#\n", "network: {config: disabled}\n", String::new()),
            (
                "instance-id: #UUID#\n",
                "version: 1\nconfig:\n- {type: physical, name: a, mac_address: '#MAC1#'}\n\
                 - {type: bond, name: b, mac_address: '52:54:00:00:00:01'}\n",
                String::new(),
            ),
            (
                "instance-id: #UUID#\n",
                "network:\n  version: 1\n  config:\n  - type: physical\n    name: a\n    \
                 mac_address: '52:54:00:00:00:01'\n",
                "6: `52:54:00:00:00:01` is the address of no card of this machine \
                 (write `\"#MAC1#\"`, `\"#MAC2#\"` ...)"
                    .into(),
            ),
            (
                "instance-id: #UUID#\n",
                "version: 2\nbonds:\n  a:\n    macaddress: 52:54:00:12:34:56\n",
                "4: `52:54:00:12:34:56` is read as a number (write the address in quotes)".into(),
            ),
        ] {
            template.meta_data = Some(meta_data.into());
            template.network_config = Some(network_config.into());
            assert_eq!(reported(&template), expected, "{meta_data}{network_config}");
        }
    }

    #[test]
    fn secrets_reach_the_machine_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let mut template = template();
        let hunter2 = Variable { text: "hunter2".into(), secret: true };
        template.variables.insert("password".into(), hunter2);
        template.user_data = Some("#cloud-config\na: ${password} #SECRET:b#\nc: #UUID#".into());
        let render = |secrets| template.render(secrets).unwrap();
        let (reported, again) =
            (render(Secrets::Plain(directory.path())), render(Secrets::Plain(directory.path())));
        assert_eq!(reported, again);
        assert!(
            reported.user_data.contains("a: hunter2 ") && !reported.user_data.contains("#SECRET")
        );
        let hashed = render(Secrets::Hashed(directory.path()));
        assert!(!hashed.user_data.contains("hunter2"), "{hashed:?}");
        // Not even the id of the instance may reveal what others could try out.
        assert_ne!(reported.meta_data, hashed.meta_data);
        let secret = Secrets::Plain(directory.path()).made("b").unwrap();
        assert!(reported.user_data.contains(&secret) && !hashed.user_data.contains(&secret));
        assert_eq!(template.faults().unwrap().network_config, []);
    }

    #[test]
    fn the_instance_id_follows_the_content() {
        let id = |template: &Template| template.render(Secrets::Withheld).unwrap().meta_data;
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
        let seed = template().render(Secrets::Withheld).unwrap();
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

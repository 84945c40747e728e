//! What a `customise` table means as steps of a sandbox.

use super::{Content, Customise, File, Script, User, region};
use crate::artifact::Facts;
use crate::debian::install;
use crate::error::Result;
use crate::lock::Package;
use crate::sandbox::{EXCHANGE, Sandbox, Step};

impl Customise {
    /// What installs the packages that no earlier batch did.
    pub fn package_steps(&self, tree: &Facts, added: &[Package]) -> Vec<Step> {
        let asked = [&self.packages_to_add(tree)[..], &self.origin.backports].concat();
        install::install(&added.iter().collect::<Vec<_>>(), &asked)
    }

    /// What removes packages.
    pub fn removal_steps(&self) -> Vec<Step> {
        if self.remove.is_empty() {
            return Vec::new();
        }
        let argv = ["apt-get", "--yes", "--auto-remove", "purge"].map(String::from);
        let purge = install::run(argv.into_iter().chain(self.remove.iter().cloned()));
        vec![install::no_services(), purge]
    }

    /// Holds, names, locale and time zone.
    pub fn setting_steps(&self) -> Vec<Step> {
        let mut steps = Vec::from_iter(self.packages.hold_step());
        if let Some(hostname) = &self.hostname {
            steps.push(install::write("/etc/hostname", format!("{hostname}\n")));
            steps.push(install::write("/etc/hosts", hosts(hostname)));
        }
        if let Some(locale) = &self.locale {
            steps.extend(region::locale_steps(locale));
        }
        if let Some(timezone) = &self.timezone {
            steps.extend(region::time_zone_steps(timezone));
        }
        steps
    }

    /// Puts files into the tree, by way of the exchange directory.
    pub fn file_steps(&self, sandbox: &Sandbox) -> Result<Vec<Step>> {
        self.files.iter().enumerate().map(|(at, file)| file.step(sandbox, at)).collect()
    }

    /// Whether the initial RAM disks have to be made.
    pub fn shapes_initial_ram_disk(&self, added: &[Package]) -> bool {
        !added.is_empty() || self.files.iter().any(File::shapes_initial_ram_disk)
    }
}

fn hosts(hostname: &str) -> String {
    let short = hostname.split('.').next().unwrap_or(hostname);
    let names =
        if short == hostname { hostname.to_string() } else { format!("{hostname} {short}") };
    format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{names}\n\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
    )
}

impl File {
    fn step(&self, sandbox: &Sandbox, at: usize) -> Result<Step> {
        let from = format!("file-{at}");
        self.content.offer(sandbox, &from)?;
        let mode = match (&self.content, self.mode) {
            (_, Some(mode)) => Some(mode),
            (Content::Text(_), None) => Some(0o644),
            // The exchange directory has the modes that git keeps, whatever the checkout's umask
            // was.
            (Content::Local(_), None) => None,
        };
        Ok(Step::Copy { from, to: self.path.clone(), mode, owner: self.owner.clone() })
    }

    fn shapes_initial_ram_disk(&self) -> bool {
        ["/etc/initramfs-tools/", "/etc/modprobe.d/", "/etc/lvm/"]
            .iter()
            .any(|directory| self.path.starts_with(directory))
    }
}

impl User {
    /// What makes the user in a tree.
    pub(in crate::stage) fn steps(&self) -> Vec<Step> {
        let mut useradd: Vec<String> =
            ["useradd", "--create-home", "--shell", &self.shell].map(String::from).into();
        if let Some(uid) = self.uid {
            useradd.extend(["--uid".to_string(), uid.to_string()]);
        }
        let mut groups = self.groups.clone();
        if self.sudo && !groups.iter().any(|group| group == "sudo") {
            groups.push("sudo".to_string());
        }
        if !groups.is_empty() {
            useradd.extend(["--groups".to_string(), groups.join(",")]);
        }
        useradd.push(self.name.clone());
        let mut steps = vec![install::run(useradd)];
        if let Some(hash) = &self.password_hash {
            // By standard input: an argument would be seen in the list of processes.
            steps.push(Step::Run {
                argv: vec!["chpasswd".into(), "--encrypted".into()],
                env: Vec::new(),
                input: format!("{}:{}\n", self.name, hash.text),
            });
        }
        if self.sudo {
            steps.push(Step::Write {
                path: format!("/etc/sudoers.d/90-{}", self.name),
                content: format!("{} ALL=(ALL:ALL) NOPASSWD: ALL\n", self.name),
                mode: 0o440,
            });
        }
        if !self.ssh_keys.is_empty() {
            let directory = format!("/home/{}/.ssh", self.name);
            let content: String = self.ssh_keys.iter().map(|key| format!("{key}\n")).collect();
            steps.push(Step::Write {
                path: format!("{directory}/authorized_keys"),
                content,
                mode: 0o600,
            });
            steps.push(install::run(["chmod", "700", &directory]));
            let owner = format!("{0}:{0}", self.name);
            steps.push(install::run(["chown", "-R", &owner, &directory]));
        }
        steps
    }
}

/// Bytes of a script that still reads well in an error.
const SHORT: usize = 1000;

impl Script {
    /// A short script is an argument, so that a failure shows what was run. One with a `#!` line of
    /// its own, a long or a secret one (arguments are seen in the list of processes) is a file in
    /// the exchange directory.
    pub fn steps(&self, sandbox: &Sandbox, at: usize) -> Result<Vec<Step>> {
        use std::os::unix::fs::PermissionsExt;
        if let Content::Text(text) = &self.content
            && !text.secret
            && !text.text.starts_with("#!")
            && text.text.len() <= SHORT
        {
            return Ok(vec![install::run(["/bin/sh", "-euc", &text.text])]);
        }
        let name = format!("run-{}", at + 1);
        self.content.offer(sandbox, &name)?;
        let file = sandbox.exchange().join(&name);
        let text = std::fs::read(&file)?;
        let path = format!("{EXCHANGE}/{name}");
        if text.starts_with(b"#!") {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755))?;
            return Ok(vec![install::run([path])]);
        }
        Ok(vec![install::run(["/bin/sh", "-eu", &path])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_name_is_also_known_by_its_short_one() {
        assert!(hosts("a.example").contains("127.0.1.1\ta.example a\n"));
        assert!(hosts("a").contains("127.0.1.1\ta\n"));
    }

    #[test]
    fn a_password_never_stands_in_an_argument() {
        let user = User {
            name: "u".into(),
            uid: None,
            groups: vec![],
            shell: "/bin/sh".into(),
            sudo: true,
            password_hash: Some(crate::pipeline::Text::open(0..0, "$6$secret")),
            ssh_keys: vec![],
        };
        for step in user.steps() {
            if let Step::Run { argv, .. } = step {
                assert!(!argv.iter().any(|arg| arg.contains("secret")), "{argv:?}");
            }
        }
    }
}

//! Settings that the system reads when it starts: services, kernel parameters and kernel modules.

use crate::debian::install;
use crate::pipeline::{Fault, Fields, Text};
use crate::recipe::Recipe;
use crate::sandbox::Step;

/// Where kernel parameters are written; read late, so that they override those of packages.
const SYSCTL: &str = "/etc/sysctl.d/90-kuth.conf";
/// Where the modules to load at boot are written.
const MODULES: &str = "/etc/modules-load.d/kuth.conf";

/// What apt's timers read.
const UPGRADES: &str = "/etc/apt/apt.conf.d/20auto-upgrades";
const UPGRADES_TEXT: &str = "APT::Periodic::Update-Package-Lists \"1\";\n\
    APT::Periodic::Unattended-Upgrade \"1\";\n";

/// What to do with a unit.
const ACTIONS: [&str; 3] = ["disable", "mask", "enable"];

/// The settings of one stage.
#[derive(Default)]
pub(super) struct System {
    /// The units of each of [`ACTIONS`].
    units: [Vec<String>; ACTIONS.len()],
    /// Names with dots, and values.
    sysctl: Vec<(String, String)>,
    modules: Vec<String>,
    /// Whether the system installs security updates by itself.
    upgrades: bool,
}

/// Reads `services`, `sysctl`, `kernel-modules` and `unattended-upgrades`.
pub(super) fn read(fields: &mut Fields<'_>) -> System {
    let modules = fields.unique_texts("kernel-modules");
    let mut sysctl = Vec::new();
    for (name, value) in fields.values_by_path("sysctl") {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if name.value.is_empty() || !name.value.chars().all(legal) {
            let fault =
                Fault::new(name.span, format!("`{}` is not a kernel parameter", name.value));
            fields.fault(fault.hint("as in `net.ipv4.ip_forward = 1`"));
        } else if value.text.contains('\n') {
            let message = format!("the value of `{}` has a line end", name.value);
            fields.fault(Fault::new(value.span, message));
        } else {
            sysctl.push((name.value, value.text));
        }
    }
    System {
        units: services(fields),
        sysctl,
        modules: words(fields, modules, "kernel module", "as in \"br_netfilter\""),
        upgrades: fields.boolean("unattended-upgrades", false),
    }
}

fn services(fields: &mut Fields<'_>) -> [Vec<String>; ACTIONS.len()] {
    let Some(mut table) = fields.table("services") else { return Default::default() };
    let mut seen: Vec<Text> = Vec::new();
    // In the order of ACTIONS.
    let texts =
        [table.unique_texts("disable"), table.unique_texts("mask"), table.unique_texts("enable")];
    let units = texts.map(|texts| {
        for text in &texts {
            if let Some(first) = seen.iter().find(|other| other.text == text.text) {
                let message = format!("{} is named twice", text.shown());
                let fault = Fault::new(text.span.clone(), message).label("again");
                table.fault(fault.also(first.span.clone(), "first here"));
            }
        }
        seen.extend(texts.iter().cloned());
        words(&table, texts, "systemd unit", "as in \"nginx\" or \"fstrim.timer\"")
    });
    table.finish();
    units
}

/// The texts that can be an argument and a line of a file; the others are faults.
fn words(fields: &Fields<'_>, texts: Vec<Text>, what: &str, hint: &str) -> Vec<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ":_.@\\-".contains(c);
    let is_word = |text: &Text| {
        !text.text.is_empty() && !text.text.starts_with('-') && text.text.chars().all(legal)
    };
    let (good, bad): (Vec<Text>, Vec<Text>) = texts.into_iter().partition(is_word);
    for text in bad {
        let fault = Fault::new(text.span.clone(), format!("{} is not a {what}", text.shown()));
        fields.fault(fault.hint(hint));
    }
    good.into_iter().map(|text| text.text).collect()
}

impl System {
    /// Whether units are enabled, disabled or masked, for which the tree needs systemd.
    pub(super) fn has_services(&self) -> bool {
        self.units.iter().any(|units| !units.is_empty())
    }

    /// Whether the system installs security updates by itself, for which it needs a package.
    pub(super) fn upgrades_itself(&self) -> bool {
        self.upgrades
    }

    /// Writes the settings into a recipe.
    pub(super) fn describe(&self, recipe: &mut Recipe) {
        for (action, units) in ACTIONS.iter().zip(&self.units) {
            recipe.set(&format!("service {action}"), units);
        }
        recipe.set("sysctl", self.sysctl.iter().map(|(name, value)| format!("{name} = {value}")));
        recipe.list("kernel module", &self.modules);
        if self.upgrades {
            recipe.value("unattended-upgrades", true);
        }
    }

    /// The steps, which come after files, among which units may be.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.sysctl.is_empty() {
            let lines = self.sysctl.iter().map(|(name, value)| format!("{name} = {value}\n"));
            steps.push(install::write(SYSCTL, lines.collect::<String>()));
        }
        if !self.modules.is_empty() {
            let lines = self.modules.iter().map(|module| format!("{module}\n"));
            steps.push(install::write(MODULES, lines.collect::<String>()));
        }
        if self.upgrades {
            steps.push(install::write(UPGRADES, UPGRADES_TEXT));
        }
        for (action, units) in ACTIONS.iter().zip(&self.units) {
            if !units.is_empty() {
                let argv = ["systemctl", "--quiet", action].map(String::from).into_iter();
                steps.push(install::run(argv.chain(units.iter().cloned())));
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_before_units_are_enabled() {
        let system = System {
            units: [vec![], vec!["a.timer".into()], vec!["nginx".into(), "b".into()]],
            sysctl: vec![("net.ipv4.ip_forward".into(), "1".into())],
            modules: vec!["br_netfilter".into()],
            upgrades: false,
        };
        let steps = system.steps();
        assert_eq!(
            steps[..2],
            [
                install::write(SYSCTL, "net.ipv4.ip_forward = 1\n"),
                install::write(MODULES, "br_netfilter\n")
            ]
        );
        assert_eq!(
            steps[2..],
            [
                install::run(["systemctl", "--quiet", "mask", "a.timer"]),
                install::run(["systemctl", "--quiet", "enable", "nginx", "b"])
            ]
        );
        assert!(System::default().steps().is_empty());
    }
}

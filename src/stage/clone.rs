//! `clone`: machines from a snapshot, by roles. Each instance is a stage of its own with a seed
//! of its own, so that a change to one role's user-data runs that role's instances again and
//! nothing else.

use std::io::Read;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use crate::artifact::{Artifact, ArtifactKind, Output};
use crate::error::Result;
use crate::host_network::Plan;
use crate::machine::{
    CloneSpec, CopyMode, Driver, Forward, Hardware, Listed, MachineSpec, Network, Nic, Replace,
    State, host_of, is_legal_name, journal,
};
use crate::pipeline::{Data, Fault, Fields, LocalPath, OtherFile, Span, Text};
use crate::recipe::Recipe;
use crate::seed::{Secrets, SeedFault, Template, Variables, ssh_keys};
use crate::units::Bytes;

use super::register::{self, NAME_HINT, Shape};
mod network;

use super::{Inputs, Kind, Parsed, Pin, Placement, Resource, Stage, StageContext};

/// The row of this kind.
pub const KIND: Kind = Kind { name: "clone", output: ArtifactKind::Machines, read };

struct Clone {
    name: String,
    role: String,
    copy: CopyMode,
    shape: Shape,
    nics: Vec<Nic>,
    forwards: Vec<Forward>,
    /// The size of the first disk; `None`: the snapshot's.
    disk: Option<Bytes>,
    disks: Vec<Bytes>,
    auto_start: bool,
    user: String,
    template: Template,
    replace: Replace,
    network: Option<Arc<Plan>>,
}

/// What all roles share.
struct Common {
    copy: CopyMode,
    user: String,
    keys: Vec<String>,
    variables: Variables,
    network: Option<Arc<Plan>>,
}

fn read(fields: &mut Fields<'_>) -> Option<Parsed> {
    let from = fields.required_input("from", &[ArtifactKind::Snapshot]);
    let copy = if fields.boolean("linked", true) { CopyMode::Linked } else { CopyMode::Full };
    let user = fields.text("user").map_or_else(|| "debian".to_string(), |user| user.text);
    let keys = read_keys(fields);
    let variables = fields.variables().iter();
    let variables = variables.map(|(name, text)| (name.clone(), text.into())).collect();
    let network = network::read(fields).map(Arc::new);
    let common = Common { copy, user, keys, variables, network };
    fields.require("role");
    let mut clones: Vec<(Clone, Span)> = Vec::new();
    for (name, mut role) in fields.tables("role") {
        for (clone, span) in read_role(&name, &mut role, &common) {
            match clones.iter().find(|(other, _)| other.name == clone.name) {
                None => clones.push((clone, span)),
                Some((_, first)) => {
                    let message = format!("two machines are called `{}`", clone.name);
                    role.fault(Fault::new(span, message).also(first.clone(), "the first one"));
                }
            }
        }
        role.finish();
    }
    let instance = |(clone, _): (Clone, Span)| -> (Option<String>, Box<dyn Stage>) {
        (Some(clone.name.clone()), Box::new(clone))
    };
    let instances = clones.into_iter().map(instance).collect();
    Some(Parsed { inputs: vec![from?], instances })
}

/// The public keys under `ssh-key`: each a key itself, or a file of them; an empty string is none.
fn read_keys(fields: &mut Fields<'_>) -> Vec<String> {
    let mut keys = Vec::new();
    for text in fields.text_or_texts("ssh-key") {
        let written = text.as_str().trim();
        if written.is_empty() {
            continue;
        }
        let hint = "give a public key, or the path of a file of them";
        let content = if written.contains(' ') {
            Ok(written.to_string())
        } else {
            let trimmed = Text { text: written.to_string(), ..text.clone() };
            let Some(local) = fields.readable_path_at("ssh-key", trimmed, hint) else { continue };
            read_text(&local)
        };
        match content.and_then(|content| ssh_keys(&content)) {
            Ok(found) => keys.extend(found),
            Err(why) => fields.fault(Fault::new(text.span, why).hint(hint)),
        }
    }
    keys
}

/// The machines of one role, and where their names stand.
fn read_role(role_name: &str, role: &mut Fields<'_>, common: &Common) -> Vec<(Clone, Span)> {
    role.require("instances");
    let names = role.unique_texts("instances");
    if names.is_empty()
        && let Some(span) = role.key_span("instances")
        && matches!(role.raw("instances").map(|it| &it.data), Some(Data::Array(all)) if all.is_empty())
    {
        role.fault(Fault::new(span, "`instances` is empty").hint("name at least one machine"));
    }
    let shape = Shape::read(role);
    let networks = read_networks(role);
    let forwards = read_forwards(role, &networks);
    let disk = read_disk(role);
    let disks = read_disks(role);
    let auto_start = role.boolean("auto-start", false);
    let words = [("never", Replace::Never), ("always", Replace::Always)];
    let replace = role.choice_of("replace", &words).map_or(Replace::Never, |it| it.value);
    // The one label that cloud-init looks for; the key is there so that a file can say so.
    role.choice("label", &["cidata"]);
    let user_data = read_file(role, "user-data");
    let meta_data = read_file(role, "meta-data");
    let network_config = read_file(role, "network-config");
    let (mut clones, mut reported) = (Vec::new(), false);
    for Text { text: name, span, secret } in names {
        if !is_legal_name(&name) || secret {
            let message = format!("`{name}` cannot be a machine's name");
            let hint = match is_legal_name(&name.to_lowercase()) {
                true => format!("write it in lower case: `{}`", name.to_lowercase()),
                false => NAME_HINT.to_string(),
            };
            role.fault(Fault::new(span, message).hint(hint));
            continue;
        }
        let nics = Nic::all(&name, &networks);
        let text = |file: &Option<(LocalPath, String)>| file.as_ref().map(|(_, text)| text.clone());
        let template = Template {
            hostname: name.clone(),
            nics: nics.clone(),
            user: common.user.clone(),
            ssh_keys: common.keys.clone(),
            variables: common.variables.clone(),
            user_data: text(&user_data),
            meta_data: text(&meta_data),
            network_config: text(&network_config),
        };
        match template.faults() {
            // The machines of a role differ in names and addresses alone, so one speaks for all.
            Ok(faults) if !reported => {
                let files = [
                    (&user_data, faults.user_data),
                    (&meta_data, faults.meta_data),
                    (&network_config, faults.network_config),
                ];
                for (file, faults) in files {
                    reported |= !faults.is_empty();
                    report(role, file, faults);
                }
            }
            Ok(_) => {}
            Err(error) => role.fault(Fault::new(span.clone(), error.to_string())),
        }
        let clone = Clone {
            name,
            role: role_name.to_string(),
            copy: common.copy,
            shape: shape.clone(),
            nics,
            forwards: forwards.clone(),
            disk,
            disks: disks.clone(),
            auto_start,
            user: common.user.clone(),
            template,
            replace,
            network: common.network.clone(),
        };
        clones.push((clone, span));
    }
    clones
}

/// Reads `nics`.
pub(super) fn read_networks(role: &mut Fields<'_>) -> Vec<Network> {
    let mut networks = Vec::new();
    for text in role.texts("nics") {
        match text.text.parse() {
            Ok(network) => networks.push(network),
            Err(error) => {
                let message = format!("{} is not a network", text.shown());
                let hint = crate::hardware::nic::NotANetwork::to_string(&error);
                role.fault(Fault::new(text.span, message).hint(hint));
            }
        }
    }
    networks
}

fn read_forwards(role: &mut Fields<'_>, networks: &[Network]) -> Vec<Forward> {
    let mut forwards = Vec::new();
    for text in role.texts("forward") {
        match text.text.parse() {
            Ok(forward) => forwards.push(forward),
            Err(error) => {
                let message = format!("{} is not a forwarded port", text.shown());
                let hint = crate::hardware::nic::NotAForward::to_string(&error);
                role.fault(Fault::new(text.span, message).hint(hint));
            }
        }
    }
    if !forwards.is_empty()
        && !networks.contains(&Network::Nat)
        && let Some(span) = role.key_span("forward")
    {
        let message = "`forward` needs a network card on `nat`";
        role.fault(Fault::new(span, message).hint("add `nat` to `nics`"));
    }
    forwards
}

/// The size of the first disk.
fn read_disk(role: &mut Fields<'_>) -> Option<Bytes> {
    let size = role.size("disk")?;
    if size.value.0 == 0 || !size.value.0.is_multiple_of(Bytes::MIB.0) {
        let fault = Fault::new(size.span, format!("{} is not a disk size", size.value));
        role.fault(fault.hint(DISK_HINT));
        return None;
    }
    Some(size.value)
}

const DISK_HINT: &str = "write whole MiB or GiB, as in \"500 GiB\"";

fn read_disks(role: &mut Fields<'_>) -> Vec<Bytes> {
    let mut disks = Vec::new();
    for text in role.texts("disks") {
        match text.text.parse::<Bytes>() {
            Ok(size) if size.0 >= Bytes::MIB.0 && size.0 % Bytes::MIB.0 == 0 => disks.push(size),
            _ => {
                let message = format!("{} is not a disk size", text.shown());
                role.fault(Fault::new(text.span, message).hint(DISK_HINT));
            }
        }
    }
    disks
}

/// The file under `key`, and its text.
fn read_file(role: &mut Fields<'_>, key: &str) -> Option<(LocalPath, String)> {
    let path = role.readable_path(key)?;
    match read_text(&path) {
        Ok(text) => Some((path, text)),
        Err(why) => {
            role.fault(Fault::new(path.written.span, why));
            None
        }
    }
}

/// No file of keys or for cloud-init is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// What is in a file, read now and once: the seed, and its recipe, are made of this text.
fn read_text(local: &LocalPath) -> std::result::Result<String, String> {
    let why = |why: String| format!("cannot read {}: {why}", local.written.shown());
    let bytes = local.path.read(LONGEST).map_err(|error| why(error.root_cause().to_string()))?;
    let bytes = plain(bytes).map_err(|error| why(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| why(error.to_string()))?;
    // cloud-init looks for its first line at the very start.
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_string(),
        None => text,
    })
}

/// What is compressed by gzip, as cloud-init takes it, decompressed; all else as it is.
fn plain(bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    MultiGzDecoder::new(&bytes[..]).take(LONGEST + 1).read_to_end(&mut plain)?;
    match plain.len() as u64 > LONGEST {
        true => Err(std::io::Error::other("it decompresses to more than 1 MiB")),
        false => Ok(plain),
    }
}

/// Reports faults inside a file with their places there and where the pipeline names it.
fn report(role: &Fields<'_>, file: &Option<(LocalPath, String)>, faults: Vec<SeedFault>) {
    let Some((path, text)) = file else { return };
    let source: Arc<str> = text.as_str().into();
    for SeedFault { place, message, hint } in faults {
        let span = path.written.span.clone();
        let fault = match place.within(text) {
            _ if path.written.secret => Fault::new(span, message),
            None => Fault::new(span, format!("{}: {message}", path.written.text)),
            Some(span_there) => Fault::new(span, message).in_file(OtherFile {
                path: path.shown().to_string(),
                source: Arc::clone(&source),
                span: span_there,
            }),
        };
        role.fault(fault.maybe_hint(hint));
    }
}

impl Clone {
    /// Whether a machine is this one as it was just made: one that holds state is its user's.
    fn is_to_start(&self, listed: &Listed) -> bool {
        listed.name == self.name && listed.state == State::Ready
    }

    fn hardware(&self, context: &StageContext) -> Hardware {
        Hardware {
            disks: self.disks.iter().map(|size| size.0).collect(),
            nics: self.nics.clone(),
            forwards: self.forwards.clone(),
            ..self.shape.hardware(context)
        }
    }
}

impl Stage for Clone {
    fn revision(&self) -> u32 {
        1
    }

    // `replace` and `auto-start` are left out: they say what may be lost, and what is done with the
    // machine once it is made.
    fn describe(&self, context: &StageContext, recipe: &mut Recipe) -> Result<()> {
        recipe.value("name", &self.name);
        recipe.value("linked", self.copy == CopyMode::Linked);
        recipe.value("user", &self.user);
        self.shape.describe(recipe);
        recipe.list("nic", self.nics.iter().map(|nic| format!("{} {}", nic.network, nic.mac)));
        recipe.list("forward", &self.forwards);
        recipe.optional("first-disk", self.disk);
        recipe.list("disk", &self.disks);
        let secrets = Secrets::Hashed(&context.settings.machines);
        recipe.value("seed", self.template.render(secrets)?.digest());
        if self.template.has_given_secrets() {
            recipe.hide();
        }
        Ok(())
    }

    fn network(&self) -> Option<&Plan> {
        self.network.as_deref()
    }

    fn role(&self) -> Option<&str> {
        Some(&self.role)
    }

    fn resource(&self) -> Resource {
        Resource::Hypervisor
    }

    fn run(&self, context: &StageContext, inputs: &Inputs, _pins: &[Pin]) -> Result<Output> {
        let input = inputs.get("from")?;
        let snapshot = register::identity(context, input)?;
        let spec = MachineSpec {
            name: self.name.clone(),
            origin: register::origin(self, KIND.name, context, input)?,
            hardware: self.hardware(context),
            user: Some(self.user.clone()),
        };
        let secrets = Secrets::Plain(&context.settings.machines);
        let seed = self.template.render(secrets)?.iso(context.settings.epoch)?;
        let grows = input.facts.machine().is_some_and(|machine| machine.grows.is_some());
        if self.disk.is_some() && !grows {
            (context.warn)(&format!(
                "{}: nothing in the base grows with `disk`; write `grow = true` at a volume or \
                 partition of the stage `disk`, or grow it in `user-data`",
                context.stage
            ));
        }
        let (copy, size) = (self.copy, self.disk);
        let from = CloneSpec { snapshot: &snapshot, copy, size, seed: &seed };
        let host = host_of(context, self.replace);
        let driver = snapshot.row(&host)?.driver;
        journal::recover(&host, &snapshot.driver, &self.name)?;
        let identity = driver.clone_snapshot(&host, &spec, &from)?;
        if self.auto_start && driver.list(&host)?.iter().any(|it| self.is_to_start(it)) {
            driver.start(&host, &self.name)?;
        }
        register::made(context, ArtifactKind::Machines, &identity, None)
    }

    fn materialize(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        register::materialize(context, artifact, self.replace)
    }

    fn locate(&self, context: &StageContext, artifact: &Artifact) -> Result<Placement> {
        register::locate(context, artifact, self.replace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn gzip_is_decompressed_up_to_the_longest_file() {
        let packed = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(plain(b"#cloud-config\n".to_vec()).unwrap(), b"#cloud-config\n");
        assert_eq!(plain(packed(b"#cloud-config\n")).unwrap(), b"#cloud-config\n");
        assert_eq!(plain(packed(&vec![b'#'; LONGEST as usize])).unwrap().len(), LONGEST as usize);
        let error = plain(packed(&vec![b'#'; LONGEST as usize + 1])).unwrap_err();
        assert!(error.to_string().contains("more than 1 MiB"), "{error}");
        let cut = packed(b"text");
        assert!(plain(cut[..cut.len() - 1].to_vec()).is_err());
    }
}

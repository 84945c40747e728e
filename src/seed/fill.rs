//! Fills the placeholders of a template in. What is not a placeholder stays as it is; whether that
//! was meant is `check`'s matter.

use super::secret::{self, Secrets};
use super::{Seed, SeedFault, Template, default_user_data, network};
use crate::digest::Hasher;
use crate::error::Result;
use crate::format::Guid;
use crate::format::yaml::Place;

const KEY: &str = "#SSH-PUB-KEY#";

/// A template that is being filled in.
pub(super) struct Filling<'a> {
    pub(super) template: &'a Template,
    pub(super) secrets: Secrets<'a>,
}

/// A file that was filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    /// For each line of the text the line of the template that it comes from, from 1.
    pub(super) lines: Vec<usize>,
}

impl Filled {
    /// Faults of the text as those of the template. Columns are only known where nothing was
    /// filled in.
    pub(super) fn back(&self, template: &str, faults: Vec<SeedFault>) -> Vec<SeedFault> {
        let whole = |line| Place { line, columns: 0..usize::MAX };
        let back = |place: Place| {
            let at = place.line.checked_sub(1);
            let Some(line) = at.and_then(|at| self.lines.get(at)) else {
                // Where a text breaks off it has no line any more.
                return whole(if place.line == 0 { 0 } else { template.lines().count() });
            };
            let before = template.lines().nth(line - 1);
            match before == self.text.lines().nth(place.line - 1) {
                true => Place { line: *line, ..place },
                false => whole(*line),
            }
        };
        let faults = faults.into_iter();
        faults.map(|fault| SeedFault { place: back(fault.place), ..fault }).collect()
    }
}

impl Filling<'_> {
    /// The id of the instance, and all three files.
    pub(super) fn all(&self) -> Result<(String, Seed<Filled>)> {
        let template = self.template;
        let default;
        let user_data = match &template.user_data {
            Some(text) => text.as_str(),
            None => {
                default = default_user_data(&template.user);
                &default
            }
        };
        let whole = |text: String| Filled { lines: (1..=text.lines().count()).collect(), text };
        let network_config = match &template.network_config {
            Some(text) => self.fill(text, "")?,
            None => whole(network::generated(&template.nics)),
        };
        let id = self.instance_id(user_data, &network_config.text)?;
        let meta_data = match &template.meta_data {
            Some(text) => self.fill(text, &id)?,
            None => whole(format!("instance-id: {id}\nlocal-hostname: {}\n", template.hostname)),
        };
        let user_data = self.fill(user_data, &id)?;
        Ok((id, Seed { user_data, meta_data, network_config }))
    }

    /// Of everything that goes into the seed, with `#UUID#` itself still a placeholder.
    fn instance_id(&self, user_data: &str, network_config: &str) -> Result<String> {
        let template = self.template;
        let mut hasher = Hasher::default();
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        field(&template.hostname);
        field(user_data);
        field(template.meta_data.as_deref().unwrap_or_default());
        field(network_config);
        template.ssh_keys.iter().for_each(|key| field(key));
        let texts = [Some(user_data), template.meta_data.as_deref()];
        for (name, value) in &template.variables {
            let used = format!("${{{name}}}");
            if texts.iter().flatten().any(|text| text.contains(&used)) {
                field(name);
                field(&self.secrets.given(value)?);
            }
        }
        for name in texts.iter().flatten().flat_map(|text| secret::asked(text)) {
            field(&self.secrets.made(name)?);
        }
        Ok(Guid::derived(hasher.finish().0, "instance-id").to_string())
    }

    /// The line of the key is repeated for each.
    fn fill(&self, text: &str, id: &str) -> Result<Filled> {
        // Without any key the value is an empty string, which gives access to nobody.
        let none = [String::new()];
        let keys = match &self.template.ssh_keys[..] {
            [] => &none,
            keys => keys,
        };
        let mut filled = Filled::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let before = filled.text.len();
            match line.contains(KEY) {
                true => keys.iter().try_for_each(|key| self.line(line, key, id, &mut filled.text)),
                false => self.line(line, "", id, &mut filled.text),
            }?;
            let made = filled.text[before..].lines().count();
            filled.lines.extend(std::iter::repeat_n(index + 1, made));
        }
        Ok(filled)
    }

    /// Goes once from left to right, so that nothing that was filled in is looked at again.
    fn line(&self, line: &str, key: &str, id: &str, filled: &mut String) -> Result<()> {
        let mut rest = line;
        while let Some(at) = rest.find(['#', '$']) {
            let (before, tail) = rest.split_at(at);
            filled.push_str(before);
            let known = match placeholder(tail) {
                Some((length, word)) => self.value(word, key, id)?.map(|value| (length, value)),
                None => None,
            };
            match known {
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
        Ok(())
    }

    /// What a placeholder becomes; `None` for what is none.
    fn value(&self, word: Placeholder<'_>, key: &str, id: &str) -> Result<Option<String>> {
        let template = self.template;
        Ok(match word {
            Placeholder::Variable(name) => {
                template.variables.get(name).map(|value| self.secrets.given(value)).transpose()?
            }
            Placeholder::Kuths("HOSTNAME") => Some(template.hostname.clone()),
            Placeholder::Kuths("UUID") => Some(id.to_string()),
            Placeholder::Kuths("SSH-PUB-KEY") => Some(key.to_string()),
            Placeholder::Kuths(word) => match (word.strip_prefix("SECRET:"), card(word)) {
                (Some(name), _) if secret::is_legal(name) => Some(self.secrets.made(name)?),
                (_, Some(number)) => {
                    let nic = template.nics.get(number.wrapping_sub(1));
                    nic.map(|nic| nic.mac.to_string())
                }
                _ => None,
            },
        })
    }
}

/// What is between the marks of something like a placeholder.
enum Placeholder<'a> {
    /// `${word}`
    Variable(&'a str),
    /// `#word#`
    Kuths(&'a str),
}

/// What `tail` begins with, and its length with the marks.
fn placeholder(tail: &str) -> Option<(usize, Placeholder<'_>)> {
    if let Some(inner) = tail.strip_prefix("${") {
        let name = &inner[..inner.find('}')?];
        return Some((name.len() + 3, Placeholder::Variable(name)));
    }
    let inner = tail.strip_prefix('#')?;
    let word = &inner[..inner.find('#')?];
    Some((word.len() + 2, Placeholder::Kuths(word)))
}

/// The number in `MAC7`.
pub(super) fn card(word: &str) -> Option<usize> {
    word.strip_prefix("MAC")?.parse().ok()
}

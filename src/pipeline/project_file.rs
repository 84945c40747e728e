//! `kuth.toml` at the root of a project: settings for all of its pipelines. It is read as a pipeline
//! is, with every fault and its place. It does not know what the values mean.

use std::path::Path;

use super::fault::{Fault, Faults, FaultyPipeline};
use super::fields::{Fields, Scope};
use super::suggest;
use super::syntax;
use super::value::{Data, Spanned, Text};

/// The name of the file.
pub const NAME: &str = "kuth.toml";

/// The content of the file.
#[derive(Clone, Debug, Default)]
pub struct ProjectFile {
    /// `[cache]`.
    pub cache: CacheTable,
}

/// The keys of `[cache]`.
#[derive(Clone, Debug, Default)]
pub struct CacheTable {
    /// Its address.
    pub remote: Option<Text>,
    /// `read` or `read-write`.
    pub mode: Option<Spanned<&'static str>>,
    /// The public keys whose records are trusted.
    pub keys: Vec<Text>,
    /// `keys` or `anyone`.
    pub trust: Option<Spanned<&'static str>>,
}

/// Reads `source`, the text of the file at `path`. `is_key` returns what is wrong with a key.
pub fn load(
    path: &Path,
    source: &str,
    is_key: &dyn Fn(&str) -> Result<(), String>,
) -> Result<ProjectFile, FaultyPipeline> {
    let mut faults = Faults::default();
    let (table, lost) = syntax::parse(source, &mut faults);
    let scope = Scope::new(source, path.parent().unwrap_or(Path::new("")));
    let mut cache = CacheTable::default();
    for entry in &table.entries {
        match (&entry.value.data, entry.key.as_str()) {
            (Data::Table(table), "cache") => {
                let fields = Fields::new(&scope, table, entry.value.span.clone(), "cache");
                cache = read(fields, is_key);
            }
            (Data::Faulty, "cache") => {}
            (_, "cache") => scope.faults.borrow_mut().add(
                Fault::new(entry.value.span.clone(), "`cache` is not a table")
                    .hint("write `[cache]`"),
            ),
            (_, key) => scope.faults.borrow_mut().add(
                Fault::new(entry.key.span.clone(), format!("unknown table or key `{key}`"))
                    .maybe_hint(suggest::hint(key, &["cache"], "kuth.toml has the table")),
            ),
        }
    }
    let mut found = scope.take_faults();
    found.doubt(&lost);
    faults.extend(found);
    match faults.is_empty() {
        true => Ok(ProjectFile { cache }),
        false => {
            Err(FaultyPipeline { path: path.to_path_buf(), source: source.to_string(), faults })
        }
    }
}

fn read(mut fields: Fields<'_>, is_key: &dyn Fn(&str) -> Result<(), String>) -> CacheTable {
    let remote = fields.text("remote");
    let mode = fields.choice("mode", &["read", "read-write"]);
    let keys = fields.unique_texts("keys");
    for key in &keys {
        if let Err(why) = is_key(&key.text) {
            let fault = Fault::new(key.span.clone(), format!("{} is not a key", key.shown()));
            let hint = "`kuth cache keygen FILE` makes a pair, and prints the public one";
            fields.fault(fault.label(why).hint(hint));
        }
    }
    let trust = fields.choice("trust", &["keys", "anyone"]);
    if let Some(trust) = &trust
        && trust.value == "anyone"
        && !keys.is_empty()
    {
        let fault =
            Fault::new(trust.span.clone(), "`trust = \"anyone\"` makes `keys` mean nothing");
        fields.fault(fault.hint("leave one of the two out"));
    }
    fields.finish();
    CacheTable { remote, mode, keys, trust }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(source: &str) -> Result<ProjectFile, String> {
        let is_key = |key: &str| match key {
            "good" => Ok(()),
            _ => Err("a key is `good`".to_string()),
        };
        load(Path::new("kuth.toml"), source, &is_key).map_err(|faulty| faulty.to_string())
    }

    #[test]
    fn a_good_file_reads() {
        let file =
            loaded("[cache]\nremote = \"s3://a/b\"\nmode = \"read\"\nkeys = [\"good\"]\n").unwrap();
        assert_eq!(file.cache.remote.unwrap().text, "s3://a/b");
        assert_eq!(file.cache.mode.unwrap().value, "read");
        assert_eq!(file.cache.keys.len(), 1);
        assert!(loaded("").unwrap().cache.remote.is_none());
    }

    #[test]
    fn faults_have_their_places() {
        for (source, place, message) in [
            ("[cahce]\n", "kuth.toml:1:2", "unknown table or key `cahce`"),
            ("cache = 1\n", "kuth.toml:1:9", "`cache` is not a table"),
            ("[cache]\nremot = \"x\"\n", "kuth.toml:2:1", "unknown key `remot`"),
            ("[cache]\nmode = \"write\"\n", "kuth.toml:2:8", "`write` is not a valid `mode`"),
            ("[cache]\nkeys = [\"bad\"]\n", "kuth.toml:2:9", "`bad` is not a key"),
            (
                "[cache]\nkeys = [\"good\"]\ntrust = \"anyone\"\n",
                "kuth.toml:3:9",
                "`trust = \"anyone\"` makes `keys` mean nothing",
            ),
            ("[cache\n", "kuth.toml:1", "this is not TOML"),
        ] {
            let said = loaded(source).unwrap_err();
            assert!(said.contains(place) && said.contains(message), "{said}");
        }
    }
}

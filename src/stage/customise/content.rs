//! Where the bytes of a file or script come from: written in the pipeline, or a local file or
//! directory.

use crate::error::{Context, Result};
use crate::host_path::HostPath;
use crate::pipeline::Text;
use crate::recipe::Recipe;
use crate::sandbox::Sandbox;
use crate::stage::Site;

/// The source of some bytes.
pub enum Content {
    /// Written in the pipeline.
    Text(Text),
    /// A file or directory beside it.
    Local(HostPath),
}

impl Content {
    /// Writes what the bytes are into the recipe, under `name`.
    pub fn describe(&self, site: &Site, recipe: &mut Recipe, name: &str) -> Result<()> {
        match self {
            Content::Text(text) if !text.secret && looks_local(&text.text) => {
                recipe.value(name, format!("text {}", text.text));
                Ok(())
            }
            Content::Text(text) => site.describe_text(recipe, name, text),
            Content::Local(path) => path.describe(recipe, name),
        }
    }

    /// Puts the bytes into the exchange folder as `name`. Times do not matter there.
    pub fn offer(&self, sandbox: &Sandbox, name: &str) -> Result<()> {
        let to = sandbox.exchange().join(name);
        match self {
            Content::Text(text) => {
                std::fs::write(&to, &text.text).with_context(|| format!("writing {}", to.display()))
            }
            Content::Local(path) => path.copy(&to),
        }
    }
}

/// Whether a text reads in a recipe as what stands there for something else: a local file, or a
/// secret. Such a text has the word `text` before it, and so has one that begins with that word.
fn looks_local(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    matches!(first, "folder" | "link" | "secret" | "text")
        || first.parse::<crate::digest::Digest>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between the key and the copy into the sandbox packages are downloaded: minutes.
    #[test]
    fn what_is_offered_is_what_was_described() {
        use std::sync::Arc;

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "one").unwrap();
        let cache = Arc::new(crate::cache::Cache::open(&folder.path().join("cache")).unwrap());
        let site = Site::new(cache, Arc::default(), "base", folder.path().join("log"));
        let work = folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let sandbox = Sandbox::new(&work, 0, "localhost").unwrap();
        let content = Content::Local(HostPath::new(&file));
        content.describe(&site, &mut Recipe::new("x", 1), "file").unwrap();
        content.offer(&sandbox, "same").unwrap();
        assert_eq!(std::fs::read(sandbox.exchange().join("same")).unwrap(), b"one");
        std::fs::write(&file, "two").unwrap();
        let error = content.offer(&sandbox, "other").unwrap_err();
        assert!(error.to_string().contains("changed after it was hashed"), "{error:#}");
    }

    /// A file that holds the word `folder` is no directory.
    #[test]
    fn a_text_is_told_from_what_stands_for_a_file() {
        let digest = crate::digest::Digest::of("x").to_string();
        for text in ["folder", "link to x", "secret 1", "text folder", &digest] {
            assert!(looks_local(text), "{text}");
        }
        let executable = format!("{digest} executable");
        assert!(looks_local(&executable));
        for text in ["", "a folder", "folders", "echo text\n", "ba78"] {
            assert!(!looks_local(text), "{text}");
        }
    }
}

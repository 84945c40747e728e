//! Where the bytes of a file or script come from: written in the pipeline, or a local file or
//! directory.

use crate::error::{Context, Result};
use crate::host_path::HostPath;
use crate::pipeline::Text;
use crate::recipe::Recipe;
use crate::sandbox::Sandbox;
use crate::stage::StageContext;

/// The source of some bytes.
pub enum Content {
    /// Written in the pipeline.
    Text(Text),
    /// A file or directory beside it.
    Local(HostPath),
}

impl Content {
    /// Writes what the bytes are into the recipe, under `name`.
    pub fn describe(&self, context: &StageContext, recipe: &mut Recipe, name: &str) -> Result<()> {
        match self {
            Content::Text(text) if !text.secret && looks_local(&text.text) => {
                recipe.value(name, format!("text {}", text.text));
                Ok(())
            }
            Content::Text(text) => context.describe_text(recipe, name, text),
            Content::Local(path) => path.describe(recipe, name),
        }
    }

    /// Puts the bytes into the exchange directory as `name`. Times do not matter there.
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

/// Whether a text could be mistaken in a recipe for the line of a local file or of a secret. Such a
/// text has the word `text` before it, and so has one that begins with that word.
fn looks_local(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    matches!(first, "directory" | "link" | "secret" | "text")
        || first.parse::<crate::digest::Digest>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between the key and the copy into the sandbox packages are downloaded: minutes.
    #[test]
    fn a_file_that_changed_after_it_was_hashed_is_refused() {
        use std::sync::Arc;

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "one").unwrap();
        let cache = Arc::new(crate::cache::Cache::open(&directory.path().join("cache")).unwrap());
        let context =
            StageContext::new(cache, Arc::default(), "base", directory.path().join("log"));
        let work = directory.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let sandbox = Sandbox::new(&work, 0, "localhost").unwrap();
        let content = Content::Local(HostPath::new(&file));
        content.describe(&context, &mut Recipe::new("x", 1), "file").unwrap();
        content.offer(&sandbox, "same").unwrap();
        assert_eq!(std::fs::read(sandbox.exchange().join("same")).unwrap(), b"one");
        std::fs::write(&file, "two").unwrap();
        let error = content.offer(&sandbox, "other").unwrap_err();
        assert!(error.to_string().contains("changed after it was hashed"), "{error:#}");
    }

    /// A file that holds the word `directory` is not a directory.
    #[test]
    fn a_text_differs_in_a_recipe_from_a_file_or_a_secret() {
        let digest = crate::digest::Digest::of("x").to_string();
        for text in ["directory", "link to x", "secret 1", "text directory", &digest] {
            assert!(looks_local(text), "{text}");
        }
        let executable = format!("{digest} executable");
        assert!(looks_local(&executable));
        for text in ["", "a directory", "directories", "echo text\n", "ba78"] {
            assert!(!looks_local(text), "{text}");
        }
    }
}

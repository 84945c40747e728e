//! The recipe of a result: a short readable text that lists everything the result depends on.
//! Its SHA-256 is the key. The same text is stored beside the result, so the reason `plan` and
//! `explain` print is a comparison of two recipes and cannot disagree with the key.
//!
//! Left out on purpose: stage names, comments and the order of keys in the TOML, paths of the
//! checkout, mirror addresses, jobs, verbosity, and the places of hypervisors' programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Moves every key. Raise it when the form of the text below changes.
const FORMAT: u32 = 1;

/// The SHA-256 of a recipe's text: the address of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub Digest);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lines of `name = value`, in the order in which the stage's code writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    lines: Vec<String>,
    /// Not in the text: see [`Recipe::hide`].
    secret: bool,
}

impl Recipe {
    /// Begins the recipe of an action of `kind`, whose code is at `revision`.
    pub fn new(kind: &str, revision: u32) -> Recipe {
        let mut recipe = Recipe { lines: Vec::new(), secret: false };
        recipe.value("recipe", FORMAT);
        recipe.value("kind", kind);
        recipe.value("revision", revision);
        recipe
    }

    /// The recipe that a record keeps.
    pub fn from_text(text: &str) -> Recipe {
        Recipe { lines: text.lines().map(str::to_string).collect(), secret: false }
    }

    /// Adds `name = value`. A value of several lines, and a name that has ` = ` in it, are quoted, so
    /// that no two pairs give the same line and no value can look like another line.
    pub fn value(&mut self, name: &str, value: impl fmt::Display) {
        let value = value.to_string();
        let plain_name = !name.starts_with('"')
            && !name.contains(char::is_control)
            && format!("{name} = ").find(" = ") == Some(name.len());
        let name = if plain_name { name.to_string() } else { quoted(name) };
        let plain = !value.is_empty()
            && !value.starts_with(['"', ' '])
            && !value.ends_with(' ')
            && !value.contains(|c: char| c.is_control());
        self.lines.push(match plain {
            true => format!("{name} = {value}"),
            false => format!("{name} = {}", quoted(&value)),
        });
    }

    /// Adds the value if there is one; an absent value adds nothing.
    pub fn optional(&mut self, name: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    /// Adds one line an item, in the order given.
    pub fn list(&mut self, name: &str, items: impl IntoIterator<Item = impl fmt::Display>) {
        items.into_iter().for_each(|item| self.value(name, item));
    }

    /// Adds one line an item, sorted and without repeats: for lists whose order means nothing.
    pub fn set(&mut self, name: &str, items: impl IntoIterator<Item = impl fmt::Display>) {
        let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
        items.sort();
        items.dedup();
        self.list(name, items);
    }

    /// Marks the result as dependent on a secret, so that it stays on this machine. The text does not
    /// change.
    pub fn hide(&mut self) {
        self.secret = true;
    }

    /// Whether something in it is a secret.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// The text that is hashed and stored.
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }

    /// The SHA-256 of [`Recipe::text`].
    pub fn key(&self) -> Key {
        Key(Digest::of(self.text()))
    }

    /// The lines, without line ends.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// How this recipe differs from an `earlier` one, as `-`/`+` lines in the order they appear
    /// (lines only of the earlier one first at each place).
    pub fn differences(&self, earlier: &Recipe) -> Vec<Difference> {
        let mut found = Vec::new();
        let (mut old, mut new) = (earlier.lines.as_slice(), self.lines.as_slice());
        loop {
            match (old.split_first(), new.split_first()) {
                (Some((a, old_rest)), Some((b, new_rest))) if a == b => {
                    (old, new) = (old_rest, new_rest);
                }
                (None, None) => return found,
                _ => {
                    // The nearest pair of equal lines ends the difference.
                    let (removed, added) = nearest_match(old, new);
                    found.extend(old[..removed].iter().cloned().map(Difference::Removed));
                    found.extend(new[..added].iter().cloned().map(Difference::Added));
                    (old, new) = (&old[removed..], &new[added..]);
                }
            }
        }
    }
}

/// A text in quotes, on one line: backslashes before quotes and backslashes, `\n`, `\r`, `\t` and
/// `\0`, other control characters as `\u{85}`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            '\0' => quoted += "\\0",
            c if c.is_control() => quoted += &format!("\\u{{{:x}}}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The value of a line of a recipe, or another text of its form, without quotes. What is not quoted,
/// or not in this form, is given back as it is.
pub fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.and_then(unescaped).unwrap_or_else(|| text.to_string())
}

fn unescaped(inner: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    let (code, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    chars = rest.chars();
                    char::from_u32(u32::from_str_radix(code, 16).ok()?)?
                }
                c => c,
            },
            c => c,
        });
    }
    Some(text)
}

/// The kind of action that the lines of a recipe describe.
pub fn kind<'a>(lines: impl IntoIterator<Item = &'a str>) -> &'a str {
    lines.into_iter().find_map(|line| line.strip_prefix("kind = ")).unwrap_or("?")
}

/// How many lines to drop from each side until both continue with the same line.
fn nearest_match(old: &[String], new: &[String]) -> (usize, usize) {
    for total in 1..old.len() + new.len() {
        for removed in total.saturating_sub(new.len())..=total.min(old.len()) {
            let added = total - removed;
            if let (Some(a), Some(b)) = (old.get(removed), new.get(added))
                && a == b
            {
                return (removed, added);
            }
        }
    }
    (old.len(), new.len())
}

/// One line of the difference between two recipes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only in the earlier recipe.
    Removed(String),
    /// Only in the present recipe.
    Added(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Removed(line) => write!(f, "- {line}"),
            Difference::Added(line) => write!(f, "+ {line}"),
        }
    }
}

/// The first difference as one phrase for `reason`: `package = htop (new)`,
/// `suite = trixie (was bookworm)`, `package = htop (gone)`.
pub fn first_difference(differences: &[Difference]) -> Option<String> {
    let name = |line: &str| line.split_once(" = ").map(|(name, _)| name.to_string());
    match differences.first()? {
        Difference::Added(line) => Some(format!("{line} (new)")),
        Difference::Removed(removed) => {
            let replaced = differences.iter().find_map(|difference| match difference {
                Difference::Added(added) if name(added) == name(removed) => Some(added),
                _ => None,
            });
            Some(match (replaced, removed.split_once(" = ")) {
                (Some(added), Some((_, was))) => format!("{added} (was {was})"),
                _ => format!("{removed} (gone)"),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(packages: &[&str]) -> Recipe {
        let mut recipe = Recipe::new("customise", 1);
        recipe.set("package", packages);
        recipe.value("seal", true);
        recipe
    }

    #[test]
    fn the_text_and_the_key_are_pinned() {
        let recipe = recipe(&["b", "a", "b"]);
        assert_eq!(
            recipe.text(),
            "recipe = 1\nkind = customise\nrevision = 1\npackage = a\npackage = b\nseal = true\n"
        );
        // As `sha256sum` has it of that text.
        assert_eq!(
            recipe.key().to_string(),
            "9aaed02f9f05787fe10fbf34da03681138c721ccd6e72fe4c3bdbace230cf833"
        );
        assert_eq!(Recipe::from_text(&recipe.text()), recipe);
    }

    /// Every way to add a line, and every reason to quote; the digest is `sha256sum`'s.
    #[test]
    fn the_forms_of_lines_are_pinned() {
        let mut recipe = Recipe::new("x", 7);
        recipe.value("empty", "");
        recipe.value("spaced", " a");
        recipe.value("quoted", "\"a");
        recipe.value("lines", "a\nb\t\u{85}");
        recipe.value("letters", "\u{e4} = \\");
        recipe.value("a = b", 1);
        recipe.value("c\n", 1);
        recipe.optional("none", None::<u32>);
        recipe.optional("some", Some(2));
        recipe.list("list", ["b", "a", "b"]);
        recipe.set("set", ["b", "a", "b"]);
        recipe.hide();
        let text = [
            "recipe = 1",
            "kind = x",
            "revision = 7",
            "empty = \"\"",
            "spaced = \" a\"",
            "quoted = \"\\\"a\"",
            "lines = \"a\\nb\\t\\u{85}\"",
            "letters = \u{e4} = \\",
            "\"a = b\" = 1",
            "\"c\\n\" = 1",
            "some = 2",
            "list = b",
            "list = a",
            "list = b",
            "set = a",
            "set = b",
            "",
        ]
        .join("\n");
        assert_eq!(recipe.text(), text);
        assert_eq!(
            recipe.key().to_string(),
            "c104902b94f2fda0cc5c879b563a4b6820e313ea0cdc6957e81c9f483efdeabe"
        );
    }

    /// A file `/x = 1` that holds `2`, and a file `/x` that holds `1 = 2`.
    #[test]
    fn no_two_pairs_are_one_line() {
        let line = |name: &str, value: &str| {
            let mut recipe = Recipe::new("x", 1);
            recipe.value(name, value);
            recipe.text()
        };
        for (one, other) in [
            (("a = b", "c"), ("a", "b = c")),
            (("a =", "c"), ("a", "= c")),
            (("\"a\"", "c"), ("a", "c")),
            (("\"a = b\"", "c"), ("a = b", "c")),
            (("a\nb", "c"), ("a\\nb", "c")),
            (("a", "\"b\""), ("a", "b")),
            (("a", ""), ("a", "\"\"")),
        ] {
            assert_ne!(line(one.0, one.1), line(other.0, other.1), "{one:?} {other:?}");
        }
        assert!(line("a\nb = c", "d").lines().count() == 4);
    }

    #[test]
    fn no_value_can_look_like_another_line() {
        let mut recipe = Recipe::new("x", 1);
        recipe.value("a", "1\nb = 2");
        assert_eq!(recipe.lines().last(), Some(r#"a = "1\nb = 2""#));
        assert_eq!(Recipe::from_text(&recipe.text()), recipe);
    }

    /// Only control characters are escaped: other tables of Unicode change between releases of Rust.
    #[test]
    fn unquoting_reverses_quoting() {
        for text in ["", " a", "\"", "a\\\n\r\t\0\u{7f}\u{85}b", "\u{200b}\u{301}\n"] {
            assert_eq!(unquoted(&quoted(text)), text);
            assert!(!quoted(text).contains(char::is_control), "{text:?}");
        }
        assert_eq!(quoted("\u{200b}\u{301}"), "\"\u{200b}\u{301}\"");
        for other in ["a", "\"", "\"a", "\"\\", "\"\\u{x}\""] {
            assert_eq!(unquoted(other), other);
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let why =
            |now: &[&str], was: &[&str]| first_difference(&recipe(now).differences(&recipe(was)));
        assert_eq!(why(&["a"], &["a"]), None);
        assert_eq!(why(&["a", "b"], &["a"]), Some("package = b (new)".into()));
        assert_eq!(why(&["a"], &["a", "b"]), Some("package = b (gone)".into()));
        assert_eq!(why(&["c"], &["a"]), Some("package = c (was a)".into()));
    }

    #[test]
    fn a_difference_in_the_middle_leaves_the_rest_aligned() {
        let differences = recipe(&["a", "x", "c"]).differences(&recipe(&["a", "b", "c"]));
        assert_eq!(
            differences,
            [Difference::Removed("package = b".into()), Difference::Added("package = x".into())]
        );
    }
}

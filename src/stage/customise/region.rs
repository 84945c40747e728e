//! `locale` and `timezone`. Which locales and time zones there are is known to the tree alone, by its
//! packages `locales` and `tzdata`: a pipeline file is only checked for what can be none anywhere.

use crate::debian::install;
use crate::pipeline::{Fault, Fields};
use crate::recipe::Recipe;
use crate::sandbox::Step;

/// Makes a locale, or fails and says which are near.
const LOCALE: &str = include_str!("locale.sh");
/// Sets the time zone, or fails and says which are near.
const TIME_ZONE: &str = include_str!("time-zone.sh");

/// `locale`: `LANGUAGE_TERRITORY.CHARSET@MODIFIER`, of which only the first is required.
pub(in crate::stage) fn locale(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("locale")?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.@-".contains(c);
    let is_locale = text.text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.text.chars().all(legal)
        && text.text.matches('@').count() < 2
        && !text.text.ends_with(['.', '@']);
    if !is_locale {
        let message = format!("{} does not name a locale", text.shown());
        let hint = "as in \"C.UTF-8\", \"en_GB.UTF-8\" or \"sr_RS.UTF-8@latin\"";
        fields.fault(Fault::new(text.span, message).hint(hint));
        return None;
    }
    Some(text.text)
}

/// `timezone`: the path of a time zone below `/usr/share/zoneinfo`.
pub(in crate::stage) fn time_zone(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("timezone")?;
    // No name has a dot, which also leaves out `..` and the tables that lie beside the zones.
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    let is_name = |part: &str| !part.is_empty() && part.chars().all(legal);
    if !text.text.split('/').all(is_name) {
        let message = format!("{} does not name a time zone", text.shown());
        let below = text.text.split_once("zoneinfo/").map(|(_, name)| name);
        let hint = match below.filter(|name| name.split('/').all(is_name)) {
            Some(name) => format!("write \"{name}\""),
            None => "as in \"Europe/Berlin\" or \"Etc/UTC\"".to_string(),
        };
        fields.fault(Fault::new(text.span, message).hint(hint));
        return None;
    }
    Some(text.text)
}

/// Whether the C library has the locale of its own; others are made, by the package locales.
pub(super) fn is_always_there(locale: &str) -> bool {
    let is_utf8 =
        |charset: &str| ["utf-8", "utf8"].contains(&charset.to_ascii_lowercase().as_str());
    locale == "C" || locale == "POSIX" || locale.strip_prefix("C.").is_some_and(is_utf8)
}

/// The charset in the name of a locale.
fn charset(locale: &str) -> Option<&str> {
    let name = locale.split('@').next().unwrap_or(locale);
    name.split_once('.').map(|(_, charset)| charset)
}

/// Writes a locale into a recipe. The charset of one with a modifier was once another.
pub(super) fn describe_locale(locale: &str, recipe: &mut Recipe) {
    recipe.value("locale", locale);
    if locale.contains('@') {
        recipe.value("locale charset", charset(locale).unwrap_or("of the package locales"));
    }
}

/// What makes a locale and has it be the default.
pub(super) fn locale_steps(locale: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    if !is_always_there(locale) {
        steps.push(script(LOCALE, &[locale, charset(locale).unwrap_or_default()]));
    }
    steps.push(install::write("/etc/default/locale", format!("LANG={locale}\n")));
    steps
}

/// What sets the time zone.
pub(super) fn time_zone_steps(zone: &str) -> [Step; 2] {
    [script(TIME_ZONE, &[zone]), install::write("/etc/timezone", format!("{zone}\n"))]
}

/// A script on standard input: of a failure only its arguments and what it says are shown.
fn script(text: &str, arguments: &[&str]) -> Step {
    let argv = ["/bin/sh", "-s"].iter().chain(arguments).map(|word| word.to_string());
    Step::Run { argv: argv.collect(), env: Vec::new(), input: text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_of_a_locale_is_between_its_dot_and_its_modifier() {
        for (locale, expected) in [
            ("en_US", None),
            ("de_DE@euro", None),
            ("de_DE.ISO-8859-1", Some("ISO-8859-1")),
            ("sr_RS.UTF-8@latin", Some("UTF-8")),
            ("sr_RS@latin.UTF-8", None),
        ] {
            assert_eq!(charset(locale), expected, "{locale}");
        }
    }

    #[test]
    fn the_library_has_its_own_locale_in_utf_8_alone() {
        for (locale, expected) in [
            ("C", true),
            ("POSIX", true),
            ("C.UTF-8", true),
            ("C.utf8", true),
            ("C.ISO-8859-1", false),
            ("C.UTF-8@euro", false),
            ("en_US.UTF-8", false),
        ] {
            assert_eq!(is_always_there(locale), expected, "{locale}");
        }
    }

    #[test]
    fn the_recipe_of_a_locale_without_a_modifier_is_one_line() {
        let text = |locale: &str| {
            let mut recipe = Recipe::new("x", 1);
            describe_locale(locale, &mut recipe);
            recipe.text()
        };
        assert!(text("en_US.UTF-8").ends_with("\nlocale = en_US.UTF-8\n"));
        let expected = "locale = de_DE@euro\nlocale charset = of the package locales\n";
        assert!(text("de_DE@euro").ends_with(expected));
    }
}

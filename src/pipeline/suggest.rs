//! "Did you mean": the known word that an unknown one is most like. Pure; knows no pipelines.

/// How many insertions, deletions, replacements and swaps of neighbours lead from `a` to `b`
/// (optimal string alignment).
pub fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The word of `known` that was most likely meant by `word`; of several, the first.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace('_', "-");
    let meant = plain(word);
    known
        .into_iter()
        .filter(|candidate| *candidate != word)
        .filter_map(|candidate| {
            let other = plain(candidate);
            let longest = meant.chars().count().max(other.chars().count());
            // A third of the word may be wrong; of a short word, one letter.
            let limit = (longest / 3).max(usize::from(longest > 1));
            let apart = distance(&meant, &other);
            (apart <= limit && apart < longest).then_some((apart, candidate))
        })
        .min_by_key(|(apart, _)| *apart)
        .map(|(_, candidate)| candidate)
}

/// The most words a hint lists.
const LISTED: usize = 16;

/// A hint for an unknown `word`: the nearest known one, else all of them after `listing`
/// (`the keys here are`), else nothing.
pub fn hint(word: &str, known: &[&str], listing: &str) -> Option<String> {
    match nearest(word, known.iter().copied()) {
        Some(meant) => Some(format!("did you mean `{meant}`?")),
        None if known.is_empty() || known.len() > LISTED => None,
        None => Some(format!("{listing} {}", list(known))),
    }
}

/// `` `a`, `b` and `c` ``.
pub fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    join(&quoted, "and")
}

/// `a, b and c`, with the last word of the list introduced by `conjunction`.
pub fn join(words: &[String], conjunction: &str) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, apart) in [
            ("", "", 0),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("pakages", "packages", 1),
            ("siute", "suite", 1),
            ("customize", "customise", 1),
            ("kitten", "sitting", 3),
            ("é", "e", 1),
        ] {
            assert_eq!(distance(a, b), apart, "{a} {b}");
            assert_eq!(distance(b, a), apart, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_word_wins_and_the_far_ones_are_not_offered() {
        let known = ["source", "suite", "size", "guest-additions", "raw", "vdi"];
        for (word, meant) in [
            ("siute", Some("suite")),
            ("guest_additions", Some("guest-additions")),
            ("Suite", Some("suite")),
            ("rwa", Some("raw")),
            ("colour", None),
            ("x", None),
            ("suite", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }

    #[test]
    fn a_hint_lists_what_is_known_when_nothing_is_near() {
        assert_eq!(
            hint("zzzz", &["a1", "b1", "c1"], "one of").unwrap(),
            "one of `a1`, `b1` and `c1`"
        );
        assert_eq!(hint("b2", &["a1", "b1"], "one of").unwrap(), "did you mean `b1`?");
        assert_eq!(hint("x", &[], "one of"), None);
    }
}

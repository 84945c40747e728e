//! Text in XML and HTML. It knows no document.
//!
//! Source: XML 1.0, 2.2 and 2.4; HTML reads the same references.

/// `text` for an attribute in double quotes, and between tags. Characters that no XML document may
/// have, as the output of a machine may, become U+FFFD.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            // As they are, a reader makes spaces of them in attributes, and drops the last one.
            '\n' => escaped += "&#10;",
            '\t' => escaped += "&#9;",
            '\r' => escaped += "&#13;",
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(escaped("a<b> & \"c\""), "a&lt;b&gt; &amp; &quot;c&quot;");
        assert_eq!(
            escaped("\n\t\r\u{1b}\u{0}\u{ffff}\u{fc}"),
            "&#10;&#9;&#13;\u{fffd}\u{fffd}\u{fffd}\u{fc}"
        );
    }
}

//! Tests of formatting: by example, and over generated files.

use proptest::prelude::*;

use super::*;

fn of(source: &str) -> String {
    let once = formatted(Path::new("p.toml"), source).unwrap();
    assert_eq!(formatted(Path::new("p.toml"), &once).unwrap(), once, "not stable, of {source}");
    assert_eq!(values(&once), values(source));
    once
}

fn values(source: &str) -> toml::Table {
    source.parse().unwrap_or_else(|error| panic!("{error}, of:\n{source}"))
}

#[test]
fn white_space_is_as_in_the_documentation() {
    let source = "\n\n  a.b='x'   # why  \nc  =  [1,2 , 3,]\n[ t . \"u v\" ]\n\n\tx={y=1,z={}}\r\n\n\n\nz=1\n\n";
    let expected = "\
a.b = 'x' # why
c = [1, 2, 3]

[t.\"u v\"]
x = { y = 1, z = {} }

z = 1
";
    assert_eq!(of(source), expected);
}

#[test]
fn comments_above_a_header_stay_with_it() {
    let source =
        "# file\n\na = 1\n# of t\n# still\n[t]\n\n# of x\nx = 1\n# alone\n\n[[u]]\n[[u]]\n";
    let expected = "\
# file

a = 1

# of t
# still
[t]
# of x
x = 1
# alone

[[u]]

[[u]]
";
    assert_eq!(of(source), expected);
}

#[test]
fn arrays_keep_their_lines_and_comments() {
    let source =
        "p = [ # first\n\n 'a','b'\n, 'c' # last\n\n\n# end\n ,[\n1]\n\n]\nq = [[1],\n[2]]\n";
    let expected = "\
p = [
    # first

    'a', 'b',
    'c', # last

    # end
    [
        1,
    ],
]
q = [
    [1],
    [2],
]
";
    assert_eq!(of(source), expected);
}

#[test]
fn long_arrays_get_more_lines() {
    let names: Vec<String> = (10..40).map(|n| format!("\"package-{n}\"")).collect();
    let text = of(&format!("packages = [{}]\n", names.join(",")));
    assert!(text.starts_with("packages = [\n    \"package-10\", \"package-11\","), "{text}");
    assert!(text.ends_with("\"package-39\",\n]\n"), "{text}");
    assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    let joined = text.replace('\n', " ");
    assert_eq!(of(&joined), text, "however long the line was");
    let word = format!("'{}'", "x".repeat(200));
    assert_eq!(of(&format!("a = [{word}]")), format!("a = [\n    {word},\n]\n"));
    let table = format!("a = {{ b = {word}, c = 1 }}\n");
    assert_eq!(of(&table), table, "TOML 1.0 has no line breaks in these");
}

#[test]
fn strings_numbers_and_dates_are_kept_as_they_are_written() {
    let source = "\
a = \"\"\"
  two \\
    lines  \n\"\"\"
b = '''# no comment
'''
c = 1_000.50e3
d = 1979-05-27 07:32:00.5
e = [\"\"\"x
y\"\"\", 0xFF, -inf]
";
    assert_eq!(of(source), source);
}

#[test]
fn what_is_not_toml_is_a_fault_with_its_place() {
    let faulty = formatted(Path::new("p.toml"), "a = 1\nb = = 2\n").unwrap_err();
    assert!(faulty.to_string().contains("p.toml:2:"), "{faulty}");
}

/// White space between tokens.
fn gap() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", " ", "  ", "\t "]).prop_map(str::to_string)
}

/// White space, blank lines and comments between elements of an array.
fn wide_gap() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![" ", "\n", "\r\n", "# a comment ,]\n", "\t"]);
    prop::collection::vec(parts, 0..4).prop_map(|parts| parts.concat())
}

fn value() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "1",
        "1.5",
        "true",
        "\"a # b\"",
        "'c]'",
        "1979-05-27 07:32:00",
        "\"\"\"x\n# y\n\"\"\"",
        "''",
        "\"a text that makes lines long soon, so that they are broken\"",
    ]);
    plain.prop_map(str::to_string).prop_recursive(4, 24, 6, |inner| {
        let element = (wide_gap(), inner.clone(), wide_gap());
        let array = (prop::collection::vec(element, 0..6), any::<bool>(), wide_gap());
        let array = array.prop_map(|(elements, comma, end)| {
            let texts =
                elements.iter().map(|(before, value, after)| format!("{before}{value}{after}"));
            let comma = if comma && !elements.is_empty() { "," } else { "" };
            format!("[{}{comma}{end}]", texts.collect::<Vec<_>>().join(","))
        });
        let entry = (gap(), inner, gap());
        let table = prop::collection::vec(entry, 0..4).prop_map(|entries| {
            let entries = entries.iter().enumerate();
            let texts = entries.map(|(at, (a, value, b))| format!("{a}k{at}{b}={a}{value}{b}"));
            format!("{{{}}}", texts.collect::<Vec<_>>().join(","))
        });
        prop_oneof![array, table]
    })
}

fn statement() -> impl Strategy<Value = (u8, String, String, String)> {
    (0..4_u8, gap(), wide_gap(), value())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn generated_files_keep_their_values_and_comments(
        statements in prop::collection::vec(statement(), 0..8)
    ) {
        let mut source = String::new();
        for (at, (sort, gap, lines, value)) in statements.iter().enumerate() {
            source += lines;
            source += &match sort {
                0 => format!("{gap}[{gap}t{at}{gap}.{gap}'x'{gap}]{gap}# head\n"),
                1 => format!("{gap}[[a{at}]]{gap}\n"),
                2 => format!("{gap}k{at}{gap}.{gap}b{gap}={gap}{value}{gap}\n"),
                _ => format!("k{at}={value}# after\n"),
            };
        }
        let text = of(&source);
        let comments = |text: &str| text.matches("# a comment ,]").count();
        prop_assert_eq!(comments(&text), comments(&source));
        prop_assert!(text.lines().all(|line| line == line.trim_end()), "{}", text);
    }
}

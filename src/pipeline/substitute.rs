//! `${name}` and `${env:NAME}` in strings. It knows the notation, the variables and an
//! environment it is given; what the strings are for it does not know.
//!
//! `$${` is a literal `${`. What comes from the environment makes the whole string a secret.

use std::str::FromStr;

use super::fault::{Fault, Faults};
use super::suggest;
use super::template::{Piece, is_name, pieces, place};
use super::value::{Data, Entry, Span, Spanned, Table, Text, Value};

/// Looks a name up in the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// `--var name=value`. The value is taken as it is, without substitution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The variable.
    pub name: String,
    /// What it shall be.
    pub value: String,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Override, String> {
        match text.split_once('=') {
            Some((name, value)) if is_name(name) => {
                Ok(Override { name: name.to_string(), value: value.to_string() })
            }
            _ => Err("expected name=value".to_string()),
        }
    }
}

/// The variables of a pipeline, substituted themselves.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// In file order; `None` for one whose fault has been reported.
    values: Vec<(String, Option<Text>)>,
}

/// What is needed to fill a string in.
struct Filler<'a> {
    source: &'a str,
    environment: Environment<'a>,
}

/// How far a variable has been worked out.
enum State {
    Untouched,
    Busy,
    Done(Option<Text>),
}

struct Resolver<'a> {
    filler: Filler<'a>,
    written: Vec<(&'a Spanned<String>, Option<Text>)>,
    states: Vec<State>,
    path: Vec<usize>,
}

impl Variables {
    /// Works out the entries of `[vars]`; `overrides` win over what is written there. `place`
    /// is where a fault of an override is shown if there is no `[vars]`.
    pub fn resolve(
        vars: Option<&Entry>,
        place: Span,
        overrides: &[Override],
        environment: Environment<'_>,
        source: &str,
        faults: &mut Faults,
    ) -> Variables {
        let empty = Table::default();
        let (place, table) = match vars.map(|entry| (&entry.value.span, &entry.value.data)) {
            Some((span, Data::Table(table))) => (span.clone(), table),
            _ => (place, &empty),
        };
        let mut written = Vec::new();
        for Entry { key, value } in &table.entries {
            if !is_name(key) {
                let fault =
                    Fault::new(key.span.clone(), format!("illegal variable name `{}`", key.value));
                faults
                    .add(fault.hint("a name is a letter, then letters, digits, `-`, `_` and `.`"));
            }
            let overridden = overrides.iter().rev().find(|other| other.name == key.value);
            let text = match (&value.data, overridden) {
                (_, Some(new)) => Some(Text::open(0..0, new.value.replace("${", "$${"))),
                (Data::String(text), None) => Some(text.clone()),
                (Data::Faulty, None) => None,
                (_, None) => {
                    faults.add(not_a_string(value, source));
                    None
                }
            };
            written.push((key, text));
        }
        let names: Vec<&str> = written.iter().map(|(key, _)| key.as_str()).collect();
        for unknown in overrides.iter().filter(|other| !names.contains(&other.name.as_str())) {
            let message =
                format!("`--var {}=…` sets a variable the pipeline does not have", unknown.name);
            let hint = suggest::hint(&unknown.name, &names, "the variables are");
            let hint = hint.or(Some("variables are declared in `[vars]`".to_string()));
            faults.add(
                Fault::new(place.clone(), message)
                    .maybe_hint(hint)
                    .of_absence([unknown.name.as_str()]),
            );
        }
        let states = written.iter().map(|_| State::Untouched).collect();
        let filler = Filler { source, environment };
        let mut resolver = Resolver { filler, written, states, path: Vec::new() };
        let values = (0..resolver.written.len())
            .map(|at| (resolver.written[at].0.value.clone(), resolver.value(at, faults)))
            .collect();
        Variables { values }
    }

    /// The variables that could be worked out, in file order.
    pub fn into_values(self) -> Vec<(String, Text)> {
        self.values.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
    }

    /// Substitutes in every string below `data`. A string that cannot be filled in becomes
    /// [`Data::Faulty`].
    pub fn fill(
        &self,
        data: &mut Data,
        environment: Environment<'_>,
        source: &str,
        faults: &mut Faults,
    ) {
        match data {
            Data::String(text) => {
                let names: Vec<&str> = self.values.iter().map(|(name, _)| name.as_str()).collect();
                let mut look = |name: &str, _: &Span, _: &mut Faults| {
                    let found = self.values.iter().find(|(known, _)| known == name);
                    found.map(|(_, text)| text.clone())
                };
                let filler = Filler { source, environment };
                match filler.fill(text, &names, &mut look, faults) {
                    Some(filled) => *text = filled,
                    None => *data = Data::Faulty,
                }
            }
            Data::Array(values) => values
                .iter_mut()
                .for_each(|value| self.fill(&mut value.data, environment, source, faults)),
            Data::Table(table) => table
                .entries
                .iter_mut()
                .for_each(|entry| self.fill(&mut entry.value.data, environment, source, faults)),
            _ => {}
        }
    }
}

fn not_a_string(value: &Value, source: &str) -> Fault {
    let fault = Fault::new(value.span.clone(), "a variable is a string")
        .label(format!("expected a string, found {}", value.describe()));
    match (&value.data, source.get(value.span.clone())) {
        (Data::Integer(_) | Data::Float(_) | Data::Boolean(_), Some(written)) => {
            fault.hint(format!("write `\"{written}\"`"))
        }
        _ => fault,
    }
}

/// Looks a variable up: `None` if there is none of this name, `Some(None)` if it is faulty.
type Lookup<'l> = dyn FnMut(&str, &Span, &mut Faults) -> Option<Option<Text>> + 'l;

impl Filler<'_> {
    fn fill(
        &self,
        text: &Text,
        names: &[&str],
        look: &mut Lookup<'_>,
        faults: &mut Faults,
    ) -> Option<Text> {
        let mut filled = Text { text: String::new(), ..text.clone() };
        let mut sound = true;
        for piece in pieces(&text.text) {
            let value = match piece {
                Piece::Literal(literal) => {
                    filled.text.push_str(literal);
                    continue;
                }
                Piece::Variable(range, name) => {
                    let span = place(self.source, text, &range);
                    let found = look(name, &span, faults);
                    found.unwrap_or_else(|| {
                        faults.add(unset(span, name, names));
                        None
                    })
                }
                Piece::Environment(range, name) => {
                    let found = (self.environment)(name);
                    if found.is_none() {
                        let span = place(self.source, text, &range);
                        let message = format!("the environment has no variable `{name}`");
                        let hint = format!("set it: `{name}=… kuth …`");
                        faults.add(Fault::new(span, message).label("not set").hint(hint));
                    }
                    found.map(|value| Text { text: value, secret: true, span: 0..0 })
                }
                Piece::Malformed(range) => {
                    let span = place(self.source, text, &range);
                    let message = "`${` is not followed by a name and `}`";
                    let hint = "a substitution is `${name}` or `${env:NAME}`; \
                                a literal `${` is written `$${`";
                    faults.add(Fault::new(span, message).hint(hint));
                    None
                }
            };
            match value {
                Some(value) => {
                    filled.text.push_str(&value.text);
                    filled.secret |= value.secret;
                }
                None => sound = false,
            }
        }
        sound.then_some(filled)
    }
}

fn unset(span: Span, name: &str, names: &[&str]) -> Fault {
    let literal = format!("a literal `${{{name}}}` is written `$${{{name}}}`");
    let hint = match suggest::nearest(name, names.iter().copied()) {
        Some(meant) => format!("did you mean `${{{meant}}}`?"),
        None => format!("declare it in `[vars]`; {literal}"),
    };
    Fault::new(span, format!("the variable `{name}` is not set")).hint(hint).of_absence([name])
}

impl Resolver<'_> {
    fn value(&mut self, at: usize, faults: &mut Faults) -> Option<Text> {
        if let State::Done(text) = &self.states[at] {
            return text.clone();
        }
        self.states[at] = State::Busy;
        self.path.push(at);
        let value = self.written[at].1.clone().and_then(|text| self.fill(&text, faults));
        self.path.pop();
        self.states[at] = State::Done(value.clone());
        value
    }

    fn fill(&mut self, text: &Text, faults: &mut Faults) -> Option<Text> {
        let names: Vec<&str> = self.written.iter().map(|(key, _)| key.as_str()).collect();
        let filler = Filler { ..self.filler };
        let mut look = |name: &str, span: &Span, faults: &mut Faults| {
            let at = self.written.iter().position(|(key, _)| key.value == name)?;
            if !matches!(self.states[at], State::Busy) {
                return Some(self.value(at, faults));
            }
            let from = self.path.iter().position(|busy| *busy == at).unwrap_or(0);
            let ring = self.path[from..].iter().chain([&at]);
            let ring: Vec<_> = ring.map(|at| self.written[*at].0.as_str()).collect();
            let message = format!("the variables go in a circle: {}", ring.join(" -> "));
            faults.add(Fault::new(span.clone(), message).label("refers to itself in the end"));
            Some(None)
        };
        filler.fill(text, &names, &mut look, faults)
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::parse;
    use super::*;

    /// The variables of `source`, and each fault as `title @ the text it points at`.
    fn resolved(source: &str, overrides: &[&str]) -> (Vec<(String, Text)>, Vec<String>) {
        let mut faults = Faults::default();
        let (table, _) = parse(source, &mut faults);
        let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
        let env = |name: &str| (name == "TOKEN").then(|| "hunter2".to_string());
        let variables =
            Variables::resolve(table.get("vars"), 0..0, &overrides, &env, source, &mut faults);
        let said = |fault: &&Fault| format!("{} @ {}", fault.message, &source[fault.span.clone()]);
        (variables.into_values(), faults.sorted().iter().map(said).collect())
    }

    fn value(source: &str, overrides: &[&str], name: &str) -> Text {
        let (values, faults) = resolved(source, overrides);
        assert_eq!(faults, Vec::<String>::new());
        values.into_iter().find(|(known, _)| known == name).unwrap().1
    }

    #[test]
    fn variables_refer_to_each_other_and_are_overridden() {
        let source = "[vars]\na = \"${b}-1\"\nb = \"x\"\n";
        assert_eq!(value(source, &[], "a").text, "x-1");
        assert_eq!(value(source, &["b=y"], "a").text, "y-1");
        assert_eq!(value(source, &["b=y", "b=z=${a}"], "a").text, "z=${a}-1");
        assert_eq!(value("[vars]\na = \"$${b}\"\n", &[], "a").text, "${b}");
    }

    #[test]
    fn the_environment_makes_secrets_of_all_it_touches() {
        let source = "[vars]\nt = \"${env:TOKEN}\"\nu = \"user:${t}\"\np = \"plain\"\n";
        assert_eq!(value(source, &[], "u").text, "user:hunter2");
        assert!(value(source, &[], "u").secret);
        assert!(!value(source, &[], "p").secret);
        assert!(!value(source, &["t=open"], "u").secret);
    }

    #[test]
    fn a_circle_is_named_with_all_its_variables() {
        let (_, faults) = resolved("[vars]\na = \"${b}\"\nb = \"${c}\"\nc = \"x ${a}\"\n", &[]);
        assert_eq!(faults, ["the variables go in a circle: a -> b -> c -> a @ ${a}"]);
    }

    #[test]
    fn faults_point_inside_the_string_where_the_source_spells_it_plainly() {
        for (written, place) in [
            ("\"é ${no}\"", "${no}"),
            ("'é ${no}'", "${no}"),
            ("\"\"\"\né ${no}\"\"\"", "${no}"),
            ("\"\\t${no}\"", "\"\\t${no}\""),
        ] {
            let (_, faults) = resolved(&format!("[vars]\na = {written}\n"), &[]);
            assert_eq!(faults, [format!("the variable `no` is not set @ {place}")]);
        }
    }

    #[test]
    fn wrong_substitutions_are_faults() {
        let said = |source: &str, overrides: &[&str]| resolved(source, overrides).1;
        let vars = "[vars]\nsuite = \"x\"\n";
        let unknown = "`--var siute=…` sets a variable the pipeline does not have @ [vars]";
        assert_eq!(said(vars, &["siute=y"]), [unknown]);
        assert_eq!(said("[vars]\na = 1\n", &[]), ["a variable is a string @ 1"]);
        let unset = "the environment has no variable `NO` @ ${env:NO}";
        assert_eq!(said("[vars]\na = \"${env:NO}\"\n", &[]), [unset]);
        let malformed = "`${` is not followed by a name and `}` @ ${X:-y}";
        assert_eq!(said("[vars]\na = \"${X:-y}\"\n", &[]), [malformed]);
        assert!("=x".parse::<Override>().is_err());
    }

    #[test]
    fn a_faulty_variable_is_one_fault_however_often_it_is_used() {
        let (_, faults) = resolved("[vars]\na = 1\nb = \"${a}\"\nc = \"${a}\"\n", &[]);
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}

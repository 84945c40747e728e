//! The table `expect` of a boot: what must hold inside.

use super::time;
use crate::boot_check::probe::{Expectation, Protocol};
use crate::pipeline::{Data, Fault, Fields, Span, Text, Value};

/// Reads the table; faults go to the collector.
pub fn read(expect: &mut Fields<'_>) -> Vec<Expectation> {
    let mut all = Vec::new();
    for (path, source) in expect.texts_by_name("mounts") {
        if !path.value.starts_with('/') {
            let message = format!("`{}` is not a mount point", path.value);
            expect.fault(Fault::new(path.span, message).hint("it begins with `/`"));
            continue;
        }
        all.push(Expectation::Mount { path: path.value, source: source.text });
    }
    for (name, size) in expect.texts_by_name("volumes") {
        match size.text.parse() {
            Ok(size) => all.push(Expectation::Volume { name: name.value, size }),
            Err(error) => {
                let message = format!("{} is not a size", size.shown());
                let label = crate::units::SizeError::to_string(&error);
                expect.fault(Fault::new(size.span, message).label(label));
            }
        }
    }
    let services = expect.unique_texts("services").into_iter();
    all.extend(services.map(|unit| Expectation::Service { unit: unit.text }));
    if let Some(most) = expect.integer("failed-units", 0..=i64::MAX) {
        all.push(Expectation::FailedUnits { most: most.value as u64 });
    }
    if expect.boolean("cloud-init", false) {
        all.push(Expectation::CloudInit);
    }
    read_packages(expect, &mut all);
    read_ports(expect, &mut all);
    for path in expect.unique_texts("files") {
        match is_path(&path.text) {
            true => all.push(Expectation::File { path: path.text }),
            false => {
                let message = format!("{} is not the path of a file", path.shown());
                expect.fault(Fault::new(path.span, message).hint("it begins with `/`"));
            }
        }
    }
    for unit in expect.unique_texts("journal") {
        match is_unit(&unit.text) {
            true => all.push(Expectation::Journal { unit: unit.text }),
            false => {
                let message = format!("{} is not the name of a unit", unit.shown());
                expect.fault(Fault::new(unit.span, message).hint("such as `ssh` or `ssh.service`"));
            }
        }
    }
    let most = expect.raw("boot-time").and_then(|value| time(expect, "boot-time", value));
    all.extend(most.map(|most| Expectation::BootTime { most }));
    for mut command in expect.array_of_tables("command") {
        let run = command.required_text("run");
        let output = command.text("output").map(|output| output.text);
        all.extend(run.map(|run| Expectation::Command { run: run.text, output }));
        command.finish();
    }
    all
}

/// `packages`: a list of names, or patterns of versions by name.
fn read_packages(expect: &mut Fields<'_>, all: &mut Vec<Expectation>) {
    let check_name = |expect: &Fields<'_>, name: &str, span: Span| {
        let is_name = is_package(name);
        if !is_name {
            let fault = Fault::new(span, format!("`{name}` is not the name of a package"));
            expect.fault(fault.hint("lower-case letters, digits, `+`, `-` and `.`"));
        }
        is_name
    };
    if !matches!(expect.raw("packages").map(|value| &value.data), Some(Data::Table(_))) {
        for name in expect.unique_texts("packages") {
            if check_name(expect, &name.text, name.span) {
                all.push(Expectation::Package { name: name.text, version: None });
            }
        }
        return;
    }
    for (name, version) in expect.texts_by_name("packages") {
        if !check_name(expect, &name.value, name.span) {
            continue;
        }
        if !is_version(&version.text) {
            let message = format!("{} is not a version", version.shown());
            let hint = "write `*` for what may differ, as in \"3.4*\", or \"*\" for any version";
            expect.fault(Fault::new(version.span, message).hint(hint));
            continue;
        }
        let version = Some(version.text).filter(|version| version != "*");
        all.push(Expectation::Package { name: name.value, version });
    }
}

/// `ports`: numbers of TCP ports, or `NUMBER/tcp` and `NUMBER/udp`.
fn read_ports(expect: &mut Fields<'_>, all: &mut Vec<Expectation>) {
    let Some(value) = expect.raw("ports") else { return };
    let Data::Array(ports) = &value.data else {
        if value.data != Data::Faulty {
            let fault = Fault::new(value.span.clone(), "`ports` is not a list");
            expect.fault(fault.hint("write it as in `ports = [22, \"53/udp\"]`"));
        }
        return;
    };
    let mut seen: Vec<(Expectation, Span)> = Vec::new();
    for value in ports.iter().filter(|value| value.data != Data::Faulty) {
        let Some((number, protocol)) = port(value) else {
            let message = match &value.data {
                Data::String(text) => format!("{} is not a port", text.shown()),
                Data::Integer(number) => format!("{number} is not a port"),
                _ => "this is not a port".to_string(),
            };
            let fault = Fault::new(value.span.clone(), message);
            expect
                .fault(fault.hint("a port is from 1 to 65535, as in 22, \"22/tcp\" or \"53/udp\""));
            continue;
        };
        let port = Expectation::Port { number, protocol };
        match seen.iter().find(|(other, _)| *other == port) {
            None => seen.push((port, value.span.clone())),
            Some((_, first)) => {
                let message = format!("the {} is in `ports` twice", port.subject());
                let fault = Fault::new(value.span.clone(), message).label("again");
                expect.fault(fault.also(first.clone(), "first here"));
            }
        }
    }
    all.extend(seen.into_iter().map(|(port, _)| port));
}

fn port(value: &Value) -> Option<(u16, Protocol)> {
    let (number, protocol) = match &value.data {
        Data::Integer(number) => (u16::try_from(*number).ok()?, Protocol::Tcp),
        Data::String(Text { text, secret: false, .. }) => {
            let (number, word) = text.split_once('/').unwrap_or((text, "tcp"));
            let protocols = [Protocol::Tcp, Protocol::Udp];
            let protocol = protocols.into_iter().find(|protocol| protocol.word() == word)?;
            // Rust's own parser takes a sign.
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            (number.parse().ok().filter(|_| is_number)?, protocol)
        }
        _ => return None,
    };
    (number > 0).then_some((number, protocol))
}

fn is_path(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/') && !text.contains(char::is_control)
}

/// By Debian's policy; with an architecture too, as dpkg has it.
fn is_package(text: &str) -> bool {
    let (name, architecture) = text.split_once(':').unwrap_or((text, "any"));
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() > 1
        && name.starts_with(is_plain)
        && name.chars().all(|c| is_plain(c) || "+-.".contains(c))
        && !architecture.is_empty()
        && architecture.chars().all(|c| is_plain(c) || c == '-')
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~:*".contains(c))
}

/// By systemd.unit(5); no pattern, and no option of a command.
fn is_unit(text: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_legal)
}

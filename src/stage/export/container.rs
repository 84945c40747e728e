//! What a container of an exported image starts with: the table `config`, in the terms of the image
//! configuration of OCI.

use std::collections::BTreeMap;

use crate::format::oci::{Execution, Nothing, Texts};
use crate::pipeline::{Fault, Fields, Text};
use crate::recipe::Recipe;

/// Reads the table `config`.
pub(super) fn read(fields: &mut Fields<'_>) -> Execution {
    let Some(mut table) = fields.table("config") else { return Execution::default() };
    let some = |texts: Vec<Text>| {
        let texts: Vec<String> = texts.into_iter().map(|text| text.text).collect();
        (!texts.is_empty()).then_some(texts)
    };
    let (entrypoint, cmd) = (some(table.texts("entrypoint")), some(table.texts("cmd")));
    let user = word(&mut table, "user", "a name or a number, and a group after `:`");
    let stop_signal = word(&mut table, "stop-signal", "a signal, such as `SIGTERM`");
    let working_dir = table.text("workdir").filter(|path| is_path(&table, "workdir", path));
    let working_dir = working_dir.map_or(String::new(), |path| path.text);
    let volumes = table.unique_texts("volumes");
    let volumes: BTreeMap<String, Nothing> = volumes
        .into_iter()
        .filter(|path| is_path(&table, "volumes", path))
        .map(|path| (path.text, Nothing {}))
        .collect();
    let ports = table.unique_texts("ports");
    let ports: BTreeMap<String, Nothing> =
        ports.iter().filter_map(|port| Some((checked_port(&table, port)?, Nothing {}))).collect();
    let env: Vec<String> = table
        .texts_by_name("env")
        .into_iter()
        .filter_map(|(name, value)| {
            if name.value.is_empty() || name.value.contains(['=', '\0']) {
                let message = format!("`{}` is not the name of a variable", name.value);
                table.fault(Fault::new(name.span, message).hint("a name has no `=`"));
                return None;
            }
            Some(format!("{}={}", name.value, value.text))
        })
        .collect();
    let labels: Texts = table
        .texts_by_name("labels")
        .into_iter()
        .map(|(name, value)| (name.value, value.text))
        .collect();
    table.finish();
    Execution {
        user,
        exposed_ports: (!ports.is_empty()).then_some(ports),
        env: (!env.is_empty()).then_some(env),
        entrypoint,
        cmd,
        volumes: (!volumes.is_empty()).then_some(volumes),
        working_dir,
        labels: (!labels.is_empty()).then_some(labels),
        stop_signal,
    }
}

/// A text without spaces; empty where the key is absent.
fn word(table: &mut Fields<'_>, key: &str, what: &str) -> String {
    let Some(text) = table.text(key) else { return String::new() };
    if text.text.is_empty() || text.text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let message = format!("{} is not a `{key}`", text.shown());
        table.fault(Fault::new(text.span, message).hint(what));
        return String::new();
    }
    text.text
}

fn is_path(table: &Fields<'_>, key: &str, path: &Text) -> bool {
    let is_legal = path.text.starts_with('/') && !path.text.contains('\0');
    if !is_legal {
        let message = format!("{} is not an absolute path", path.shown());
        let hint = format!("`{key}` is a path in the container, which begins with `/`");
        table.fault(Fault::new(path.span.clone(), message).hint(hint));
    }
    is_legal
}

/// `80` and `80/tcp` are `80/tcp`.
fn checked_port(table: &Fields<'_>, port: &Text) -> Option<String> {
    let (number, protocol) = port.text.split_once('/').unwrap_or((&port.text, "tcp"));
    let number: Option<u16> = number.parse().ok().filter(|number| *number > 0);
    match number {
        Some(number) if ["tcp", "udp", "sctp"].contains(&protocol) => {
            Some(format!("{number}/{protocol}"))
        }
        _ => {
            let message = format!("{} is not a port", port.shown());
            let hint = "a port is written as `80` or `80/tcp`; the others are `/udp` and `/sctp`";
            table.fault(Fault::new(port.span.clone(), message).hint(hint));
            None
        }
    }
}

/// Writes what is set into the recipe.
pub(super) fn describe(execution: &Execution, recipe: &mut Recipe) {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let list = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
    let names = |table: &Option<BTreeMap<String, Nothing>>| -> Vec<String> {
        table.iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    recipe.list("entrypoint", list(&execution.entrypoint));
    recipe.list("cmd", list(&execution.cmd));
    recipe.optional("user", some(&execution.user));
    recipe.list("env", list(&execution.env));
    recipe.optional("workdir", some(&execution.working_dir));
    recipe.list("port", names(&execution.exposed_ports));
    recipe.list("volume", names(&execution.volumes));
    for (name, value) in execution.labels.iter().flatten() {
        recipe.value("label", format!("{name}={value}"));
    }
    recipe.optional("stop-signal", some(&execution.stop_signal));
}

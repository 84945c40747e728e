//! The roles of a pipeline of this repository, and their files.

use std::path::Path;

use kuth::hardware::nic::Nic;
use kuth::seed::{Template, Variables};
use toml::{Table, Value};

/// A role, with a template for each of its machines.
pub struct Role {
    pub name: String,
    pub templates: Vec<Template>,
}

/// Public, and nobody's.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@host";

fn text<'t>(table: &'t Table, key: &str) -> Option<&'t str> {
    table.get(key).and_then(Value::as_str)
}

/// All roles of `pipelines/DISTRIBUTION.toml`.
pub fn roles(distribution: &str) -> Vec<Role> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join(format!("pipelines/{distribution}.toml"));
    let pipeline: Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    let variables: Variables = pipeline["vars"]
        .as_table()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().into()))
        .collect();
    let nodes = pipeline["stage"]["nodes"].as_table().unwrap();
    let read = |role: &Table, key: &str| {
        text(role, key).map(|path| std::fs::read_to_string(root.join(path)).unwrap())
    };
    let roles = nodes["role"].as_table().unwrap();
    let role = |(name, role): (&String, &Value)| {
        let role = role.as_table().unwrap();
        let texts = |key: &str| {
            let list = role[key].as_array().unwrap().iter();
            list.map(|it| it.as_str().unwrap().to_string()).collect::<Vec<_>>()
        };
        let networks: Vec<_> = texts("nics").iter().map(|nic| nic.parse().unwrap()).collect();
        let template = |instance: &String| Template {
            hostname: instance.clone(),
            nics: Nic::all(instance, &networks),
            user: text(nodes, "user").unwrap_or("debian").to_string(),
            ssh_keys: vec![KEY.to_string()],
            variables: variables.clone(),
            user_data: read(role, "user-data"),
            meta_data: read(role, "meta-data"),
            network_config: read(role, "network-config"),
        };
        Role { name: name.clone(), templates: texts("instances").iter().map(template).collect() }
    };
    roles.iter().map(role).collect()
}

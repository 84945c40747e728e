//! Through real servers: nginx with its WebDAV module, and S3 as moto plays it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::served::{Running, free_port, s3, tool, wait_for};
use super::world::{Machine, World, warnings};

fn nginx(folder: &Path) -> Option<(Running, u16)> {
    let program = tool("nginx")?;
    let port = free_port();
    let at = folder.display();
    std::fs::create_dir_all(folder.join("files")).unwrap();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log {at}/error.log;\n\
         events {{}}\nhttp {{\naccess_log off;\nclient_max_body_size 0;\n\
         client_body_temp_path {at}/body;\nproxy_temp_path {at}/p;\nfastcgi_temp_path {at}/f;\n\
         uwsgi_temp_path {at}/u;\nscgi_temp_path {at}/s;\n\
         server {{\nlisten 127.0.0.1:{port};\nlocation /cache/ {{\nalias {at}/files/;\n\
         dav_methods PUT;\ncreate_full_put_path on;\n}}\n}}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(folder.join("nginx.conf")).arg("-e").arg(folder.join("error.log"));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = Running(child);
    wait_for(port);
    Some((running, port))
}

/// Two machines, one remote: the second runs nothing, and gets the same.
fn two_machines(world: &World, remote: &str, with: impl Fn(Machine<'_>) -> Machine<'_>) {
    let first = with(world.machine("one", remote)).build(&[]);
    assert_eq!((first.status, first.count("run")), (0, 2), "{}", first.err);
    assert!(
        first.err.contains("2 results brought to") && warnings(&first.err) == 0,
        "{}",
        first.err
    );
    let two = with(world.empty_handed("two", remote));
    let second = two.build(&[]);
    assert_eq!((second.status, second.count("run")), (0, 0), "{}", second.err);
    assert_eq!(warnings(&second.err), 0, "{}", second.err);
    for stage in ["file", "folder"] {
        assert_eq!(first.digest(stage), second.digest(stage));
    }
    two.is_right();
}

#[test]
fn through_nginx() {
    let world = World::new();
    let folder = world.path("nginx");
    let Some((_running, port)) = nginx(&folder) else { return };
    two_machines(&world, &format!("http://127.0.0.1:{port}/cache"), |machine| machine);
    assert!(folder.join("files/v1/records").is_dir());
}

#[test]
fn through_webdav() {
    let world = World::new();
    let folder = world.path("nginx");
    let Some((_running, port)) = nginx(&folder) else { return };
    // Without PROPFIND and MKCOL, which nginx alone does not have, this is a miss and a warning.
    let err = world.machine("one", &format!("webdav://127.0.0.1:{port}/cache")).runs(2, &[]);
    assert_eq!(warnings(&err), 1, "{err}");
}

#[test]
fn through_s3() {
    let world = World::new();
    let Some((_running, variables)) = s3() else { return };
    two_machines(&world, "s3://bucket/some/prefix", |machine| {
        variables.iter().fold(machine, |machine, (name, value)| machine.with(name, value))
    });
    // As a job for a pull request: everything that it has no value for is empty.
    let [endpoint, ..] = &variables;
    let other = world.machine("four", "s3://bucket/some/prefix").with(endpoint.0, &endpoint.1);
    let other = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]
        .iter()
        .fold(other, |machine, name| machine.with(name, ""));
    // It asks unsigned, which this bucket, not being public, refuses.
    let err = other.with("KUTH_CACHE_MODE", "read").runs(2, &[]);
    assert!(warnings(&err) == 1 && err.contains("PermissionDenied"), "{err}");
    // A bucket that is not there.
    let other = world.machine("three", "s3://nobody");
    // Servers other than Amazon's are asked without a region too.
    let given = variables.iter().filter(|(name, _)| *name != "AWS_REGION");
    let other = given.fold(other, |machine, (name, value)| machine.with(name, value));
    assert!(warnings(&other.runs(2, &[])) >= 1);
}

//! What lies between kuth and a server: proxies, and certificates of an authority of one's own.

use std::path::Path;
use std::process::Command;

use crate::world::{World, body};
use kuth_test_support::http::{Answer, Server};
use kuth_test_support::judge;
use kuth_test_support::servers;

#[test]
fn a_proxy_of_the_environment_is_asked() {
    let body = body();
    let served = body.clone();
    let proxy = Server::start(move |_, request| Answer::part(request, &served, "\"one\""));
    let mut world = World::new("url = \"http://nowhere.invalid/f\"");
    world.fails("nowhere.invalid");
    world.variables.push(("http_proxy", proxy.address.clone()));
    world.gives(&body);
    assert_eq!(proxy.requests()[0].path, "http://nowhere.invalid/f");

    let mut world = World::new(&format!("url = \"{}/f\"", proxy.address));
    world.variables.push(("http_proxy", "http://127.0.0.1:1".into()));
    world.fails("downloading");
    world.variables.push(("no_proxy", "127.0.0.1".into()));
    world.gives(&body);
}

#[test]
fn an_authority_of_ones_own_is_believed_when_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let body = body();
    std::fs::write(directory.path().join("f"), &body).unwrap();
    let Some(server) = https(directory.path()) else { return };
    let address = server.address.replace("http://127.0.0.1", "https://localhost");
    let mut world = World::new(&format!("url = \"{address}/f\""));
    world.fails("certificate");
    world.variables.push(("SSL_CERT_FILE", directory.path().join("ca.pem").display().to_string()));
    world.gives(&body);
}

/// nginx with a certificate for `localhost`, signed by `ca.pem` of the directory.
fn https(directory: &Path) -> Option<servers::Server> {
    let program = servers::program("nginx")?;
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = |words: &[&[&str]]| judge::tool_in(directory, "openssl", &words.concat());
    openssl(&[
        &["req", "-x509", "-subj", "/CN=ours", "-keyout", "ca.key", "-out", "ca.pem"],
        &key,
    ])?;
    openssl(&[&["req", "-subj", "/CN=localhost", "-keyout", "key", "-out", "csr"], &key])?;
    let sign = ["x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "crt"];
    openssl(&[&sign, &["-CAcreateserial", "-extfile", "names"]])?;
    let (at, port) = (directory.display(), servers::free_port());
    let config = format!(
        "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log {at}/error.log;\nevents {{}}\n\
         http {{\naccess_log off;\nclient_body_temp_path {at}/b;\nproxy_temp_path {at}/p;\n\
         fastcgi_temp_path {at}/c;\nuwsgi_temp_path {at}/u;\nscgi_temp_path {at}/s;\n\
         server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {at}/crt;\n\
         ssl_certificate_key {at}/key;\nroot {at};\n}}\n}}\n"
    );
    std::fs::write(directory.join("nginx.conf"), config).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(directory.join("nginx.conf")).arg("-e").arg(directory.join("error.log"));
    Some(servers::Server::start(command, port))
}

//! Container images that kuth writes, judged by skopeo, umoci, podman and qemu-img; a registry that it
//! publishes to and imports from, which is Debian's docker-registry. A tool that is not installed skips its
//! test with a line, unless KUTH_REQUIRE_TOOLS=1.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use kuth::digest::{Digest, of_reader};
use kuth::tree::{Kind, Reader};
use kuth_test_support::judge::{skip, tool, verdict};
use kuth_test_support::project::Project;
use kuth_test_support::servers::{Server, free_port, program};
use kuth_test_support::{base, http};
use serde_json::Value;

/// Two layers: what is new, changed and gone in the second one, and a file with two names.
const STAGES: &str = r#"
[stage.app]
kind = "customise"
from = "rootfs"
file."/opt/app/hello" = { content = "hello from kuth\n", mode = "0640", owner = "1000:1001" }
run = """
rm /etc/motd /usr/share/zoneinfo/Europe/Berlin
rm -r /usr/share/zoneinfo/America
ln /opt/app/hello /opt/app/again
ln -s hello /opt/app/link
chmod 0711 /opt
setfattr -n user.kuth -v value /opt/app/hello 2>/dev/null || true
"""

[stage.image]
kind = "export"
from = "app"
format = "oci"

[stage.image.config]
entrypoint = ["/bin/cat"]
cmd = ["/opt/app/hello"]
user = "1000:1001"
workdir = "/opt/app"
ports = ["8080", "53/udp"]
volumes = ["/var/lib/app"]
stop-signal = "SIGINT"
env = { APP_MODE = "a b", PATH = "/usr/bin:/bin" }
labels = { "org.example.part" = "one" }
"#;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A file by the path at which skopeo finds it.
fn archive(project: &Project, name: &str) -> String {
    let path = project.output().join("t").join(name);
    assert!(path.is_file(), "{}", path.display());
    format!("oci-archive:{}", path.display())
}

/// What an entry of a tree is: kind, mode, owner, group, time, and its content or target.
type Item = (char, u32, u64, u64, u64, String);

/// The names of a tree. Files with several names are as many files.
fn of_tree(tar: &Path) -> BTreeMap<String, Item> {
    let mut entries = Reader::new(std::io::BufReader::new(std::fs::File::open(tar).unwrap()));
    let mut found: BTreeMap<String, Item> = BTreeMap::new();
    while let Some((entry, mut content)) = entries.next_entry().unwrap() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let name = text(&entry.path);
        let name = name.trim_start_matches("./").trim_end_matches('/').to_string();
        let metadata = &entry.metadata;
        let item =
            |kind, what| (kind, metadata.mode, metadata.uid, metadata.gid, metadata.mtime, what);
        let item = match metadata.kind {
            Kind::Link => found[&text(&metadata.link)].clone(),
            Kind::Directory => item('d', String::new()),
            Kind::Symlink => item('l', text(&metadata.link)),
            Kind::Regular => item('f', of_reader(&mut content).unwrap().0.to_string()),
            other => panic!("{name} is {other:?}"),
        };
        found.insert(name, item);
    }
    found
}

/// The names below a directory.
fn of_directory(root: &Path) -> BTreeMap<String, Item> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(path) = open.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let kind = metadata.file_type();
        assert!(!kind.is_fifo() && !kind.is_socket(), "{}", path.display());
        let (kind, what) = if kind.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            ('d', String::new())
        } else if kind.is_symlink() {
            ('l', std::fs::read_link(&path).unwrap().to_str().unwrap().to_string())
        } else {
            ('f', Digest::of(std::fs::read(&path).unwrap()).to_string())
        };
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
        let (uid, gid) = (metadata.uid().into(), metadata.gid().into());
        let mode = metadata.mode() & 0o7777;
        found.insert(name, (kind, mode, uid, gid, metadata.mtime() as u64, what));
    }
    found
}

/// Whether this is root, which alone can give files to others; says what is skipped where it is not.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("files get their owners from root alone");
    }
    is_root
}

/// Unpacks an archive with umoci into `bundle` of the project; `None` where a tool is missing.
fn unpacked(project: &Project, source: &str, bundle: &str) -> Option<std::path::PathBuf> {
    let (layout, bundle) = (project.path(&format!("{bundle}.oci")), project.path(bundle));
    let image = format!("{}:it", layout.display());
    tool("skopeo", &["copy", "--quiet", source, &format!("oci:{image}")])?;
    tool("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()])?;
    Some(bundle.join("rootfs"))
}

#[test]
fn an_image_has_the_tree_in_layers_and_is_the_same_again() {
    let project = base::system("oci-image", STAGES);
    project.build(&[base::PIPELINE, "image"]).ok();
    let source = archive(&project, "t.oci.tar");

    let Some(text) = tool("skopeo", &["inspect", &source]) else { return };
    let image = json(&text);
    assert_eq!(image["Architecture"], "amd64");
    assert_eq!(image["Layers"].as_array().unwrap().len(), 2, "{text}");
    assert_eq!(image["Labels"]["org.example.part"], "one");
    let config = json(&tool("skopeo", &["inspect", "--config", &source]).unwrap());
    let expected = json(
        r#"{
        "User": "1000:1001",
        "ExposedPorts": {"53/udp": {}, "8080/tcp": {}},
        "Env": ["APP_MODE=a b", "PATH=/usr/bin:/bin"],
        "Entrypoint": ["/bin/cat"],
        "Cmd": ["/opt/app/hello"],
        "Volumes": {"/var/lib/app": {}},
        "WorkingDir": "/opt/app",
        "Labels": {"org.example.part": "one"},
        "StopSignal": "SIGINT"
    }"#,
    );
    assert_eq!(config["config"], expected);

    // The same tree: from the base's layer on, and by any number of threads.
    let file = project.output().join("t/t.oci.tar");
    let first = std::fs::read(&file).unwrap();
    project.build(&[base::PIPELINE, "--rebuild", "image", "--jobs", "1", "image"]).ok();
    assert!(std::fs::read(&file).unwrap() == first);

    if is_root()
        && let Some(rootfs) = unpacked(&project, &source, "bundle")
    {
        let tree = of_tree(&project.artifact(base::PIPELINE, "app"));
        let found = of_directory(&rootfs);
        assert!(tree.contains_key("opt/app/again") && !tree.contains_key("etc/motd"));
        for (name, item) in &tree {
            assert_eq!(found.get(name), Some(item), "{name}");
        }
        assert_eq!(found.len(), tree.len());
        let hello = rootfs.join("opt/app/hello").metadata().unwrap();
        assert_eq!(hello.ino(), rootfs.join("opt/app/again").metadata().unwrap().ino());
    }
}

#[test]
fn two_images_of_one_base_share_its_layer() {
    let second = STAGES.replace("[stage.app", "[stage.other").replace("\"app\"", "\"other\"");
    let second = second.replace("[stage.image", "[stage.image2").replace("from kuth", "again");
    let second = second.replace("format = \"oci\"", "format = \"oci\"\nname = \"second\"");
    let project = base::system("oci-shared", &format!("{STAGES}{second}"));
    project.build(&[base::PIPELINE, "image", "image2"]).ok();
    let layers = |name: &str| {
        let text = tool("skopeo", &["inspect", &archive(&project, name)])?;
        Some(json(&text)["Layers"].as_array().unwrap().clone())
    };
    let Some((one, two)) = layers("t.oci.tar").zip(layers("second.oci.tar")) else { return };
    assert_eq!(one[0], two[0]);
    assert_ne!(one[1], two[1]);
}

#[test]
fn podman_runs_an_image() {
    let project = base::system("oci-podman", STAGES);
    project.build(&[base::PIPELINE, "image"]).ok();
    // podman wants a short path.
    let directory = tempfile::tempdir().unwrap();
    let (root, run) = (directory.path().join("root"), directory.path().join("run"));
    let storage = [
        "--root",
        root.to_str().unwrap(),
        "--runroot",
        run.to_str().unwrap(),
        "--storage-driver=vfs",
        "--cgroup-manager=cgroupfs",
    ];
    let podman = |words: &[&str]| verdict("podman", &[&storage[..], words].concat());
    let file = project.output().join("t/t.oci.tar");
    let Some((success, out, err)) = podman(&["load", "--quiet", "-i", file.to_str().unwrap()])
    else {
        return;
    };
    assert!(success, "{err}");
    let image = out.trim().rsplit(' ').next().unwrap().to_string();
    // What a container may have is what a test may have.
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let run = ["run", "--rm", "--cgroups=disabled", "--network=none", limits[0], limits[1], &image];
    let (success, out, err) = podman(&run).unwrap();
    let _ = podman(&["rmi", "--all", "--force"]);
    if !success && is_of_this_host(&err) {
        return skip(&format!("podman starts no container here: {err}"));
    }
    assert!(success, "{err}");
    assert_eq!(out, "hello from kuth\n");
}

/// Whether podman fails because of where it runs: in a container that may start no other, or with cgroups
/// of a kind that it does not know.
fn is_of_this_host(err: &str) -> bool {
    ["peration not permitted", "ermission denied", "cannot clone", "cgroups in hybrid mode"]
        .iter()
        .any(|reason| err.contains(reason))
}

#[test]
fn a_containerdisk_has_the_disk_where_kubevirt_looks() {
    const DISK: &str = r#"
[stage.base]
kind = "customise"
from = "rootfs"
file."/boot/vmlinuz-6.12.1".content = "kernel"
file."/boot/initrd.img-6.12.1".content = "initrd"

[stage.disk]
kind = "disk"
from = "base"
size = "1 GiB"
firmware = "bios"
partition = [{ name = "root", size = "rest", filesystem = "ext4", mount = "/" }]

[stage.image]
kind = "export"
from = "disk"
format = ["raw", "containerdisk"]
"#;
    let project = base::system("oci-containerdisk", DISK);
    project.build(&[base::PIPELINE, "image"]).ok();
    let source = archive(&project, "t.containerdisk.tar");
    if !is_root() {
        return;
    }
    let Some(rootfs) = unpacked(&project, &source, "bundle") else { return };
    let found = of_directory(&rootfs);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "disk", "disk/disk.qcow2"]);
    let (kind, mode, uid, gid, ..) = found["disk/disk.qcow2"];
    assert_eq!((kind, mode, uid, gid), ('f', 0o440, 107, 107));
    let disk = rootfs.join("disk/disk.qcow2");
    let raw = project.output().join("t/t.raw");
    let (disk, raw) = (disk.to_str().unwrap(), raw.to_str().unwrap());
    tool("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", disk, raw]);
}

/// Debian's registry, in a directory; `config` is added to its own.
fn registry(directory: &Path, config: &str) -> Option<Server> {
    let program = program("docker-registry")?;
    let port = free_port();
    let storage = directory.join("registry");
    std::fs::create_dir_all(&storage).unwrap();
    let text = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n  \
         delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{config}",
        storage.display()
    );
    let path = directory.join("registry.yml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(program);
    command.arg("serve").arg(path).env("OTEL_TRACES_EXPORTER", "none");
    Some(Server::start(command, port))
}

/// The files of a registry and when they were written.
fn files(directory: &Path) -> BTreeMap<String, (i64, i64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.metadata().unwrap();
            match metadata.is_dir() {
                true => open.push(path),
                false => {
                    let time = (metadata.mtime(), metadata.mtime_nsec());
                    found.insert(path.display().to_string(), time);
                }
            }
        }
    }
    found
}

#[test]
fn an_image_is_published_once_with_its_documents_and_imported_as_the_same_tree() {
    let directory = kuth_test_support::target_tmp().join("oci-registry");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let Some(server) = registry(&directory, "") else { return };
    let host = server.address.strip_prefix("http://").unwrap();
    let image = format!("{host}/kuth/app:v1");
    let stages = format!(
        "{STAGES}\n[stage.published]\nkind = \"publish\"\nfrom = \"image\"\nto = \"oci://{image}\"\n\n\
         [stage.pulled]\nkind = \"import\"\nimage = \"oci://{image}\"\n"
    );
    let project = base::system("oci-published", &stages);
    let run = project.build(&[base::PIPELINE, "published"]).ok();
    assert_eq!(run.of("published", "state"), "done");

    // A registry without a list of referrers has it under a tag.
    let source = format!("docker://{image}");
    let inspect = ["inspect", "--tls-verify=false"];
    let Some(text) = tool("skopeo", &[&inspect[..], &[&source]].concat()) else { return };
    let digest = json(&text)["Digest"].as_str().unwrap().to_string();
    let local = tool("skopeo", &["inspect", &archive(&project, "t.oci.tar")]).unwrap();
    assert_eq!(json(&local)["Digest"], digest.as_str());
    let list = format!("docker://{host}/kuth/app:{}", digest.replace(':', "-"));
    let list = json(&tool("skopeo", &[&inspect[..], &["--raw", &list]].concat()).unwrap());
    let mut kinds: Vec<&str> = Vec::new();
    for manifest in list["manifests"].as_array().unwrap() {
        kinds.push(manifest["artifactType"].as_str().unwrap());
        let reference = manifest["digest"].as_str().unwrap();
        let document = format!("docker://{host}/kuth/app@{reference}");
        let document = tool("skopeo", &[&inspect[..], &["--raw", &document]].concat()).unwrap();
        let document = json(&document);
        assert_eq!(document["subject"]["digest"], digest.as_str());
        assert_eq!(document["artifactType"], manifest["artifactType"]);
    }
    kinds.sort();
    let expected =
        ["application/spdx+json", "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"];
    assert!(kinds.iter().zip(expected).all(|(found, expected)| found.starts_with(expected)));
    assert_eq!(kinds.len(), expected.len(), "{kinds:?}");

    // Nothing is pushed for what is there, whether the result is cached or made again.
    let before = files(&directory.join("registry"));
    let run = project.build(&[base::PIPELINE, "published"]).ok();
    assert_eq!(run.of("published", "state"), "cached");
    project.build(&[base::PIPELINE, "--rebuild", "published", "published"]).ok();
    assert!(files(&directory.join("registry")) == before);

    // What is gone, or another image now, is pushed again.
    let other = format!("docker://{host}/kuth/app:v1");
    let scratch = project.path("other");
    std::fs::create_dir_all(&scratch).unwrap();
    let copy = ["copy", "--quiet", "--dest-tls-verify=false", "--format=v2s2"];
    let image_file = archive(&project, "t.oci.tar");
    tool("skopeo", &[&copy[..], &[&image_file, &other]].concat()).unwrap();
    let run = project.build(&[base::PIPELINE, "published"]).ok();
    let reason = run.of("published", "reason");
    assert!(reason.contains("is another image now, sha256:"), "{reason}");
    let text = tool("skopeo", &[&inspect[..], &[&source]].concat()).unwrap();
    assert_eq!(json(&text)["Digest"], digest.as_str());

    // A tag is pinned in the lock, and the tree is the one that was exported.
    project.build(&[base::PIPELINE, "pulled", "app"]).ok();
    let lock = project.read("p.lock");
    assert!(lock.contains(digest.strip_prefix("sha256:").unwrap()), "{lock}");
    let tree = |stage: &str| project.artifact(base::PIPELINE, stage);
    assert_eq!(tree("pulled"), tree("app"));
    project.build(&[base::PIPELINE, "--locked", "--offline", "pulled"]).ok().assert_all("cached");
}

#[test]
fn credentials_are_those_of_dockers_configuration() {
    let directory = kuth_test_support::target_tmp().join("oci-credentials");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    // `me` with the password `secret`.
    let users = "me:$2y$05$kuthkuthkuthkuthkuthkuvLpN7knp6UJJRfN4ugGKY977A/W7byi\n";
    std::fs::write(directory.join("users"), users).unwrap();
    let users = directory.join("users");
    let config = format!("auth:\n  htpasswd:\n    realm: kuth\n    path: {}\n", users.display());
    let Some(server) = registry(&directory, &config) else { return };
    let host = server.address.strip_prefix("http://").unwrap();
    let stages = format!(
        "{STAGES}\n[stage.published]\nkind = \"publish\"\nfrom = \"image\"\n\
         to = \"oci://{host}/app\"\nsbom = []\nprovenance = false\n"
    );
    let mut project = base::system("oci-credentials-project", &stages);
    let docker = project.path("docker");
    std::fs::create_dir_all(&docker).unwrap();
    project.set("DOCKER_CONFIG", docker.to_str().unwrap());
    project
        .build(&[base::PIPELINE, "published"])
        .refused(&["asks for a password", &format!("docker login {host}")]);
    // `me:wrong` and `me:secret`.
    for (auth, is_right) in [("bWU6d3Jvbmc=", false), ("bWU6c2VjcmV0", true)] {
        let config = format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#);
        project.write("docker/config.json", config);
        let run = project.build(&[base::PIPELINE, "published"]);
        match is_right {
            true => assert_eq!(run.ok().of("published", "state"), "done"),
            false => run.refused(&["answered 401", "as a user who may do this"]),
        }
    }
    // Neither a record nor a log has the password.
    let cache = project.cache.to_str().unwrap();
    let (is_found, ..) = verdict("grep", &["-rqF", "bWU6c2VjcmV0", cache]).unwrap();
    assert!(!is_found);
}

#[test]
fn any_export_is_stored_once_with_its_documents_and_its_sum() {
    let Some(server) = Server::s3() else { return };
    let stages = format!(
        "{STAGES}\n[stage.stored]\nkind = \"publish\"\nfrom = \"image\"\n\
         to = \"s3://bucket/images/app.tar\"\nsbom = \"spdx\"\n"
    );
    let mut project = base::system("oci-stored", &stages);
    for (name, value) in server.s3_variables() {
        project.set(name, value);
    }
    let state =
        || project.build(&[base::PIPELINE, "stored"]).ok().of("stored", "state").to_string();
    assert_eq!(state(), "done");
    assert_eq!(state(), "cached");
    let sign = ["-sSf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "id:secret"];
    let object = |name: &str| format!("{}/bucket/images/{name}", server.address);
    let got = |name: &str| {
        let path = project.path("got");
        tool("curl", &[&sign[..], &["-o", path.to_str().unwrap(), &object(name)]].concat())?;
        Some(std::fs::read(path).unwrap())
    };
    let Some(file) = got("app.tar") else { return };
    assert!(file == std::fs::read(project.output().join("t/t.oci.tar")).unwrap());
    let sum = String::from_utf8(got("app.tar.sha256").unwrap()).unwrap();
    assert_eq!(sum, format!("{}  app.tar\n", kuth_test_support::sha256(&file)));
    for name in ["app.tar.spdx.json", "app.tar.intoto.json"] {
        let text = String::from_utf8(got(name).unwrap()).unwrap();
        assert!(text.contains(&kuth_test_support::sha256(&file)), "{name}");
    }
    // What is gone is stored again.
    tool("curl", &[&sign[..], &["-X", "DELETE", &object("app.tar")]].concat()).unwrap();
    assert_eq!(state(), "done");
    assert!(got("app.tar").unwrap() == file);
}

/// A registry that wants a token and lies about what it has.
#[test]
fn a_token_is_got_where_the_registry_says_and_every_digest_is_compared() {
    const CONFIG: &str =
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config = kuth_test_support::sha256(CONFIG);
    let size = CONFIG.len();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"sha256:{config}","size":{size}}},"layers":[]}}"#
    );
    let digest = kuth_test_support::sha256(&manifest);
    let server = http::Server::start(move |_, request| {
        let host = request.header("host").unwrap().to_string();
        if request.path.starts_with("/token") {
            assert_eq!(request.header("authorization"), Some("Basic bWU6c2VjcmV0"));
            return http::Answer::ok(br#"{"access_token":"T"}"#);
        }
        if request.header("authorization") != Some("Bearer T") {
            let challenge =
                format!(r#"Bearer realm="http://{host}/token?x=y",service="s t",scope="other""#);
            return http::Answer::refusal("401 Unauthorized").with("WWW-Authenticate", challenge);
        }
        match request.path.contains("/manifests/") {
            true if request.path.ends_with("/damaged") || request.path.contains("sha256:0") => {
                http::Answer::ok(b"{}")
            }
            true => http::Answer::ok(manifest.as_bytes()),
            false => http::Answer::ok(CONFIG.replace("amd64", "arm64").as_bytes()),
        }
    });
    let host = server.address.strip_prefix("http://").unwrap().to_string();
    let stage = |name: &str, at: &str| {
        format!("[stage.{name}]\nkind = \"import\"\nimage = \"oci://{host}/a/b{at}\"\n\n")
    };
    let wrong = format!("@sha256:{}", "0".repeat(64));
    let pipeline = format!(
        "[pipeline]\nname = \"t\"\n\n{}{}",
        stage("damaged-blob", ":v1"),
        stage("other-manifest", &wrong)
    );
    let directory = tempfile::tempdir().unwrap();
    let mut project = Project::at(directory.path());
    project.write("p.toml", pipeline);
    project.write(
        "docker/config.json",
        format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#),
    );
    project.set("DOCKER_CONFIG", project.path("docker").to_str().unwrap());
    project.build(&["p.toml", "damaged-blob"]).refused(&[&config, "its SHA-256 is"]);
    let asked: Vec<String> =
        server.requests().iter().map(|it| format!("{} {}", it.method, it.path)).collect();
    let expected = [
        "GET /v2/a/b/manifests/v1".to_string(),
        "GET /token?x=y&scope=repository%3Aa%2Fb%3Apull&service=s%20t".to_string(),
        "GET /v2/a/b/manifests/v1".to_string(),
    ];
    assert_eq!(asked[..3], expected);
    assert!(project.read("p.lock").contains(&digest));
    project
        .build(&["p.toml", "other-manifest"])
        .refused(&["the registry sent the manifest sha256:"]);
}

#[test]
fn archives_of_other_programs_are_imported_as_the_tree_that_they_hold() {
    let project = base::system("oci-archives", STAGES);
    project.build(&[base::PIPELINE, "image"]).ok();
    let source = archive(&project, "t.oci.tar");
    let path = |name: &str| project.path(name).display().to_string();
    let docker = format!("docker-archive:{}", path("docker.tar"));
    let Some(_) = tool("skopeo", &["copy", "--quiet", &source, &docker]) else { return };
    let layout = format!("oci:{}:it", path("layout"));
    tool("skopeo", &["copy", "--quiet", &source, &layout]).unwrap();
    tool("tar", &["-C", &path("layout"), "-cf", &path("layout.tar"), "."]).unwrap();
    tool("tar", &["-C", &path(""), "-czf", &path("inside.tar.gz"), "layout"]).unwrap();
    let mut stages = STAGES.to_string();
    for (name, file, from) in [
        ("docker", "docker.tar", "docker-file"),
        ("layout", "layout.tar", "layout-file"),
        ("inside", "inside.tar.gz", "inside-directory\"\npath = \"layout"),
    ] {
        let sum = kuth_test_support::sha256(std::fs::read(path(file)).unwrap());
        stages += &format!(
            "\n[stage.{name}-file]\nkind = \"download\"\nurl = \"file://{}\"\nsha256 = \"{sum}\"\n\n\
             [stage.{name}-directory]\nkind = \"unpack\"\nfrom = \"{name}-file\"\n\n\
             [stage.{name}]\nkind = \"import\"\nfrom = \"{from}\"\n",
            path(file)
        );
    }
    project.write(base::PIPELINE, format!("{}{stages}", base::SYSTEM));
    project.build(&[base::PIPELINE, "docker", "layout", "inside"]).ok();
    let tree = |stage: &str| project.artifact(base::PIPELINE, stage);
    for stage in ["docker", "layout", "inside"] {
        assert_eq!(tree(stage), tree("app"), "{stage}");
    }
}

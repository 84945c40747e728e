//! Provenance: signed as others read it, the same however the export came, and noticing changes.

use std::io::Write;

use kuth::digest::Digest;
use serde_json::Value;

use crate::sboms::judged;
use crate::world::{Small, tool, world};

const SIGNED: &str = "small.qcow2.intoto.jsonl";

/// A fork of the world whose exports are signed.
fn signed() -> (Small, String) {
    let mut project = Small::fork();
    let key = project.sign();
    assert_eq!(project.build(&[])["run"], 0);
    (project, key)
}

/// Base64 undone by openssl.
fn decoded(text: &Value) -> Option<Vec<u8>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_str().unwrap().as_bytes()).unwrap();
    let output = tool("openssl", &["base64", "-d", "-A", "-in", file.path().to_str().unwrap()])?;
    Some(output.stdout)
}

#[test]
fn openssl_verifies_the_signature() {
    let (project, key) = signed();
    assert!(!project.out("small.qcow2.intoto.json").exists());
    let envelope = project.json(SIGNED);
    let Some(payload) = decoded(&envelope["payload"]) else { return };
    let signature = decoded(&envelope["signatures"][0]["sig"]).unwrap();
    assert_eq!(envelope["signatures"][0]["keyid"], key.as_str());
    let kind = envelope["payloadType"].as_str().unwrap();
    assert_eq!(kind, "application/vnd.in-toto+json");
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend(&payload);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    let pem = project.kuth(&["cache", "public-key", "key", "--pem"]).ok().out;
    for (name, bytes) in [("m", &message), ("s", &signature), ("k", &pem.into_bytes())] {
        std::fs::write(path(name), bytes).unwrap();
    }
    let verify = |message: &str| {
        let (key, signature) = (path("k"), path("s"));
        let words = ["pkeyutl", "-verify", "-pubin", "-inkey", &key, "-rawin"];
        let output =
            tool("openssl", &[&words[..], &["-in", message, "-sigfile", &signature]].concat());
        output.unwrap().status.success()
    };
    assert!(verify(&path("m")));
    message[40] ^= 1;
    std::fs::write(path("m"), &message).unwrap();
    assert!(!verify(&path("m")), "openssl judges");
}

#[test]
fn the_reference_tools_accept_the_files() {
    let (project, _) = signed();
    let pem = project.root.join("pem");
    std::fs::write(&pem, project.kuth(&["cache", "public-key", "key", "--pem"]).ok().out).unwrap();
    let [pem, file] = [pem, project.out(SIGNED)].map(|path| path.to_str().unwrap().to_string());
    let Some((holds, text)) = judged(&["--key", &pem, &file]) else { return };
    assert!(holds, "{text}");
    // And they judge.
    let text = project.read(SIGNED);
    let changed = text.replacen("\"sig\":\"", "\"sig\":\"AAAA", 1);
    assert_ne!(changed, text);
    std::fs::write(&file, changed).unwrap();
    let (holds, text) = judged(&["--key", &pem, &file]).unwrap();
    assert!(!holds && text.contains("Verification"), "{text}");
}

#[test]
fn a_statement_has_all_stages_and_materials() {
    let statement = world().json("small.qcow2.intoto.json");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &statement["predicate"]["buildDefinition"];
    let stages = definition["externalParameters"]["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|it| it["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["rootfs", "base", "disk", "image/qcow2"]);
    for stage in stages {
        let lines = stage["recipe"].as_array().unwrap().iter();
        let text: String = lines.map(|line| format!("{}\n", line.as_str().unwrap())).collect();
        assert_eq!(stage["key"], Digest::of(text).to_string());
    }
    // What one makes, the next one eats.
    let eats = |at: usize, digest: &Value| {
        let line = format!("input from = {}", digest.as_str().unwrap());
        stages[at]["recipe"].as_array().unwrap().iter().any(|it| *it == line.as_str())
    };
    assert!(eats(1, &stages[0]["output"]["sha256"]));
    assert!(eats(2, &stages[1]["output"]["sha256"]));
    assert!(eats(3, &stages[2]["output"]["kuthSparseSha256"]));
    let materials = definition["resolvedDependencies"].as_array().unwrap();
    let of = |name: &str| materials.iter().any(|it| it["uri"].as_str().unwrap().contains(name));
    assert!(of("pkg:deb/debian/dpkg@"), "of the tree");
    assert!(of("pkg:deb/debian/mtools@") || of("pkg:deb/debian/e2fsprogs@"), "of the tools");
    let byproducts = statement["predicate"]["runDetails"]["byproducts"].as_array().unwrap();
    assert_eq!(byproducts.len(), 2);
    for byproduct in byproducts {
        let text = world().read(byproduct["name"].as_str().unwrap());
        assert_eq!(byproduct["digest"]["sha256"], Digest::of(text).to_string());
    }
    // Nothing of this machine and no time of day.
    let text = world().read("small.qcow2.intoto.json");
    assert!(!text.contains(world().root.to_str().unwrap()));
    assert!(!text.contains("startedOn"));
}

#[test]
fn sidecars_are_the_same_whether_an_export_is_made_cached_or_restored() {
    let (project, _) = signed();
    let names = project.names();
    let read = || names.iter().map(|name| std::fs::read(project.out(name)).unwrap());
    let before: Vec<Vec<u8>> = read().collect();
    // Put back,
    std::fs::remove_dir_all(project.out("")).unwrap();
    assert_eq!(project.build(&[])["run"], 0);
    assert!(read().eq(before.iter().cloned()));
    // and made again.
    let made = project.build(&["--rebuild", "disk", "--rebuild", "image"]);
    assert_eq!(made["run"], 3);
    assert!(read().eq(before.iter().cloned()));
    // A damaged one is put right.
    std::fs::write(project.out("small.raw.spdx.json"), "x").unwrap();
    project.build(&[]);
    assert!(read().eq(before.iter().cloned()));
}

#[test]
fn a_signature_of_the_same_statement_is_kept() {
    let (project, _) = signed();
    let before = project.read(SIGNED);
    let project = project.with("KUTH_CACHE_KEY", "");
    project.build(&[]);
    assert_eq!(project.read(SIGNED), before);
    assert!(!project.out("small.qcow2.intoto.json").exists());
    // What it says is old now, so it goes.
    project.build(&["--var", "motd=other"]);
    assert!(!project.out(SIGNED).exists());
    assert!(project.out("small.qcow2.intoto.json").exists());
}

#[test]
fn verify_fails_for_a_changed_export() {
    let (project, key) = signed();
    let verify = |arguments: &[&str]| {
        project.kuth(
            &[&["verify", "out/small/small.qcow2", "--key", key.as_str()], arguments].concat(),
        )
    };
    let right = verify(&["out/small/small.raw"]).ok();
    assert!(right.out.starts_with("out/small/small.qcow2: ok\n"), "{}", right.out);
    assert!(right.out.contains("\nout/small/small.raw: ok\n"), "{}", right.out);
    assert!(right.out.contains(&key), "{}", right.out);
    for name in ["small.qcow2", "small.qcow2.cdx.json", SIGNED] {
        let path = project.out(name);
        let before = std::fs::read(&path).unwrap();
        let mut changed = before.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        std::fs::write(&path, changed).unwrap();
        let run = verify(&[]);
        assert_eq!(run.status, 1, "{name}: {}{}", run.out, run.err);
        std::fs::write(&path, before).unwrap();
        verify(&[]).ok();
    }
    // The right file under the name of another is none of its.
    std::fs::copy(project.out("small.raw"), project.out("small.qcow2")).unwrap();
    assert_eq!(verify(&[]).status, 1);
}

#[test]
fn verify_names_the_trusted_keys_that_signed() {
    let (project, key) = signed();
    let file = "out/small/small.qcow2";
    let stranger = format!("ed25519:{}", Digest::of("no key of anybody"));
    // By one's own key, by those of kuth.toml, by that which is given.
    project.kuth(&["verify", file]).ok();
    let mut project = project.with("KUTH_CACHE_KEY", "");
    let said = project.kuth(&["verify", file]);
    assert_eq!(said.status, 1, "{}", said.out);
    assert!(said.out.contains("no key is known"), "{}", said.out);
    std::fs::write(project.root.join("kuth.toml"), format!("[cache]\nkeys = [\"{key}\"]\n"))
        .unwrap();
    project.kuth(&["verify", file]).ok();
    let other = project.kuth(&["cache", "keygen", "other"]).ok().out;
    let said = project.kuth(&["verify", file, "--key", other.trim()]);
    assert_eq!(said.status, 1, "{}", said.out);
    assert!(said.out.contains("none of the known keys made it"), "{}", said.out);
    assert_eq!(project.kuth(&["verify", file, "--key", &stranger[..20]]).status, 2);
    // An unsigned one is enough only where no key is known.
    let unsigned = world().out("small.qcow2");
    let unsigned = unsigned.to_str().unwrap();
    assert_eq!(project.kuth(&["verify", unsigned]).status, 1);
    std::fs::remove_file(project.root.join("kuth.toml")).unwrap();
    let said = project.kuth(&["verify", unsigned, "--format", "json"]).ok();
    let said: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&said["holds"], &said["findings"][0]["state"]), (&true.into(), &"open".into()));
    project = project.with("NOTHING", "");
    let lost = project.kuth(&["verify", "pipelines/small.toml"]);
    assert_eq!(lost.status, 1);
    assert!(lost.err.contains("nothing beside pipelines/small.toml"), "{}", lost.err);
}

//! What kuth says of a signature, and what gpgv says of it: of good ones and bad ones, by keys that may
//! sign, that have expired, that were revoked and that are not there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use kuth::debian::{DEBIAN, UBUNTU};
use kuth::format::openpgp::fingerprints;
use kuth::openpgp::{Keys, Refusal, verified_text, verify};
use kuth_test_support::mirror::{Agent, run};
use kuth_test_support::{judge, target_tmp};

/// With what a clear-signed text writes otherwise.
const TEXT: &str = "Origin: x\n-dashes\n- a dash\nFrom here \t\n\n  to there\nSHA256:\n  0 1 a\n";

/// A day on which the keys of the past were good.
const PAST: &str = "20200201T000000!";

/// Who signs: the options of gpg.
const SIGNERS: &[(&str, &[&str])] = &[
    ("ed25519", &["-u", "good@x"]),
    ("rsa", &["-u", "rsa@x"]),
    ("nist", &["-u", "nist@x"]),
    ("a subkey", &["-u", "subkey@x"]),
    ("two", &["-u", "good@x", "-u", "rsa@x"]),
    ("nobody known", &["-u", "stranger@x"]),
    ("one of two known", &["-u", "stranger@x", "-u", "good@x"]),
    ("a revoked key", &["-u", "revoked@x"]),
    ("an expired key", &["--faked-system-time", PAST, "-u", "expired@x"]),
    ("an expired subkey", &["--faked-system-time", PAST, "-u", "oldsubkey@x"]),
    (
        "an expired signature",
        &["--faked-system-time", PAST, "--default-sig-expire", "1d", "-u", "past@x"],
    ),
    ("a signature of the past", &["--faked-system-time", PAST, "-u", "past@x"]),
    ("one good and one expired", &["--faked-system-time", PAST, "-u", "past@x", "-u", "expired@x"]),
    ("a weak digest", &["--digest-algo", "SHA1", "-u", "rsa@x"]),
];

/// Who is in the keyring.
const KNOWN: [&str; 8] =
    ["good@x", "rsa@x", "nist@x", "subkey@x", "revoked@x", "expired@x", "oldsubkey@x", "past@x"];

struct Signed {
    who: &'static str,
    clear: Vec<u8>,
    beside: Vec<u8>,
}

/// A directory with a keyring, and the text as everybody signs it; made by whoever asks first.
fn signed() -> Option<&'static (PathBuf, Vec<Signed>)> {
    static SIGNED: OnceLock<Option<(PathBuf, Vec<Signed>)>> = OnceLock::new();
    SIGNED.get_or_init(sign).as_ref()
}

fn sign() -> Option<(PathBuf, Vec<Signed>)> {
    for tool in ["gpg", "gpgv"] {
        judge::tool(tool, &["--version"])?;
    }
    let directory = target_tmp().join("signatures");
    let _ = std::fs::remove_dir_all(&directory);
    let home = directory.join("home");
    let agent = Agent::new(&home);
    let make = |name: &str, kind: &str, usage: &str, lasts: &str, when: &[&str]| {
        agent.gpg(&[when, &["--quick-generate-key", name, kind, usage, lasts]].concat());
    };
    let past = ["--faked-system-time", "20200101T000000!"];
    make("good@x", "ed25519", "sign", "never", &[]);
    make("rsa@x", "rsa2048", "sign", "never", &[]);
    make("nist@x", "nistp256", "sign", "never", &[]);
    make("stranger@x", "ed25519", "sign", "never", &[]);
    make("revoked@x", "ed25519", "sign", "never", &[]);
    make("expired@x", "ed25519", "sign", "1y", &past);
    make("past@x", "ed25519", "sign", "never", &past);
    for (name, lasts, when) in [("subkey@x", "never", &[][..]), ("oldsubkey@x", "1y", &past[..])] {
        make(name, "ed25519", "cert", "never", when);
        let key = fingerprint(&home, name);
        agent.gpg(&[when, &["--quick-add-key", &key, "ed25519", "sign", lasts]].concat());
    }
    let text = directory.join("text");
    std::fs::write(&text, TEXT).unwrap();
    let signed = SIGNERS.iter().enumerate().map(|(at, (who, options))| {
        let made = ["--clear-sign", "--detach-sign"].map(|how| {
            let to = directory.join(format!("{at}{how}"));
            let [to, text] = [&to, &text].map(|path| path.to_str().unwrap());
            agent.gpg(&[options, &["--armor", "--output", to, how, text][..]].concat());
            std::fs::read(to).unwrap()
        });
        let [clear, beside] = made;
        Signed { who, clear, beside }
    });
    let signed: Vec<Signed> = signed.collect();
    // gpg makes the revocation with the key, and puts a colon before it, so that nobody takes it by accident.
    let key = fingerprint(&home, "revoked@x");
    let revocation = home.join("openpgp-revocs.d").join(format!("{key}.rev"));
    let revocation =
        std::fs::read_to_string(revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    std::fs::write(directory.join("revocation"), revocation).unwrap();
    agent.gpg(&["--import", directory.join("revocation").to_str().unwrap()]);
    let keyring = directory.join("keyring.gpg");
    agent.gpg(&[&["--output", keyring.to_str().unwrap(), "--export"][..], &KNOWN].concat());
    Some((directory, signed))
}

fn fingerprint(home: &Path, name: &str) -> String {
    let mut list = Command::new("gpg");
    let listed = run(list.env("GNUPGHOME", home).args(["--with-colons", "--list-keys", name]));
    let line = listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::"));
    line.unwrap().trim_end_matches(':').to_string()
}

/// What gpgv says of `files`, as apt reads it.
fn gpgv(directory: &Path, files: &[&Path]) -> Result<(), Refusal> {
    let mut gpgv = Command::new("gpgv");
    gpgv.args(["--status-fd", "1", "--weak-digest", "SHA1", "--homedir"]).arg(directory);
    let said =
        gpgv.arg("--keyring").arg(directory.join("keyring.gpg")).args(files).output().unwrap();
    let (mut good, mut expired, mut unknown) = (false, None, Vec::new());
    for line in String::from_utf8_lossy(&said.stdout).lines() {
        let mut words = line.strip_prefix("[GNUPG:] ").unwrap_or("").split(' ');
        let (word, key) = (words.next().unwrap_or(""), words.next().unwrap_or("?").to_string());
        match word {
            "BADSIG" => return Err(Refusal::Changed(key)),
            "EXPKEYSIG" | "REVKEYSIG" | "EXPSIG" => expired = Some(key),
            "NO_PUBKEY" => unknown.push(key),
            "GOODSIG" => good = true,
            _ => {}
        }
    }
    match (good, expired, unknown.is_empty()) {
        (true, ..) => Ok(()),
        (_, Some(key), _) => Err(Refusal::Expired(key)),
        (_, _, false) => Err(Refusal::Unknown(unknown)),
        _ => Err(Refusal::NoSignature),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn kuth_and_gpgv_say_the_same_of_every_signature() {
    let Some((directory, signed)) = signed() else { return };
    let keys = Keys::read(&std::fs::read(directory.join("keyring.gpg")).unwrap()).unwrap();
    let [text, signature, output] = ["judged", "judged.sig", "output"].map(|it| directory.join(it));
    let mut good = Vec::new();
    for Signed { who, clear, beside } in signed {
        // Beside the text: as it is, and of another text.
        for content in [TEXT.to_string(), TEXT.replace("Origin: x", "Origin: y"), String::new()] {
            std::fs::write(&text, &content).unwrap();
            std::fs::write(&signature, beside).unwrap();
            let ours = verify(content.as_bytes(), beside, &keys, now());
            assert_eq!(ours, gpgv(directory, &[&signature, &text]), "{who}: {content}");
            if ours.is_ok() {
                good.push(*who);
            }
        }
        // Around it: as it is, changed, of lines that end otherwise, and with something around that.
        let clear = String::from_utf8(clear.clone()).unwrap();
        let two = clear.replace("Origin: x", "Origin: y") + &clear;
        for (case, content) in [
            ("as it is", clear.clone()),
            ("changed", clear.replace("Origin: x", "Origin: y")),
            ("a line more", clear.replace("  to there", "  to there\nx")),
            ("a line less", clear.replace("  to there\n", "")),
            ("white space at an end", clear.replace("Origin: x", "Origin: x \t")),
            ("white space at a start", clear.replace("Origin: x", " Origin: x")),
            ("text before it", format!("SHA256: 0\n\n{clear}")),
            ("a changed one before it", two),
        ] {
            std::fs::write(&signature, &content).unwrap();
            let ours = verified_text(content.as_bytes(), &keys, now());
            let _ = std::fs::remove_file(&output);
            let theirs = gpgv(directory, &[Path::new("--output"), &output, &signature]);
            let ours_alone = ours.clone().map(|_| ());
            assert_eq!(ours_alone, theirs, "{who}, {case}:\n{content}");
            let Ok(ours) = ours else { continue };
            assert_eq!(ours.is_alone, !case.starts_with("text"), "{who}, {case}");
            let [ours, theirs] = [ours.text, std::fs::read(&output).unwrap()]
                .map(|it| String::from_utf8(it).unwrap());
            assert_eq!(ours, theirs, "{who}, {case}");
        }
    }
    let expected = [
        "ed25519",
        "rsa",
        "nist",
        "a subkey",
        "two",
        "one of two known",
        "a signature of the past",
        "one good and one expired",
    ];
    assert_eq!(good, expected);
}

#[test]
fn a_damaged_signature_is_refused() {
    let Some((directory, signed)) = signed() else { return };
    let keys = Keys::read(&std::fs::read(directory.join("keyring.gpg")).unwrap()).unwrap();
    let one = &signed[0];
    verify(TEXT.as_bytes(), &one.beside, &keys, now()).unwrap();
    let binary = kuth::format::openpgp::dearmoured_signatures(&one.beside).unwrap();
    verify(TEXT.as_bytes(), &binary, &keys, now()).unwrap();
    // The length of the packet, what it says, and the signature itself.
    let mut refused = 0;
    for at in 0..binary.len() {
        let mut damaged = binary.clone();
        damaged[at] ^= 0x10;
        // What no signature covers may change: which key is meant is said twice.
        refused += usize::from(verify(TEXT.as_bytes(), &damaged, &keys, now()).is_err());
    }
    assert!(refused > binary.len() * 8 / 10, "{refused} of {}", binary.len());
    for bytes in [&b""[..], b"-----BEGIN PGP SIGNATURE-----\n\n", &binary[..20], b"\x99\x00"] {
        assert!(verify(TEXT.as_bytes(), bytes, &keys, now()).is_err(), "{bytes:?}");
    }
}

#[test]
fn the_keys_of_archives_are_those_of_their_packages() {
    for distribution in [&DEBIAN, &UBUNTU] {
        let own = fingerprints(distribution.keys.as_bytes()).unwrap();
        Keys::read(distribution.keys.as_bytes()).unwrap();
        let installed = Path::new(distribution.keyring);
        if !installed.is_file() {
            judge::skip(&format!("{} is not installed", distribution.keyring_package));
            continue;
        }
        let mut there = fingerprints(&std::fs::read(installed).unwrap()).unwrap();
        let removed =
            installed.with_file_name(format!("{}-archive-removed-keys.gpg", distribution.name));
        if let Ok(removed) = std::fs::read(removed) {
            there.extend(fingerprints(&removed).unwrap());
        }
        for key in own {
            assert!(there.contains(&key), "{key} is not in {}", distribution.keyring_package);
        }
    }
}

#[test]
fn the_fingerprints_of_archives_are_documented() {
    let documented = include_str!("../../docs/security.md");
    for distribution in [&DEBIAN, &UBUNTU] {
        for key in fingerprints(distribution.keys.as_bytes()).unwrap() {
            assert!(documented.contains(&key), "{key}");
        }
    }
}

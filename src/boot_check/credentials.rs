//! The probe's way into a system without cloud-init: systemd's own credentials, in strings of the
//! firmware's SMBIOS table (type 11), as systemd.system-credentials(7) and
//! systemd-debug-generator(8) have them. Pure: a script in, strings out.

use base64::prelude::{BASE64_STANDARD, Engine};

use crate::error::{Result, anyhow, with_hint};

/// The first version of systemd that takes units from credentials.
pub const SYSTEMD: u32 = 256;

/// The service that runs the script.
const UNIT: &str = "[Unit]
Description=Boot check of kuth
ConditionPathExists=!/etc/initrd-release

[Service]
LoadCredential=kuth-probe
ExecStart=/bin/sh %d/kuth-probe
";

/// What makes a boot start it, and not wait for it.
const DROP_IN: &str = "[Unit]\nWants=kuth-probe.service\n";

/// How long all strings may be together, in bytes: SMBIOS 2 has 64 KiB for all of its tables.
const MOST: usize = 48 << 10;

/// The strings that bring `script` into a system and start it once multi-user.target is wanted. An
/// error where they are longer than the firmware's table can be.
pub fn strings(script: &str) -> Result<Vec<String>> {
    let credentials = [
        ("systemd.extra-unit.kuth-probe.service", UNIT),
        ("systemd.unit-dropin.multi-user.target~kuth-probe", DROP_IN),
        ("kuth-probe", script),
    ];
    let strings = credentials.map(|(name, text)| {
        let text = BASE64_STANDARD.encode(text);
        format!("io.systemd.credential.binary:{name}={text}")
    });
    let length: usize = strings.iter().map(String::len).sum();
    if length > MOST {
        return Err(with_hint(
            anyhow!("the checks take {length} bytes as credentials; {MOST} fit"),
            "check less in one stage, or add `cloud-init` to the packages of the tree and write \
             `via = \"cloud-init\"`",
        ));
    }
    Ok(strings.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::hints;

    #[test]
    fn a_script_comes_as_a_unit_a_drop_in_and_itself() {
        let script = "#!/bin/sh\necho 'a,b'\n";
        let strings = strings(script).unwrap();
        let credentials: Vec<(String, String)> = strings
            .iter()
            .map(|string| {
                assert!(string.bytes().all(|byte| byte.is_ascii_graphic()), "{string}");
                let rest = string.strip_prefix("io.systemd.credential.binary:").unwrap();
                let (name, text) = rest.split_once('=').unwrap();
                let text = String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap();
                (name.to_string(), text)
            })
            .collect();
        let names: Vec<&str> = credentials.iter().map(|(name, _)| name.as_str()).collect();
        let unit = names[0].strip_prefix("systemd.extra-unit.").unwrap();
        assert_eq!(names[1], "systemd.unit-dropin.multi-user.target~kuth-probe");
        assert_eq!(credentials[1].1, format!("[Unit]\nWants={unit}\n"));
        for line in
            [format!("LoadCredential={}", names[2]), format!("ExecStart=/bin/sh %d/{}", names[2])]
        {
            assert!(credentials[0].1.lines().any(|it| it == line), "{line}");
        }
        assert_eq!(credentials[2].1, script);
    }

    #[test]
    fn what_does_not_fit_the_table_is_refused() {
        assert!(strings(&"x".repeat(34 << 10)).is_ok());
        let error = strings(&"x".repeat(36 << 10)).unwrap_err();
        assert!(error.to_string().ends_with("bytes as credentials; 49152 fit"), "{error}");
        assert_eq!(hints(&error).len(), 1);
    }
}

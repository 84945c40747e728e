//! What the files may say, and the errors for everything else.

use super::*;

fn one(faults: Faults) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn networks(text: &str) -> Result<Vec<String>, String> {
    let networks = interfaces(text).map_err(one)?;
    Ok(networks.iter().map(ToString::to_string).collect())
}

#[test]
fn cards_come_in_the_order_of_their_numbers() {
    let expected = ["nat", "internal:dmz", "host-only:vboxnet0", "bridged:en0: Wi-Fi"];
    let text = "\
interfaces:
  nic4: {id: 4, type: bridged, adapter: 'en0: Wi-Fi'}
  nic2:
    id: 2
    type: intnet
    name: dmz
  nic1:
    type: nat
  nic3: {type: hostonly, name: vboxnet0}
";
    assert_eq!(networks(text).unwrap(), expected);
    let bare = text.replace("interfaces:\n", "").replace("\n  ", "\n").replacen("  ", "", 1);
    assert_eq!(networks(&bare).unwrap(), expected, "{bare}");
    assert_eq!(networks("nic1: {type: HostOnly}").unwrap(), ["host-only"]);
    assert_eq!(networks("nic1: {type: natnetwork, name: lab}").unwrap(), ["nat-network:lab"]);
    for empty in ["", "# nothing\n", "interfaces:\n", "interfaces: {}\n"] {
        assert_eq!(networks(empty).unwrap(), [""; 0], "{empty}");
    }
}

#[test]
fn each_fault_of_a_card_has_its_line() {
    for (text, expected) in [
        ("\nnic1: {type: natt}\n", "2: `natt` is not a valid `type` (did you mean `nat`?)"),
        ("nic1: {id: 1}", "1: `nic1` has no `type`"),
        ("nic1:\n  type: intnet\n", "2: `nic1` has no `name` (as in `name: dmz`)"),
        (
            "nic1: {type: nat, adaptor: x}",
            "1: `nic1` has no key `adaptor` (did you mean `adapter`?)",
        ),
        (
            "nic1: {type: nat}\nnic3: {type: nat}\n",
            "2: number 3 comes here, but there is no number 2 \
             (number the entries from 1, without gaps)",
        ),
        ("nic1: {type: nat}\nnic2: {id: 1, type: nat}\n", "2: two entries have the number 1"),
        ("nic1: {id: 9, type: nat}", "1: `id` of `nic1` is `9` (a whole number from 1 to 8)"),
        (
            "eth0: {type: nat}",
            "1: `eth0` is not an entry of `interfaces` (write `nic1`, `nic2` ... up to `nic8`)",
        ),
        (
            "nic1: {type: intnet, name: a b}",
            "1: `a b` cannot be the name of a network (use letters, digits, `-` and `_`)",
        ),
        ("nic1: nat", "1: `nic1` is a word, not keys with values"),
        ("- nic1", "1: `interfaces` is a list, not keys with values"),
        ("nic1: {type: [nat]}", "1: `type` of `nic1` is a list, not a word"),
    ] {
        assert_eq!(networks(text).unwrap_err(), expected, "{text}");
    }
    let two = networks("nic1: {type: natt}\nnic2: {type: x, nam: y}\n").unwrap_err();
    assert_eq!(two.lines().count(), 3, "{two}");
    let broken = networks("nic1: {type: nat\nnic2: [\n").unwrap_err();
    assert!(broken.contains(": this is not YAML: "), "{broken}");
    let twice = networks("nic1: {type: nat}\nnic1: {type: nat}\n").unwrap_err();
    assert_eq!(twice, "2: `nic1` is there twice");
}

#[test]
fn disks_have_a_size() {
    let disk = |mib, format, variant| Storage { size: Bytes::mib(mib), format, variant };
    let text = "storages:\n  storage1: {id: 1, size: 512000, format: VDI, variant: Standard}\n  \
                storage2: {size: 10, format: vhd, variant: Fixed}\n";
    let expected =
        [disk(512_000, Format::Vdi, Variant::Standard), disk(10, Format::Vhd, Variant::Fixed)];
    assert_eq!(storages(text).unwrap(), expected);
    for (text, expected) in [
        ("storage1: {id: 1}", "1: `storage1` has no `size`"),
        (
            "storage1: {size: 10 GiB}",
            "1: `size` of `storage1` is `10 GiB` (a whole number from 1 to 2097152)",
        ),
        (
            "storage1: {size: 1, format: raw}",
            "1: `raw` is not a valid `format` (choose one of `VDI`, `VMDK` and `VHD`)",
        ),
    ] {
        assert_eq!(one(storages(text).unwrap_err()), expected, "{text}");
    }
}

#[test]
fn processors_and_memory_are_numbers() {
    let found = |processors, memory| Resources { processors, memory };
    let text = "resources:\n  processors: 2\n  memory: 2048\n";
    assert_eq!(resources(text).unwrap(), found(Some(2), Some(2048)));
    assert_eq!(resources("memory: \"512\"").unwrap(), found(None, Some(512)));
    assert_eq!(resources("").unwrap(), Resources::default());
    for (text, expected) in [
        ("processors: 0", "1: `processors` of `resources` is `0` (a whole number from 1 to 256)"),
        ("memory: 1.5", "1: `memory` of `resources` is `1.5` (a whole number from 64 to 2097152)"),
        (
            "cpus: 1",
            "1: `resources` has no key `cpus` (the keys here are `processors` and `memory`)",
        ),
    ] {
        assert_eq!(one(resources(text).unwrap_err()), expected, "{text}");
    }
}

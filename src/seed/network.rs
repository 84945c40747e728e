//! The network-config that kuth writes when a role has none: every card is found by its address
//! and asks DHCP for its own. Netplan's version 2, as cloud-init takes it.

use crate::hardware::{Network, Nic};

/// The text for `nics`. Only the first card that leads outwards gives the default route and the
/// name servers; a card without DHCP behind it does not hold the boot up.
pub fn generated(nics: &[Nic]) -> String {
    let outwards = nics.iter().position(|nic| nic.network == Network::Nat).unwrap_or(0);
    let mut text = String::from("version: 2\nethernets:\n");
    for (index, nic) in nics.iter().enumerate() {
        let name = format!("nic{}", index + 1);
        text += &format!(
            "  {name}:\n    match: {{macaddress: \"{}\"}}\n    set-name: {name}\n    dhcp4: true\n",
            nic.mac
        );
        if index != outwards {
            text +=
                "    dhcp4-overrides: {use-routes: false, use-dns: false}\n    optional: true\n";
        }
    }
    match nics {
        [] => "version: 2\nethernets: {}\n".to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_matched_by_address_and_one_has_the_route() {
        let networks = [Network::Internal("dmz".into()), Network::Nat];
        let nics = Nic::all("a", &networks);
        let (first, second) = (nics[0].mac, nics[1].mac);
        let expected = format!(
            "version: 2
ethernets:
  nic1:
    match: {{macaddress: \"{first}\"}}
    set-name: nic1
    dhcp4: true
    dhcp4-overrides: {{use-routes: false, use-dns: false}}
    optional: true
  nic2:
    match: {{macaddress: \"{second}\"}}
    set-name: nic2
    dhcp4: true
"
        );
        assert_eq!(generated(&nics), expected);
        assert_eq!(generated(&[]), "version: 2\nethernets: {}\n");
    }
}

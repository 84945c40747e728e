//! Public keys with their subkeys: which of them made a signature, and whether it may.

use pgp::composed::{SignedPublicKey, SignedPublicKeyParser, SignedPublicSubKey};
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag, Timestamp};

use super::is_unsupported;
use crate::format::{Fault, openpgp};

/// A set of keys.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<SignedPublicKey>);

/// Whether the signatures of a key count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// It expired or was revoked.
    Ended,
    /// It is not for signing, or its owner does not say that it is theirs.
    Unfit,
}

/// A primary key, or one of its subkeys.
pub(super) struct Key<'a> {
    owner: &'a SignedPublicKey,
    subkey: Option<&'a SignedPublicSubKey>,
}

impl Keys {
    /// The keys in `bytes`, binary or armoured; those of an unknown kind are left out. Fails where there
    /// is none.
    pub fn read(bytes: &[u8]) -> Result<Keys, Fault> {
        openpgp::fingerprints(bytes)?;
        let bytes = openpgp::dearmoured(bytes)?;
        let known = |packet: &Result<Packet, pgp::errors::Error>| match packet {
            // What GnuPG notes in its own keyrings.
            Ok(Packet::Trust(_) | Packet::Marker(_) | Packet::Padding(_)) => false,
            Ok(_) => true,
            Err(error) => !is_unsupported(error),
        };
        let packets = PacketParser::new(&bytes[..]).filter(known).peekable();
        Ok(Keys(SignedPublicKeyParser::from_packets(packets).filter_map(Result::ok).collect()))
    }

    /// These keys and `others`.
    pub fn with(mut self, others: Keys) -> Keys {
        self.0.extend(others.0);
        self
    }

    /// The keys that `signature` names as its maker.
    pub(super) fn signers(&self, signature: &Signature) -> Vec<Key<'_>> {
        let mut signers = Vec::new();
        for owner in &self.0 {
            if names(signature, &owner.primary_key) {
                signers.push(Key { owner, subkey: None });
            }
            let subkeys = owner.public_subkeys.iter();
            let named = subkeys.filter(|subkey| names(signature, &subkey.key));
            signers.extend(named.map(|subkey| Key { owner, subkey: Some(subkey) }));
        }
        signers
    }
}

/// Whether `signature` names `key` as its maker.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().iter().any(|it| **it == key.fingerprint())
        || signature.issuer_key_id().iter().any(|it| **it == key.legacy_key_id())
}

impl Key<'_> {
    /// Whether it made `signature` of `text`.
    pub fn made(&self, signature: &Signature, text: &[u8]) -> bool {
        match self.subkey {
            None => signature.verify(&self.owner.primary_key, text).is_ok(),
            Some(subkey) => signature.verify(&subkey.key, text).is_ok(),
        }
    }

    /// When it was made, in seconds since 1970.
    pub fn created(&self) -> u64 {
        let created = match self.subkey {
            None => self.owner.primary_key.created_at(),
            Some(subkey) => subkey.key.created_at(),
        };
        seconds(created)
    }

    /// Whether its signatures count at `now`, in seconds since 1970.
    pub fn standing(&self, now: u64) -> Standing {
        let primary = of_primary(self.owner, now);
        match self.subkey {
            None => match primary {
                Some((Standing::Good, own)) if !may_sign(own) => Standing::Unfit,
                Some((standing, _)) => standing,
                None => Standing::Unfit,
            },
            Some(subkey) => match primary {
                Some((Standing::Good, _)) => of_subkey(self.owner, subkey, now),
                Some((standing, _)) => standing,
                None => Standing::Unfit,
            },
        }
    }
}

/// The standing of a primary key, and what its owner last said of it; `None` where that is nothing.
fn of_primary(owner: &SignedPublicKey, now: u64) -> Option<(Standing, &Signature)> {
    let key = &owner.primary_key;
    let of_key = |signature: &&Signature| signature.verify_key(key).is_ok();
    let direct = owner.details.direct_signatures.iter();
    let direct = direct.filter(|it| it.typ() == Some(SignatureType::Key)).filter(of_key);
    let of_users = owner.details.users.iter().filter_map(|user| {
        let own = user.signatures.iter().filter(|it| {
            names(it, key) && it.verify_certification(key, Tag::UserId, &user.id).is_ok()
        });
        let last = newest(own, now)?;
        (last.typ() != Some(SignatureType::CertRevocation)).then_some(last)
    });
    let last = newest(direct.chain(of_users), now)?;
    let is_revoked = owner.details.revocation_signatures.iter().any(|it| of_key(&it));
    let has_expired = has_expired(key.created_at(), last, now);
    Some((if is_revoked || has_expired { Standing::Ended } else { Standing::Good }, last))
}

/// The standing of a subkey of a primary key that is good.
fn of_subkey(owner: &SignedPublicKey, subkey: &SignedPublicSubKey, now: u64) -> Standing {
    let primary = &owner.primary_key;
    let of_kind = |kind: SignatureType| {
        let signatures = subkey.signatures.iter().filter(move |it| it.typ() == Some(kind));
        signatures.filter(|it| it.verify_subkey_binding(primary, &subkey.key).is_ok())
    };
    let Some(last) = newest(of_kind(SignatureType::SubkeyBinding), now) else {
        return Standing::Unfit;
    };
    // Nobody can take the signatures of somebody else's subkey for their own: the subkey says whose it is.
    let is_mutual = last
        .embedded_signature()
        .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
    if !is_mutual || !may_sign(last) {
        return Standing::Unfit;
    }
    let is_revoked = of_kind(SignatureType::SubkeyRevocation).next().is_some();
    match is_revoked || has_expired(subkey.key.created_at(), last, now) {
        true => Standing::Ended,
        false => Standing::Good,
    }
}

/// The last of `signatures` that has not expired.
fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>, now: u64) -> Option<&'a Signature> {
    let lasts = |it: &&Signature| {
        let made = it.created().map_or(0, seconds);
        let lasts = it.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
        lasts == 0 || made + lasts > now
    };
    signatures.filter(lasts).max_by_key(|it| it.created().map_or(0, seconds))
}

/// Whether a key of this age has expired, by what its owner says of it.
fn has_expired(created: Timestamp, said: &Signature, now: u64) -> bool {
    let lasts = said.key_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    lasts > 0 && seconds(created) + lasts <= now
}

/// Whether the owner lets a key sign. One that has no flags is for everything.
fn may_sign(said: &Signature) -> bool {
    let has_flags = said.config().is_some_and(|config| {
        config.hashed_subpackets().any(|it| matches!(it.data, SubpacketData::KeyFlags(_)))
    });
    !has_flags || said.key_flags().sign()
}

fn seconds(time: Timestamp) -> u64 {
    u64::from(time.as_secs())
}

//! The order of Debian's version numbers: `[EPOCH:]UPSTREAM[-REVISION]`.
//!
//! Source: deb-version(7).

use std::cmp::Ordering;

/// Compares two versions as dpkg does. Every text is a version; an epoch that is not a number
/// counts as 0.
pub fn compare(one: &str, other: &str) -> Ordering {
    let ((epoch, upstream, revision), (epoch2, upstream2, revision2)) = (parts(one), parts(other));
    epoch
        .cmp(&epoch2)
        .then_with(|| compare_part(upstream, upstream2))
        .then_with(|| compare_part(revision, revision2))
}

/// Epoch, upstream version and revision.
fn parts(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.parse().unwrap_or(0), upstream, revision)
}

/// Compares by turns what is no digit, byte by byte in [`rank`]'s order, and numbers.
fn compare_part(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while !one.is_empty() || !other.is_empty() {
        let (text, text2) =
            (take(&mut one, |c| !c.is_ascii_digit()), take(&mut other, |c| !c.is_ascii_digit()));
        for at in 0..text.len().max(text2.len()) {
            let order = rank(text.get(at)).cmp(&rank(text2.get(at)));
            if order.is_ne() {
                return order;
            }
        }
        let (number, number2) =
            (take(&mut one, u8::is_ascii_digit), take(&mut other, u8::is_ascii_digit));
        let (number, number2) = (without_zeros(number), without_zeros(number2));
        let order = number.len().cmp(&number2.len()).then_with(|| number.cmp(number2));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// `~` sorts before the end, the end before letters, and letters before all others.
fn rank(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Takes the first bytes that `matches`.
fn take<'t>(text: &mut &'t [u8], matches: impl Fn(&u8) -> bool) -> &'t [u8] {
    let length = text.iter().take_while(|byte| matches(byte)).count();
    let (taken, rest) = text.split_at(length);
    *text = rest;
    taken
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|digit| **digit == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let sorted = [
            "0.9",
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0~rc1-1",
            "1.0",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0-1+deb13u10",
            "1.0-2",
            "1.0a",
            "1.0+dfsg",
            "1.00.1",
            "1.2",
            "1.10",
            "2",
            "1:0.1",
            "2:0",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (at2, other) in sorted.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&at2), "{one} {other}");
            }
        }
        assert_eq!(compare("1.01-0", "1.1"), Ordering::Equal);
    }
}

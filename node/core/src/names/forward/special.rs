//! Names with a meaning of their own: they are never asked of anybody (RFC 6761, 6762, 7686, 6303, 9476).
//!
//! Asking the internet for them would be answered by nobody honest and would tell strangers what this host looks for.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::names::reverse::last_labels;
use crate::names::{Data, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `localhost` and below.
    Loopback,
    /// Does not exist in DNS; the text says why it is not asked.
    Absent(&'static str),
}

/// The suffix and why names under it are not asked.
const ABSENT: [(&str, &str); 9] = [
    ("local", "names under local. belong to the local link (RFC 6762) and are not asked elsewhere"),
    ("onion", "names under onion. do not exist in DNS (RFC 7686)"),
    ("invalid", "names under invalid. never exist (RFC 6761)"),
    ("test", "names under test. are for private tests (RFC 6761)"),
    ("alt", "names under alt. do not exist in DNS (RFC 9476)"),
    ("internal", "names under internal. are private: give the suffix a [[dns.split]]"),
    ("home.arpa", "names under home.arpa. are private (RFC 8375): give the suffix a [[dns.split]]"),
    ("lan", "names under lan. are private by custom: give the suffix a [[dns.split]]"),
    ("corp", "names under corp. are private by custom: give the suffix a [[dns.split]]"),
];

pub fn of(name: &str) -> Option<Special> {
    if under(name, "localhost") {
        return Some(Special::Loopback);
    }
    let absent = ABSENT.iter().find(|(suffix, _)| under(name, suffix)).map(|(_, why)| *why);
    let absent = absent.or_else(|| {
        private_reverse(name)
            .then_some("reverse names of private addresses are not asked elsewhere (RFC 6303)")
    });
    absent.map(Special::Absent)
}

/// The zone above a special name that says what there is not in it (RFC 6303 section 3), and its SOA.
pub fn zone(name: &str) -> (&str, Data) {
    let mut suffixes = ABSENT.iter().map(|(suffix, _)| *suffix).chain(["localhost"]);
    let apex = match suffixes.find(|suffix| under(name, suffix)) {
        Some(suffix) => last_labels(name, suffix.split('.').count()),
        None => private_reverse_zone(name),
    };
    let soa = Data::Soa { mname: apex.to_owned(), rname: "nobody.invalid".to_owned(), serial: 1 };
    (apex, soa)
}

/// As they are cut in RFC 6303.
fn private_reverse_zone(name: &str) -> &str {
    let labels = match name.strip_suffix(".in-addr.arpa") {
        Some(labels) if matches!(labels.rsplit('.').next(), Some("0" | "10" | "127")) => 1,
        Some(_) => 2,
        None => {
            let labels = name.strip_suffix(".ip6.arpa").unwrap_or_default().rsplit('.');
            let nibbles = labels.take_while(|label| label.len() == 1).collect::<String>();
            let most = if nibbles.starts_with("fe") { 3 } else { 2 };
            nibbles.len().min(most)
        }
    };
    last_labels(name, labels + 2)
}

fn under(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The reverse zones of addresses that mean something else in every network.
fn private_reverse(name: &str) -> bool {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = labels.rsplit('.').map(|l| l.parse::<u8>().ok());
        let (first, second) = (octets.next().flatten(), octets.next().flatten());
        return matches!(
            (first, second),
            (Some(0 | 10 | 127), _)
                | (Some(169), Some(254))
                | (Some(192), Some(168))
                | (Some(172), Some(16..=31))
                | (Some(100), Some(64..=127))
        );
    }
    // fc00::/7, fe80::/10, and ::/96 with :: and ::1.
    let v6 = name.strip_suffix(".ip6.arpa");
    let digits = v6.map(|labels| labels.rsplit('.').collect::<String>()).unwrap_or_default();
    let link = ["fe8", "fe9", "fea", "feb"];
    digits.starts_with("fc")
        || digits.starts_with("fd")
        || link.iter().any(|l| digits.starts_with(l))
        || (digits.len() > 24 && digits.starts_with("000000000000000000000000"))
}

/// What there is at `localhost` (RFC 6761 section 6.3).
pub fn loopback(kind: Type) -> Vec<Data> {
    match kind {
        Type::A => vec![Data::A(Ipv4Addr::LOCALHOST)],
        Type::Aaaa => vec![Data::Aaaa(Ipv6Addr::LOCALHOST)],
        _ => Vec::new(),
    }
}

//! The coordinator's own name, before anything else works: `/etc/hosts`, then an encrypted upstream, or nothing.
//!
//! The node's own upstreams are asked before those of the policy: a policy that names dead ones could otherwise be mended by
//! nobody, because nobody would find the coordinator that has a better one.
//!
//! The host's resolver is never asked: it may be the one that depends on this agent, and it asks in clear.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData};
use warren_node_core::names::forward::ask::Asked;
use warren_node_core::names::forward::special::Special;
use warren_node_core::names::forward::{Failure, Route};

use super::Resolver;
use super::race::{Context, Outward};

const HOSTS: &str = "/etc/hosts";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error(
        "no encrypted DNS upstream is set, and nothing is asked in clear: use the coordinator's address instead of its \
         name, list the name in {HOSTS}, or give --dns-upstream"
    )]
    NoUpstream,
    #[error(
        "{why}, and no other server is asked for it: use the coordinator's address instead of its name, or list the name in {HOSTS}"
    )]
    Special { why: &'static str },
    #[error("`{0}` is not a name")]
    BadName(String),
    #[error("{0}")]
    Failed(String),
    #[error("it has no address")]
    NoAddress,
}

impl Resolver {
    /// Addresses of `name`; private ones too, because coordinators are often at such.
    pub async fn look_up(self: &Arc<Self>, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let found = in_hosts(Path::new(HOSTS), name);
        if !found.is_empty() {
            return Ok(found);
        }
        let bad = || LookupError::BadName(name.chars().take(100).collect());
        let lower = name.trim_end_matches('.').to_ascii_lowercase();
        let wire = Name::from_ascii(format!("{lower}.")).map_err(|_| bad())?;
        let mut failure = match self.outward.load().forwarding.route(&lower) {
            Route::Special(Special::Loopback) => {
                return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
            }
            Route::Special(Special::Absent(why)) => LookupError::Special { why },
            Route::Group(_) | Route::Nobody => LookupError::NoUpstream,
        };
        for (outward, group) in self.ways(&lower) {
            match self.ask_for(&outward, group, &lower, &wire).await {
                Ok(found) => return Ok(found),
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    /// Who is asked for the coordinator's name, one after the other. What belongs to a split is asked there first.
    fn ways(&self, lower: &str) -> Vec<(Arc<Outward>, usize)> {
        let (own, now) = (&self.own_outward, self.outward.load_full());
        let told = match now.forwarding.route(lower) {
            Route::Group(group) => Some((Arc::clone(&now), group)),
            Route::Special(_) | Route::Nobody => None,
        };
        let mine = match own.forwarding.route(lower) {
            Route::Group(group) if now.forwarding.group(0) != own.forwarding.group(0) => {
                Some((Arc::clone(own), group))
            }
            _ => None,
        };
        match told {
            Some((_, group)) if group > 0 => told.into_iter().chain(mine).collect(),
            _ => mine.into_iter().chain(told).collect(),
        }
    }

    async fn ask_for(
        self: &Arc<Self>,
        outward: &Arc<Outward>,
        group: usize,
        lower: &str,
        wire: &Name,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let ask = async |kind: u16| {
            let asked = Asked { name: lower.to_owned(), kind, dnssec_ok: false, checking_disabled: false };
            let context = Context { names: self.names(), private: true };
            outward.ask(group, &asked, wire, context).await
        };
        let (mut found, mut failure) = (Vec::new(), None);
        let (v4, v6) = tokio::join!(ask(1), ask(28));
        for answer in [v4, v6] {
            match answer {
                Ok(won) => found.extend(addresses(won.stored.bytes())),
                Err(e) => failure = Some(e),
            }
        }
        match failure {
            _ if !found.is_empty() => Ok(found),
            Some(Failure::NoUpstream) => Err(LookupError::NoUpstream),
            Some(failure) => Err(LookupError::Failed(failure.explain().1.text)),
            None => Err(LookupError::NoAddress),
        }
    }
}

fn addresses(bytes: &[u8]) -> Vec<IpAddr> {
    let Ok(message) = Message::from_vec(bytes) else { return Vec::new() };
    let one = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    };
    message.answers.iter().filter_map(|record| one(&record.data)).collect()
}

/// A file that cannot be read lists nothing.
fn in_hosts(file: &Path, name: &str) -> Vec<IpAddr> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let listed = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(ip)
    };
    text.lines().filter_map(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_special_name_is_called_that_and_not_a_lack_of_servers() {
        let resolver = crate::agent::NameOptions::default().resolver().expect("TLS");
        let why = |name: &'static str| {
            let resolver = Arc::clone(&resolver);
            async move { resolver.look_up(name).await.map_err(|e| e.to_string()) }
        };
        let corp = why("coordinator.corp").await.expect_err("nobody is asked");
        assert!(corp.contains("private by custom") && corp.contains("/etc/hosts"), "{corp}");
        assert!(!corp.contains("no encrypted DNS upstream"), "{corp}");
        let public = why("coordinator.example.com").await.expect_err("there is nobody");
        assert!(public.contains("no encrypted DNS upstream"), "{public}");
        assert!(why("coordinator.localhost").await.expect("loopback").contains(&Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn a_hosts_file_is_read_as_the_host_reads_it() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("hosts");
        let text = "127.0.0.1 localhost # coord\n192.0.2.1\tcoord.example.com  coord\n2001:db8::1 Coord\nrubbish coord\n";
        std::fs::write(&file, text).expect("write");
        let ips = |name: &str| in_hosts(&file, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(ips("coord"), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(ips("COORD.example.com"), ["192.0.2.1"]);
        assert!(ips("other").is_empty());
        assert!(in_hosts(&dir.path().join("none"), "coord").is_empty());
    }
}

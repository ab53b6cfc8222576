//! `version`, `mode` and `[dns]`: what stands in exactly one file.

use std::collections::{BTreeMap, BTreeSet};

use super::meaning::Resolver;
use super::report::Report;
use crate::document::{At, Dns, Document, Spot, Texts};
use crate::name::Name;
use crate::policy::{Mode, Settings, Told};
use crate::text::shown;
use crate::upstream::Upstream;

impl Resolver<'_, '_> {
    pub(super) fn settings(&mut self, document: &Document) -> Settings {
        self.version(document);
        once(self.report, "mode", document.mode.iter().map(|x| &x.spot));
        once(self.report, "[dns]", document.dns.iter().map(|x| &x.spot));
        let modes = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
        let mode = document.mode.first().and_then(|mode| self.word("mode", mode, &modes));
        let dns = document.dns.first().map(|dns| &dns.value);
        let told = [("nothing", Told::Nothing), ("names", Told::Names)];
        let report = dns.and_then(|dns| dns.report.as_ref());
        let report = report.and_then(|report| self.word("report", report, &told));
        Settings {
            mode: mode.unwrap_or_default(),
            zone: dns.and_then(|dns| dns.zone.as_ref()).and_then(|zone| self.zone(zone)),
            upstream: dns.map(|dns| self.upstream(&dns.upstream)).unwrap_or_default(),
            split: dns.map(|dns| self.split(dns)).unwrap_or_default(),
            private: dns.map(|dns| self.private(dns)).unwrap_or_default(),
            report: report.unwrap_or_default(),
        }
    }

    fn version(&mut self, document: &Document) {
        once(self.report, "version", document.version.iter().map(|x| &x.spot));
        match (document.version.first(), &document.any) {
            (Some(At { value: 1, .. }), _) | (None, None) => {}
            (Some(At { value, spot }), _) => {
                let message = format!("version {value} of the policy language is not known");
                self.report.error("unknown-version", spot, message, Some("write `version = 1`".to_owned()));
            }
            (None, Some(_)) if document.has_version => {}
            (None, Some(spot)) => {
                let message = "the policy does not say its version".to_owned();
                let hint = "write `version = 1` at the top of one file".to_owned();
                self.report.error("missing-version", spot, message, Some(hint));
            }
        }
    }

    fn zone(&mut self, zone: &At<String>) -> Option<String> {
        let name = self.suffix("bad-zone", "zone", zone)?;
        if let Some(why) = shadowed(&name) {
            let message = format!("the zone `{name}` would hide {why}");
            let hint =
                "write a zone of your own: `prod.internal`, or a name below a domain you hold".to_owned();
            self.report.error("zone-hides-public-names", &zone.spot, message, Some(hint));
            return None;
        }
        Some(name)
    }

    /// A DNS name of plain labels, as zones and suffixes are written.
    fn suffix(&mut self, id: &'static str, what: &str, name: &At<String>) -> Option<String> {
        let labels = name.value.split('.').all(|label| Name::parse(label).is_ok());
        if labels && name.value.len() <= 200 {
            return Some(name.value.clone());
        }
        let message = format!("`{}` is not a DNS {what}", shown(&name.value));
        let hint = "write lower-case labels with dots between, e.g. `prod.internal`".to_owned();
        self.report.error(id, &name.spot, message, Some(hint));
        None
    }

    fn upstream(&mut self, entries: &Texts) -> Vec<String> {
        for entry in entries {
            if let Err(why) = Upstream::parse(&entry.value) {
                let message = format!("`{}` is not an encrypted DNS server: {why}", shown(&entry.value));
                let hint = "write `tls://ADDRESS:853#NAME`, `https://ADDRESS/dns-query#NAME` or `quic://ADDRESS:853#NAME`";
                self.report.error("bad-upstream", &entry.spot, message, Some(hint.to_owned()));
            }
        }
        entries.iter().map(|entry| entry.value.clone()).collect()
    }

    fn split(&mut self, dns: &Dns) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        for split in &dns.split {
            let upstream = self.upstream(&split.upstream);
            let Some(suffix) = self.suffix("bad-suffix", "suffix", &split.suffix) else { continue };
            if all.insert(suffix.clone(), upstream).is_some() {
                let message = format!("the suffix `{suffix}` is split twice");
                let hint = "give one [[dns.split]] all of its upstreams".to_owned();
                self.report.error("duplicate-suffix", &split.suffix.spot, message, Some(hint));
            }
        }
        all
    }

    fn private(&mut self, dns: &Dns) -> BTreeSet<String> {
        dns.private.iter().filter_map(|name| self.suffix("bad-suffix", "suffix", name)).collect()
    }
}

/// Reports every place after the first.
fn once<'a>(report: &mut Report<'_>, what: &str, spots: impl Iterator<Item = &'a Spot>) {
    let mut spots = spots;
    let Some(first) = spots.next() else { return };
    let first = report.place(first);
    for spot in spots {
        let message = format!("{what} stands in another file already");
        let hint = format!("the first is at {first}: `version`, `mode` and [dns] stand in exactly one file");
        report.error("written-twice", spot, message, Some(hint));
    }
}

/// Why nobody may take this zone: it is a whole top-level domain, one that strangers register names under, or spoken for.
fn shadowed(zone: &str) -> Option<&'static str> {
    match zone.rsplit('.').next().unwrap_or_default() {
        _ if !zone.contains('.') => Some("a whole top-level domain"),
        "local" => Some("names of the local link (RFC 6762)"),
        "arpa" if zone == "home.arpa" || zone.ends_with(".home.arpa") => None, // RFC 8375
        "localhost" | "onion" | "invalid" | "arpa" => Some("names with a meaning of their own (RFC 6761)"),
        _ if is_shared(zone) => Some("the names that others register there"),
        _ => None,
    }
}

/// Is it on the public suffix list, or is every name below it?
fn is_shared(zone: &str) -> bool {
    let listed =
        |name: &str| psl::suffix(name.as_bytes()).is_some_and(|s| s.is_known() && s == name.as_bytes());
    listed(zone) || listed(&format!("any.{zone}"))
}

//! From the document to the policy: names are looked up, values become types. Settings are read in `settings`, what is
//! asked of a policy (invariants and tests) in `asked`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use toml::value::{Datetime, Offset};

use super::report::Report;
use crate::document::{At, Document, Spot, Texts};
use crate::name::Name;
use crate::nearest::nearest;
use crate::policy::{Grant, GrantMode, Group, Listen, Policy, Protocol, Selector, Service, Tag};
use crate::text::{self, Malformed, Named, shown};
use crate::time::UnixTime;

/// Where each thing was declared and which nodes were named, for warnings.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub tags: BTreeMap<Name, Spot>,
    pub groups: BTreeMap<Name, Spot>,
    pub services: BTreeMap<Name, Spot>,
    pub grants: BTreeMap<Name, Spot>,
    pub invariants: BTreeMap<Name, Spot>,
    pub tests: BTreeMap<Name, Spot>,
    /// Where a service says that it has this address.
    pub addresses: BTreeMap<(Name, IpNet), Spot>,
    pub nodes: Vec<(Name, Spot)>,
}

pub(crate) struct Resolver<'r, 's> {
    pub report: &'r mut Report<'s>,
    pub places: Places,
}

impl Resolver<'_, '_> {
    /// The policy as far as it makes sense; it counts only if the report has no errors.
    pub fn policy(&mut self, document: &Document) -> Policy {
        self.declare(document);
        let mut policy = Policy { settings: self.settings(document), ..Policy::default() };
        document.groups.iter().filter_map(|g| self.group(g)).for_each(|g| insert(&mut policy.groups, g));
        document.tags.iter().filter_map(|t| self.tag(t)).for_each(|t| insert(&mut policy.tags, t));
        document
            .services
            .iter()
            .filter_map(|s| self.service(s))
            .for_each(|s| insert(&mut policy.services, s));
        for grant in &document.grants {
            if let Some(grant) = self.grant(grant, &policy.services) {
                insert(&mut policy.grants, (grant.id.clone(), grant));
            }
        }
        document.invariants.iter().filter_map(|i| self.invariant(i)).for_each(|i| {
            insert(&mut policy.invariants, i);
        });
        document.tests.iter().filter_map(|t| self.test(t)).for_each(|t| insert(&mut policy.tests, t));
        mirror_not_with(&mut policy.tags);
        policy
    }

    fn declare(&mut self, document: &Document) {
        let report = &mut *self.report;
        self.places.groups = declare(report, "group", document.groups.iter().map(|x| &x.name));
        self.places.tags = declare(report, "tag", document.tags.iter().map(|x| &x.name));
        self.places.services = declare(report, "service", document.services.iter().map(|x| &x.name));
        self.places.grants = declare(report, "grant", document.grants.iter().filter_map(|x| x.id.as_ref()));
        self.places.invariants =
            declare(report, "invariant", document.invariants.iter().filter_map(|x| x.id.as_ref()));
        self.places.tests = declare(report, "test", document.tests.iter().filter_map(|x| x.id.as_ref()));
    }

    /// One of a few fixed words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        text: &At<String>,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = match nearest(&text.value, known.iter().copied()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("it can be {}", known.join(" or ")),
        };
        let message = format!("`{}` is not a value of `{key}`", shown(&text.value));
        self.report.error("unknown-value", &text.spot, message, Some(hint));
        None
    }

    pub(super) fn parsed<T>(&mut self, text: &At<String>, result: Result<T, Malformed>) -> Option<T> {
        result.map_err(|wrong| self.report.malformed(&text.spot, wrong)).ok()
    }

    /// Reports `name` if it is not declared.
    pub(super) fn known(&mut self, kind: Kind, name: &Name, spot: &Spot) {
        let declared = match kind {
            Kind::Tag => &self.places.tags,
            Kind::Group => &self.places.groups,
            Kind::Service => &self.places.services,
            Kind::Grant => &self.places.grants,
        };
        if declared.contains_key(name) {
            return;
        }
        let near = nearest(name.as_str(), declared.keys().map(Name::as_str));
        let hint = match (near, kind) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Kind::Grant) => "no grant has this id".to_owned(),
            (None, _) => format!("declare it with [{}.{name}]", kind.word()),
        };
        let message = format!("{} `{name}` is not declared", kind.word());
        self.report.error(kind.unknown(), spot, message, Some(hint));
    }

    pub(super) fn names(&mut self, kind: Kind, texts: &Texts) -> BTreeSet<Name> {
        let mut names = BTreeSet::new();
        for text in texts {
            let Some(name) = self.parsed(text, text::named(kind.word(), &text.value)) else { continue };
            self.known(kind, &name, &text.spot);
            names.insert(name);
        }
        names
    }

    fn group(&mut self, group: &crate::document::Group) -> Option<(Name, Group)> {
        for member in &group.members {
            let plain = member.value.bytes().all(|b| b.is_ascii_graphic());
            let node = ["node:", "tag:", "group:", "service:"].iter().any(|p| member.value.starts_with(p));
            if !plain || node || member.value.is_empty() || member.value.len() > 254 {
                let message = format!("`{}` is not a person or pipeline", shown(&member.value));
                let hint =
                    "groups hold people (`alice@example.com`) and pipelines (`ci:deployer`), never nodes";
                self.report.error("bad-member", &member.spot, message, Some(hint.to_owned()));
            }
        }
        let name = Name::parse(&group.name.value).ok()?;
        let members = group.members.iter().map(|member| member.value.clone()).collect();
        Some((name.clone(), Group { name, members }))
    }

    fn tag(&mut self, tag: &crate::document::Tag) -> Option<(Name, Tag)> {
        let owners = self.names(Kind::Group, &tag.owners);
        let not_with = self.names(Kind::Tag, &tag.not_with);
        for text in tag.not_with.iter().filter(|t| t.value.strip_prefix("tag:") == Some(&tag.name.value)) {
            let message =
                format!("tag `{}` is not-with itself: no node could wear it", shown(&tag.name.value));
            let hint = "name the other tags only".to_owned();
            self.report.error("not-with-itself", &text.spot, message, Some(hint));
        }
        let name = Name::parse(&tag.name.value).ok()?;
        Some((name.clone(), Tag { name, owners, not_with }))
    }

    pub(super) fn selectors(&mut self, texts: &Texts) -> BTreeSet<Selector> {
        texts.iter().filter_map(|text| self.selector(text)).collect()
    }

    pub(super) fn selector(&mut self, text: &At<String>) -> Option<Selector> {
        let (selector, names) = self.parsed(text, text::selector(&text.value))?;
        self.check_names(&selector, names, &text.spot);
        Some(selector)
    }

    pub(super) fn check_names(&mut self, selector: &Selector, names: Vec<Named>, spot: &Spot) {
        for (name, part) in names {
            let inside = self.report.inside(spot, part);
            match selector {
                Selector::Node(_) => self.places.nodes.push((name, inside)),
                Selector::Tags(_) | Selector::AllNodes => self.known(Kind::Tag, &name, &inside),
            }
        }
    }

    fn service(&mut self, service: &crate::document::Service) -> Option<(Name, Service)> {
        let mut on = self.selectors(&service.on);
        let addresses = self.addresses(service);
        on.extend(self.gateways(service));
        let listen: BTreeSet<Listen> =
            service.listen.iter().filter_map(|text| self.parsed(text, text::listen(&text.value))).collect();
        let name = Name::parse(&service.name.value).ok()?;
        Some((name.clone(), Service { name, on, listen, addresses }))
    }

    fn grant(&mut self, grant: &crate::document::Grant, services: &BTreeMap<Name, Service>) -> Option<Grant> {
        let modes = [("enforce", GrantMode::Enforce), ("audit", GrantMode::Audit), ("off", GrantMode::Off)];
        let from = self.selectors(&grant.from);
        let except = self.selectors(&grant.except);
        let to = self.destinations(&grant.to);
        let mode = grant.mode.as_ref().and_then(|mode| self.word("mode", mode, &modes)).unwrap_or_default();
        let until = grant.until.as_ref().and_then(|until| self.instant(until));
        if from.contains(&Selector::AllNodes) {
            self.refuse_all_to_all(&grant.from, &to, services);
        }
        let id = Name::parse(&grant.id.as_ref()?.value).ok()?;
        let why = grant.why.as_ref().map(|why| why.value.clone()).unwrap_or_default();
        Some(Grant { id, from, except, to, mode, until, why })
    }

    fn destinations(&mut self, texts: &Texts) -> BTreeSet<Name> {
        for text in texts {
            let nodes = text.value.starts_with("tag:") || text.value.starts_with("node:");
            if nodes || text.value == "all-nodes" {
                let message =
                    format!("`{}` is not a service: a grant leads to services only", shown(&text.value));
                let hint =
                    "declare [service.NAME] with `on` and `listen`, and write `service:NAME`".to_owned();
                self.report.error("not-a-service", &text.spot, message, Some(hint));
            }
        }
        let nodes = |text: &&At<String>| {
            text.value.starts_with("tag:") || text.value.starts_with("node:") || text.value == "all-nodes"
        };
        let services: Texts = texts.iter().filter(|text| !nodes(text)).cloned().collect();
        self.names(Kind::Service, &services)
    }

    fn refuse_all_to_all(&mut self, from: &Texts, to: &BTreeSet<Name>, services: &BTreeMap<Name, Service>) {
        let wide = |service: &&Service| {
            service.on.contains(&Selector::AllNodes)
                && service.listen.iter().any(|listen| listen.protocol != Protocol::IcmpEcho)
        };
        let Some(service) = to.iter().filter_map(|name| services.get(name)).find(wide) else { return };
        for text in from.iter().filter(|text| text.value.trim() == "all-nodes") {
            let message = format!(
                "`all-nodes` stands on both sides: service `{}` is on all-nodes as well",
                service.name
            );
            let hint =
                "name tags on one side; only `icmp/echo` may go from all nodes to all nodes".to_owned();
            self.report.error("all-to-all", &text.spot, message, Some(hint));
        }
    }

    fn instant(&mut self, until: &At<Datetime>) -> Option<UnixTime> {
        let time = unix_time(&until.value);
        if time.is_none() {
            let message = format!("`{}` is not a UTC instant in whole seconds", until.value);
            let hint = "write date, time and Z, e.g. 2027-01-31T00:00:00Z".to_owned();
            self.report.error("not-utc", &until.spot, message, Some(hint));
        }
        time
    }
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Tag,
    Group,
    Service,
    Grant,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Tag => "tag",
            Kind::Group => "group",
            Kind::Service => "service",
            Kind::Grant => "grant",
        }
    }
    fn unknown(self) -> &'static str {
        match self {
            Kind::Tag => "unknown-tag",
            Kind::Group => "unknown-group",
            Kind::Service => "unknown-service",
            Kind::Grant => "unknown-grant",
        }
    }
}

fn insert<T>(map: &mut BTreeMap<Name, T>, (name, value): (Name, T)) {
    map.entry(name).or_insert(value);
}

/// Reports bad names and names used twice.
fn declare<'a>(
    report: &mut Report<'_>,
    kind: &'static str,
    names: impl Iterator<Item = &'a At<String>>,
) -> BTreeMap<Name, Spot> {
    let mut declared: BTreeMap<Name, Spot> = BTreeMap::new();
    for text in names {
        let name = match text::name(&text.value) {
            Ok(name) => name,
            Err(wrong) => {
                report.malformed(&text.spot, wrong);
                continue;
            }
        };
        match declared.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(text.spot.clone());
            }
            Entry::Occupied(entry) => {
                let message = format!("{kind} `{}` stands twice", entry.key());
                let first = report.place(entry.get());
                let hint = format!("the first is at {first}: ids are unique over all files of a policy");
                report.error("duplicate-id", &text.spot, message, Some(hint));
            }
        }
    }
    declared
}

/// `not-with` is symmetric.
fn mirror_not_with(tags: &mut BTreeMap<Name, Tag>) {
    let pairs: Vec<(Name, Name)> = tags
        .values()
        .flat_map(|tag| tag.not_with.iter().map(|other| (other.clone(), tag.name.clone())))
        .collect();
    for (tag, other) in pairs {
        if let Some(tag) = tags.get_mut(&tag) {
            tag.not_with.insert(other);
        }
    }
}

fn unix_time(value: &Datetime) -> Option<UnixTime> {
    let (date, clock) = (value.date?, value.time?);
    let utc = matches!(value.offset, Some(Offset::Z));
    if !utc || clock.nanosecond.unwrap_or(0) != 0 {
        return None;
    }
    let month = time::Month::try_from(date.month).ok()?;
    let date = time::Date::from_calendar_date(i32::from(date.year), month, date.day).ok()?;
    let clock = time::Time::from_hms(clock.hour, clock.minute, clock.second.unwrap_or(0)).ok()?;
    let seconds = time::PrimitiveDateTime::new(date, clock).assume_utc().unix_timestamp();
    u64::try_from(seconds).ok().map(UnixTime)
}

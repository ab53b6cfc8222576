//! Invariants and tests: what a policy says must be true of itself.

use std::collections::BTreeSet;

use super::meaning::{Kind, Resolver};
use crate::document::{At, End, LawBody, Texts};
use crate::name::Name;
use crate::policy::{Expect, Invariant, Law, Selector, Subject, Target, Test, TestEnd};
use crate::text;

impl Resolver<'_, '_> {
    pub(super) fn invariant(&mut self, invariant: &crate::document::Invariant) -> Option<(Name, Invariant)> {
        let resolved: Vec<_> = invariant.laws.iter().map(|(law, body)| self.law(law, body)).collect();
        let id = invariant.id.as_ref().and_then(|id| Name::parse(&id.value).ok());
        if invariant.written != 1 {
            let whom = id.as_ref().map_or("an invariant".to_owned(), |id| format!("invariant `{id}`"));
            let message = format!("{whom} needs exactly one of `never`, `only` and `always`");
            let hint = match invariant.written == 0 {
                true => "write e.g. never = { from = [\"tag:dev\"], to = [\"service:NAME\"] }",
                false => "write one [[invariant]] for each",
            };
            self.report.error("one-law", &invariant.spot, message, Some(hint.to_owned()));
        }
        let (id, (law, from, to, via_any)) = (id?, resolved.into_iter().next()?);
        Some((id.clone(), Invariant { id, law, from, to, via_any }))
    }

    fn law(&mut self, law: &str, body: &LawBody) -> (Law, BTreeSet<Selector>, Vec<Target>, bool) {
        let via = body.via.as_ref().and_then(|via| self.word("via", via, &[("any", ())]).map(|()| via));
        if let Some(via) = via.filter(|_| law != "never") {
            let message = format!("`via` has a meaning for `never` only, not for `{law}`");
            self.report.error("via-without-never", &via.spot, message, Some("leave `via` out".to_owned()));
        }
        let mut to: Vec<Target> = body.to.iter().filter_map(|text| self.target(text)).collect();
        // A list is a union: its order has no meaning and must leave no trace in the hash.
        to.sort();
        to.dedup();
        let law = match law {
            "only" => Law::Only,
            "always" => Law::Always,
            _ => Law::Never,
        };
        (law, self.selectors(&body.from), to, via.is_some())
    }

    fn target(&mut self, text: &At<String>) -> Option<Target> {
        let (target, names) = self.parsed(text, text::target(&text.value))?;
        match &target {
            Target::Service(name) => self.known(Kind::Service, name, &text.spot),
            Target::Nodes(selector, _) => self.check_names(selector, names, &text.spot),
        }
        Some(target)
    }

    pub(super) fn test(&mut self, test: &crate::document::Test) -> Option<(Name, Test)> {
        let from = test.from.as_ref().and_then(|end| self.test_from(end));
        let to = test.to.as_ref().and_then(|end| self.test_to(end));
        let expects = [("allow", Expect::Allow), ("deny", Expect::Deny)];
        let expect = test.expect.as_ref().and_then(|expect| self.word("expect", expect, &expects));
        let by = test.by.as_ref().and_then(|by| {
            let name = self.parsed(by, text::name(&by.value))?;
            self.known(Kind::Grant, &name, &by.spot);
            if expect == Some(Expect::Deny) {
                let message = "a test that expects `deny` has no grant to name with `by`".to_owned();
                self.report.error("by-with-deny", &by.spot, message, Some("leave `by` out".to_owned()));
            }
            Some(name)
        });
        let id = Name::parse(&test.id.as_ref()?.value).ok()?;
        let (to, to_wearing) = to?;
        Some((id.clone(), Test { id, from: from?, to, to_wearing, expect: expect?, by }))
    }

    fn test_from(&mut self, end: &End) -> Option<TestEnd> {
        match end {
            End::Text(text) => self.selector(text).map(TestEnd::Selector),
            End::Wearing { node, tags, .. } => self.wearing(node, tags).map(TestEnd::Wearing),
        }
    }

    fn test_to(&mut self, end: &End) -> Option<(Target, Option<Subject>)> {
        let (node, tags, service, port) = match end {
            End::Text(text) => return self.target(text).map(|target| (target, None)),
            End::Wearing { node, tags, service, port } => (node, tags, service, port),
        };
        let subject = self.wearing(node, tags);
        let listen = port.as_ref().map(|port| self.parsed(port, text::listen(&port.value)));
        let service = service.as_ref().map(|service| {
            if let Some(port) = port {
                let message = "`to` names a service and a port: one is enough".to_owned();
                let hint = "leave `port` out: the service has its own".to_owned();
                self.report.error("service-and-port", &port.spot, message, Some(hint));
            }
            let name = self.parsed(service, text::name(&service.value))?;
            self.known(Kind::Service, &name, &service.spot);
            Some(name)
        });
        let subject = subject?;
        let target = match (service, listen) {
            (Some(service), _) => Target::Service(service?),
            (None, Some(listen)) => Target::Nodes(Selector::Node(subject.name.clone()), Some(listen?)),
            (None, None) => Target::Nodes(Selector::Node(subject.name.clone()), None),
        };
        Some((target, Some(subject)))
    }

    /// A described node need not exist: naming it is no warning.
    fn wearing(&mut self, node: &At<String>, tags: &Texts) -> Option<Subject> {
        let mut worn = BTreeSet::new();
        for text in tags {
            let Some(tag) = self.parsed(text, text::name(&text.value)) else { continue };
            self.known(Kind::Tag, &tag, &text.spot);
            worn.insert(tag);
        }
        let name = self.parsed(node, text::name(&node.value))?;
        Some(Subject { name, tags: worn })
    }
}

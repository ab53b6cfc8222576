//! Laws of policy at the coordinator: only signed, only next, only whole, and the last good one stays.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_coordinator_core::alarm::AlarmKind;
use warren_coordinator_core::change::SourceText;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::refusal::Refusal;
use warren_wire::specimen::SpecimenNetwork;

fn refused(world: &mut World, change: impl FnOnce(&mut World, &mut Command)) -> Refusal {
    let mut command = world.policy_command("version = 1\n[tag.other]");
    change(world, &mut command);
    let before = world.coordinator.state().head();
    let refusal = world.command(command).unwrap_err();
    assert_eq!(world.coordinator.state().head(), before, "nothing is half done");
    refusal
}

fn street(seed: u64) -> World {
    let mut world = World::new(seed);
    world.apply(CHAIN).unwrap();
    world.join("web-1", &["web"]);
    world.join("orders-1", &["orders"]);
    world
}

#[test]
fn what_is_unsigned_foreign_old_or_skipped_is_refused_and_the_last_good_policy_stays() {
    let mut world = street(1);
    let foreign = SpecimenNetwork::new(77);
    let swap = |c: &mut Command, to| {
        if let Command::ApplyPolicy { head, .. } = c {
            *head = to
        }
    };
    let root = |w: &World| w.coordinator.state().policies().newest().unwrap().signed.root;
    let coordinator_signed = {
        let policy =
            warren_wire::trust::SignedPolicy { epoch: 1, generation: 2, root: root(&world), items: 1 };
        warren_wire::issue::policy_head(world.net.id(), &policy, world.now, &world.net.coordinator)
    };
    let r = refused(&mut world, |_, c| swap(c, coordinator_signed));
    assert!(matches!(r, Refusal::BadStatement { .. }), "the online key widens nothing: {r}");
    let r = refused(&mut world, |w, c| swap(c, foreign.policy_head(2, root(w), 1)));
    assert!(matches!(r, Refusal::BadStatement { .. }), "{r}");
    let r = refused(&mut world, |w, c| swap(c, w.head(1, root(w), 1)));
    assert_eq!(r, Refusal::WrongGeneration { next: 2, found: 1 });
    let r = refused(&mut world, |w, c| swap(c, w.head(3, root(w), 1)));
    assert_eq!(r, Refusal::WrongGeneration { next: 2, found: 3 });
    let r = refused(&mut world, |w, c| swap(c, w.head(2, root(w), 1)));
    assert_eq!(r, Refusal::WrongRoot);
    let r = refused(&mut world, |_, c| {
        if let Command::ApplyPolicy { expect, .. } = c {
            *expect = Some(0)
        }
    });
    assert_eq!(r, Refusal::PolicyMoved { expected: 0, current: 1 });
    assert!(world.coordinator.why("web-1", "orders-1", Some("tcp/8443"), world.now).unwrap().allowed);
}

#[test]
fn a_faulty_text_is_refused_with_every_fault() {
    let mut world = street(2);
    let r = refused(&mut world, |_, c| {
        if let Command::ApplyPolicy { sources, .. } = c {
            sources[0].text = "version = 1\n[tag.a]\nx = 1\n[[grant]]\nid = \"g\"\nfrom = [\"tag:zz\"]\nto = [\"service:q\"]".into();
        }
    });
    let Refusal::PolicyFaults { findings } = &r else { panic!("{r}") };
    assert!(findings.len() >= 3, "{findings:?}");
    assert_eq!(r.body().findings.len(), findings.len());
}

#[test]
fn a_policy_that_fails_its_own_test_is_refused() {
    let mut world = street(3);
    let test =
        "\n[[test]]\nid = \"never\"\nfrom = \"tag:web\"\nto = \"service:orders-api\"\nexpect = \"deny\"";
    let r = world.apply(&format!("{CHAIN}{test}")).unwrap_err();
    assert!(matches!(&r, Refusal::TestsFail { failed } if failed.len() == 1), "{r}");
}

#[test]
fn a_policy_that_an_enrolled_node_violates_is_refused_and_names_it() {
    let mut world = street(4);
    world.join("both", &["web", "db"]);
    let r = world.apply(&CHAIN.replace("[tag.web]", "[tag.web]\nnot-with = [\"tag:db\"]")).unwrap_err();
    assert!(matches!(&r, Refusal::NotWith { who, .. } if who == "node both"), "{r}");
    let r = world.apply(&CHAIN.replace("orders-api", "web-1")).unwrap_err();
    assert!(matches!(&r, Refusal::ServiceNamesNode { name, .. } if name == "web-1"), "{r}");
}

#[test]
fn observe_mode_takes_a_flag_and_raises_an_alarm_until_it_ends() {
    let mut world = street(5);
    let observe = CHAIN.replace("version = 1", "version = 1\nmode = \"observe\"");
    assert_eq!(world.apply(&observe), Err(Refusal::ObserveNotAllowed));
    let mut command = world.policy_command(&observe);
    if let Command::ApplyPolicy { allow_observe, .. } = &mut command {
        *allow_observe = true;
    }
    world.command(command).unwrap();
    let observing = |w: &World| {
        let status = w.coordinator.status(w.now);
        (status.observe, status.alarms.iter().any(|a| a.kind == AlarmKind::ObserveMode))
    };
    assert_eq!(observing(&world), (true, true));
    world.restart();
    assert_eq!(observing(&world), (true, true));
    world.apply(CHAIN).unwrap();
    assert_eq!(observing(&world), (false, false));
}

#[test]
fn observe_bypasses_neither_revocation_nor_signatures() {
    let mut world = street(11);
    let lone = world.join("lone", &[]);
    assert!(world.hosts[lone].peers().is_empty(), "nothing joins it");
    let observe = CHAIN.replace("version = 1", "version = 1\nmode = \"observe\"");
    let command = |world: &World, foreign: Option<&SpecimenNetwork>| {
        let mut command = world.policy_command(&observe);
        if let Command::ApplyPolicy { allow_observe, head, .. } = &mut command {
            *allow_observe = true;
            if let Some(net) = foreign {
                let signed = world.net.trust.policy(head).unwrap();
                *head = net.policy_head(signed.generation, signed.root, signed.items);
            }
        }
        command
    };
    let unsigned = command(&world, Some(&SpecimenNetwork::new(77)));
    assert!(matches!(world.command(unsigned), Err(Refusal::BadStatement { .. })));
    assert!(world.hosts[lone].peers().is_empty());
    let signed = command(&world, None);
    world.command(signed).unwrap();
    assert_eq!(world.hosts[lone].peers().len(), 2, "everybody is a peer of everybody");
    world.revoke(0).unwrap();
    assert_eq!(world.hosts[lone].peers(), [world.id(1)], "but for the revoked");
    assert!(world.coordinator.state().peers_of(&world.id(0)).is_empty());
}

#[test]
fn a_rename_cannot_take_or_leave_a_name_the_policy_speaks_of() {
    let mut world = street(6);
    world
        .apply(&CHAIN.replace(
            "to = [\"service:orders-api\"]",
            "to = [\"service:orders-api\"]\nexcept = [\"node:web-1\", \"node:canary\"]",
        ))
        .unwrap();
    assert!(matches!(world.amend(1, 1, "canary", &["orders"]), Err(Refusal::NameNotAllowed { .. })));
    assert!(matches!(world.amend(0, 1, "free", &["web"]), Err(Refusal::NameNotAllowed { .. })));
    assert!(matches!(world.amend(1, 1, "web-1", &["orders"]), Err(Refusal::NameTaken { .. })));
    assert!(matches!(world.amend(1, 1, "db-sql", &["orders"]), Err(Refusal::NameTaken { .. })));
    world.amend(1, 3, "orders-2", &["orders"]).unwrap();
    assert!(matches!(
        world.amend(1, 3, "orders-3", &["orders"]),
        Err(Refusal::OldSerial { known: 3, found: 3 })
    ));
    assert_eq!(world.coordinator.node("orders-2").unwrap().id, world.id(1));
    assert!(matches!(world.coordinator.node("orders-1"), Err(Refusal::NodeUnknown(_))));
}

#[test]
fn an_unsigned_revocation_or_amendment_changes_nothing() {
    let mut world = street(7);
    let node = world.id(0);
    let key = world.net.coordinator.clone();
    let revocation = warren_wire::issue::revocation(world.net.id(), node, world.now, "x", &key);
    assert!(matches!(world.command(Command::RevokeNode { revocation }), Err(Refusal::BadStatement { .. })));
    let subject = warren_config::policy::Subject { name: name("x"), tags: Default::default() };
    let amendment = warren_wire::issue::amendment(world.net.id(), node, 1, &subject, &key);
    assert!(matches!(
        world.command(Command::AmendNode { node, amendment }),
        Err(Refusal::BadStatement { .. })
    ));
    world.revoke(0).unwrap();
    assert!(matches!(world.revoke(0), Err(Refusal::NodeRevoked { .. })));
}

#[test]
fn why_names_the_grant_or_the_nearest_miss_and_understands_addresses() {
    let mut world = street(8);
    world.join("lone", &[]);
    let address = |w: &World, n: &str| w.coordinator.node(n).unwrap().v4.unwrap().to_string();
    let why = world
        .coordinator
        .why(&address(&world, "web-1"), &address(&world, "orders-1"), Some("tcp/8443"), world.now)
        .unwrap();
    assert!(why.allowed && why.by.is_some_and(|by| by.grant.as_str() == "web-reads-orders"));
    let why = world.coordinator.why("lone", "orders-1", Some("tcp/8443"), world.now).unwrap();
    assert!(!why.allowed && why.nearest.as_deref() == Some("web-reads-orders"), "{why:?}");
    let why = world.coordinator.why("web-1", "orders-api", None, world.now).unwrap();
    assert!(why.allowed, "{why:?}");
    assert!(matches!(
        world.coordinator.why("nobody", "orders-1", None, world.now),
        Err(Refusal::NodeUnknown(_))
    ));
    assert!(world.coordinator.can("web-1", "orders-api", None, world.now).unwrap().yes);
    assert!(world.coordinator.can("tag:web", "service:orders-api", None, world.now).unwrap().yes);
    assert!(!world.coordinator.can("node:lone", "orders-1", Some("tcp/8443"), world.now).unwrap().yes);
}

#[test]
fn why_speaks_of_hosts_behind_gateways_with_those_who_lead_there() {
    let mut world = street(12);
    let text = "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n\
        [tag.gw]\nowners = [\"group:ops\"]\n[service.lan]\nvia = [\"tag:gw\"]\n\
        addresses = [\"192.168.10.0/24\"]\nlisten = [\"tcp/80\"]\n[service.nas]\nvia = [\"tag:gw\"]\n\
        addresses = [\"192.168.10.5\"]\nlisten = [\"tcp/445\"]\n\
        [[grant]]\nid = \"web-uses-lan\"\nfrom = [\"tag:web\"]\nto = [\"service:lan\"]\n";
    world.apply(text).unwrap();
    for gateway in ["gw-1", "gw-2"] {
        world.join(gateway, &["gw"]);
    }
    let why = |to: &str, port: Option<&str>| world.coordinator.why("web-1", to, port, world.now);
    let both = ["gw-1".to_owned(), "gw-2".to_owned()];
    let host = why("192.168.10.7", Some("tcp/80")).unwrap();
    assert!(host.allowed && host.behind == both, "{host:?}");
    let said = "allowed by grant web-uses-lan (service lan)";
    assert!(
        host.message.starts_with(said) && host.message.ends_with("behind gw-1 and gw-2"),
        "{}",
        host.message
    );
    assert!(why("192.168.10.7", None).unwrap().allowed, "all that is there");
    let nas = why("192.168.10.5", None).unwrap();
    assert!(!nas.allowed && nas.message.contains("no grant names service `nas`"), "{nas:?}");
    assert!(!why("192.168.10.7", Some("tcp/445")).unwrap().allowed);
    let service = why("lan", None).unwrap();
    assert!(service.allowed && service.behind == both, "{service:?}");
    assert!(why("192.168.11.1", Some("tcp/80")).is_err(), "nobody has that address, and nobody leads there");
    assert!(why("gw-1", Some("tcp/80")).unwrap().behind.is_empty());
}

#[test]
fn history_keeps_every_generation_and_a_rollback_is_a_new_one() {
    let mut world = street(9);
    world.apply("version = 1").unwrap();
    let old = world.coordinator.policy_at(Some(1)).unwrap();
    assert_eq!(old.sources[0].text, CHAIN);
    let text = old.sources[0].text.clone();
    world.apply(&text).unwrap();
    let rows = world.coordinator.policy_history();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].root, rows[2].root);
    assert!(rows[2].current && !rows[0].current);
    assert_eq!(world.coordinator.policy_at(Some(9)), Err(Refusal::GenerationUnknown(9)));
}

#[test]
fn a_review_says_what_would_change_and_what_to_sign() {
    let world = street(10);
    let sources = |text: &str| [SourceText { file: "p.toml".into(), text: text.into() }];
    let same = world.coordinator.review(&sources(&format!("# a comment\n{CHAIN}")), world.now).unwrap();
    assert!(same.diff.gained.is_empty() && same.diff.lost.is_empty(), "{:?}", same.diff);
    assert_eq!(same.current, 1);
    let less = world.coordinator.review(&sources("version = 1"), world.now).unwrap();
    assert!(!less.diff.lost.is_empty());
    assert!(world.coordinator.review(&sources("version = "), world.now).is_err());
}

const WALL: &str = r#"
version = 1
[group.ops]
members = ["alice"]
[tag.dev]
owners = ["group:ops"]
not-with = ["tag:web"]
[tag.web]
owners = ["group:ops"]
[service.orders]
on = ["tag:web"]
listen = ["tcp/8443"]
[[grant]]
id = "web-to-web"
from = ["tag:web"]
to = ["service:orders"]
[[invariant]]
id = "dev-never-orders"
never = { from = ["tag:dev"], to = ["service:orders"] }
"#;

#[test]
fn a_policy_that_breaks_its_invariant_is_refused_with_a_witness_and_the_last_good_one_stays() {
    let mut world = World::new(40);
    world.apply(WALL).unwrap();
    let wide = WALL.replace("not-with = [\"tag:web\"]", "");
    let r = world.apply(&wide).unwrap_err();
    let Refusal::InvariantsBroken { broken, .. } = &r else { panic!("{r}") };
    assert!(broken[0].message.contains("wears `dev` and `web` can open tcp/8443"), "{}", broken[0].message);
    assert_eq!(world.coordinator.policy_history().len(), 1);
    let sources = [SourceText { file: "p.toml".into(), text: wide }];
    assert!(!world.coordinator.review(&sources, world.now).unwrap().proofs[0].holds());
}

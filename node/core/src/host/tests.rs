use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn plan_of(interface: &str, mtu: u16, addresses: &[&str], ranges: &[&str]) -> Plan {
    Plan {
        interface: InterfaceName::parse(interface).unwrap(),
        mtu,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ranges: ranges.iter().map(|r| r.parse().unwrap()).collect(),
        bridges: Vec::new(),
    }
}

fn usual() -> Plan {
    plan_of("wrn0", 1420, &["100.64.0.5", "fd00:1:2::5"], &["100.64.0.0/10", "fd00:1:2::/48"])
}

/// The machine as the slow judge sees it: sets of things that are there.
#[derive(Clone, Debug, Default, PartialEq)]
struct Machine {
    unreachable: BTreeSet<IpNet>,
    guard: BTreeSet<String>,
    tuns: BTreeSet<(InterfaceName, u16)>,
    addresses: BTreeSet<(InterfaceName, IpAddr)>,
    routes: BTreeSet<(InterfaceName, IpNet, IpAddr)>,
}

impl Machine {
    fn take(&mut self, planned: &Planned) {
        match planned.step.clone() {
            Step::AddUnreachable { range, .. } => drop(self.unreachable.insert(range)),
            Step::InstallGuard { ruleset } => {
                let name = ruleset.lines().next().unwrap().to_owned();
                self.guard.retain(|g| !g.starts_with(&format!("{name}\n")));
                self.guard.insert(ruleset);
            }
            Step::CreateTun { interface, mtu } => {
                self.tuns.retain(|(i, _)| *i != interface);
                self.tuns.insert((interface, mtu));
            }
            Step::AddAddress { interface, address } => drop(self.addresses.insert((interface, address))),
            Step::LinkUp { .. } => {}
            Step::AddRoute { interface, range, source, .. } => {
                self.routes.retain(|(i, r, _)| (i, r) != (&interface, &range));
                assert!(
                    self.addresses.contains(&(interface.clone(), source)),
                    "a route from an absent address"
                );
                self.routes.insert((interface, range, source));
            }
            Step::RemoveRoute { interface, range, .. } => {
                self.routes.retain(|(i, r, _)| (i, r) != (&interface, &range));
            }
            Step::RemoveAddress { interface, address } => drop(self.addresses.remove(&(interface, address))),
            Step::DeleteTun { interface } => {
                self.tuns.retain(|(i, _)| *i != interface);
                self.routes.retain(|(i, ..)| *i != interface);
                self.addresses.retain(|(i, _)| *i != interface);
            }
            Step::RemoveGuard { ruleset } => {
                let name = ruleset.lines().next().unwrap().to_owned();
                self.guard.retain(|g| !g.starts_with(&format!("{name}\n")));
            }
            Step::RemoveUnreachable { range, .. } => drop(self.unreachable.remove(&range)),
        }
        self.check();
    }

    /// At no moment is there a route or an address without its guard.
    fn check(&self) {
        for (_, range, _) in &self.routes {
            assert!(self.unreachable.contains(range), "{range} is routed, but nothing catches it");
        }
        for (interface, address) in &self.addresses {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            let lines = [
                format!("\t\tiifname \"{}\" accept\n", interface.as_str()),
                format!("\t\t{family} daddr {address} counter drop\n"),
            ];
            let guarded = |guard: &&String| lines.iter().all(|line| guard.contains(line));
            assert!(self.guard.iter().any(|g| guarded(&g)), "{address} has no guard");
        }
    }
}

fn after(machine: &Machine, steps: &[Planned]) -> Machine {
    let mut machine = machine.clone();
    steps.iter().for_each(|step| machine.take(step));
    machine
}

#[test]
fn guards_are_first_in_and_last_out() {
    let (up, down) = (usual().up(), usual().down());
    assert!(matches!(up.first().unwrap().step, Step::AddUnreachable { .. }));
    assert!(matches!(down.last().unwrap().step, Step::RemoveUnreachable { .. }));
    assert_eq!(after(&after(&Machine::default(), &up), &down), Machine::default());
    // Without an agent they stand alone, as they stand under one.
    let alone = after(&Machine::default(), &usual().guards());
    let under = after(&Machine::default(), &up);
    assert_eq!((&alone.unreachable, &alone.guard), (&under.unreachable, &under.guard));
    assert_eq!((alone.tuns.len(), alone.addresses.len(), alone.routes.len()), (0, 0, 0));
}

#[test]
fn the_guard_drops_overlay_addresses_that_come_by_another_way_be_it_as_destination_or_as_source() {
    let text = guard::ruleset(&usual().interface, &usual().addresses, &usual().ranges, &[]);
    assert_eq!(
        text,
        "table inet warren_wrn0\ndelete table inet warren_wrn0\ntable inet warren_wrn0 {\n\
         \tchain strong-host {\n\t\ttype filter hook prerouting priority -300; policy accept;\n\
         \t\tiifname \"lo\" accept\n\
         \t\tiifname \"wrn0\" accept\n\
         \t\tip saddr 100.64.0.5 counter drop\n\
         \t\tip6 saddr fd00:1:2::5 counter drop\n\
         \t\tip saddr 100.64.0.0/10 counter drop\n\
         \t\tip6 saddr fd00:1:2::/48 counter drop\n\
         \t\tip daddr 100.64.0.5 counter drop\n\
         \t\tip6 daddr fd00:1:2::5 counter drop\n\t}\n}\n"
    );
}

#[test]
fn containers_may_ask_for_names_and_nothing_else_and_not_in_our_name() {
    let bridge = InterfaceName::parse("docker0").unwrap();
    let text = guard::ruleset(&usual().interface, &usual().addresses, &usual().ranges, &[bridge]);
    let place = |line: &str| text.find(line).unwrap_or_else(|| panic!("no `{line}` in {text}"));
    let dropped = place("ip saddr 100.64.0.5 counter drop");
    for protocol in ["udp", "tcp"] {
        let accepted =
            place(&format!("iifname \"docker0\" ip daddr 100.64.0.5 {protocol} dport 53 counter accept"));
        assert!(dropped < accepted && accepted < place("ip daddr 100.64.0.5 counter drop"));
        place(&format!("iifname \"docker0\" ip6 daddr fd00:1:2::5 {protocol} dport 53 counter accept"));
    }
    assert_eq!(text.matches("counter accept\n").count(), 4, "and nothing else: {text}");
}

#[test]
fn a_name_that_could_break_out_of_the_ruleset_is_no_interface() {
    for bad in ["", "0tun", "a b", "a\"; drop", "warren0123456789", "w\n", "ünder", "-x"] {
        assert!(InterfaceName::parse(bad).is_err(), "{bad}");
    }
    assert!(InterfaceName::parse("wrn-0_x").is_ok());
}

#[test]
fn a_node_without_ipv4_still_keeps_the_ipv4_range_from_leaking() {
    let plan = plan_of("wrn0", 1420, &["fd00:1:2::5"], &["100.64.0.0/10", "fd00:1:2::/48"]);
    let machine = after(&Machine::default(), &plan.up());
    assert_eq!(machine.unreachable.len(), 2);
    assert_eq!(machine.routes.len(), 1);
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let interface = prop::sample::select(vec!["wrn0", "wrn1"]);
    let mtu = prop::sample::select(vec![1280u16, 1420]);
    let v4 = prop::option::of(prop::sample::select(vec!["100.64.0.5", "100.64.0.6"]));
    let v6 = prop::sample::select(vec!["fd00:1:2::5", "fd00:1:2::6"]);
    let range = prop::sample::select(vec!["100.64.0.0/10", "100.64.0.0/16"]);
    (interface, mtu, v4, v6, range).prop_map(|(interface, mtu, v4, v6, range)| {
        let addresses: Vec<&str> = v4.into_iter().chain([v6]).collect();
        plan_of(interface, mtu, &addresses, &[range, "fd00:1:2::/48"])
    })
}

proptest! {
    /// Whatever the change, it ends where starting afresh ends, and no moment of it is unguarded.
    #[test]
    fn a_change_of_plan_leads_where_a_fresh_start_leads(old in any_plan(), new in any_plan()) {
        let was = after(&Machine::default(), &old.up());
        let fresh = after(&Machine::default(), &new.up());
        prop_assert_eq!(after(&was, &old.change_to(&new)), fresh);
        prop_assert!(new.change_to(&new).is_empty());
    }
}

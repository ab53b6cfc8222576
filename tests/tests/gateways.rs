//! Hosts without an agent behind two gateways: what is granted arrives also after one of them has died, flows end with their
//! gateway or their grant, and nobody but users of a subnet knows of its gateways.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, SocketAddr};

use warren_config::policy::Protocol;
use warren_tests::clock::{MS, SECOND};
use warren_tests::host::{Connection, Ends, Port, State};
use warren_tests::link::Place;
use warren_tests::policies::{grant, policy_with_subnets};
use warren_tests::seed;
use warren_tests::world::{Reach, World};

const HOST: &str = "192.168.50.77";

fn host() -> IpAddr {
    HOST.parse().unwrap()
}

struct Office {
    world: World,
    web: usize,
    gateways: [usize; 2],
}

impl Office {
    fn new(title: &str, seed: u64) -> Office {
        let mut world = World::new(title, seed, 604_800);
        world.apply(&policy_with_subnets(&[grant("web-uses-lan", "tag:web", "lan")]));
        let web = world.join("web-1", &["web"]);
        let gateways = [world.join("gw-1", &["gw"]), world.join("gw-2", &["gw"])];
        world.join("orders-1", &["orders"]);
        world.behind_listens.insert(Port::Tcp(80));
        world.settle();
        Office { world, web, gateways }
    }

    /// The gateway in use, and the other.
    fn used(&self) -> (usize, usize) {
        let id = self.world.kernel_route(self.web, host()).expect("there is a route");
        let used = self.world.index_of(&id).unwrap();
        (used, self.gateways.into_iter().find(|gateway| *gateway != used).unwrap())
    }

    fn open(&mut self) -> Ends {
        let ends = self.world.open_behind(self.web, SocketAddr::new(host(), 80)).unwrap();
        self.world.run_ms(500);
        assert!(self.near(ends).is_open());
        ends
    }

    fn send(&mut self, ends: Ends, bytes: u64) {
        let now = self.world.now;
        self.world.nodes[self.web].host.send(ends, bytes, now);
        self.world.pump(self.web);
    }

    fn near(&self, ends: Ends) -> &Connection {
        &self.world.nodes[self.web].host.connections[&ends]
    }

    /// The other end, as the host behind `gateway` has it.
    fn far(&self, gateway: usize, ends: Ends) -> Option<&Connection> {
        let ends = Ends { local: ends.remote, remote: ends.local };
        self.world.nodes[gateway].behind.get(&host())?.connections.get(&ends)
    }
}

#[test]
fn what_is_granted_arrives_within_three_seconds_after_one_of_two_gateways_died() {
    for seed in seed::histories(20) {
        let mut office = Office::new("one of two gateways dies", seed);
        let ends = office.open();
        office.send(ends, 1_000_000);
        office.world.run_ms(200);
        let (first, second) = office.used();
        let died = office.world.now;
        match seed % 3 {
            0 => office.world.crash_node(first),
            1 => office.world.stop_node(first),
            _ => {
                office.world.site.relays = false;
                office.world.cut(Place::Node(office.web), Place::Node(first));
            }
        }
        let web = office.web;
        let left = |w: &World| w.nodes[web].host.connections[&ends].ended.is_some();
        assert!(office.world.run_until(3_000, left), "seed {seed}: the old connection hangs");
        assert_eq!(office.near(ends).state, State::Reset, "so that the application connects again");
        assert_eq!(office.used().0, second);
        assert_eq!(office.world.reach_behind(web, host(), Protocol::Tcp, 80), Reach::Arrived);
        let took = office.world.now - died;
        assert!(took <= 3 * SECOND, "seed {seed}: {} ms", took / MS);
        // It comes back, and takes nothing from what works.
        if !office.world.is_on(first) {
            office.world.start_agent(first);
        }
        office.world.settle();
        assert_eq!(office.used().0, second);
        office.world.check_reach();
    }
}

#[test]
fn a_withdrawn_grant_cuts_a_transfer_at_both_ends_within_a_second() {
    let mut office = Office::new("a withdrawn grant", seed::or(5));
    let ends = office.open();
    office.send(ends, 5_000_000);
    office.world.run_ms(500);
    let (gateway, _) = office.used();
    office.world.apply(&policy_with_subnets(&[]));
    let applied = office.world.now;
    let web = office.web;
    let over = |w: &World| w.nodes[web].host.connections[&ends].ended.is_some();
    assert!(office.world.run_until(1_000, over), "the user's end");
    assert_eq!(office.near(ends).state, State::Reset);
    let there = Ends { local: ends.remote, remote: ends.local };
    let far = |w: &World| w.nodes[gateway].behind[&host()].connections[&there].ended.is_some();
    assert!(office.world.run_until(1_000, far), "the end behind the gateway");
    assert!(office.world.now - applied <= SECOND);
    let received = office.far(gateway, ends).unwrap().received;
    office.world.run_ms(10_000);
    assert_eq!(office.far(gateway, ends).unwrap().received, received, "nothing of it comes any more");
    assert_eq!(office.world.kernel_route(web, host()), None, "the route went with the grant");
    office.world.settle();
    office.world.check_reach();
}

/// `all-nodes` has the gateways in it.
#[test]
fn gateways_to_one_subnet_are_no_peers_of_each_other() {
    let mut office = Office::new("gateways among the users", seed::or(6));
    office.world.apply(&policy_with_subnets(&[grant("all-use-lan", "all-nodes", "lan")]));
    office.world.settle();
    let [one, two] = office.gateways;
    let peers = |node: usize| office.world.agent(node).unwrap().peers();
    assert!(!peers(one).contains(&office.world.id(two)) && !peers(two).contains(&office.world.id(one)));
    assert!(peers(one).contains(&office.world.id(office.web)));
}

/// Both answer; one of them has not heard of a policy, or of who the user is now.
#[test]
fn a_gateway_that_is_behind_is_left_for_one_that_knows_more() {
    for seed in seed::histories(10) {
        let mut office = Office::new("a gateway is behind", seed);
        office.open();
        let (first, second) = office.used();
        office.world.cut(Place::Coordinator, Place::Node(first));
        let web = office.web;
        let nas = "192.168.50.10".parse().unwrap();
        let both = |tag: &str| {
            let to_nas = grant("and-nas", tag, "nas");
            policy_with_subnets(&[grant("web-uses-lan", "tag:web", "lan"), to_nas])
        };
        match seed % 2 {
            0 => drop(office.world.apply(&both("tag:web"))),
            // Of this policy both have heard.
            _ => {
                office.world.mend(Place::Coordinator, Place::Node(first));
                office.world.apply(&both("tag:ops"));
                office.world.run_ms(10_000);
                office.world.cut(Place::Coordinator, Place::Node(first));
                office.world.retag(web, &["web", "ops"]).unwrap();
            }
        }
        office.world.behind_listens.insert(Port::Tcp(445));
        let changed = office.world.now;
        let knows = |w: &World| w.kernel_route(web, nas) == Some(w.id(second));
        // Applications ask again and again.
        let moved = (0..20).any(|_| {
            office.world.reach_behind(web, nas, Protocol::Tcp, 445);
            office.world.run_until(500, knows)
        });
        let took = (office.world.now - changed) / MS;
        assert!(moved && took <= 10_000, "seed {seed}: {took} ms");
        assert_eq!(office.world.reach_behind(web, nas, Protocol::Tcp, 445), Reach::Arrived);
        // One that comes back takes nothing from it; and it is never left while the other is behind.
        office.world.run_ms(20_000);
        assert_eq!(office.used().0, second);
        office.world.settle();
        assert_eq!(office.used().0, second);
        office.world.check_reach();
    }
}

/// Nobody knows more: the one that works is kept, and its flows live.
#[test]
fn a_gateway_that_is_behind_is_kept_while_no_other_knows_more() {
    let mut office = Office::new("both gateways are behind", seed::or(7));
    let ends = office.open();
    let (first, _) = office.used();
    for gateway in office.gateways {
        office.world.cut(Place::Coordinator, Place::Node(gateway));
    }
    let grants = [grant("web-uses-lan", "tag:web", "lan"), grant("and-nas", "tag:web", "nas")];
    office.world.apply(&policy_with_subnets(&grants));
    for _ in 0..40 {
        office.send(ends, 1_000);
        office.world.run_ms(500);
    }
    assert_eq!(office.used().0, first);
    assert!(office.near(ends).is_open(), "{:?}", office.near(ends));
}

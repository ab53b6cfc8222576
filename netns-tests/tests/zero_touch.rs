//! One file brings a fleet up, behind NATs, with nothing typed; what is killed and made again is found again.
//!
//! `WARREN_FLEET` hosts behind `WARREN_ROUTERS` NATs (12 behind 4; the whole is 100 behind 10), `WARREN_FLEET_SECONDS` for all to reach what they
//! may. 10 s is what is wanted; programs built for release (`WARREN_BINARIES`) took 8 s on two processors (11 and 13 s on slower ones), and
//! half of them made again 6 s (9 s). With debug programs on two busy processors, which start thirty agents at once, it took 19 s, and a minute and a half is given.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use warren_netns_tests::fleet::Fleet;
use warren_netns_tests::process::Daemon;
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{Coordinator, LIMIT, binary};

/// Seconds; and what it takes to notice that a killed agent is gone, with some air.
const LEASE: u64 = 30;
const NOTICED: u64 = 60;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Each asks the next, by the name that it has.
fn ring(hosts: &[String], name: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let next = hosts.iter().cycle().skip(1);
    hosts.iter().zip(next).map(|(from, to)| (from.clone(), name(to))).collect()
}

#[test]
fn one_file_brings_a_fleet_up_and_what_is_made_again_is_found_again() {
    let (count, routers) = (number("WARREN_FLEET", 12), number("WARREN_ROUTERS", 4));
    let limit = Duration::from_secs(number("WARREN_FLEET_SECONDS", 90) as u64);
    let mut fleet = Fleet::new(routers, 2 * count + 2, &format!("{LEASE}s"));
    let hosts: Vec<String> = (1..=count).map(|host| format!("n{host}")).collect();
    fleet.plug_in(&hosts);

    // All at once; each reaches its neighbour and the hub, by name.
    let begun = now();
    fleet.start(&hosts);
    fleet.ask(&ring(&hosts, str::to_owned));
    let last = fleet.all_have_reached(&hosts, limit);
    println!("{count} hosts behind {routers} NATs: all reach what they may after {:.1} s", last - begun);
    let mut known = fleet.known();
    known.retain(|name| name != "hub");
    known.sort();
    let mut expected = hosts.clone();
    expected.sort();
    assert_eq!(known, expected, "every node has the name of its host");

    // Half of them are killed, with their machines, and made again: they have the next free names.
    let (killed, left): (Vec<String>, Vec<String>) =
        hosts.iter().cloned().partition(|host| host[1..].parse::<usize>().unwrap() % 2 == 0);
    killed.iter().for_each(|host| fleet.destroy(host));
    fleet.plug_in(&killed);
    let begun = now();
    fleet.start(&killed);
    let second =
        |host: &str| if killed.iter().any(|k| k == host) { format!("{host}-2") } else { host.to_owned() };
    fleet.ask(&ring(&hosts, second));
    let last = fleet.all_have_reached(&hosts, limit);
    println!("{} made again: all reach what they may after {:.1} s", killed.len(), last - begun);

    // Leases end: who was killed is gone, from the list, from names, from the map.
    let gone = |known: &[String]| killed.iter().all(|name| !known.contains(name));
    fleet.wait_known("leases of the killed end", Duration::from_secs(LEASE + NOTICED), gone);
    assert_eq!(fleet.known().len(), count + 1, "as many nodes as there are hosts, and the hub");
    let (survivor, dead) = (left[0].as_str(), killed[0].as_str());
    // The coordinator knows first, and then its nodes.
    until("its name is no name any more", LIMIT, || fleet.resolve(survivor, dead).is_none());
    assert!(fleet.resolve(survivor, &second(dead)).is_some());
    let map = fleet.coordinator.json(&["map", "--within", "5m"]).to_string();
    for name in [survivor.to_owned(), second(dead)] {
        assert!(map.contains(&format!("\"{name}\"")), "{name} is on the map: {map}");
    }

    // Its name is free again: the next host of that name has it.
    fleet.destroy(dead);
    fleet.plug_in(&[dead.to_owned()]);
    fleet.start(&[dead.to_owned()]);
    fleet.wait_known("the freed name is given again", limit, |known| known.iter().any(|name| name == dead));
    fleet.ask(&[(survivor.to_owned(), dead.to_owned())]);
    fleet.all_have_reached(&[survivor.to_owned()], limit);
    let audit = fleet.coordinator.json(&["audit", "list"]).to_string();
    assert!(audit.contains("lease-ended"), "the audit says who was taken out");
    assert!(!fleet.coordinator.log().contains("panicked"));
}

/// As a container is started: nothing on the command line, no settings file; the token a variable, or a file that is mounted and that
/// nobody here may change.
#[test]
fn the_environment_alone_brings_a_host_up_with_a_token_in_it_or_mounted() {
    let street = Street::new(&["coord", "box-1", "box-2"], Underlay::V4);
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let token = coordinator.token(&["--tag", "web", "--name-prefix", "box", "--uses", "2"]);
    let mounted = street.host("box-2").path("secret");
    std::fs::write(&mounted, format!("{token}\n")).unwrap();
    std::fs::set_permissions(&mounted, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let agents: Vec<Daemon> =
        [("box-1", ("WARREN_TOKEN", &token)), ("box-2", ("WARREN_TOKEN_FILE", &mounted))]
            .into_iter()
            .map(|(name, (variable, value))| {
                let host = street.host(name);
                let own = ["node", "run", "node.sock"].map(|file| host.path(file));
                let env = [
                    ("WARREN_NODE_STATE", own[0].as_str()),
                    ("WARREN_NODE_RUN", own[1].as_str()),
                    ("WARREN_NODE_SOCKET", own[2].as_str()),
                    ("WARREN_NODE_NAME", name),
                    ("WARREN_NODE_UNATTENDED", "true"),
                    ("WARREN_NODE_ENDPOINT", "203.0.113.7:4500"),
                    ("WARREN_NODE_NO_DNS", "true"),
                    (variable, value.as_str()),
                ];
                let log = host.dir.join("node.log");
                Daemon::start(Some(&host.namespace), &[&binary("warren-node"), "up"], &env, &log)
            })
            .collect();
    let online = || {
        let nodes = coordinator.json(&["node", "list"]);
        let nodes = nodes.as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> = nodes
            .iter()
            .filter(|n| n["online"] == true)
            .map(|n| n["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    until("both are there", LIMIT, || online() == ["box-1", "box-2"]);
    let host = street.host("box-1");
    let words = [
        "env",
        &format!("WARREN_NODE_SOCKET={}", host.path("node.sock")),
        &binary("warren-node"),
        "--json",
        "status",
    ];
    let status = host.run(&words).json();
    assert_eq!(status["endpoints"][0], "203.0.113.7:4500", "{status:#}");
    assert!(std::fs::read_to_string(&mounted).unwrap().contains(&token), "the token is left where it is");
    drop(agents);
}

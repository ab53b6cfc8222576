//! Stolen and copied identities.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use common::*;
use warren_coordinator_core::alarm::AlarmKind;

fn cloned(world: &World) -> Vec<String> {
    let of_kind = world.alarms.iter().filter(|alarm| alarm.kind == AlarmKind::Cloned);
    of_kind.map(|alarm| alarm.message.clone()).collect()
}

#[test]
fn two_hosts_with_one_state_directory_are_an_alarm_that_names_both_places() {
    let mut world = World::new(1);
    let victim = world.join("web-1", &["web"]);
    let thief = world.add_host();
    world.hosts[thief].identity = world.hosts[victim].identity.clone();
    let (from_victim, from_thief) = (world.hosts[victim].source, world.hosts[thief].source);
    assert_ne!(from_victim, from_thief);
    for turn in 0..3 {
        assert!(cloned(&world).is_empty(), "turn {turn}");
        world.online(if turn % 2 == 0 { thief } else { victim });
        world.wait(5);
    }
    let alarms = cloned(&world);
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    for word in [from_victim.to_string(), from_thief.to_string(), "web-1".to_owned()] {
        assert!(alarms[0].contains(&word), "`{word}` in {alarms:?}");
    }
}

#[test]
fn a_host_that_restarts_or_moves_is_no_clone() {
    let mut world = World::new(2);
    let host = world.join("web-1", &["web"]);
    // Restarts in a loop, without saying goodbye.
    for _ in 0..20 {
        world.online(host);
        world.wait(1);
    }
    // Moves between two networks, once an hour.
    let home = world.hosts[host].source;
    for hour in 0..10 {
        world.hosts[host].source = if hour % 2 == 0 { "198.51.100.7".parse().unwrap() } else { home };
        world.online(host);
        world.wait(3600);
    }
    // Moves once and stays.
    world.hosts[host].source = "198.51.100.9".parse().unwrap();
    for _ in 0..5 {
        world.online(host);
        world.wait(1);
    }
    assert!(cloned(&world).is_empty(), "{:?}", cloned(&world));
}

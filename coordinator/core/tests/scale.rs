//! Many nodes (set `NODES` to 1000 and use a release build to measure): what one change costs, and for whom.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod common;

use std::time::Instant;

use common::*;
use warren_wire::frame::{NodeSays, ToCoordinator};

const NODES: usize = 200;
const ROLES: usize = 20;

/// Roles in a ring: each may open the next one's service.
fn ring(named: usize) -> String {
    let mut text = String::from("version = 1\n");
    for role in 0..ROLES {
        let next = (role + 1) % ROLES;
        text += &format!(
            "[tag.r-{role}]\n[service.s-{role}]\non = [\"tag:r-{role}\"]\nlisten = [\"tcp/80\"]\n\
             [[grant]]\nid = \"g-{role}\"\nfrom = [\"tag:r-{role}\"]\nto = [\"service:s-{next}\"]\n"
        );
    }
    for node in 0..named {
        text +=
            &format!("[[grant]]\nid = \"n-{node}\"\nfrom = [\"node:h-{node}\"]\nto = [\"service:s-0\"]\n");
    }
    text
}

#[test]
fn many_nodes_are_told_what_concerns_them_and_a_newcomer_reaches_only_its_peers() {
    let mut world = World::new(1);
    world.apply(&ring(0)).unwrap();
    let began = Instant::now();
    for node in 0..NODES {
        world.join(&format!("h-{node}"), &[&format!("r-{}", node % ROLES)]);
    }
    println!("{NODES} enrolments: {:?}", began.elapsed());
    for named in [10, 100] {
        let before: usize = world.hosts.iter().map(|h| h.deltas).sum();
        let command = world.policy_command(&ring(named));
        let began = Instant::now();
        let proposal = world.coordinator.handle_command(command, admin(), world.now).unwrap();
        let decided = began.elapsed();
        world.coordinator.commit(&mut world.store, proposal, world.now).unwrap();
        println!(
            "policy with {named} named nodes: decided {decided:?}, with all deltas {:?}",
            began.elapsed()
        );
        world.drain();
        let after: usize = world.hosts.iter().map(|h| h.deltas).sum();
        assert_eq!(after - before, NODES, "one delta each");
    }
    let before: Vec<usize> = world.hosts.iter().map(|h| h.deltas).collect();
    let newcomer = world.add_host();
    let token = world.token(&["r-5"], 1);
    world.connect(newcomer);
    world.begin(newcomer, &token, "newcomer");
    let conn = world.hosts[newcomer].conn.unwrap();
    let says = Some(NodeSays::EnrolCommit(world.statements(newcomer, &token)));
    let began = Instant::now();
    let proposal = world.coordinator.handle_frame(conn, ToCoordinator { says }, world.now).unwrap();
    world.coordinator.commit(&mut world.store, proposal, world.now).unwrap();
    println!("one more enrolment, with all deltas: {:?}", began.elapsed());
    world.drain();
    world.hello(newcomer);
    let told = world.hosts.iter().zip(&before).filter(|(h, before)| h.deltas > **before).count();
    assert_eq!(told, 2 * NODES / ROLES, "its two neighbours in the ring");
    let began = Instant::now();
    let status = world.coordinator.status(world.now);
    let rows = world.coordinator.nodes(false);
    println!("status and node list: {:?}", began.elapsed());
    assert_eq!((status.online, rows.len()), (NODES + 1, NODES + 1));
    let began = Instant::now();
    world.restart();
    println!("replay: {:?}", began.elapsed());
}

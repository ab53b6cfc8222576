//! How the cost of a policy grows. `scripts/bench policy` runs it in release and keeps the table.
//!
//! Every figure is the median of several runs in this process and stands beside the limit that it must keep; where a
//! cost must not grow, or grow only with what is touched, the rows show it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use warren_config::compile::{Cast, ItemPlaces, Program};
use warren_config::filter::Rules;
use warren_config::item::ItemTree;
use warren_config::name::Name;
use warren_config::policy::*;
use warren_config::proof;
use warren_config::question::run_tests;
use warren_config::resolve::{Source, resolve};
use warren_config::time::UnixTime;

const NOW: UnixTime = UnixTime(1_780_000_000);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().and_then(|argument| argument.strip_prefix("--memory=")) {
        Some("crowd") => return println!("{}", rules_of_a_crowded_pair()),
        Some(peers) => return println!("{}", rules_of_a_node(peers.parse().unwrap())),
        None => {}
    }
    // Without `--bench` cargo only wants to know whether it starts.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut table = Table::default();
    table.head();
    verdicts(&mut table);
    changes(&mut table);
    full(&mut table);
    memory(&mut table);
    proofs(&mut table);
    check(&mut table);
    if table.missed > 0 {
        println!("{} limit(s) missed", table.missed);
        std::process::exit(1);
    }
}

#[derive(Default)]
struct Table {
    missed: usize,
}

impl Table {
    fn head(&self) {
        println!("| what | size | measured | limit |");
        println!("|---|---:|---:|---:|");
    }

    fn row(&mut self, what: &str, size: &str, value: f64, unit: &str, limit: Option<f64>) {
        let kept = limit.is_none_or(|limit| value <= limit);
        self.missed += usize::from(!kept);
        let limit = limit.map(|limit| format!("{limit} {unit}")).unwrap_or_default();
        let mark = if kept { "" } else { " MISSED" };
        println!("| {what} | {size} | {} {unit} | {limit}{mark} |", rounded(value));
    }
}

fn rounded(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Seconds, the median of `runs`.
fn median<T>(runs: usize, mut run: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let begun = Instant::now();
            black_box(run());
            begun.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn name(prefix: &str, i: usize) -> Name {
    Name::parse(&format!("{prefix}{i}")).unwrap()
}

fn tagged(prefix: &str, i: usize) -> BTreeSet<Selector> {
    [Selector::Tags([name(prefix, i)].into())].into()
}

fn port(i: usize) -> Listen {
    let port = u16::try_from(i % 60_000 + 1).unwrap();
    Listen { protocol: Protocol::Tcp, first: port, last: port }
}

fn grant(policy: &mut Policy, i: usize, from: BTreeSet<Selector>, on: BTreeSet<Selector>, listen: Listen) {
    let service = Service { name: name("s", i), on, listen: [listen].into(), addresses: BTreeSet::new() };
    let grant = Grant {
        id: name("g", i),
        from,
        except: BTreeSet::new(),
        to: [service.name.clone()].into(),
        mode: GrantMode::Enforce,
        until: None,
        why: String::new(),
    };
    policy.services.insert(service.name.clone(), service);
    policy.grants.insert(grant.id.clone(), grant);
}

fn node(i: usize, tags: impl IntoIterator<Item = Name>) -> Subject {
    Subject { name: name("n", i), tags: tags.into_iter().collect() }
}

/// One pair, joined by `grants` grants.
fn pair(grants: usize, listen: impl Fn(usize) -> Listen) -> Rules {
    let mut policy = Policy::default();
    for i in 0..grants {
        grant(&mut policy, i, tagged("a", 0), tagged("b", 0), listen(i));
    }
    Program::of_policy(&policy).rules(&node(0, [name("a", 0)]), &node(1, [name("b", 0)]))
}

/// Ports in no order, so that no verdict helps the next.
fn some_ports() -> Vec<u16> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        u16::try_from(state >> 16).unwrap()
    };
    (0..100_000).map(|_| next()).collect()
}

fn verdicts(table: &mut Table) {
    let ports = some_ports();
    let nanoseconds = |rules: &Rules| {
        let all = || ports.iter().filter(|port| rules.judge(Protocol::Tcp, **port, NOW).passes()).count();
        median(9, all) / ports.len() as f64 * 1e9
    };
    for grants in [10, 100, 1_000, 10_000] {
        let rules = pair(grants, |i| port(i * (60_000 / grants)));
        table.row(
            "verdict, ports apart",
            &format!("{grants} grants"),
            nanoseconds(&rules),
            "ns",
            Some(200.0),
        );
    }
    for grants in [10, 100, 1_000, 10_000] {
        let rules = pair(grants, nested);
        table.row(
            "verdict, ranges nested",
            &format!("{grants} grants"),
            nanoseconds(&rules),
            "ns",
            Some(200.0),
        );
    }
}

/// `nodes` in roles of ten; `grants` spread over the roles.
fn town(nodes: usize, grants: usize) -> (Policy, Vec<Subject>) {
    let roles = nodes / 10;
    let mut policy = Policy::default();
    for i in 0..grants {
        let (from, to) = (i % roles, (i * 7 + i / roles) % roles);
        grant(&mut policy, i, tagged("t", from), tagged("t", to), port(i));
    }
    let nodes = (0..nodes).map(|i| node(i, [name("t", i % roles)])).collect();
    (policy, nodes)
}

fn cast<'a>(program: &Arc<Program>, nodes: impl IntoIterator<Item = &'a Subject>) -> Cast {
    let mut cast = Cast::new(program.clone());
    for node in nodes {
        cast.add(node);
    }
    cast
}

/// A changed grant that touches more and more of 10,000 nodes under 10,000 grants: whom it touches, and their rules.
fn changes(table: &mut Table) {
    let (mut policy, mut nodes) = town(10_000, 10_000);
    for (i, count) in [10, 100, 1_000, 9_000].into_iter().enumerate() {
        for node in nodes.iter_mut().take(count) {
            node.tags.insert(name("wide", i));
        }
        let to = [Selector::Node(name("n", 9_999))].into();
        grant(&mut policy, 20_000 + i, tagged("wide", i), to, port(i));
    }
    let program = Arc::new(Program::of_policy(&policy));
    let cast = cast(&program, &nodes);
    let mut each = Vec::new();
    for (i, count) in [10, 100, 1_000, 9_000].into_iter().enumerate() {
        let changed = &policy.grants[&name("g", 20_000 + i)];
        let target = &nodes[9_999];
        let compile = || {
            let touched = cast.touched_by(changed);
            let rules = touched.iter().map(|place| program.rules(&nodes[*place], target));
            rules.filter(Rules::joins).count()
        };
        let seconds = median(5, compile);
        each.push(seconds / count as f64 * 1e6);
        table.row("one changed grant", &format!("{count} nodes touched"), seconds * 1e3, "ms", None);
    }
    // Proportional: a node costs no more among many than among few.
    let (few, many) = (each[0], each[3]);
    table.row("... per node, of 9,000 against of 10", "", many / few, "times", Some(3.0));
}

/// What the coordinator needs to know of every node: whom it is joined with, and which items concern it.
fn full(table: &mut Table) {
    for (size, limit) in [(100, None), (1_000, None), (10_000, Some(500.0))] {
        let (policy, nodes) = town(size, size);
        let tree = ItemTree::new(&policy);
        let compile = |nodes: &[&Subject]| {
            let program = Arc::new(Program::of_policy(&policy));
            let (cast, places) = (cast(&program, nodes.iter().copied()), ItemPlaces::new(&program, &tree));
            let known = |place| (cast.joined_with(place), places.of(&cast.concerning(place)));
            (0..nodes.len()).map(known).collect::<Vec<_>>()
        };
        let alike = || {
            // Nodes that no policy can tell apart are asked about once.
            let mut kinds: BTreeSet<&BTreeSet<Name>> = BTreeSet::new();
            let kinds: Vec<&Subject> = nodes.iter().filter(|node| kinds.insert(&node.tags)).collect();
            compile(&kinds)
        };
        let text = format!("{size} grants, {size} nodes in tens");
        table.row("full compile", &text, median(5, alike) * 1e3, "ms", limit);
        let all: Vec<&Subject> = nodes.iter().collect();
        let text = format!("{size} grants, {size} nodes");
        table.row("full compile, no two nodes alike", &text, median(5, || compile(&all)) * 1e3, "ms", limit);
    }
}

/// What a fresh process holds more in memory after `hold` than before, in bytes.
fn held<T>(hold: impl FnOnce() -> T) -> f64 {
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0
    };
    let before = resident();
    let kept = hold();
    let bytes = resident() - before;
    drop(black_box(kept));
    bytes
}

/// A node's rules for so many peers, by one grant each; many such nodes, to see more than pages.
fn rules_of_a_node(peers: usize) -> f64 {
    let mut policy = Policy::default();
    for i in 0..peers {
        grant(&mut policy, i, tagged("a", 0), tagged("b", i), port(i));
    }
    let program = Program::of_policy(&policy);
    let me = node(0, [name("a", 0)]);
    let others: Vec<Subject> = (0..peers).map(|i| node(i + 1, [name("b", i)])).collect();
    let copies = 100_000 / peers;
    let one = || others.iter().map(|other| program.rules(&me, other)).collect::<Vec<Rules>>();
    held(|| (0..copies).map(|_| one()).collect::<Vec<_>>()) / copies as f64
}

fn nested(i: usize) -> Listen {
    let first = u16::try_from(i + 1).unwrap();
    Listen { protocol: Protocol::Tcp, first, last: u16::MAX - first }
}

fn rules_of_a_crowded_pair() -> f64 {
    let mut policy = Policy::default();
    for i in 0..10_000 {
        grant(&mut policy, i, tagged("a", 0), tagged("b", 0), nested(i));
    }
    let program = Program::of_policy(&policy);
    let one = || program.rules(&node(0, [name("a", 0)]), &node(1, [name("b", 0)]));
    held(|| (0..20).map(|_| one()).collect::<Vec<_>>()) / 20.0
}

/// Runs this program again to measure one thing alone: memory that was freed before would hide what is taken.
fn alone(what: &str) -> f64 {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program).arg(what).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn memory(table: &mut Table) {
    let mut each = Vec::new();
    for peers in [10, 100, 1_000] {
        let bytes = alone(&format!("--memory={peers}"));
        each.push(bytes / peers as f64);
        table.row("memory of a node's rules", &format!("{peers} peers"), bytes / 1024.0, "KiB", None);
    }
    table.row("... per peer, of 1,000 against of 10", "", each[2] / each[0], "times", Some(1.5));
    let bytes = alone("--memory=crowd");
    table.row("memory of one pair, ranges nested", "10000 grants", bytes / 1048576.0, "MiB", Some(4.0));
}

/// Grants between 200 teams, walled by `not-with`; invariants that hold: half of them `never` through others, a quarter
/// `never` directly, a quarter `only`.
fn walled(grants: usize, invariants: usize) -> String {
    const TEAMS: usize = 200;
    let mut text =
        "version = 1\n[group.ops]\nmembers = [\"a\"]\n[tag.dev]\nowners = [\"group:ops\"]\n".to_owned();
    for team in 0..TEAMS {
        for side in ["a", "b"] {
            writeln!(text, "[tag.{side}{team}]\nowners = [\"group:ops\"]\nnot-with = [\"tag:dev\"]").unwrap();
        }
    }
    for i in 0..grants {
        let (from, to, port) = (i % TEAMS, i / TEAMS % TEAMS, i % 60_000 + 1);
        writeln!(text, "[service.s{i}]\non = [\"tag:b{to}\"]\nlisten = [\"tcp/{port}\"]").unwrap();
        writeln!(text, "[[grant]]\nid = \"g{i}\"\nfrom = [\"tag:a{from}\"]\nto = [\"service:s{i}\"]")
            .unwrap();
    }
    for i in 0..invariants {
        let (via, to) = (if i % 2 == 0 { ", via = \"any\"" } else { "" }, i % TEAMS);
        writeln!(
            text,
            "[[invariant]]\nid = \"i{i}\"\nnever = {{ from = [\"tag:dev\"], to = [\"tag:b{to}\"]{via} }}"
        )
        .unwrap();
    }
    text
}

fn source(text: String) -> Vec<Source> {
    vec![Source { file: "town.toml".to_owned(), text }]
}

fn proofs(table: &mut Table) {
    for (grants, invariants, limit) in
        [(1_000, 100, None), (1_000, 1_000, Some(1_000.0)), (10_000, 1_000, Some(1_000.0))]
    {
        let policy = resolve(&source(walled(grants, invariants))).unwrap().policy;
        let prove = || {
            let proofs = proof::prove(&policy, &BTreeSet::new(), NOW);
            assert!(proofs.iter().all(proof::Proof::holds));
        };
        let text = format!("{invariants} invariants, {grants} grants");
        table.row("prove", &text, median(3, prove) * 1e3, "ms", limit);
    }
}

/// All that `warren policy check` does with a file that was read.
fn check(table: &mut Table) {
    for (grants, limit) in [(100, None), (1_000, Some(1_000.0)), (4_000, None)] {
        let sources = source(walled(grants, grants / 10));
        let check = || {
            let resolved = resolve(&sources).unwrap();
            let tests = run_tests(&resolved.policy, &[], NOW);
            let proofs = proof::prove(&resolved.policy, &BTreeSet::new(), NOW);
            (tests, proofs, ItemTree::new(&resolved.policy).root())
        };
        let text = format!("{grants} grants, {} invariants", grants / 10);
        table.row("check", &text, median(3, check) * 1e3, "ms", limit);
    }
}

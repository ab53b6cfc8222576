//! One agent alone with a peer that keeps no rule, through everything that may become of an agent: of two agents that both
//! refuse, either may be open without anybody noticing.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::measure::number;
use crate::process::Daemon;
use crate::street::Host;
use crate::town::Town;
use crate::wait::{eventually, until};
use crate::warren::{LIMIT, Node, WIREGUARD_PORT, binary};
use crate::watch::HIDDEN;

/// The UDP port that web may use at orders.
pub const GRANTED: u16 = 8081;

/// Longer than any test: the rogues end by themselves when they have seen what may not be, and are killed else.
const LONG: &str = "7200";

/// Sends SYNs and datagrams to a hidden port in both families, asks at a granted one, and prints `asks N` and `answered N`.
const KNOCK: &str = "import socket,sys,time
a4,a6,hidden,granted=sys.argv[1],sys.argv[2],int(sys.argv[3]),int(sys.argv[4])
ask=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); ask.setblocking(False)
n,due=0,0.0
while True:
    for family,address in ((socket.AF_INET,a4),(socket.AF_INET6,a6)):
        for kind in (socket.SOCK_DGRAM,socket.SOCK_STREAM):
            s=socket.socket(family,kind); s.setblocking(False)
            try:
                s.connect((address,hidden))
                if kind==socket.SOCK_DGRAM: s.send(b'knocks')
            except OSError: pass
            s.close()
    if time.monotonic()>=due:
        due=time.monotonic()+0.05; n+=1; print('asks',n,flush=True)
        try: ask.sendto(b'ask %d'%n,(a4,granted))
        except OSError: pass
    try:
        while True: print('answered',int(ask.recv(99).split()[1]),flush=True)
    except OSError: pass
    time.sleep(0.01)";

/// Somebody who asks at the granted port all the while.
#[derive(Debug)]
pub struct Asking(Daemon);

impl Asking {
    fn last(&self, word: &str) -> u64 {
        let output = self.0.output();
        let mut numbers =
            output.lines().rev().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        numbers.next().unwrap_or_default()
    }

    /// The last question so far; what is asked later has a greater number.
    fn asked(&self) -> u64 {
        self.last("asks")
    }

    /// Something that is asked from now on is answered: there is a session, made or made anew. `shut` is asked all the while.
    fn wait_for_answer(&self, when: &str, shut: impl Fn(&str)) {
        let asked = self.asked();
        until(&format!("the granted port answers: {when}"), LIMIT, || {
            shut(when);
            self.last("answered") > asked
        });
        shut(when);
    }

    /// For a second it went on.
    fn wait_for_questions(&self) {
        let asked = self.asked();
        until("somebody asks", LIMIT, || self.asked() > asked + 20);
    }

    /// All that it has said when it has ended by itself.
    pub fn ended(&mut self) -> String {
        eventually("it ends", LIMIT, || self.0.finished());
        self.0.output()
    }
}

/// Web-1's keys are stolen and its agent stopped: who has them sends to orders-1's hidden port.
pub fn insist(town: &mut Town) -> Asking {
    let me = format!("{},{}", town.web.v4(), town.web.v6());
    let to = format!("{},{}", town.orders.v4(), town.orders.v6());
    let ports = (HIDDEN.to_string(), GRANTED.to_string());
    let from = format!("0.0.0.0:{WIREGUARD_PORT}");
    let more = ["--me", &me, "--to", &to, "--hidden", &ports.0, "--open", &ports.1, "--from", &from];
    Asking(rogue("attack-insist", &mut town.web, &town.orders, &more))
}

/// Orders-1's keys are stolen and its agent stopped: who has them takes whatever comes. On web-1 somebody knocks.
pub fn receive(town: &mut Town) -> (Daemon, Asking) {
    let (v4, v6) = (town.orders.v4(), town.orders.v6());
    let open = format!("8080,{GRANTED}");
    let receiver = rogue("attack-receive", &mut town.orders, &town.web, &["--open", &open]);
    let (hidden, granted) = (HIDDEN.to_string(), GRANTED.to_string());
    let words = ["python3", "-c", KNOCK, &v4, &v6, &hidden, &granted];
    (receiver, Asking(town.web.host.daemon("knock", &words)))
}

fn rogue(attack: &str, victim: &mut Node, target: &Node, more: &[&str]) -> Daemon {
    let (private, key, program) = (victim.stolen_keys(), target.public_keys(), binary(attack));
    let target = format!("{}:{WIREGUARD_PORT}", target.host.v4);
    victim.stop();
    let words = [&program, "--target", &target, "--key", &key, "--private", &private, "--seconds", LONG];
    victim.host.daemon(attack, &[&words[..], more].concat())
}

/// Counts what comes to the hidden port of a host by any interface: datagrams and SYNs, of either family.
pub fn count_hidden(host: &Host) {
    let kinds = ["ipv4 udp", "ipv4 tcp", "ipv6 udp", "ipv6 tcp"];
    let rule = |kind: &str| {
        let (family, protocol) = kind.split_once(' ').unwrap();
        format!("meta nfproto {family} {protocol} dport {HIDDEN} counter;")
    };
    let rules: String = kinds.map(rule).concat();
    let chain = format!("type filter hook prerouting priority -400; iifname lo accept; {rules}");
    host.run(&["nft", &format!("table inet hidden {{ chain came {{ {chain} }}; }}")]).ok();
}

/// How many came of each kind.
pub fn came_to_hidden(host: &Host) -> Vec<u64> {
    let said = host.run(&["nft", "list", "table", "inet", "hidden"]).ok();
    let counts = said.lines().filter_map(|line| line.split_once("counter packets ")?.1.split(' ').next());
    counts.map(|count| count.parse().unwrap()).collect()
}

/// Everything that may become of the agent that `pick` names: after each trial somebody is answered, and `shut`, which is told
/// what was done, has seen nothing from its beginning to then.
pub fn try_everything(
    town: &mut Town,
    pick: fn(&mut Town) -> &mut Node,
    asking: &Asking,
    shut: impl Fn(&str),
) {
    asking.wait_for_answer("in the beginning", &shut);
    for round in 0..number("WARREN_RESTARTS", 4) {
        let node = pick(town);
        if round % 2 == 1 {
            node.kill_9()
        } else {
            node.stop()
        }
        node.start();
        asking.wait_for_answer("restarted, or killed and started", &shut);
    }
    pick(town).host.run(&["ip", "link", "set", "warren0", "down"]).ok();
    asking.wait_for_answer("its interface was set down", &shut);
    started_with(pick(town), None);
    asking.wait_for_answer("started without a view, but with a coordinator", &shut);
    town.coordinator.kill_9();
    pick(town).kill_9();
    pick(town).start();
    asking.wait_for_answer("killed while the coordinator was away", &shut);
    let good = std::fs::read(pick(town).host.dir.join("node/view")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    for bad in [None, Some(&good[..good.len() / 2]), Some(&flipped[..])] {
        started_with(pick(town), bad);
        let asked = asking.asked();
        until("the agent answers", LIMIT, || pick(town).status().is_some_and(|said| said["peers"] == 0));
        asking.wait_for_questions();
        assert!(asking.last("answered") <= asked, "no view is no peer");
        shut("started with no view or a damaged one, and no coordinator");
        started_with(pick(town), Some(&good));
        asking.wait_for_answer("started with the last good view", &shut);
    }
    town.coordinator.serve();
}

/// Stops it, and starts it with these bytes for its last good view.
fn started_with(node: &mut Node, view: Option<&[u8]>) {
    node.stop();
    let file = node.host.dir.join("node/view");
    match view {
        Some(bytes) => write_private(&file, bytes),
        None => std::fs::remove_file(&file).unwrap(),
    }
    node.start();
}

/// As the agent keeps it: a file that others may read is refused for that alone.
pub fn write_private(file: &Path, bytes: &[u8]) {
    std::fs::write(file, bytes).unwrap();
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

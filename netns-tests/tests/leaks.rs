//! Programs with a resolver of their own: refused, and known by name on the map.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use warren_netns_tests::capture::{Capture, Tap};
use warren_netns_tests::nameserver::{self, ADDRESS, NAME, NameServer};
use warren_netns_tests::process::{Finished, run};
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

/// What anything takes to be on the map.
const SOON: Duration = Duration::from_secs(2);

/// Asks a server in clear, as programs with a resolver of their own do; says how long it took to be refused, ms.
const HARD_WIRED: &str = "import os, socket, sys, time
how, server, user = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.setuid(user)
family = socket.AF_INET6 if ':' in server else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if how == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(1 if how == 'unconnected' else 3)
question = b'\\x12\\x34\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0\\x0ahard-wired\\x07example\\0\\0\\1\\0\\1'
began = time.monotonic()
try:
    if how == 'unconnected':
        s.sendto(question, (server, 53))
    else:
        s.connect((server, 53)); s.send(question)
    s.recv(512)
    print('ANSWERED')
except OSError as e:
    print(type(e).__name__, int(1000 * (time.monotonic() - began)))
";

struct Guarded {
    street: Street,
    coordinator: Coordinator,
    web: Node,
    _dns: NameServer,
}

impl Guarded {
    fn new() -> Guarded {
        let street = Street::new(&["coord", "web-1", "dns"], Underlay::Both);
        let dns = nameserver::unbound(&street.host("dns"));
        let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
        let env = vec![("WARREN_NODE_DNS_CA", dns.ca.clone()), ("WARREN_NODE_DNS_GUARD", "on".to_owned())];
        let web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, Vec::new());
        coordinator.apply(&format!(
            "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n[dns]\n\
             zone = \"test.internal\"\nupstream = [\"tls://{}#{NAME}\"]\n",
            street.host("dns").v4
        ));
        let guarded = Guarded { street, coordinator, web, _dns: dns };
        until("the guard stands", LIMIT, || guarded.table().contains("chain leak"));
        guarded
    }

    fn table(&self) -> String {
        self.web.host.run(&["nft", "list", "table", "inet", "warren_dns_warren0"]).stdout
    }

    fn ask(&self, how: &str, server: &str, user: &str) -> Finished {
        self.web.host.run(&["python3", "-c", HARD_WIRED, how, server, user])
    }

    /// What was refused on the way to a server, as the coordinator lists it.
    fn refusals(&self, server: &str, protocol: u64) -> Vec<Value> {
        let flows = self.coordinator.json(&["flow", "list", "--verdict", "deny", "--limit", "10000"]);
        let rows = flows.get("rows").unwrap_or(&flows).as_array().unwrap().clone();
        let of = |row: &Value| {
            row["to"]["address"] == server && row["to"]["port"] == 53 && row["protocol"] == protocol
        };
        rows.into_iter().filter(of).collect()
    }
}

#[test]
fn a_program_with_a_resolver_of_its_own_is_refused_and_on_the_map_by_name() {
    let guarded = Guarded::new();
    let (v4, v6) = (guarded.street.host("dns").v4, guarded.street.host("dns").v6);
    let capture = Capture::start(&guarded.street, "hard-wired");
    let (mut seen, mut tries) = (Vec::new(), 0);
    for (how, server, user, name) in [
        ("connected", &v4, "0", "root"),
        ("connected", &v4, "65534", "nobody"),
        ("unconnected", &v4, "65534", "nobody"),
        ("tcp", &v4, "0", "root"),
        ("connected", &v6, "65534", "nobody"),
        ("tcp", &v6, "65534", "nobody"),
    ] {
        let protocol = if how == "tcp" { 6 } else { 17 };
        let said = guarded.ask(how, server, user).ok();
        println!("{how} to {server} as {name}: {said}");
        let took: u64 = said.split_whitespace().nth(1).unwrap().parse().unwrap();
        // Who is not connected hears no refusal (only connected sockets do), and must wait for his own patience.
        let refused = if how == "unconnected" { "TimeoutError" } else { "ConnectionRefusedError" };
        assert!(said.starts_with(refused), "{said}");
        assert!(how == "unconnected" || took < 500, "refused at once: {said}");
        tries += 1;
        let row = eventually("the program is listed by its name", SOON, || {
            guarded
                .refusals(server, protocol)
                .into_iter()
                .find(|row| row["workload"]["user"] == name && !seen.contains(&row["from"]["port"].as_u64()))
        });
        println!("{}", row["workload"]);
        seen.push(row["from"]["port"].as_u64());
        assert_eq!(row["workload"]["process"], "python3", "{row}");
        assert!(row["workload"]["executable"].as_str().unwrap().contains("/python3"), "{row}");
        assert_ne!(row["from"]["port"], 0, "the very socket: {row}");
    }
    let listed = guarded.coordinator.warren(&["flow", "list", "--verdict", "deny"]).ok();
    assert!(listed.contains("python3 (nobody)") && listed.contains("python3 (root)"), "{listed}");
    for (server, protocol) in [(&v4, 17), (&v4, 6), (&v6, 17), (&v6, 6)] {
        let of = |edge: &Value| {
            edge["to"]["address"] == server.as_str()
                && edge["port"] == 53
                && edge["protocol"] == protocol
                && edge["verdict"] == "deny"
        };
        until("it is an edge of the map", SOON, || {
            let map = guarded.coordinator.json(&["map", "--within", "2m"]);
            map["edges"].as_array().unwrap().iter().any(of)
        });
    }
    let flows = guarded.web.cli(&["--json", "flows"]).json();
    let named = |row: &Value| row["verdict"] == "deny" && row["workload"]["user"] == "nobody";
    assert!(flows.as_array().unwrap().iter().any(named), "{flows}");
    let doctor = guarded.web.cli(&["doctor"]).text();
    assert!(doctor.contains("python3 (nobody)") && doctor.contains("BAD  leaks"), "{doctor}");
    // Each packet is recorded once, by name or as a number; TCP may have tried twice.
    let counted = || -> u64 {
        let of = |server: &str, protocol| guarded.refusals(server, protocol).into_iter();
        let all = of(&v4, 17).chain(of(&v4, 6)).chain(of(&v6, 17)).chain(of(&v6, 6));
        all.map(|row| row["count"].as_u64().unwrap_or(1)).sum()
    };
    assert_eq!(counted(), tries);
    let seen = capture.finish();
    let named = seen.containing(b"hard-wired");
    assert_eq!((seen.dropped, seen.clear_dns(), named), (0, 0, 0));
}

/// However fast somebody asks, his packets are counted, others are still named, and nothing of it leaves.
#[test]
fn a_flood_is_counted_whole_and_hides_no_other_user() {
    let guarded = Guarded::new();
    let server = guarded.street.host("dns").v4;
    let capture = Capture::start(&guarded.street, "flood");
    let (sent, flood) = (
        3000_u64,
        "import os, socket, sys
os.setuid(65534)
for i in range(int(sys.argv[2])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try: s.sendto(b'hard-wired', (sys.argv[1], 53))
    except OSError: pass
    s.close()
",
    );
    guarded.web.host.run(&["python3", "-c", flood, &server, &sent.to_string()]).ok();
    guarded.ask("connected", &server, "0").ok();
    until("another user is named", SOON, || {
        guarded.refusals(&server, 17).iter().any(|row| row["workload"]["user"] == "root")
    });
    let count = || -> u64 {
        guarded.refusals(&server, 17).iter().map(|row| row["count"].as_u64().unwrap_or(1)).sum()
    };
    until("all that was refused is counted", Duration::from_secs(15), || count() > sent);
    // Twice the time in which what is left over is reported: nothing was counted twice.
    let status = || guarded.web.cli(&["--json", "dns", "status"]).json()["host"]["refused"].as_u64();
    until("the node says the same", Duration::from_secs(10), || status() == Some(sent + 1));
    assert_eq!(count(), sent + 1);
    let seen = capture.finish();
    assert_eq!((seen.dropped, seen.clear_dns(), seen.containing(b"hard-wired")), (0, 0, 0));
}

/// Names are an addition: the refusal needs nobody.
#[test]
fn without_the_helper_and_without_the_agent_it_is_refused_all_the_same() {
    let mut guarded = Guarded::new();
    let server = guarded.street.host("dns").v4;
    // Keeper and helper, by their parents.
    let children = |pid: &str| run(None, &["pgrep", "-P", pid], &[]).stdout;
    let command = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let agent = guarded.web.pid().to_string();
    let of_agent = children(&agent);
    let keeper = of_agent.split_whitespace().find(|pid| command(pid).contains("workload-keeper"));
    let keeper = keeper.map(str::to_owned).expect("the keeper runs");
    let helper = children(&keeper);
    for pid in [keeper.as_str()].into_iter().chain(helper.split_whitespace()) {
        run(None, &["kill", "-9", pid], &[]).ok();
    }
    let said = guarded.ask("connected", &server, "0").ok();
    assert!(said.starts_with("ConnectionRefusedError"), "{said}");
    let row = eventually("it is listed, by nobody's name", SOON, || {
        guarded.refusals(&server, 17).into_iter().next()
    });
    assert_eq!(row["workload"], Value::Null, "{row}");

    // The agent stands still: what is held back waits in vain, and nothing leaves.
    let capture = Capture::start(&guarded.street, "still");
    let tap = Tap::start(&guarded.web.host, "up0");
    run(None, &["kill", "-STOP", &agent], &[]).ok();
    for how in ["connected", "tcp", "unconnected"] {
        let said = guarded.ask(how, &server, "0").ok();
        println!("{how}, the agent stands still: {said}");
        assert!(!said.contains("ANSWERED"), "{said}");
        // TCP tries again after a second, and is refused by the kernel.
        assert!(how != "tcp" || said.starts_with("ConnectionRefusedError"), "{said}");
    }
    run(None, &["kill", "-CONT", &agent], &[]).ok();
    let left = tap.finish();
    let seen = capture.finish();
    assert_eq!((seen.dropped, seen.clear_dns(), seen.containing(b"hard-wired")), (0, 0, 0));
    assert!(!left.iter().any(|frame| frame.windows(10).any(|w| w == b"hard-wired")));
    // And it is taken out with us.
    guarded.web.stop();
    assert_eq!(guarded.table(), "");
    let answer = guarded.web.host.run(&["dig", "+short", &format!("@{server}"), "afterwards.example"]);
    assert!(answer.ok().contains(ADDRESS), "the host's own business again");
}

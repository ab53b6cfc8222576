//! systemd-resolved as it is on Debian, with its own bus, in a namespace of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use warren_netns_tests::capture::Capture;
use warren_netns_tests::nameserver::{self, ADDRESS, NAME};
use warren_netns_tests::process::{Daemon, Finished, run};
use warren_netns_tests::street::{Host, Street, Underlay};
use warren_netns_tests::unit::{self, AGENT};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::{Coordinator, LIMIT, Node};

const POLKIT: &str = "/usr/lib/polkit-1/polkitd";

/// Where `scripts/test` unpacked Debian's package: installing it would change the machine's own resolver.
fn unpacked() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found = root.join("target/debian/systemd-resolved");
    assert!(
        found.join("usr/bin/resolvectl").exists(),
        "unpack Debian's systemd-resolved to {}",
        found.display()
    );
    found
}

/// A host whose names are resolved by systemd-resolved, with the clear server of `dns` for everything.
struct Resolved {
    host: Host,
    holder: Daemon,
}

impl Resolved {
    fn start(host: Host, dns: &str) -> Resolved {
        let (etc, unpacked) = (host.path("etc"), unpacked());
        run(None, &["cp", "-a", "/etc", &etc], &[]).ok();
        let script = format!(
            "set -e\nmount --make-rprivate /\nmount -t tmpfs none /run\nmount --bind {etc} /etc\n\
             mount -t overlay overlay -o lowerdir={unpacked}/usr:/usr /usr\n\
             echo 'systemd-resolve:x:991:991::/:/usr/sbin/nologin' >>/etc/passwd\necho 'systemd-resolve:x:991:' >>/etc/group\n\
             {agent}\
             mkdir -p /run/dbus /run/systemd/resolve /run/systemd/system\nchown 991:991 /run/systemd/resolve\n\
             rm -f /etc/resolv.conf\nln -s /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf\n\
             printf '[Resolve]\\nDNS={dns}\\nFallbackDNS=\\nDNSSEC=no\\nLLMNR=yes\\nMulticastDNS=yes\\nCache=no\\n' >/etc/systemd/resolved.conf\n\
             dbus-daemon --config-file=/usr/share/dbus-1/system.conf --nofork --nopidfile &\n\
             while [ ! -S /run/dbus/system_bus_socket ]; do sleep 0.05; done\n\
             rm -f /etc/polkit-1/rules.d/*\n{POLKIT} --no-debug &\n\
             exec {unpacked}/lib/systemd/systemd-resolved\n",
            unpacked = unpacked.display(),
            agent = unit::prepare(),
        );
        let holder = host.daemon("resolved", &["unshare", "-m", "bash", "-c", &script]);
        let resolved = Resolved { host, holder };
        until("systemd-resolved answers", LIMIT, || resolved.run(&["resolvectl", "status"]).status.success());
        resolved
    }

    fn wrapper(&self) -> Vec<String> {
        let pid = self.holder.pid().to_string();
        ["nsenter", "-t", &pid, "-m", "--"].map(str::to_owned).to_vec()
    }

    fn run(&self, words: &[&str]) -> Finished {
        let wrapper = self.wrapper();
        let all: Vec<&str> = wrapper.iter().map(String::as_str).chain(words.iter().copied()).collect();
        self.host.run(&all)
    }

    fn link(&self) -> String {
        self.run(&["resolvectl", "status", "warren0"]).text()
    }
}

/// LLMNR is asked for single labels, multicast DNS for names under `local`.
fn ask_neighbours(resolved: &Resolved) {
    for name in ["printer", "printer.local"] {
        resolved.run(&["resolvectl", "query", name]);
    }
}

const POLICY: &str = "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n\
    [dns]\nzone = \"test.internal\"\n";

#[test]
fn by_default_it_sends_the_zone_here_and_nothing_else_and_forgets_it_again() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let resolved = Resolved::start(street.host("web-1"), &street.host("dns").v4);
    let env = vec![("WARREN_NODE_DNS_CA", dns.ca.clone())];
    let mut web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, resolved.wrapper());
    let upstream = format!("upstream = [\"tls://{}#{NAME}\"]\n", street.host("dns").v4);
    coordinator.apply(&format!("{POLICY}{upstream}"));
    let told = |resolved: &Resolved| {
        let link = resolved.link();
        link.contains("~test.internal") && link.contains(&web.v4()) && link.contains("-DefaultRoute")
    };
    until("the link is told", LIMIT, || told(&resolved));
    let capture = Capture::start(&street, "zone-only");
    let address = |name: &str| resolved.run(&["getent", "ahostsv4", name]).stdout;
    until("names of the zone resolve", LIMIT, || address("web-1.test.internal").contains(&web.v4()));
    assert!(address("other.example").contains(ADDRESS), "asked where it was asked before");
    assert!(!address("absent.test.internal").contains(ADDRESS));
    let seen = capture.finish();
    assert!(
        seen.dropped == 0 && seen.clear_dns() > 0,
        "the detector sees what the host asked in clear before"
    );
    assert_eq!(
        (seen.containing(b"internal"), seen.containing(b"absent")),
        (0, 0),
        "names of the zone stay here"
    );
    let counters = web.cli(&["--json", "counters"]).json();
    assert_eq!(counters["counters"]["dns-forwarded-upstream"], 0, "{counters}");
    resolved.run(&["resolvectl", "revert", "warren0"]).ok();
    until("told again after it forgot", LIMIT, || resolved.link().contains("~test.internal"));
    web.stop();
    assert!(!resolved.link().contains("test.internal"), "after a stop: {}", resolved.link());
    web.start();
    until("the link is told again", LIMIT, || resolved.link().contains("~test.internal"));
    web.kill_9();
    until("forgotten after a kill -9", Duration::from_secs(5), || !resolved.link().contains("test.internal"));
}

#[test]
fn if_it_is_wished_it_sends_every_name_here() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let resolved = Resolved::start(street.host("web-1"), &street.host("dns").v4);
    // It asks its neighbours too (LLMNR, multicast DNS): the detector sees that while nobody keeps it from it.
    for kind in ["llmnr", "mdns"] {
        resolved.run(&["resolvectl", kind, "up0", "yes"]).ok();
    }
    let capture = Capture::start(&street, "neighbours");
    ask_neighbours(&resolved);
    let seen = capture.finish();
    let asked = |port: u16| seen.with_ports(&[port]);
    assert!(seen.dropped == 0 && asked(5355) > 0 && asked(5353) > 0, "{} {}", asked(5355), asked(5353));
    assert!(seen.containing(b"printer") > 0, "in clear");
    let env = vec![("WARREN_NODE_DNS_CA", dns.ca.clone()), ("WARREN_NODE_DNS_HOST", "resolved".to_owned())];
    let web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, resolved.wrapper());
    let upstream = format!("upstream = [\"tls://{}#{NAME}\"]\n", street.host("dns").v4);
    coordinator.apply(&format!("{POLICY}{upstream}"));
    until("the link is told", LIMIT, || resolved.link().contains("+DefaultRoute"));
    let capture = Capture::start(&street, "all-names");
    let forwarded = || {
        let said = resolved.run(&["getent", "ahostsv4", "other.example"]).stdout;
        let counters = web.cli(&["--json", "counters"]).json();
        said.contains(ADDRESS)
            && counters["counters"]["dns-forwarded-upstream"].as_u64().is_some_and(|n| n > 0)
    };
    until("every name comes here", LIMIT, forwarded);
    let clear =
        resolved.run(&["dig", "+tries=1", "+time=2", &format!("@{}", street.host("dns").v4), "x.example"]);
    assert!(!clear.text().contains(ADDRESS), "guarded: {}", clear.text());
    ask_neighbours(&resolved);
    resolved.run(&["getent", "ahostsv4", "absent.test.internal"]);
    let seen = capture.finish();
    assert_eq!((seen.dropped, seen.clear_dns()), (0, 0));
    assert_eq!(
        (seen.containing(b"other"), seen.containing(b"printer"), seen.containing(b"absent")),
        (0, 0, 0)
    );
}

#[test]
fn under_the_shipped_unit_polkit_lets_it_tell_resolved_and_without_the_rule_it_says_what_to_do() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let resolved = Resolved::start(street.host("web-1"), &street.host("dns").v4);
    let dir = &resolved.host.path("");
    run(None, &["chown", &format!("{AGENT}:{AGENT}"), dir], &[]).ok();
    let env = vec![("WARREN_NODE_DNS_CA", dns.ca.clone())];
    let wrapper = [resolved.wrapper(), unit::words(&[])].concat();
    let mut web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, wrapper);
    let upstream = format!("upstream = [\"tls://{}#{NAME}\"]\n", street.host("dns").v4);
    coordinator.apply(&format!("{POLICY}{upstream}"));
    // Refused: that is said, with what to do, and the link is as it was.
    until("doctor says what to do", LIMIT, || {
        let said = web.cli(&["doctor"]).text();
        said.contains("BAD  resolver") && said.contains("50-warren-node.rules") && said.contains("polkitd")
    });
    assert!(!resolved.link().contains("test.internal"), "{}", resolved.link());
    // As the package installs it; polkit reads it by itself.
    let rule =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("node/polkit/50-warren-node.rules");
    let rule = rule.to_string_lossy();
    resolved.run(&["install", "-m", "644", &rule, "/etc/polkit-1/rules.d/50-warren-node.rules"]).ok();
    let told = || {
        let link = resolved.link();
        link.contains("~test.internal") && link.contains(&web.v4()) && link.contains("-DefaultRoute")
    };
    until("the link is told", LIMIT, told);
    until("nothing is wrong any more", LIMIT, || !web.cli(&["doctor"]).text().contains("BAD  resolver"));
    // That user may do this and nothing more: not for services, and nobody else may do even this.
    let may = |user: &str, action: &str| {
        let words = ["setpriv", "--reuid", user, "--clear-groups", "sh", "-c"];
        let check = format!("pkcheck --process $$ --action-id org.freedesktop.resolve1.{action}");
        resolved.run(&[&words[..], &[&check]].concat()).status.success()
    };
    assert!(may("warren-node", "set-domains") && may("warren-node", "revert"));
    assert!(!may("warren-node", "register-service") && !may("nobody", "set-domains"));
    web.stop();
    assert!(!resolved.link().contains("test.internal"), "after a stop: {}", resolved.link());
    web.start();
    until("the link is told again", LIMIT, || resolved.link().contains("~test.internal"));
    web.kill_9();
    until("forgotten after a kill -9", Duration::from_secs(5), || !resolved.link().contains("test.internal"));
}

//! The Debian package on a host with files of its own: it comes, works, and goes, and what an agent changed goes with it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use warren_netns_tests::nameserver::{self, ADDRESS, NAME};
use warren_netns_tests::process::{Daemon, Finished, run};
use warren_netns_tests::street::{Host, Street, Underlay};
use warren_netns_tests::wait::{eventually, until};
use warren_netns_tests::warren::{Coordinator, LIMIT, Node, binary};

const BEFORE: &str = "search example\nnameserver 10.91.0.4\n";
const PROGRAM: &str = "/usr/bin/warren-node";

/// A host whose `/usr`, `/etc`, `/var` and `/run` are its own: what is written there stays there.
struct Installed {
    host: Host,
    holder: Daemon,
    package: String,
}

impl Installed {
    fn new(host: Host) -> Installed {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let script = root.join("scripts/package").to_string_lossy().into_owned();
        run(None, &[&script, "--program", &binary("warren-node"), "--to", &host.path("package")], &[]).ok();
        let files = std::fs::read_dir(host.dir.join("package")).unwrap().map(|entry| entry.unwrap().path());
        let package = files.map(|path| path.to_string_lossy().into_owned()).next().unwrap();
        let dir = host.dir.display();
        // The agent's state and sockets also lie where the test reads them.
        let script = format!(
            "set -e\nmount --make-rprivate /\nmkdir -p {dir}/layers {dir}/node {dir}/run\nchmod 700 {dir}/node\n\
             mount -t tmpfs none {dir}/layers\nfor d in usr etc var; do\nmkdir -p {dir}/layers/$d/up {dir}/layers/$d/work\n\
             mount -t overlay overlay -o lowerdir=/$d,upperdir={dir}/layers/$d/up,workdir={dir}/layers/$d/work /$d\ndone\n\
             mount -t tmpfs none /run\nrm -f /etc/resolv.conf\nprintf '{BEFORE}' >/etc/resolv.conf\n\
             mkdir -p /var/lib/warren-node /run/warren-node\nmount --bind {dir}/node /var/lib/warren-node\n\
             mount --bind {dir}/run /run/warren-node\ntouch {dir}/mounted\nexec sleep infinity\n"
        );
        let holder = host.daemon("files", &["unshare", "-m", "bash", "-c", &script]);
        eventually("the host has files of its own", LIMIT, || {
            host.dir.join("mounted").exists().then_some(())
        });
        Installed { host, holder, package }
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

    fn install(&self) {
        self.run(&["dpkg", "-i", &self.package]).ok();
    }

    /// As an administrator does it, and nothing else.
    fn remove(&self) {
        println!("{}", self.run(&["dpkg", "-r", "warren-node"]).ok());
    }

    fn resolv_conf(&self) -> String {
        self.run(&["cat", "/etc/resolv.conf"]).stdout
    }

    fn is_ours(&self) -> bool {
        self.resolv_conf().starts_with("# Written by warren-node")
    }

    /// What an agent leaves on a host.
    fn traces(&self) -> String {
        let files = self.run(&["sh", "-c", "ls /etc/resolv.conf.* /usr/bin/warren-node 2>/dev/null"]).stdout;
        let tables = self.host.run(&["nft", "list", "tables"]).ok();
        let links = self.host.run(&["ip", "-o", "link", "show", "type", "tun"]).ok();
        let routes = self.host.run(&["ip", "route", "show", "type", "unreachable"]).ok();
        files + &tables + &links + &routes
    }
}

/// The agent and the process that waits for its end: a power cut spares neither.
fn cut_power(installed: &Installed, node: &mut Node) {
    // Stopped, it starts no other one meanwhile.
    run(None, &["kill", "-STOP", &node.pid().to_string()], &[]).ok();
    let children = run(None, &["pgrep", "-P", &node.pid().to_string()], &[]).stdout;
    assert!(!children.trim().is_empty(), "somebody waits for the agent's end");
    for child in children.split_whitespace() {
        run(None, &["kill", "-STOP", child], &[]).ok();
    }
    node.kill_9();
    for child in children.split_whitespace() {
        run(None, &["kill", "-9", child], &[]).ok();
    }
    assert!(installed.is_ours(), "nobody was left to put it back");
}

#[test]
fn when_the_package_goes_the_host_resolves_names_as_before_also_if_the_agent_was_killed() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let installed = Installed::new(street.host("web-1"));
    installed.install();
    let env = vec![
        ("WARREN_NODE_SOCKET", installed.host.path("run/warren0.sock")),
        ("WARREN_NODE_DNS_CA", dns.ca.clone()),
        ("WARREN_NODE_DNS_HOST", "resolv.conf".to_owned()),
    ];
    let mut web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, installed.wrapper());
    let upstream = format!("upstream = [\"tls://{}#{NAME}\"]\n", street.host("dns").v4);
    coordinator.apply(&format!(
        "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n[dns]\n\
         zone = \"test.internal\"\n{upstream}"
    ));
    web.stop();
    web.set_program(PROGRAM);
    let up = |web: &mut Node| {
        web.start();
        until("names are asked here", LIMIT, || {
            installed.is_ours() && installed.traces().contains("warren_dns_warren0")
        });
        until("and answered", LIMIT, || {
            installed.run(&["getent", "ahosts", "one.example"]).stdout.contains(ADDRESS)
        });
    };
    let gone = || {
        assert_eq!(installed.resolv_conf(), BEFORE);
        assert_eq!(installed.traces(), "");
    };

    up(&mut web);
    installed.remove();
    gone();
    until("the agent has ended", LIMIT, || web.finished().is_some());

    // It was killed, and what waits for its end with it; days later the package goes.
    installed.install();
    up(&mut web);
    cut_power(&installed, &mut web);
    installed.remove();
    gone();

    // The same after a boot: nothing is left in the kernel and under /run, and the file is still ours.
    installed.install();
    up(&mut web);
    cut_power(&installed, &mut web);
    installed.host.run(&["nft", "flush", "ruleset"]).ok();
    installed.host.run(&["ip", "link", "del", "warren0"]).ok();
    installed.run(&["sh", "-c", "rm -rf /run/warren-node/*"]).ok();
    assert!(installed.is_ours());
    installed.remove();
    gone();

    // Or the agent starts again after that boot, and is stopped: what was there before the first one comes back.
    installed.install();
    up(&mut web);
    cut_power(&installed, &mut web);
    installed.host.run(&["nft", "flush", "ruleset"]).ok();
    up(&mut web);
    web.stop();
    assert_eq!(installed.resolv_conf(), BEFORE);

    // Somebody deletes the program itself under the running agent, which then is killed.
    up(&mut web);
    installed.run(&["rm", PROGRAM]).ok();
    web.kill_9();
    until("what waits for its end puts it back", Duration::from_secs(5), || {
        installed.resolv_conf() == BEFORE
    });
}

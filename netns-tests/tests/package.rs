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
        let script = format!(
            "set -e\nmount --make-rprivate /\nmkdir -p {dir}/layers {dir}/run\n\
             mount -t tmpfs none {dir}/layers\nfor d in usr etc var; do\nmkdir -p {dir}/layers/$d/up {dir}/layers/$d/work\n\
             mount -t overlay overlay -o lowerdir=/$d,upperdir={dir}/layers/$d/up,workdir={dir}/layers/$d/work /$d\ndone\n\
             mount -t tmpfs none /run\nrm -f /etc/resolv.conf\nprintf '{BEFORE}' >/etc/resolv.conf\n\
             install -d -m 700 /var/lib/warren-node\nln -s {dir}/run /run/warren-node\ntouch {dir}/mounted\nexec sleep infinity\n"
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

    fn env(&self, ca: &str) -> Vec<(&'static str, String)> {
        vec![
            ("WARREN_NODE_STATE", "/var/lib/warren-node".to_owned()),
            // Where a link of its own leads: the socket is seen from outside, too.
            ("WARREN_NODE_SOCKET", self.host.path("run/warren0.sock")),
            ("WARREN_NODE_DNS_CA", ca.to_owned()),
            ("WARREN_NODE_DNS_HOST", "resolv.conf".to_owned()),
        ]
    }

    fn install(&self) {
        self.run(&["dpkg", "-i", &self.package]).ok();
    }

    /// The same program as a later version.
    fn newer(&self, version: &str) -> String {
        let (tree, package) = (self.host.path(version), self.host.path(&format!("{version}.deb")));
        run(None, &["dpkg-deb", "-R", &self.package, &tree], &[]).ok();
        let change = format!("s/^Version: .*/Version: {version}/");
        run(None, &["sed", "-i", &change, &format!("{tree}/DEBIAN/control")], &[]).ok();
        run(None, &["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", &tree, &package], &[]).ok();
        package
    }

    /// As an administrator does it, and nothing else.
    fn remove(&self) {
        println!("{}", self.run(&["dpkg", "-r", "warren-node"]).ok());
    }

    /// What the service manager does at boot with the unit that is enabled with the agent's: true if its conditions let it.
    fn boots(&self) -> bool {
        let offline = ["env", "SYSTEMD_OFFLINE=1", "systemctl"];
        self.run(&[&offline[..], &["enable", "warren-node.service"]].concat()).ok();
        let wanted =
            self.run(&["cat", "/etc/systemd/system/sysinit.target.wants/warren-node-restore.service"]);
        let unit = wanted.ok();
        let lines = |key: &str| {
            unit.lines().filter(|line| line.starts_with(key)).map(str::to_owned).collect::<Vec<_>>()
        };
        let conditions = lines("Condition");
        let words: Vec<&str> = ["systemd-analyze", "condition"]
            .into_iter()
            .chain(conditions.iter().map(String::as_str))
            .collect();
        let met = self.run(&words).status.success();
        if met {
            let start = lines("ExecStart=").remove(0);
            self.run(&start["ExecStart=".len()..].split(' ').collect::<Vec<_>>()).ok();
        }
        met
    }

    fn resolv_conf(&self) -> String {
        self.run(&["cat", "/etc/resolv.conf"]).stdout
    }

    fn is_ours(&self) -> bool {
        self.resolv_conf().starts_with("# Written by warren-node")
    }

    /// What an agent leaves on a host.
    fn traces(&self) -> String {
        let files = self.run(&["sh", "-c", "ls /etc/resolv.conf.* /usr/bin/warren-node /usr/share/polkit-1/rules.d/50-warren-node.rules 2>/dev/null"]).stdout;
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
    // A command that had just ended for the agent is gone with it.
    for child in children.split_whitespace() {
        run(None, &["kill", "-9", child], &[]);
    }
    assert!(installed.is_ours(), "nobody was left to put it back");
}

fn policy(street: &Street) -> String {
    format!(
        "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n[dns]\n\
         zone = \"test.internal\"\nupstream = [\"tls://{}#{NAME}\"]\n",
        street.host("dns").v4
    )
}

fn up(installed: &Installed, web: &mut Node) {
    web.start();
    until("names are asked here", LIMIT, || {
        installed.is_ours() && installed.traces().contains("warren_dns_warren0")
    });
    until("and answered", LIMIT, || {
        installed.run(&["getent", "ahosts", "one.example"]).stdout.contains(ADDRESS)
    });
}

#[test]
fn when_the_package_goes_the_host_resolves_names_as_before_also_if_the_agent_was_killed() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let installed = Installed::new(street.host("web-1"));
    installed.install();
    let env = installed.env(&dns.ca);
    let mut web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, installed.wrapper());
    coordinator.apply(&policy(&street));
    web.stop();
    web.set_program(PROGRAM);
    let up = |web: &mut Node| up(&installed, web);
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

    // Power is cut, and the host boots: the file is put back before anybody asks for a name, though no agent runs.
    installed.install();
    for link in [false, true] {
        if link {
            installed.run(&["ln", "-sf", "/run/only-later", "/etc/resolv.conf"]).ok();
        }
        assert!(!installed.boots(), "there is nothing to put back");
        up(&mut web);
        cut_power(&installed, &mut web);
        installed.host.run(&["nft", "flush", "ruleset"]).ok();
        assert!(installed.boots(), "it is put back at boot");
        let restored = installed.run(&["readlink", "/etc/resolv.conf"]).stdout;
        assert_eq!(restored.trim(), if link { "/run/only-later" } else { "" });
        assert!(link || installed.resolv_conf() == BEFORE);
        assert_eq!(installed.run(&["sh", "-c", "ls /etc/resolv.conf.*"]).stdout, "");
    }
    let before = format!("rm -f /etc/resolv.conf; printf '{BEFORE}' >/etc/resolv.conf");
    installed.run(&["sh", "-c", &before]).ok();
    installed.remove();
    gone();

    // The same after a boot without that unit: nothing is left in the kernel and under /run, and the file is still ours.
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

/// Programs ask for names all the time, each another one so that no cache answers, and say which they did not get.
const ASKING: &str = "i=0; while :; do i=$((i+1)); if getent ahosts n$i.example >/dev/null; then echo got; \
    else echo \"LOST n$i $(tr '\\n' ' ' </etc/resolv.conf)\"; fi; done";

#[test]
fn an_upgrade_loses_no_name_and_a_purge_leaves_nothing() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let dns = nameserver::unbound(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let installed = Installed::new(street.host("web-1"));
    // A service manager that only writes down what it is asked.
    let manager = "mkdir -p /run/systemd/system; printf '#!/bin/sh\\necho \"$@\" >>/run/asked\\n' >/usr/bin/systemctl.new; \
        chmod 755 /usr/bin/systemctl.new; mv /usr/bin/systemctl.new /usr/bin/systemctl";
    installed.run(&["sh", "-c", manager]).ok();
    installed.install();
    let env = installed.env(&dns.ca);
    let mut web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, installed.wrapper());
    coordinator.apply(&policy(&street));
    web.stop();
    web.set_program(PROGRAM);
    up(&installed, &mut web);
    let asked = || installed.run(&["cat", "/run/asked"]).stdout;
    let before = asked();

    let wrapper = installed.wrapper();
    let words: Vec<&str> = wrapper.iter().map(String::as_str).chain(["sh", "-c", ASKING]).collect();
    let asking = installed.host.daemon("asking", &words);
    let got = || asking.output().lines().filter(|line| *line == "got").count();
    let more = |what: &str| {
        let until_now = got();
        until(what, LIMIT, || got() >= until_now + 20);
    };
    more("names are got");
    for (number, version) in ["99.0.1", "99.0.2", "99.0.3"].into_iter().enumerate() {
        println!("{}", installed.run(&["dpkg", "-i", &installed.newer(version)]).ok());
        more("the old agent answers though its program is gone");
        let since = asked()[before.len()..].matches("try-restart warren-node.service").count();
        assert_eq!(since, number + 1, "the service manager starts the new one: {}", asked());
        web.restart();
        up_again(&installed);
        more("the new one answers");
    }
    let lost: Vec<String> =
        asking.output().lines().filter(|line| line.starts_with("LOST")).map(str::to_owned).collect();
    println!("{} names got over three upgrades", got());
    assert_eq!(lost, Vec::<String>::new());
    asking.kill_9();

    // Purged under the running agent: nothing of it stays, its identity neither.
    assert!(installed.run(&["test", "-e", "/var/lib/warren-node/record"]).status.success());
    println!("{}", installed.run(&["dpkg", "-P", "warren-node"]).ok());
    assert_eq!(installed.resolv_conf(), BEFORE);
    assert_eq!(installed.traces(), "");
    until("the agent has ended", LIMIT, || web.finished().is_some());
    for left in ["/var/lib/warren-node", "/run/warren-node", "/usr/lib/systemd/system/warren-node.service"] {
        assert!(!installed.run(&["test", "-e", left]).status.success(), "{left} is still there");
    }
    let answer = installed.run(&["getent", "ahosts", "afterwards.example"]);
    assert!(answer.ok().contains(ADDRESS), "as before");
}

fn up_again(installed: &Installed) {
    until("names are asked here again", LIMIT, || {
        installed.is_ours() && installed.traces().contains("warren_dns_warren0")
    });
}

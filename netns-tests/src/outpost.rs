//! A relay that is a program of its own, on a host of the street.

use crate::process::Daemon;
use crate::street::{Host, Street};
use crate::wait::{eventually, until};
use crate::warren::{COORDINATOR_PORT, Coordinator, LIMIT, binary};

/// Where a scraper may ask a relay that is told so.
pub const SCRAPED: &str = "127.0.0.1:9587";

#[derive(Debug)]
pub struct Outpost {
    pub host: Host,
    daemon: Option<Daemon>,
    flags: Vec<String>,
}

impl Outpost {
    /// `warren relay add` at the coordinator and `warren relay run` on the host of that name; returns when it has come in.
    pub fn start(street: &Street, coordinator: &Coordinator, name: &str) -> Outpost {
        Outpost::start_with(street, coordinator, name, &[])
    }

    /// The same, with more words for `run`.
    pub fn start_with(street: &Street, coordinator: &Coordinator, name: &str, flags: &[&str]) -> Outpost {
        let made = coordinator.json(&["relay", "add", name]);
        let host = street.host(name);
        std::fs::write(host.dir.join("token"), made["token"].as_str().expect("a token")).unwrap();
        let flags = flags.iter().map(ToString::to_string).collect();
        let mut outpost = Outpost { host, daemon: None, flags };
        outpost.run(&["--token-file", &outpost.host.path("token")]);
        outpost
    }

    /// Again, from its directory alone.
    pub fn again(&mut self) {
        self.run(&[]);
    }

    fn run(&mut self, more: &[&str]) {
        let (dir, ready) = (self.host.path("relay"), self.host.path("relay.ready"));
        let _ = std::fs::remove_file(&ready);
        let listen = format!("{}:{COORDINATOR_PORT}", self.host.v4);
        let program = binary("warren");
        let words = [&program, "relay", "run", "--dir", &dir, "--listen", &listen, "--ready-file", &ready];
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.daemon = Some(self.host.daemon("relay", &[&words[..], &flags, more].concat()));
        until("the relay has come in", LIMIT, || std::path::Path::new(&ready).exists());
    }

    /// The sum of a measure over all of its labels, as a scraper on its host is told it; it listens with `--metrics` [`SCRAPED`].
    pub fn measure(&self, name: &str) -> u64 {
        let text = self.host.run(&["curl", "-sS", "--fail", &format!("http://{SCRAPED}/metrics")]).ok();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values =
            text.lines().filter(of_it).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    /// For its next start.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(ToString::to_string).collect();
    }

    pub fn kill_9(&mut self) {
        self.daemon.take().expect("it runs").kill_9();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.host.dir.join("relay.log")).unwrap_or_default()
    }

    /// It has ended by itself, and well.
    pub fn wait_ended(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        let status = eventually("the relay ends", LIMIT, || daemon.finished());
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Asks it to stop, then waits.
    pub fn stop(&mut self) {
        let status = self.daemon.take().expect("it runs").stop();
        assert!(status.success(), "{status}: {}", self.log());
    }
}

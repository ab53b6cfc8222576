//! The two programs of Warren on a street, driven as a person drives them: by their commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use warren_wire::id::WgKey;

use crate::process::{Daemon, Finished, run};
use crate::street::{Host, Street, Underlay};
use crate::wait::{eventually, until};

pub const LIMIT: Duration = Duration::from_secs(30);
pub const COORDINATOR_PORT: u16 = 7946;
pub const WIREGUARD_PORT: u16 = 51820;
/// `up --token-file FILE`.
const PLAIN_WORDS: usize = 3;

/// A binary of this workspace, built by `scripts/test` before the tests run, or one of those in `WARREN_BINARIES` (built for
/// release, say).
pub fn binary(name: &str) -> String {
    if let Some(dir) = std::env::var_os("WARREN_BINARIES") {
        return Path::new(&dir).join(name).to_string_lossy().into_owned();
    }
    let mut dir: PathBuf = std::env::current_exe().unwrap();
    while dir.pop() {
        let found = dir.join(name);
        if found.is_file() {
            return found.to_string_lossy().into_owned();
        }
    }
    panic!("{name} is not built: run `cargo build --workspace --bins` first")
}

/// A program that a package of this workspace has for tests.
pub fn example_binary(name: &str) -> String {
    binary(&format!("examples/{name}"))
}

/// A policy that lies in `config/examples`.
pub fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("config/examples").join(name).to_string_lossy().into_owned()
}

/// A coordinator on a host, and its administrator.
#[derive(Debug)]
pub struct Coordinator {
    pub host: Host,
    pub address: String,
    serve: Option<Daemon>,
}

impl Coordinator {
    /// `warren init` and `warren serve`, ready to answer.
    pub fn start(street: &Street, host: &str, underlay: Underlay) -> Coordinator {
        Coordinator::start_with(street, host, underlay, &[])
    }

    /// The same, with more words for `init`.
    pub fn start_with(street: &Street, host: &str, underlay: Underlay, init: &[&str]) -> Coordinator {
        let host = street.host(host);
        let ip = if underlay == Underlay::V6 { format!("[{}]", host.v6) } else { host.v4.clone() };
        Coordinator::begin(street, &host.name, &format!("{ip}:{COORDINATOR_PORT}"), init)
    }

    /// The same at an address the host has.
    pub fn start_at(street: &Street, host: &str, address: &str) -> Coordinator {
        Coordinator::begin(street, host, address, &[])
    }

    /// At an address of each family, of which nodes try the IPv6 one first.
    pub fn start_with_both(street: &Street, host: &str) -> Coordinator {
        let (v4, v6) = (street.host(host).v4, street.host(host).v6);
        let v4 = format!("{v4}:{COORDINATOR_PORT}");
        let (listen, v6) = (format!("[::]:{COORDINATOR_PORT}"), format!("[{v6}]:{COORDINATOR_PORT}"));
        Coordinator::begin_at(street, host, (&listen, &v6), &["--advertise", &v4])
    }

    fn begin(street: &Street, host: &str, address: &str, init: &[&str]) -> Coordinator {
        Coordinator::begin_at(street, host, (address, address), init)
    }

    fn begin_at(street: &Street, host: &str, (listen, address): (&str, &str), init: &[&str]) -> Coordinator {
        let (host, address) = (street.host(host), address.to_owned());
        let mut coordinator = Coordinator { host, address: address.clone(), serve: None };
        let words = ["init", "--name", "test", "--listen", listen, "--advertise", &address];
        coordinator.warren(&[&words[..], init].concat()).ok();
        coordinator.serve();
        coordinator
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("WARREN_STATE", self.host.path("state")),
            ("WARREN_AUTHORITY", self.host.path("authority.key")),
            ("WARREN_SOCKET", self.host.path("warren.sock")),
        ]
    }

    /// Starts `warren serve` and waits until it answers.
    pub fn serve(&mut self) {
        let env = self.env();
        let env: Vec<_> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let log = self.host.dir.join("serve.log");
        self.serve =
            Some(Daemon::start(Some(&self.host.namespace), &[&binary("warren"), "serve"], &env, &log));
        until("the coordinator answers", LIMIT, || self.warren(&["status"]).status.success());
    }

    /// Changes the settings and starts it again.
    pub fn set(&mut self, change: impl FnOnce(&mut Value)) {
        self.kill_9();
        let path = self.host.dir.join("state/settings.json");
        let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut settings);
        std::fs::write(&path, settings.to_string()).unwrap();
        self.serve();
    }

    /// An administrator's command, whatever becomes of it.
    pub fn warren(&self, args: &[&str]) -> Finished {
        let env = self.env();
        let env: Vec<_> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
        run(Some(&self.host.namespace), &[&[binary("warren").as_str()], args].concat(), &env)
    }
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.warren(&[&["--json"], args].concat()).json()
    }

    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.serve.as_ref().expect("it runs").pid()
    }
    pub fn kill_9(&mut self) {
        self.serve.take().expect("it runs").kill_9();
    }
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.host.dir.join("serve.log")).unwrap_or_default()
    }

    /// Moves the state of a stopped coordinator to a small file system that is full.
    pub fn fill_state_disk(&self) {
        let state = self.host.path("state");
        let script = format!(
            "set -e; cp -a {state} {state}.keep; mount -t tmpfs -o size=4m,mode=0700 none {state}; cp -a {state}.keep/. {state}/; \
             dd if=/dev/zero of={state}/ballast bs=4k 2>/dev/null || true; truncate -s -128k {state}/ballast"
        );
        run(None, &["bash", "-c", &script], &[]).ok();
    }
    /// Makes room again.
    pub fn free_state_disk(&self) {
        std::fs::remove_file(self.host.dir.join("state/ballast")).unwrap();
    }

    #[track_caller]
    pub fn token(&self, args: &[&str]) -> String {
        let made = self.json(&[&["token", "create"], args].concat());
        made["token"].as_str().expect("a token").to_owned()
    }

    /// Writes `text` to a file on the coordinator's host and applies it; returns when every online node enforces it.
    #[track_caller]
    pub fn apply(&self, text: &str) {
        let file = self.host.path("policy.toml");
        std::fs::write(&file, text).unwrap();
        self.warren(&["policy", "apply", &file, "--wait", "enforced"]).ok();
    }
}

/// A host with an agent.
#[derive(Debug)]
pub struct Node {
    pub host: Host,
    agent: Option<Daemon>,
    args: Vec<String>,
    /// Seconds added to the host's wall clock, as the agent reads it.
    clock_offset: i64,
    /// More environment of the agent and its commands.
    more: Vec<(&'static str, String)>,
    /// Words in front of the agent's program.
    wrapper: Vec<String>,
    program: String,
}

impl Node {
    /// Enrols with a fresh token for `name` and `tags`, runs, and waits until the node is a member and online.
    pub fn enrol(street: &Street, coordinator: &Coordinator, name: &str, tags: &[&str]) -> Node {
        let mut node = Node::begin(street, coordinator, name, tags);
        node.wait_enrolled();
        node
    }

    /// The same without waiting.
    pub fn begin(street: &Street, coordinator: &Coordinator, name: &str, tags: &[&str]) -> Node {
        let mut args = vec!["--name", name];
        tags.iter().for_each(|t| args.extend(["--tag", *t]));
        let token = coordinator.token(&args);
        Node::with_token(street, name, &token)
    }

    pub fn with_token(street: &Street, name: &str, token: &str) -> Node {
        let host = street.host(name);
        std::fs::write(host.dir.join("token"), token).unwrap();
        let args = vec!["up".into(), "--token-file".into(), host.path("token")];
        let mut node = Node {
            host,
            agent: None,
            args,
            clock_offset: 0,
            more: Vec::new(),
            wrapper: Vec::new(),
            program: binary("warren-node"),
        };
        node.start();
        node
    }

    /// Enrolled and running with more environment, behind `wrapper`.
    pub fn enrol_with(
        street: &Street,
        coordinator: &Coordinator,
        name: &str,
        tags: &[&str],
        more: Vec<(&'static str, String)>,
        wrapper: Vec<String>,
    ) -> Node {
        let mut args = vec!["--name", name];
        tags.iter().for_each(|t| args.extend(["--tag", *t]));
        let token = coordinator.token(&args);
        let host = street.host(name);
        std::fs::write(host.dir.join("token"), token).unwrap();
        let args = vec!["up".into(), "--token-file".into(), host.path("token")];
        let mut node =
            Node { host, agent: None, args, clock_offset: 0, more, wrapper, program: binary("warren-node") };
        node.start();
        node.wait_enrolled();
        node
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        let mut env = vec![
            ("WARREN_NODE_STATE", self.host.path("node")),
            ("WARREN_NODE_SOCKET", self.host.path("node.sock")),
            ("WARREN_NODE_RUN", self.host.path("run")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        env.extend(self.more.iter().cloned());
        env
    }

    pub fn start(&mut self) {
        let env = self.env();
        let env: Vec<_> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let log = self.host.dir.join("node.log");
        let program = self.program.clone();
        let shift = format!("{:+}s", self.clock_offset);
        let shifted = ["faketime", "-f", &shift];
        let faked = if self.clock_offset == 0 { &[][..] } else { &shifted[..] };
        let wrapper = self.wrapper.iter().map(String::as_str).chain(faked.iter().copied());
        let words = wrapper.chain(std::iter::once(program.as_str()));
        let args: Vec<&str> = words.chain(self.args.iter().map(String::as_str)).collect();
        self.agent = Some(Daemon::start(Some(&self.host.namespace), &args, &env, &log));
    }
    /// Further words for `warren-node up`, from its next start on.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.args.truncate(PLAIN_WORDS);
        self.args.extend(flags.iter().map(|flag| (*flag).to_owned()));
    }
    /// The host's wall clock is off by so many seconds, from the agent's next start on.
    pub fn set_clock(&mut self, seconds: i64) {
        self.clock_offset = seconds;
    }
    /// Puts a library in front of the agent's system calls, from its next start on.
    pub fn preload(&mut self, library: &str) {
        self.more.push(("LD_PRELOAD", library.to_owned()));
    }
    /// From its next start on, the host's wall clock (as the agent reads it) is what [`Node::shift_clock`] makes it.
    pub fn let_clock_jump(&mut self) {
        let libraries = std::fs::read_dir("/usr/lib").unwrap().flatten();
        let places = libraries.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
        let library = places.into_iter().find(|path| path.exists()).expect("Debian package faketime");
        self.preload(&library.to_string_lossy());
        self.more.push(("FAKETIME_TIMESTAMP_FILE", self.host.path("clock")));
        self.more.push(("FAKETIME_NO_CACHE", "1".to_owned()));
        self.shift_clock("+0d");
    }
    /// `+365d`: the clock of the host jumps there now, under the running agent.
    pub fn shift_clock(&self, shift: &str) {
        std::fs::write(self.host.dir.join("clock.new"), shift).unwrap();
        std::fs::rename(self.host.dir.join("clock.new"), self.host.dir.join("clock")).unwrap();
    }
    /// Puts a new file in the place of the agent's program, as a package does; what runs keeps the old one.
    pub fn install_program(&mut self) {
        let (new, place) = (self.host.path("warren-node.new"), self.host.path("warren-node"));
        std::fs::copy(binary("warren-node"), &new).unwrap();
        std::fs::rename(&new, &place).unwrap();
        self.program = place;
    }
    /// From its next start on, the agent is the program at `path`, as the agent's wrapper sees it.
    pub fn set_program(&mut self, path: &str) {
        self.program = path.to_owned();
    }
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.agent.as_ref().expect("it runs").pid()
    }
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }
    /// Runs the agent with a host clock that is off by `seconds` (a time namespace cannot do that for wall time,
    /// so `faketime` does).
    pub fn with_token_and_clock(street: &Street, name: &str, token: &str, seconds: i64) -> Node {
        let host = street.host(name);
        std::fs::write(host.dir.join("token"), token).unwrap();
        let args = vec!["up".into(), "--token-file".into(), host.path("token")];
        let mut node = Node {
            host,
            agent: None,
            args,
            clock_offset: seconds,
            more: Vec::new(),
            wrapper: Vec::new(),
            program: binary("warren-node"),
        };
        node.start();
        node
    }
    /// `None` while the agent runs.
    pub fn finished(&mut self) -> Option<std::process::ExitStatus> {
        self.agent.as_mut().and_then(Daemon::finished)
    }
    pub fn kill_9(&mut self) {
        self.agent.take().expect("it runs").kill_9();
    }
    /// `warren-node down`, which asks the agent to stop and waits.
    pub fn down(&mut self) {
        self.cli(&["down"]).ok();
        drop(self.agent.take());
    }
    /// Asks the agent to stop and waits. One that is on its way up is let come up first: it hears signals from then on that it
    /// answers.
    pub fn stop(&mut self) {
        until("the agent hears what it is asked", LIMIT, || {
            self.finished().is_some() || self.status().is_some()
        });
        let agent = self.agent.take().expect("it runs");
        // `faketime` passes no signal on.
        let status = if self.clock_offset == 0 { agent.stop() } else { agent.stop_child() };
        assert!(status.success(), "the agent ended with {status}");
    }
    pub fn wait_enrolled(&mut self) {
        let is_there = |s: Value| !s["v6"].is_null() && s["coordinator"] == "connected";
        until("the node is enrolled and connected", LIMIT, || self.status().is_some_and(is_there));
    }

    /// The agent's command, whatever becomes of it.
    pub fn cli(&self, args: &[&str]) -> Finished {
        let env = self.env();
        let env: Vec<_> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
        run(Some(&self.host.namespace), &[&[binary("warren-node").as_str()], args].concat(), &env)
    }
    pub fn status(&self) -> Option<Value> {
        let done = self.cli(&["--json", "status"]);
        serde_json::from_str(&done.stdout).ok().filter(|_| done.status.success())
    }
    /// A counter of `warren-node counters`.
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        let all = self.cli(&["--json", "counters"]).json();
        all["counters"][name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {all}"))
    }
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.host.dir.join("node.log")).unwrap_or_default()
    }
    #[track_caller]
    pub fn v4(&self) -> String {
        self.address("v4")
    }
    #[track_caller]
    pub fn v6(&self) -> String {
        self.address("v6")
    }
    #[track_caller]
    fn address(&self, family: &str) -> String {
        let status = eventually("the agent answers", LIMIT, || self.status());
        status[family].as_str().unwrap_or_else(|| panic!("no {family} in {status}")).to_owned()
    }
    /// Base64 of the WireGuard keys, one a lane, as they lie on the host's disk.
    pub fn stolen_keys(&self) -> String {
        let text = std::fs::read_to_string(self.host.dir.join("node/wg.keys")).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("lane ")).collect::<Vec<_>>().join(",")
    }
    /// Their public halves, in the same order.
    pub fn public_keys(&self) -> String {
        let of = |private: &str| {
            let private = STANDARD.decode(private).unwrap();
            WgKey::of(&private.try_into().unwrap()).to_string()
        };
        self.stolen_keys().split(',').map(of).collect::<Vec<_>>().join(",")
    }
    /// Programs on this host resolve names at their node.
    pub fn resolve_here(&self) {
        self.host.resolve_at(&self.v4());
    }

    /// A web server on every address of the host, in `www`.
    pub fn serve_http(&self, port: u16) -> Daemon {
        std::fs::create_dir_all(self.host.path("www")).unwrap();
        let port = port.to_string();
        let server = self.host.daemon(
            &format!("http-{port}"),
            &["python3", "-m", "http.server", &port, "--bind", "::", "--directory", &self.host.path("www")],
        );
        let listens =
            || self.host.run(&["ss", "-Hltn", &format!("sport = :{port}")]).stdout.contains("LISTEN");
        eventually("the web server listens", LIMIT, || listens().then_some(()));
        server
    }
    /// One HTTP request; the exit code is curl's.
    pub fn curl(&self, url: &str) -> Finished {
        self.host.run(&["curl", "-sS", "--globoff", "--max-time", "5", url])
    }
}

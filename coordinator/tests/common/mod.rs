//! A coordinator of one's own for each test: own directory, socket, authority file, port. And a node that is only a
//! QUIC client and a few keys.

#![allow(dead_code, reason = "every test file uses its own part of this")]

pub mod web;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use serde_json::Value;
use warren_config::time::UnixTime;
use warren_coordinator::tls;
use warren_wire::flow::FlowRecord;
use warren_wire::frame::{
    ALPN, CoordinatorSays, Decoder, Enforced, EnrolBegin, EnrolCommit, Hello, MAX_FRAME, NodeSays, Refused,
    ToCoordinator, ToNode, encode,
};
use warren_wire::id::{IdentityKey, NetworkId};
use warren_wire::issue::{self, LaneSecret, Place};
use warren_wire::specimen;
use warren_wire::token::Token;
use zeroize::Zeroizing;

/// Longest that anything here may take, on a busy host. What was promised sooner says so itself.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct World {
    pub dir: tempfile::TempDir,
}

impl World {
    /// A directory with an initialised network in it.
    pub fn new() -> World {
        let world = World::empty();
        let init = world.run(&[
            "init",
            "--api",
            "off",
            "--name",
            "prod",
            "--listen",
            "127.0.0.1:0",
            "--advertise",
            "127.0.0.1:7946",
        ]);
        assert_eq!(code(&init), 0, "{}", stderr(&init));
        world
    }
    pub fn empty() -> World {
        World { dir: tempfile::tempdir().unwrap() }
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }
    pub fn socket(&self) -> PathBuf {
        self.path("run/coordinator.sock")
    }
    pub fn authority(&self) -> PathBuf {
        self.path("etc/authority.key")
    }
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warren"));
        command
            .args(args)
            .env_clear()
            .env("WARREN_STATE", self.state())
            .env("WARREN_SOCKET", self.socket())
            .env("WARREN_AUTHORITY", self.authority())
            .stdin(Stdio::null());
        command
    }
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
    /// Runs and expects exit 0; returns standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(code(&output), 0, "warren {args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }
    pub fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = ["--json"].into_iter().chain(args.iter().copied()).collect();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }
    /// Runs and expects this exit code; returns standard error.
    pub fn fails(&self, exit: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(code(&output), exit, "warren {args:?}: {}{}", stdout(&output), stderr(&output));
        stderr(&output)
    }
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub fn serve(&self) -> Service {
        self.serve_with(&[])
    }
    pub fn serve_with(&self, more: &[&str]) -> Service {
        self.serve_in(&[], more)
    }
    pub fn serve_in(&self, env: &[(&str, &str)], more: &[&str]) -> Service {
        let ready = self.path("ready.json");
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut args = vec!["serve", "--log-level", "debug", "--ready-file"];
        let ready_text = ready.display().to_string();
        args.push(&ready_text);
        args.extend(more);
        let mut command = self.command(&args);
        // By design the service needs no authority and is not told of one.
        command.env_remove("WARREN_AUTHORITY").envs(env.iter().copied());
        let child = command.stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let mut service = Service { child, info: Value::Null };
        wait_for("the service to be ready", || {
            let exited = service.child.try_wait().unwrap();
            assert!(exited.is_none(), "serve ended: {}", self.log());
            std::fs::read(&ready).ok().and_then(|text| serde_json::from_slice(&text).ok()).inspect(|info| {
                service.info = Value::clone(info);
            })
        });
        service
    }
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn token(&self, more: &[&str]) -> Token {
        let args: Vec<&str> = ["token", "create"].into_iter().chain(more.iter().copied()).collect();
        Token::decode(self.ok(&args).trim()).unwrap()
    }
    /// The overlay address of a node.
    pub fn v4(&self, node: &str) -> IpAddr {
        self.json(&["node", "show", node])["v4"].as_str().unwrap().parse().unwrap()
    }
    /// One window of flow `flow` from web-1 to orders-1, now, as web-1 reports it.
    pub fn window(&self, flow: u64) -> FlowRecord {
        let now = warren_coordinator::clock::now_ms();
        FlowRecord { flow, ..specimen::flow(self.v4("web-1"), self.v4("orders-1"), now) }
    }
    pub fn online_key(&self) -> IdentityKey {
        let state = warren_coordinator::state_dir::StateDir::at(&self.state());
        tls::public_of(&state.read_online_key().unwrap())
    }
}

pub struct Service {
    pub child: Child,
    pub info: Value,
}

impl Service {
    pub fn addr(&self) -> std::net::SocketAddr {
        self.info["listen"].as_str().unwrap().parse().unwrap()
    }
    /// SIGTERM, then waits; returns the exit code.
    pub fn stop(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Looks until there is something to see.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it took too long") })
}

/// Each seed comes from an address of its own, as nodes do that are not behind one NAT.
pub fn endpoint(seed: &[u8; 32], server: IdentityKey, alpn: &[u8]) -> Endpoint {
    endpoint_at([127, 0, 1, seed[0]].into(), seed, server, alpn)
}

pub fn endpoint_at(from: IpAddr, seed: &[u8; 32], server: IdentityKey, alpn: &[u8]) -> Endpoint {
    let crypto = Arc::new(tls::client(seed, server, alpn).unwrap());
    let mut endpoint = Endpoint::client((from, 0).into()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(crypto));
    endpoint
}

/// One control connection.
pub struct Line {
    pub endpoint: Endpoint,
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    decoder: Decoder,
}

impl Line {
    pub async fn open(seed: &[u8; 32], server: IdentityKey, addr: std::net::SocketAddr) -> Line {
        Line::on(endpoint(seed, server, ALPN), addr).await
    }
    /// A client that has room for so many bytes it did not read.
    pub async fn narrow(seed: &[u8; 32], server: IdentityKey, addr: std::net::SocketAddr, room: u32) -> Line {
        let mut endpoint = endpoint(seed, server, ALPN);
        let mut config = quinn::ClientConfig::new(Arc::new(tls::client(seed, server, ALPN).unwrap()));
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(room.into()).keep_alive_interval(Some(Duration::from_secs(5)));
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        Line::on(endpoint, addr).await
    }
    async fn on(endpoint: Endpoint, addr: std::net::SocketAddr) -> Line {
        let connection = endpoint.connect(addr, "warren").unwrap().await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        Line { endpoint, connection, send, recv, decoder: Decoder::new(MAX_FRAME) }
    }
    pub async fn say(&mut self, says: NodeSays) {
        self.send.write_all(&encode(&ToCoordinator { says: Some(says) })).await.unwrap();
    }
    /// The next message; `None` when the coordinator has closed.
    pub async fn hear(&mut self) -> Option<CoordinatorSays> {
        loop {
            if let Some(message) = self.decoder.next::<ToNode>().unwrap() {
                return Some(message.says.expect("a message that says something"));
            }
            match self.recv.read_chunk(64 * 1024, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                _ => return None,
            }
        }
    }
    /// Hears until `pick` finds what it wants.
    pub async fn hear_until<T>(&mut self, mut pick: impl FnMut(&CoordinatorSays) -> Option<T>) -> T {
        loop {
            let said = self.hear().await.expect("the coordinator closed the line");
            if let Some(found) = pick(&said) {
                return found;
            }
        }
    }
    pub async fn refused(&mut self) -> Refused {
        self.hear_until(|said| match said {
            CoordinatorSays::Refused(refused) => Some(refused.clone()),
            _ => None,
        })
        .await
    }
}

/// A node: an identity, and nothing behind it.
pub struct Node {
    pub seed: [u8; 32],
    pub network: NetworkId,
    pub server: IdentityKey,
}

pub fn hello() -> NodeSays {
    NodeSays::Hello(Hello { agent: "test".into(), boot: 1, ..Hello::default() })
}

impl Node {
    pub fn new(number: u8, token: &Token) -> Node {
        Node { seed: [number; 32], network: token.network, server: token.coordinator_key }
    }

    /// Redeems the token, or is refused.
    pub async fn enrol(&self, token: &Token, addr: std::net::SocketAddr) -> Result<(), Refused> {
        let mut line = Line::open(&self.seed, self.server, addr).await;
        let begin = EnrolBegin {
            token_key: token.key().0.to_vec(),
            name: String::new(),
            agent: "test".into(),
            ..EnrolBegin::default()
        };
        line.say(NodeSays::EnrolBegin(begin)).await;
        let offer = match line.hear().await {
            Some(CoordinatorSays::EnrolOffer(offer)) => offer,
            Some(CoordinatorSays::Refused(refused)) => return Err(refused),
            other => panic!("{other:?}"),
        };
        let identity = SigningKey::from_bytes(&self.seed);
        let delegation: warren_wire::statement::Delegation = offer.delegation.unwrap().peek().unwrap();
        let place = Place {
            name: offer.name.parse().unwrap(),
            tags: delegation.tags.iter().map(|t| t.parse().unwrap()).collect(),
            v4: <[u8; 4]>::try_from(offer.v4.as_slice()).ok().map(Into::into),
            v6: <[u8; 16]>::try_from(offer.v6.as_slice()).unwrap().into(),
            enrolled: UnixTime(offer.now),
        };
        let lane = LaneSecret { private: Zeroizing::new(self.seed), nonce: Zeroizing::new([9; 64]) };
        let commit = EnrolCommit {
            admission: Some(issue::admission(&self.network, &place, &token.signing_key(), &identity)),
            keys: Some(issue::sign_lane_keys(&self.network, &identity, 1, &[lane])),
        };
        line.say(NodeSays::EnrolCommit(commit)).await;
        match line.hear().await {
            Some(CoordinatorSays::Enrolled(_)) => Ok(()),
            Some(CoordinatorSays::Refused(refused)) => Err(refused),
            other => panic!("{other:?}"),
        }
    }

    /// A session: hello said, welcome heard.
    pub async fn join(&self, addr: std::net::SocketAddr) -> Line {
        let mut line = Line::open(&self.seed, self.server, addr).await;
        line.say(hello()).await;
        line.hear_until(|said| matches!(said, CoordinatorSays::Welcome(_)).then_some(())).await;
        line
    }
}

/// Waits for the end of a delta and says that it is enforced, as far as a test is concerned.
pub async fn enforce(line: &mut Line) -> u64 {
    let head = line
        .hear_until(|said| match said {
            CoordinatorSays::Delta(delta) => delta.head.clone(),
            _ => None,
        })
        .await;
    let head: warren_wire::statement::ViewHead = head.peek().unwrap();
    let enforced = Enforced { epoch: head.epoch, revision: head.revision, generation: head.generation };
    line.say(NodeSays::Enforced(enforced)).await;
    head.generation
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

//! One flow of every kind between two hosts, and when each of them ended.

use std::time::Duration;

use serde_json::Value;

use crate::process::Daemon;
use crate::street::Host;
use crate::wait::eventually;
use crate::warren::binary;

pub const TCP: u16 = 8080;
pub const UDP: u16 = 8081;
/// A port whose answers never come: a connection there stays half open.
pub const SILENT: u16 = 8082;
pub const HTTP2: u16 = 8083;
pub const QUIC: u16 = 8084;

/// Answers every kind of flow.
#[must_use]
pub fn serve(host: &Host) -> [Daemon; 2] {
    let drop = format!(
        "table inet silence {{ chain in {{ type filter hook input priority 0; tcp dport {SILENT} drop; }}; }}"
    );
    host.run(&["nft", &drop]).ok();
    let (tcp, udp) = (TCP.to_string(), UDP.to_string());
    let server = host.daemon("flows-serve", &["python3", "-c", include_str!("flows/serve.py"), &tcp, &udp]);
    let (program, h2, quic) = (binary("flows-modern"), HTTP2.to_string(), QUIC.to_string());
    let modern = host.daemon("modern-serve", &[&program, "serve", &h2, &quic, &certificate(host)]);
    let servers = [server, modern];
    eventually("the flow servers are ready", Duration::from_secs(10), || {
        servers.iter().all(|server| server.output().contains("ready")).then_some(())
    });
    servers
}

fn certificate(server: &Host) -> String {
    server.path("flows-certificate.der")
}

/// Flows of one client to one server.
#[derive(Debug)]
pub struct Flows([Daemon; 2]);

/// How one flow ended. Seconds of CLOCK_MONOTONIC.
#[derive(Clone, Debug)]
pub struct Ended {
    pub kind: String,
    /// The last packet that came; flows that are silent by nature have none.
    pub last: Option<f64>,
    /// When the local application was told.
    pub told: Option<f64>,
    pub how: String,
}

impl Flows {
    /// Opens them without waiting, to the overlay address `to` of `server`; `round` names the logs.
    pub fn open(client: &Host, server: &Host, to: &str, round: usize) -> Flows {
        let [tcp, udp, silent, h2, quic] = [TCP, UDP, SILENT, HTTP2, QUIC].map(|port| port.to_string());
        let named = |what: &str| format!("flows-{what}-{}-{round}", to.replace('.', "-"));
        let script = include_str!("flows/open.py");
        let plain = client.daemon(&named("open"), &["python3", "-c", script, to, &tcp, &udp, &silent]);
        let program = binary("flows-modern");
        let words = [program.as_str(), "open", to, &h2, &quic, &certificate(server)];
        Flows([plain, client.daemon(&named("modern"), &words)])
    }

    pub fn wait_alive(&self) {
        eventually("every flow lives", Duration::from_secs(30), || {
            self.0.iter().all(|daemon| daemon.output().contains("ready")).then_some(())
        });
    }

    pub fn wait_ended(mut self) -> Vec<Ended> {
        let read = |line: &str| {
            let said: Value = serde_json::from_str(line).ok()?;
            Some(Ended {
                kind: said["kind"].as_str()?.to_owned(),
                last: said["last"].as_f64(),
                told: said["told"].as_f64(),
                how: said["how"].as_str().unwrap_or("nothing").to_owned(),
            })
        };
        let mut all = Vec::new();
        for daemon in &mut self.0 {
            eventually("every flow has ended", Duration::from_secs(45), || daemon.finished());
            all.extend(daemon.output().lines().filter_map(read));
        }
        assert_eq!(all.len(), KINDS, "{all:?}");
        all
    }
}

/// Bulk, idle and half-open TCP, UDP, ICMP, HTTP/2, QUIC.
const KINDS: usize = 7;

/// Seconds of CLOCK_MONOTONIC, as the flow programs print them.
pub fn monotonic() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

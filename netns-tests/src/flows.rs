//! One flow of every kind between two hosts, and when each of them ended.

use std::time::Duration;

use serde_json::Value;

use crate::process::Daemon;
use crate::street::Host;
use crate::wait::eventually;

pub const TCP: u16 = 8080;
pub const UDP: u16 = 8081;
/// A port whose answers never come: a connection there stays half open.
pub const SILENT: u16 = 8082;

/// Answers every kind of flow.
#[must_use]
pub fn serve(host: &Host) -> Daemon {
    let drop = format!(
        "table inet silence {{ chain in {{ type filter hook input priority 0; tcp dport {SILENT} drop; }}; }}"
    );
    host.run(&["nft", &drop]).ok();
    let (tcp, udp) = (TCP.to_string(), UDP.to_string());
    let server = host.daemon("flows-serve", &["python3", "-c", include_str!("flows/serve.py"), &tcp, &udp]);
    eventually("the flow server is ready", Duration::from_secs(10), || {
        server.output().contains("ready").then_some(())
    });
    server
}

/// Flows of one client to one server.
#[derive(Debug)]
pub struct Flows(Daemon);

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
    /// Opens them without waiting; `round` names the log.
    pub fn open(client: &Host, server: &str, round: usize) -> Flows {
        let ports = [TCP, UDP, SILENT].map(|port| port.to_string());
        let script = include_str!("flows/open.py");
        let args = ["python3", "-c", script, server, &ports[0], &ports[1], &ports[2]];
        Flows(client.daemon(&format!("flows-open-{}-{round}", server.replace('.', "-")), &args))
    }

    pub fn wait_alive(&self) {
        eventually("every flow lives", Duration::from_secs(30), || {
            self.0.output().contains("ready").then_some(())
        });
    }

    pub fn wait_ended(mut self) -> Vec<Ended> {
        eventually("every flow has ended", Duration::from_secs(20), || self.0.finished());
        let read = |line: &str| {
            let said: Value = serde_json::from_str(line).ok()?;
            Some(Ended {
                kind: said["kind"].as_str()?.to_owned(),
                last: said["last"].as_f64(),
                told: said["told"].as_f64(),
                how: said["how"].as_str().unwrap_or("nothing").to_owned(),
            })
        };
        self.0.output().lines().filter_map(read).collect()
    }
}

/// Seconds of CLOCK_MONOTONIC, as the flow programs print them.
pub fn monotonic() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

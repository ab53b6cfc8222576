//! `doctor`: what must be right on this host, each with what to do if it is not.

mod mapping;
mod names;
mod subnets;

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Said, runtime};
use crate::agent::{Options, load, members_plan};
use crate::error::{Error, Exit};
use crate::host::Host;
use warren_node_core::door::Transport;

use crate::link::Connector;
use crate::socket::{Reply, Request, ask};
use crate::state::{StateDir, StateError, identity_from_seed};
use warren_node_core::host::DEFAULT_MTU;

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

fn good(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, ok: true, found: found.into(), fix: None }
}

fn bad(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { name, ok: false, found: found.into(), fix: Some(fix.into()) }
}

pub fn command(options: &Options) -> Result<Said, Error> {
    let mut checks = vec![tun(), nft(), capabilities()];
    // Each DNS server is asked now: one that is never needed first would be found out too late.
    let _ = ask(&options.socket, &Request::DnsProbe);
    let status = match ask(&options.socket, &Request::Status) {
        Ok(Reply::Ok(status)) => Some(status),
        _ => None,
    };
    match &status {
        Some(status) => {
            checks.extend(running(status));
            checks.extend(names::other_networks(options, status));
            checks.extend(behind_gateways(status)?);
        }
        None => {
            let fix = "start it: `warren-node run`, or `systemctl start warren-node`";
            checks.push(bad("agent", format!("no agent answers at {}", options.socket.display()), fix));
            checks.extend(names::orphaned());
            checks.extend(stopped(options)?);
        }
    }
    checks.extend(guards(options, status.as_ref())?);
    let ok = checks.iter().all(|c| c.ok);
    let text: Vec<String> = checks.iter().map(show).collect();
    let exit = if ok { Exit::Ok } else { Exit::Finding };
    Ok(Said { json: json!({ "ok": ok, "checks": checks }), text: text.join("\n"), exit })
}

fn show(check: &Check) -> String {
    let mark = if check.ok { "ok  " } else { "BAD " };
    let fix = check.fix.as_ref().map(|fix| format!("\n       do: {fix}")).unwrap_or_default();
    format!("{mark} {:<12} {}{fix}", check.name, check.found)
}

fn tun() -> Check {
    match Path::new("/dev/net/tun").exists() {
        true => good("tun", "/dev/net/tun is there"),
        false => {
            bad("tun", "/dev/net/tun is missing", "`modprobe tun`; in a container `--device /dev/net/tun`")
        }
    }
}

fn nft() -> Check {
    match crate::host::nft_program() {
        Some(path) => good("nft", path),
        None => bad("nft", "the program `nft` is missing", "`apt install nftables`"),
    }
}

fn capabilities() -> Check {
    use rustix::thread::CapabilitySet;
    let have = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |c| c.effective);
    match have.contains(CapabilitySet::NET_ADMIN) {
        true => good("rights", "CAP_NET_ADMIN is here"),
        false => bad("rights", "this user has no CAP_NET_ADMIN", "run as root, or use the systemd unit"),
    }
}

/// From the agent's own account.
fn running(status: &Value) -> Vec<Check> {
    let text = |name: &str| status.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut checks = vec![good("agent", format!("{} runs, revision {}", text("name"), status["revision"]))];
    checks.push(match text("coordinator").as_str() {
        "connected" => good("coordinator", "connected"),
        other => bad(
            "coordinator",
            format!("{other}: {}", text("last_error")),
            "check that `warren serve` runs and that UDP to its port passes the firewalls",
        ),
    });
    let mut notices = status.get("notices").and_then(Value::as_array).into_iter().flatten();
    let clock = notices.rfind(|n| n["id"].as_str().is_some_and(|id| id.contains("clock")));
    checks.push(match clock {
        Some(notice) => bad(
            "clock",
            notice["message"].as_str().unwrap_or("wrong"),
            "`timedatectl set-ntp true`, or set the clock",
        ),
        None => good("clock", "agrees with signed time"),
    });
    checks.push(mapping::check(status));
    checks.extend(names::servers(&status["dns"]));
    checks.extend(names::hosts_resolver(status));
    if !status["cut"].is_null() {
        checks.push(bad("peers", format!("all peers are cut: {}", status["cut"]), "see `coordinator` above"));
    }
    checks
}

/// The rules of the host are read only where it is a gateway.
fn behind_gateways(status: &Value) -> Result<Vec<Check>, Error> {
    let serves = status["serves"]["subnets"].as_array().is_some_and(|subnets| !subnets.is_empty());
    if !serves {
        return Ok(subnets::all(status, Ok(&[])));
    }
    let rules = runtime(1)?.block_on(crate::host::all_rules()).map_err(|e| e.to_string());
    Ok(subnets::all(status, rules.as_deref().map_err(String::as_str)))
}

/// Without an agent: is the state good, does a coordinator answer?
fn stopped(options: &Options) -> Result<Vec<Check>, Error> {
    let state = match StateDir::open(&options.state) {
        Ok(state) => state,
        Err(StateError::InUse { path }) => {
            let fix = "name its socket with --socket or --interface";
            return Ok(vec![bad("state", format!("{} is used by an agent", path.display()), fix)]);
        }
        Err(e) => return Ok(vec![bad("state", e.to_string(), "see the message")]),
    };
    if !state.is_enrolled()? {
        return Ok(vec![bad("state", "not enrolled", "`warren-node up --token-file FILE`")]);
    }
    let kept = match load(&state) {
        Ok(kept) => kept,
        Err(e) => return Ok(vec![bad("state", e.to_string(), "see the message")]),
    };
    let mut checks = vec![good("state", format!("{} in network {}", kept.me.name(), kept.network.name))];
    let identity = identity_from_seed(&kept.identity.to_bytes());
    let resolver = options.names.resolver()?;
    let connector = Connector::new(identity, kept.trust.coordinator_keys.clone(), resolver);
    let runtime = runtime(1)?;
    for address in &kept.trust.coordinators {
        checks.push(match runtime.block_on(connector.connect(address)) {
            Ok(link) => {
                link.connection.close(0u32.into(), b"");
                let way = match link.transport() {
                    Transport::Udp => String::new(),
                    other => format!(", through a door ({}): UDP does not pass", other.name()),
                };
                good("coordinator", format!("{address} answers with the right key{way}"))
            }
            Err(e) => bad(
                "coordinator",
                e.to_string(),
                "check that `warren serve` runs and that UDP passes, or else TCP 443",
            ),
        });
    }
    Ok(checks)
}

/// Are the unreachable routes where they should be?
fn guards(options: &Options, status: Option<&Value>) -> Result<Vec<Check>, Error> {
    let plan = match (status, StateDir::open(&options.state)) {
        // The agent holds the state and looks after the guards itself.
        (Some(_), _) => return Ok(vec![good("guards", "looked after by the agent")]),
        (None, Ok(state)) if state.is_enrolled()? => {
            members_plan(&load(&state)?, &options.interface, options.mtu.unwrap_or(DEFAULT_MTU))?
        }
        _ => return Ok(Vec::new()),
    };
    let runtime = runtime(1)?;
    runtime.block_on(async {
        let host = Host::open(1)?;
        let mut checks = Vec::new();
        for range in &plan.ranges {
            let there = host.netlink().has_unreachable(*range).await?;
            checks.push(match there {
                true => good("guards", format!("{range} is unreachable without the agent")),
                false => bad("guards", format!("{range} has no unreachable route"), "start the agent"),
            });
        }
        Ok(checks)
    })
}

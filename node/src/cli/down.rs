//! `down`: stop the agent, then take everything away that it left in the kernel; guards last.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Said, runtime};
use crate::agent::{FlowFile, Options, load, members_plan};
use crate::error::{Error, Exit};
use crate::host::{Host, Subnets};
use crate::hostdns;
use crate::socket::{Request, ask};
use crate::state::{StateDir, StateError};
use warren_node_core::host::{DEFAULT_MTU, InterfaceName};

/// A stopping agent needs a second or two.
const PATIENCE: Duration = Duration::from_secs(15);

pub fn command(options: &Options) -> Result<Said, Error> {
    let was_running = match ask(&options.socket, &Request::Stop) {
        Ok(_) => true,
        Err(Error::NoAgent(_)) => false,
        Err(e) => return Err(e),
    };
    let state = wait_for(options)?;
    let runtime = runtime(1)?;
    // First, and whatever is lost of the state: without it no name might resolve on this host.
    let given_back = runtime.block_on(hostdns::restore(&InterfaceName::parse(&options.interface)?));
    if !state.is_enrolled()? {
        return Err(Error::NotEnrolled(options.state.clone()));
    }
    let plan = members_plan(&load(&state)?, &options.interface, options.mtu.unwrap_or(DEFAULT_MTU))?;
    let errors =
        runtime.block_on(async { Ok::<_, Error>(Host::open(1)?.carry_out_all(&plan.down()).await) })?;
    let forwarding = runtime.block_on(Subnets::new(&options.run).leave(&plan)).err();
    let errors: Vec<_> = errors.into_iter().chain(forwarding).collect();
    if let Ok(flows) = FlowFile::new(&options.run.join(&options.interface)) {
        flows.remove();
    }
    let given_back = given_back.iter().map(ToString::to_string);
    let failed: Vec<String> = given_back.chain(errors.iter().map(ToString::to_string)).collect();
    let json = json!({ "was_running": was_running, "failed": failed });
    if failed.is_empty() {
        let text =
            "interface, routes and guards are removed; the identity is kept (`warren-node run` starts again)";
        return Ok(Said::ok(json, text));
    }
    let text = format!("not everything could be removed:\n  {}", failed.join("\n  "));
    Ok(Said { json, text, exit: Exit::Finding })
}

/// The state directory is free when the agent has ended.
fn wait_for(options: &Options) -> Result<StateDir, Error> {
    let start = Instant::now();
    loop {
        match StateDir::open(&options.state) {
            Err(StateError::InUse { .. }) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            other => return Ok(other?),
        }
    }
}

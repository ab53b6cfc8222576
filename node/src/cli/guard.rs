//! `guard`: the overlay is shut, from before there is a network until the agent runs.

use serde_json::json;
use warren_node_core::host::DEFAULT_MTU;

use super::{Said, runtime};
use crate::agent::{Options, load, members_plan};
use crate::error::Error;
use crate::host::Host;
use crate::state::{StateDir, StateError};

pub fn command(options: &Options) -> Result<Said, Error> {
    let said = |guarded: bool, text: &str| Ok(Said::ok(json!({ "guarded": guarded }), text));
    let state = match StateDir::open(&options.state) {
        Err(StateError::InUse { .. }) => return said(true, "the agent runs: its guards stand"),
        other => other?,
    };
    // Nobody has told this host of an overlay yet.
    if !state.is_enrolled()? {
        return said(false, "this host is no member of a network: there is nothing to guard");
    }
    let plan = members_plan(&load(&state)?, &options.interface, options.mtu.unwrap_or(DEFAULT_MTU))?;
    runtime(1)?.block_on(async { Host::open(1)?.carry_out(&plan.guards()).await })?;
    said(true, "addresses of the overlay are shut until the agent runs")
}

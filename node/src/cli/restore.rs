//! `dns restore`: this host resolves names as it did before there was an agent.

use serde_json::json;
use warren_node_core::host::InterfaceName;

use super::{Said, runtime};
use crate::agent::Options;
use crate::error::{Error, Exit};
use crate::hostdns;

pub fn command(options: &Options, when_closed: bool) -> Result<Said, Error> {
    let interface = InterfaceName::parse(&options.interface)?;
    if when_closed {
        hostdns::wait_for_end();
    }
    let errors = runtime(1)?.block_on(hostdns::restore(&interface));
    let failed: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let json = json!({ "failed": failed });
    match failed.is_empty() {
        true => Ok(Said::ok(json, "names are resolved on this host as they were before")),
        false => Ok(Said { json, text: failed.join("\n"), exit: Exit::Finding }),
    }
}

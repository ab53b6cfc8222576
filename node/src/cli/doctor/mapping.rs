//! Does the gateway map the port, where that is asked for?

use serde_json::Value;
use warren_node_core::portmap::upnp::Fault;

use super::{Check, bad, good};
use crate::portmap::NO_GATEWAY;

const NAME: &str = "port mapping";

/// From the agent's own account.
pub fn check(status: &Value) -> Check {
    let mapping = &status["port_mapping"];
    if mapping.is_null() {
        return good(
            NAME,
            "off: no gateway is asked (`--port-mapping`); peers find a way through NATs without it",
        );
    }
    let text = |name: &str| mapping[name].as_str().unwrap_or("-");
    let (speech, gateway) = (text("protocol"), text("gateway"));
    if let Some(outside) = mapping["outside"].as_str() {
        let until = match (mapping["endless"].as_bool(), mapping["left_s"].as_u64()) {
            (Some(true), _) => "without end, given back when the agent stops".to_owned(),
            (_, left) => format!("for {} min, renewed before that", left.unwrap_or(0).div_ceil(60)),
        };
        return good(NAME, format!("{outside} outside, granted by {gateway} ({speech}) {until}"));
    }
    match mapping["why"].as_str() {
        None => good(NAME, format!("{gateway} is being asked ({speech})")),
        Some(why) => bad(NAME, format!("not granted: {why} ({speech} at {gateway})"), advice(why)),
    }
}

fn advice(why: &str) -> &'static str {
    match why {
        NO_GATEWAY => "add an IPv4 default route, or run without --port-mapping",
        _ if why == Fault::Nobody.text() => {
            "switch PCP, NAT-PMP or UPnP on at the router, or run without --port-mapping; \
             meanwhile peers are reached through holes in the NAT, or over a relay"
        }
        _ => {
            "let the router map UDP ports for this host (its settings for UPnP or port forwarding), \
             or run without --port-mapping; meanwhile peers are reached through holes in the NAT, or over a relay"
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_gateway_said_is_told_with_what_to_do() {
        let of = |mapping: Value| {
            let check = check(&json!({ "port_mapping": mapping }));
            (check.ok, check.found, check.fix.unwrap_or_default())
        };
        let asked = |more: Value| {
            let mut mapping =
                json!({ "gateway": "192.0.2.1", "protocol": "upnp", "outside": null, "why": null });
            mapping.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            of(mapping)
        };
        let has = |(ok, found, fix): &(bool, String, String), good: bool, words: [&str; 2]| {
            assert!(*ok == good && found.contains(words[0]) && fix.contains(words[1]), "{ok} {found} {fix}");
        };
        has(&of(Value::Null), true, ["off", ""]);
        let granted = json!({ "outside": "203.0.113.5:51820", "left_s": 7_100, "endless": false });
        has(
            &asked(granted.clone()),
            true,
            ["203.0.113.5:51820 outside, granted by 192.0.2.1 (upnp) for 119 min", ""],
        );
        let mut endless = granted;
        endless["endless"] = json!(true);
        has(&asked(endless), true, ["without end", ""]);
        has(&asked(json!({})), true, ["is being asked", ""]);
        has(&asked(json!({ "why": Fault::Nobody.text() })), false, ["answers neither", "switch PCP"]);
        has(&asked(json!({ "why": Fault::Refused(606).text() })), false, ["not permit", "let the router"]);
        has(&asked(json!({ "why": NO_GATEWAY, "gateway": null })), false, ["no IPv4 default", "add an IPv4"]);
    }
}

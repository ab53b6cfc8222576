//! Names on this host: do servers answer, do programs ask in the right place, is nobody else answering?

use serde_json::Value;
use warren_node_core::host::resolv;

use super::{Check, bad, good};
use crate::agent::Options;
use crate::socket::{Reply, Request, ask};

/// Each DNS server that fails, with its own words.
pub fn servers(dns: &Value) -> Vec<Check> {
    let upstreams = dns["upstreams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failing = |u: &&Value| u["failing"].as_u64().is_some_and(|n| n > 0);
    let one = |u: &Value| {
        let text = |name: &str| u[name].as_str().unwrap_or("-").to_owned();
        let fix = "check that its address, port and certificate name are right and that a firewall lets this host out to it; \
                   names are not asked in clear meanwhile";
        bad("names", format!("{} does not answer: {}", text("upstream"), text("last_error")), fix)
    };
    let bad: Vec<Check> = upstreams.iter().filter(failing).map(one).collect();
    match (bad.is_empty(), upstreams.len()) {
        (false, _) => bad,
        (true, 0) => vec![good("names", "the zone only: no encrypted upstream is set for other names")],
        (true, n) => vec![good("names", format!("the zone here, others at {n} encrypted upstream(s)"))],
    }
}

/// Do this host's programs ask where they should?
pub fn hosts_resolver(status: &Value) -> Vec<Check> {
    let host = &status["dns"]["host"];
    if let Some(error) = host["error"].as_str() {
        return vec![bad("resolver", error, "mend it, or choose another way with --dns-host")];
    }
    let mut checks = Vec::new();
    if let Some(refused) = host["refused"].as_u64().filter(|n| *n > 0) {
        let found = format!(
            "{refused} packets of programs that ask DNS servers in clear were refused{}",
            programs(host)
        );
        checks.push(bad(
            "leaks",
            found,
            "let those programs use the system's resolver, or run with --dns-guard off",
        ));
    }
    checks.push(match host["host"].as_str() {
        Some("untouched") => untouched(status),
        Some("resolv.conf") if host["everything"] == false => one_of_several(),
        Some(means) => good("resolver", format!("this host's programs ask here, by {means}")),
        None => good("resolver", "not looked after"),
    });
    checks.extend(containers(host, &bridges()));
    checks
}

/// `: dig (alice), shop (shop) in shop.service`, those that tried most often.
fn programs(host: &Value) -> String {
    let all = host["programs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = all.iter().filter_map(|one| one["program"].as_str()).take(8).collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

/// Bridges of this host, by name.
fn bridges() -> Vec<String> {
    let links = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let bridges = links.filter(|link| link.path().join("bridge").exists());
    let mut names: Vec<String> =
        bridges.map(|link| link.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Engines copy the host's file into containers: what it names must answer there.
fn containers(host: &Value, bridges: &[String]) -> Vec<Check> {
    if host["host"] != "resolv.conf" {
        return Vec::new();
    }
    let answered = host["bridges"].as_array().map(Vec::as_slice).unwrap_or_default();
    let left = bridges.iter().filter(|bridge| !answered.iter().any(|a| a == bridge.as_str()));
    let one = |bridge: &String| {
        let found = format!(
            "containers behind {bridge} that copy /etc/resolv.conf ask this node, and are not answered"
        );
        bad("containers", found, format!("--dns-bridge {bridge}, or give them DNS servers of their own"))
    };
    left.map(one).collect()
}

/// Agents of other networks on this host, by their sockets.
pub fn other_networks(options: &Options, status: &Value) -> Vec<Check> {
    let sockets = std::fs::read_dir(&options.run).into_iter().flatten().flatten().map(|entry| entry.path());
    let others =
        sockets.filter(|path| path.extension().is_some_and(|e| e == "sock") && *path != options.socket);
    let others: Vec<Value> = others
        .filter_map(|path| match ask(&path, &Request::Status) {
            Ok(Reply::Ok(other)) => Some(other),
            _ => None,
        })
        .collect();
    one_zone_twice(status, &others)
}

/// A name can be answered by one of two networks only.
fn one_zone_twice(status: &Value, others: &[Value]) -> Vec<Check> {
    let zone = &status["zone"];
    let same = others.iter().filter(|other| !zone.is_null() && other["zone"] == *zone);
    let one = |other: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let found = format!(
            "the network behind {} has the zone {} too: names in it are answered by one or the other",
            text(&other["interface"]),
            text(zone)
        );
        bad("zone", found, "give one of the networks another `zone` in [dns] of its policy")
    };
    same.map(one).collect()
}

/// Without an agent nobody answers where the host's programs ask.
pub fn orphaned() -> Option<Check> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let found = "/etc/resolv.conf names this node, and no agent answers there: no name resolves";
    resolv::is_ours(&text).then(|| {
        bad("resolver", found, "start the agent, or put the file back with `warren-node dns restore`")
    })
}

/// Programs ask here first, and others may be asked too.
fn one_of_several() -> Check {
    let found = "this host's programs ask here first, by resolv.conf; those with musl (Alpine, static programs) ask the servers \
                 behind this node at the same time, in clear, also for names of the zone";
    let fix = "only if names of the zone must not leave this host: name an `upstream` in [dns] (or --dns-upstream), so that this \
               node answers alone, or run with --dns-host resolved";
    Check { fix: Some(fix.to_owned()), ..good("resolver", found) }
}

/// Nothing was changed by us: perhaps the host's owner did.
fn untouched(status: &Value) -> Check {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers: Vec<String> = resolv::servers(&text);
    let own = |family: &str| status[family].as_str().is_some_and(|ip| servers.iter().any(|s| s == ip));
    if own("v4") || own("v6") {
        return good("resolver", "/etc/resolv.conf names this node");
    }
    let found = format!("programs of this host ask {}, which does not know the zone", servers.join(" and "));
    let fix =
        "only if they need its names: --dns-host resolv.conf or resolved, or name this node's address there";
    Check { fix: Some(fix.to_owned()), ..good("resolver", found) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bad_ones(checks: &[Check]) -> Vec<String> {
        checks
            .iter()
            .filter(|c| !c.ok)
            .map(|c| format!("{} do: {}", c.found, c.fix.as_deref().unwrap_or("?")))
            .collect()
    }

    #[test]
    fn two_networks_with_one_zone_are_found_and_told_what_to_change() {
        let me = json!({ "zone": "prod.internal", "interface": "warren0" });
        let other = |zone: &str| json!({ "zone": zone, "interface": "lab0" });
        assert!(one_zone_twice(&me, &[other("lab.internal"), json!({ "zone": null })]).is_empty());
        let found = bad_ones(&one_zone_twice(&me, &[other("lab.internal"), other("prod.internal")]));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("lab0")
                && found[0].contains("prod.internal")
                && found[0].contains("another `zone`")
        );
        assert!(one_zone_twice(&json!({ "zone": null }), &[json!({ "zone": null })]).is_empty());
    }

    #[test]
    fn that_some_programs_tell_others_names_of_the_zone_is_said_where_others_stand_behind_this_node() {
        let of = |means: &str, everything: bool| {
            let host = json!({ "host": means, "everything": everything, "bridges": bridges() });
            hosts_resolver(&json!({ "dns": { "host": host } })).remove(0)
        };
        let several = of("resolv.conf", false);
        assert!(several.ok && several.found.contains("musl"), "{}", several.found);
        assert!(several.fix.is_some_and(|fix| fix.contains("upstream") && fix.contains("resolved")));
        assert!(of("resolv.conf", true).fix.is_none() && of("resolved", false).fix.is_none());
    }

    #[test]
    fn a_bridge_whose_containers_would_ask_in_vain_is_found_only_where_the_file_is_ours() {
        let all = ["docker0".to_owned(), "lab0".to_owned()];
        let host = |means: &str| json!({ "host": means, "bridges": ["docker0"] });
        let found = bad_ones(&containers(&host("resolv.conf"), &all));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("lab0") && found[0].contains("--dns-bridge lab0"), "{found:?}");
        assert!(containers(&host("resolved"), &all).is_empty());
    }

    #[test]
    fn a_server_that_fails_is_found_with_its_own_words() {
        let server = |failing: u64| json!({ "upstream": "tls://192.0.2.1:853#a", "failing": failing, "last_error": "no route" });
        let found = bad_ones(&servers(&json!({ "upstreams": [server(0), server(2)] })));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("tls://192.0.2.1:853#a") && found[0].contains("no route"), "{found:?}");
    }
}

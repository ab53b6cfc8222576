//! Subnets behind gateways on this host: does what is granted go into the tunnel, does what is served come out of it again?

use serde_json::Value;

use super::{Check, bad, good};

/// From the agent's own account: as one who uses subnets, and as a gateway.
pub fn all(status: &Value, rules: Result<&[Value], &str>) -> Vec<Check> {
    let mut checks = used(status);
    checks.extend(served(status, rules, forwards));
    checks
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or("-").to_owned()
}

fn used(status: &Value) -> Vec<Check> {
    let subnets = list(status, "subnets");
    let mut checks: Vec<Check> = subnets.iter().flat_map(in_the_way).collect();
    if checks.is_empty() && !subnets.is_empty() {
        let routed = subnets.iter().filter(|subnet| subnet["routed"] == true).count();
        checks
            .push(good("subnets", format!("{routed} of {} granted ones go into the tunnel", subnets.len())));
    }
    checks
}

/// A link or a route of this host where the tunnel should be.
fn in_the_way(subnet: &Value) -> Vec<Check> {
    let net = text(subnet, "subnet");
    if let Some(why) = subnet["obstacle"].as_str() {
        let found = format!("{net} is granted to this host and not routed: {why}");
        return vec![bad("subnets", found, text(subnet, "advice"))];
    }
    let part = |part: &Value| {
        let (range, interface) = (text(part, "subnet"), text(part, "interface"));
        let found = format!(
            "{range}, a part of {net} that is granted to this host, goes by {interface} and not into the tunnel"
        );
        bad("subnets", found, format!("if the tunnel is meant: `ip route del {range} dev {interface}`"))
    };
    list(subnet, "elsewhere").iter().map(part).collect()
}

/// Does the kernel forward there now?
fn forwards(family: &str, interface: &str) -> bool {
    let path = format!("/proc/sys/net/{family}/conf/{interface}/forwarding");
    std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "1")
}

fn served(
    status: &Value,
    rules: Result<&[Value], &str>,
    forwards: impl Fn(&str, &str) -> bool,
) -> Vec<Check> {
    let serves = &status["serves"];
    let subnets: Vec<&str> = list(serves, "subnets").iter().filter_map(Value::as_str).collect();
    if subnets.is_empty() {
        return Vec::new();
    }
    let tun = text(status, "interface");
    let mut checks = Vec::new();
    if let Some(trouble) = serves["trouble"].as_str() {
        checks.push(bad("gateway", trouble, "see the message"));
    }
    checks.extend(switches(serves, &tun, forwards));
    match rules {
        Ok(rules) => checks.extend(firewall(rules, &tun, &subnets)),
        Err(why) => {
            checks.push(bad("gateway", format!("the host's rules cannot be read: {why}"), "run as root"));
        }
    }
    if checks.is_empty() {
        checks.push(good("gateway", format!("forwards to {}, in its own name", subnets.join(", "))));
    }
    checks.extend(list(serves, "ways").iter().filter(|way| way["default"] == true).map(by_default));
    checks
}

/// Legitimate where a provider's router knows the subnet; a fault where a cable is missing.
fn by_default(way: &Value) -> Check {
    let found = format!(
        "no link and no route of this host leads to {}: what users send there leaves {}",
        text(way, "subnet"),
        text(way, "text")
    );
    let fix = "only if the subnet should be beside this host: give it an address or a route there";
    Check { fix: Some(fix.to_owned()), ..good("gateway", found) }
}

fn switches(serves: &Value, tun: &str, forwards: impl Fn(&str, &str) -> bool) -> Vec<Check> {
    let is_v6 = |way: &&Value| way["subnet"].as_str().is_some_and(|net| net.contains(':'));
    let ways = list(serves, "ways");
    let mut off: Vec<String> = Vec::new();
    for interface in ways.iter().filter(|way| !is_v6(way)).filter_map(|way| way["interface"].as_str()) {
        let both = [interface, tun].into_iter().filter(|name| !forwards("ipv4", name));
        off.extend(both.map(|name| format!("net.ipv4.conf.{name}.forwarding")));
    }
    if ways.iter().any(|way| is_v6(&way)) && !forwards("ipv6", "all") {
        off.push("net.ipv6.conf.all.forwarding".to_owned());
    }
    off.sort();
    off.dedup();
    let one = |name: String| {
        bad("gateway", format!("{name} is 0: nothing is forwarded"), format!("`sysctl -w {name}=1`"))
    };
    off.into_iter().map(one).collect()
}

/// Are our own rules there, and does anybody else's drop what they let pass?
fn firewall(rules: &[Value], tun: &str, subnets: &[&str]) -> Vec<Check> {
    let own = format!("warren_{tun}_subnets");
    let ours = |rule: &&Value| rule["table"] == own.as_str();
    let masquerades: Vec<String> = rules
        .iter()
        .filter_map(|object| object.get("rule"))
        .filter(ours)
        .map(|rule| rule["expr"].to_string())
        .filter(|text| text.contains("masquerade"))
        .collect();
    let lacking = |net: &&&str| {
        let address = net.split('/').next().unwrap_or(net);
        !masquerades.iter().any(|rule| rule.contains(&format!("\"{address}\"")))
    };
    let mut checks = Vec::new();
    if let Some(net) = subnets.iter().find(lacking) {
        let found = format!(
            "table inet {own} does not masquerade to {net}: hosts there would answer into the void; another program has changed it"
        );
        checks.push(bad(
            "gateway",
            found,
            "let that program leave other tables alone (no `flush ruleset`); the agent puts it back within half a minute",
        ));
    }
    checks.extend(foreign_drops(rules, tun, &own));
    checks
}

/// Chains at the forward hook that drop what they do not name, and do not name the tunnel. A packet passes only if every chain
/// lets it.
fn foreign_drops(rules: &[Value], tun: &str, own: &str) -> Vec<Check> {
    let chains = rules.iter().filter_map(|object| object.get("chain"));
    let at_forward = chains.filter(|chain| chain["hook"] == "forward" && chain["table"] != own);
    let in_chain = |chain: &Value| -> Vec<&Value> {
        let same = |rule: &&Value| {
            ["family", "table"].iter().all(|key| rule[*key] == chain[*key]) && rule["chain"] == chain["name"]
        };
        rules.iter().filter_map(|object| object.get("rule")).filter(same).collect()
    };
    // What is named anywhere in the table may be in a chain that this one jumps to (Docker's DOCKER-USER).
    let named = |chain: &Value| {
        let tables = rules.iter().filter_map(|object| object.get("rule"));
        let mut same = tables.filter(|r| r["table"] == chain["table"] && r["family"] == chain["family"]);
        same.any(|rule| rule["expr"].to_string().contains(&format!("\"{tun}\"")))
    };
    let drops =
        |chain: &Value| chain["policy"] == "drop" || in_chain(chain).iter().any(|rule| refuses_all(rule));
    let one = |chain: &Value| {
        let [family, table, name] = ["family", "table", "name"].map(|key| text(chain, key));
        let found = format!(
            "chain {name} of table {family} {table} drops forwarded packets that it does not name, and {tun} is not named"
        );
        let fix = format!(
            "`nft insert rule {family} {table} {name} iifname {tun} accept` and the same with `oifname`, in that firewall's own settings"
        );
        bad("gateway", found, fix)
    };
    at_forward.filter(|chain| drops(chain) && !named(chain)).map(one).collect()
}

/// A rule without a condition that drops or rejects.
fn refuses_all(rule: &Value) -> bool {
    let parts = list(rule, "expr");
    let ends = |part: &Value| part.get("drop").is_some() || part.get("reject").is_some();
    let silent = |part: &Value| part.get("counter").is_some() || part.get("log").is_some() || ends(part);
    parts.iter().any(ends) && parts.iter().all(silent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bad_ones(checks: &[Check]) -> Vec<String> {
        let bad = checks.iter().filter(|c| !c.ok);
        bad.map(|c| format!("{} do: {}", c.found, c.fix.as_deref().unwrap_or("?"))).collect()
    }

    fn gateway() -> Value {
        json!({ "interface": "warren0", "serves": {
            "subnets": ["192.168.10.0/24"],
            "ways": [{ "subnet": "192.168.10.0/24", "interface": "lan0", "default": false, "text": "by lan0" }],
            "trouble": null,
        }})
    }

    fn rule(table: &str, chain: &str, expr: Value) -> Value {
        json!({ "rule": { "family": "ip", "table": table, "chain": chain, "expr": expr } })
    }

    fn own() -> Value {
        let net = json!({ "prefix": { "addr": "192.168.10.0", "len": 24 } });
        let expr = json!([{ "match": { "op": "==", "left": {}, "right": net } }, { "masquerade": null }]);
        rule("warren_warren0_subnets", "in-the-gateways-name", expr)
    }

    fn asked(status: &Value, rules: &[Value]) -> Vec<String> {
        bad_ones(&served(status, Ok(rules), |_, _| true))
    }

    #[test]
    fn what_stands_where_the_tunnel_should_be_is_said_with_what_to_do() {
        let status = json!({ "subnets": [
            { "subnet": "10.1.0.0/16", "routed": true, "obstacle": null, "elsewhere": [] },
            { "subnet": "10.2.0.0/16", "routed": false, "obstacle": "this host is on it", "advice": "renumber" },
            { "subnet": "10.3.0.0/16", "routed": true, "obstacle": null,
              "elsewhere": [{ "subnet": "10.3.4.0/24", "interface": "eth1" }] },
        ]});
        let found = bad_ones(&used(&status));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("10.2.0.0/16") && found[0].ends_with("do: renumber"));
        assert!(
            found[1].contains("10.3.4.0/24, a part of 10.3.0.0/16")
                && found[1].contains("ip route del 10.3.4.0/24 dev eth1")
        );
        assert!(used(&json!({ "subnets": [] })).is_empty());
    }

    #[test]
    fn a_gateway_as_it_should_be_has_one_good_line_and_a_node_that_is_none_has_no_line() {
        assert!(asked(&gateway(), &[own()]).is_empty());
        assert_eq!(served(&gateway(), Ok(&[own()]), |_, _| true).len(), 1);
        assert!(served(&json!({ "serves": { "subnets": [] } }), Ok(&[]), |_, _| false).is_empty());
    }

    #[test]
    fn a_switch_that_is_off_and_rules_that_are_gone_are_found() {
        let found = bad_ones(&served(&gateway(), Ok(&[own()]), |_, name| name != "lan0"));
        assert_eq!(
            found,
            [
                "net.ipv4.conf.lan0.forwarding is 0: nothing is forwarded do: `sysctl -w net.ipv4.conf.lan0.forwarding=1`"
            ]
        );
        let found = asked(&gateway(), &[]);
        assert!(found.len() == 1 && found[0].contains("does not masquerade to 192.168.10.0/24"), "{found:?}");
        assert!(bad_ones(&served(&gateway(), Err("no right"), |_, _| true))[0].contains("no right"));
    }

    #[test]
    fn a_firewall_that_drops_what_it_does_not_name_is_found() {
        let chain = |policy: &str| json!({ "chain": { "family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": policy } });
        let found = asked(&gateway(), &[own(), chain("drop")]);
        assert!(found.len() == 1 && found[0].contains("chain FORWARD of table ip filter"), "{found:?}");
        assert!(found[0].contains("nft insert rule ip filter FORWARD iifname warren0 accept"), "{found:?}");
        let named = rule(
            "filter",
            "DOCKER-USER",
            json!([{ "match": { "op": "==", "left": {}, "right": "warren0" } }, { "accept": null }]),
        );
        assert!(asked(&gateway(), &[own(), chain("drop"), named]).is_empty());
        assert!(asked(&gateway(), &[own(), chain("accept")]).is_empty());
        let rejects = rule("filter", "FORWARD", json!([{ "counter": {} }, { "reject": null }]));
        assert_eq!(asked(&gateway(), &[own(), chain("accept"), rejects]).len(), 1);
    }

    #[test]
    fn a_subnet_behind_the_default_route_is_told_and_is_no_fault() {
        let mut status = gateway();
        status["serves"]["ways"][0]["default"] = true.into();
        let checks = served(&status, Ok(&[own()]), |_, _| true);
        assert!(checks.iter().all(|check| check.ok) && checks.len() == 2);
        assert!(checks[1].found.contains("no link and no route of this host leads to 192.168.10.0/24"));
    }
}

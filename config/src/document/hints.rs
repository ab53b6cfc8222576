//! What to write instead: for keys that are missing, and for words that people bring from other systems.

/// The line that is missing, by example.
pub(super) fn missing(key: &str, known: &[&str]) -> Option<&'static str> {
    let test = known.contains(&"expect");
    Some(match key {
        "id" => "id = \"a-name\": it stands in records and differences",
        "from" if test => "from = \"tag:NAME\"",
        "to" if test => "to = \"service:NAME\"",
        "from" => "from = [\"tag:NAME\"]",
        "to" => "to = [\"service:NAME\"]",
        "on" => "on = [\"tag:NAME\"]: which nodes offer it",
        "listen" => "listen = [\"tcp/8443\"]",
        "members" => "members = [\"alice@example.com\"]",
        "expect" => "expect = \"allow\" or expect = \"deny\"",
        "node" => "node = \"a-name\"",
        _ => return None,
    })
}

/// Where the thought behind a foreign key belongs.
pub(super) fn elsewhere(key: &str, known: &[&str]) -> Option<&'static str> {
    let grant = known.contains(&"except");
    let hint = match key.to_ascii_lowercase().as_str() {
        "deny" | "action" | "effect" | "block" if grant => {
            "grants only allow, and what none allows is refused: take nodes out with `except`"
        }
        "src" | "source" | "sources" | "who" if grant => "who may open stands in `from`",
        "dst" | "dest" | "destination" | "destinations" | "target" if grant => {
            "where to stands in `to`, by the names of services"
        }
        "port" | "ports" | "proto" | "protocol" | "listen" if grant => {
            "ports stand in `listen` of the [service.NAME] that `to` names"
        }
        "expires" | "expiry" | "not-after" | "valid-until" if grant => "an end stands in `until`",
        "comment" | "description" | "reason" | "note" if grant => "a reason stands in `why`",
        "acl" | "acls" | "rule" | "rules" | "allow" if known.contains(&"grant") => {
            "permissions are written as [[grant]]"
        }
        "subnet" | "subnets" | "routes" | "route" | "cidr" | "address" | "hosts"
            if known.contains(&"via") =>
        {
            "hosts without an agent stand in `addresses`, and who leads to them in `via`"
        }
        "gateway" | "gateways" | "router" | "routers" if known.contains(&"via") => {
            "who leads to `addresses` stands in `via`, e.g. via = [\"tag:gateway\"]"
        }
        "port" | "ports" | "proto" | "protocol" if known.contains(&"listen") => {
            "protocols and ports stand in `listen`, e.g. listen = [\"tcp/8443\"]"
        }
        _ => return None,
    };
    Some(hint)
}

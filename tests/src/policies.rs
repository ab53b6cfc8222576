//! Policy texts for scenarios: three tags, a few services, and the grants a scenario wants.

/// One grant: id, from, to, and the rest of its table as TOML lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: String,
    pub from: String,
    pub to: String,
    pub rest: String,
}

pub fn grant(id: &str, from: &str, to: &str) -> Grant {
    Grant { id: id.to_owned(), from: from.to_owned(), to: to.to_owned(), rest: String::new() }
}

impl Grant {
    pub fn with(mut self, line: &str) -> Grant {
        self.rest.push_str(line);
        self.rest.push('\n');
        self
    }
}

/// Tags every policy of [`policy`] knows.
pub const TAGS: [&str; 4] = ["web", "orders", "db", "ops"];
/// Services every policy of [`policy`] knows: name, offered by, listen.
pub const SERVICES: [(&str, &str, &str); 5] = [
    ("orders", "tag:orders", "\"tcp/8080\", \"tcp/9000-9010\""),
    ("db", "tag:db", "\"tcp/5432\""),
    ("metrics", "tag:web", "\"udp/9100\""),
    ("names", "tag:db", "\"udp/53\", \"tcp/53\""),
    ("ping", "all-nodes", "\"icmp/echo\""),
];

/// Services behind gateways that every policy of [`policy_with_subnets`] knows: name, via, addresses, listen. The second is a host
/// in the first.
pub const BEHIND: [(&str, &str, &str, &str); 3] = [
    ("lan", "tag:gw", "\"192.168.50.0/24\", \"fd50::/64\"", "\"tcp/80\", \"udp/161\", \"icmp/echo\""),
    ("nas", "tag:gw", "\"192.168.50.10\", \"fd50::10\"", "\"tcp/445\""),
    ("plc", "tag:db", "\"10.7.0.0/16\"", "\"tcp/502\""),
];

/// The same with the tag `gw` and services behind gateways.
pub fn policy_with_subnets(grants: &[Grant]) -> String {
    let mut text = policy(grants);
    text.push_str("[tag.gw]\nowners = [\"group:ops\"]\n");
    for (name, via, addresses, listen) in BEHIND {
        text.push_str(&format!(
            "[service.{name}]\nvia = [\"{via}\"]\naddresses = [{addresses}]\nlisten = [{listen}]\n"
        ));
    }
    text
}

/// The text of a policy with these grants.
pub fn policy(grants: &[Grant]) -> String {
    let mut text = "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n".to_owned();
    for tag in TAGS {
        text.push_str(&format!("[tag.{tag}]\nowners = [\"group:ops\"]\n"));
    }
    for (name, on, listen) in SERVICES {
        text.push_str(&format!("[service.{name}]\non = [\"{on}\"]\nlisten = [{listen}]\n"));
    }
    for Grant { id, from, to, rest } in grants {
        text.push_str(&format!(
            "[[grant]]\nid = \"{id}\"\nfrom = [\"{from}\"]\nto = [\"service:{to}\"]\n{rest}"
        ));
    }
    text
}

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

//! The log read as history.

use serde::{Deserialize, Serialize};
use warren_config::time::UnixTime;
use warren_wire::id::{Digest, Revision};

use crate::change::{Change, Entry, LogError, LogHead, Principal};

/// One line of `audit list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditRow {
    pub revision: Revision,
    pub at: UnixTime,
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub principal: Principal,
    /// One sentence per change, without key material.
    pub what: Vec<String>,
    pub kinds: Vec<String>,
    pub hash: Digest,
}

impl AuditRow {
    pub fn of(entry: &Entry) -> AuditRow {
        AuditRow {
            revision: entry.revision(),
            at: entry.body.at,
            principal: entry.body.principal.clone(),
            what: entry.body.changes.iter().map(sentence).collect(),
            kinds: entry.body.changes.iter().map(|c| c.kind().to_owned()).collect(),
            hash: entry.hash,
        }
    }
}

/// Checks the whole chain from `head` on; returns where it ends.
pub fn verify<'a>(head: LogHead, entries: impl IntoIterator<Item = &'a Entry>) -> Result<LogHead, LogError> {
    entries.into_iter().try_fold(head, |head, entry| entry.check(&head).map(|()| entry.head()))
}

fn sentence(change: &Change) -> String {
    match change {
        Change::NetworkFounded { freshness, authorities, .. } => {
            format!("network founded with {} authority key(s), freshness {freshness} s", authorities.len())
        }
        Change::TokenStored { delegation } => match delegation.peek::<warren_wire::statement::Delegation>() {
            Ok(d) => token_sentence(&d),
            Err(e) => format!("token stored ({e})"),
        },
        Change::TokenRevoked { token } => format!("token {token} revoked"),
        Change::NodeAdmitted { token, node, name, .. } => {
            format!("node {name} ({node}) admitted by token {token}")
        }
        Change::ExternalAdmitted { node, name, endpoint, .. } => {
            let place = endpoint.map_or_else(String::new, |at| format!(" at {at}"));
            format!("external device {name} ({node}){place} admitted by the authority")
        }
        Change::FileIssued { node, name, peers, .. } => {
            format!("a file with {} peer(s) issued for external device {name} ({node})", peers.len())
        }
        Change::KeysRenewed { node, .. } => format!("node {node} renewed its WireGuard keys"),
        Change::NodeAmended { node, name, tags, .. } => {
            format!("node {node} is now {name} with tags [{}]", tags.join(", "))
        }
        Change::NodeRevoked { node, name, why, peers, .. } => {
            format!("node {name} ({node}) revoked ({why}); {} peer(s) told", peers.len())
        }
        Change::LeaseEnded { node, name, lease } => {
            format!("node {name} ({node}) taken out: it was away for longer than its lease of {lease} s")
        }
        Change::PolicyApplied { generation, sources, .. } => {
            let files: Vec<&str> = sources.iter().map(|s| s.file.as_str()).collect();
            format!("policy generation {generation} applied from [{}]", files.join(", "))
        }
        Change::EpochRaised { epoch, why } => format!("epoch raised to {epoch}: {why}"),
        Change::AlarmRaised { message, .. } => format!("alarm: {message}"),
        Change::ApiKeyMade { id, name, scope, ends, .. } => {
            let until = ends.map_or_else(|| "revoked".to_owned(), |at| at.to_string());
            format!("API key {name} ({id}) made: scope {}, until {until}", scope.word())
        }
        Change::ApiKeyRevoked { id, name } => format!("API key {name} ({id}) revoked"),
        Change::SessionsEnded { names, count } => {
            format!("{count} session(s) of the page ended: [{}]", names.join(", "))
        }
        Change::RelayAdded { name, token, ends, .. } => {
            format!("relay {name} may come in by token {token} until {ends}")
        }
        Change::RelayEnrolled { name, key } => format!("relay {name} came in with key {key}"),
        Change::RelayPlaced { name, places, doors } => {
            let places: Vec<String> = places.iter().map(ToString::to_string).collect();
            let doors: Vec<String> = doors.iter().flatten().map(ToString::to_string).collect();
            let doors =
                if doors.is_empty() { String::new() } else { format!(", doors: {}", doors.join(", ")) };
            format!("relay {name} is seen at {}{doors}", places.join(", "))
        }
        Change::RelayDrained { name, draining: true } => format!("relay {name} drains"),
        Change::RelayDrained { name, draining: false } => format!("relay {name} may be used again"),
        Change::RelayRemoved { name, .. } => format!("relay {name} removed"),
    }
}

fn token_sentence(d: &warren_wire::statement::Delegation) -> String {
    let name = match (d.name.as_str(), d.name_prefix.as_str()) {
        ("", "") => "any free name".to_owned(),
        ("", prefix) => format!("names beginning with {prefix}"),
        (name, _) => format!("name {name}"),
    };
    let key =
        warren_wire::id::IdentityKey::from_slice(&d.token_key).map(|k| k.to_string()).unwrap_or_default();
    let until = UnixTime(d.not_after);
    let lease = if d.lease == 0 { String::new() } else { format!(", lease {} s", d.lease) };
    format!(
        "token {key} stored: tags [{}], {name}, {} use(s), until {until}{lease}",
        d.tags.join(", "),
        d.uses
    )
}

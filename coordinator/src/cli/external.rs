//! `warren node add-external` and `external-file`: a device that runs no agent, and the one thing it is ever told, its
//! `wg-quick` file.
//!
//! The file decides to whom the device will send its packets, so every key in it was signed for the node whose addresses
//! stand beside it; a coordinator's word is taken only for where the nodes are. The device's private key is never here.

use std::net::SocketAddr;

use serde_json::json;
use warren_config::name::Name;
use warren_config::time::UnixTime;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::external::{ExternalRow, FilePeer};
use warren_wire::id::WgKey;
use warren_wire::issue::{self, Place};
use warren_wire::trust::{Member, external_id};

use super::args::{AddExternalArgs, AuthorityArg, PlaceArgs};
use super::{Context, Failure, Outcome, output, vouch};
use crate::api::types::{Committed, NodeFile, Offered};
use crate::authority::Authority;
use crate::client::url;
use crate::clock;
use crate::network::NetworkInfo;

/// Seconds between the packets that keep a NAT open towards a device that nobody else can begin with.
const KEEPALIVE: u32 = 25;

pub async fn add(context: &Context, args: &AddExternalArgs) -> Outcome {
    let (network, authority) = context.authority(&args.authority.authority).await?;
    let id = external_id(&network.network, &args.public_key);
    let short: String = id.to_string().chars().take(8).collect();
    let name = match &args.name {
        Some(name) => name.clone(),
        None => Name::parse(&format!("external-{short}")).map_err(|e| Failure::of_usage(&e))?,
    };
    let query = [("key", Some(args.public_key.to_string())), ("name", Some(name.to_string()))];
    let offered: Offered = context.client.get(&url(&["v1", "externals", "offer"], &query)).await?;
    vouch::offered(&vouch::network(&authority, &offered.charter)?, &offered.addresses)?;
    let place = Place {
        name,
        tags: args.tags.iter().cloned().collect(),
        v4: offered.addresses.v4,
        v6: offered.addresses.v6,
        enrolled: clock::now(),
    };
    let external = issue::external(&network.network, &place, &args.public_key, authority.key());
    let command = Command::AddExternal { external, endpoint: args.endpoint };
    let _: Committed = context.client.post("/v1/commands", &command).await?;
    issue_file(context, &network, &authority, &id.to_string(), |_| args.endpoint).await
}

pub async fn file(context: &Context, authority: &AuthorityArg, who: &str, place: &PlaceArgs) -> Outcome {
    let (network, authority) = context.authority(&authority.authority).await?;
    let endpoint = |known: Option<SocketAddr>| match place.no_endpoint {
        true => None,
        false => place.endpoint.or(known),
    };
    issue_file(context, &network, &authority, who, endpoint).await
}

/// Recorded before it is shown: from then on the network keeps to it.
async fn issue_file(
    context: &Context,
    network: &NetworkInfo,
    authority: &Authority,
    who: &str,
    endpoint: impl FnOnce(Option<SocketAddr>) -> Option<SocketAddr>,
) -> Outcome {
    let answer: NodeFile = context.client.get(&url(&["v1", "nodes", who, "file"], &[])).await?;
    let (device, members) = vouch::file(authority, &answer, who)?;
    let places = answer.peers.iter().map(|peer| peer.endpoint);
    let peers = members.iter().zip(places).map(|(member, endpoint)| Line::of(member, endpoint));
    let sheet = Sheet {
        network: &network.name,
        device: &device,
        endpoint: endpoint(answer.endpoint),
        peers: peers.collect::<Result<_, _>>()?,
        at: clock::now(),
    };
    let command = Command::IssueFile {
        node: device.id,
        endpoint: sheet.endpoint,
        peers: sheet.peers.iter().map(Line::filed).collect(),
    };
    let done: Committed = context.client.post("/v1/commands", &command).await?;
    let text = sheet.text();
    if context.json {
        output::json(&json!({
            "node": device.id, "name": device.name(), "v4": device.v4, "v6": device.v6, "endpoint": sheet.endpoint,
            "peers": sheet.peers.iter().map(Line::filed).collect::<Vec<_>>(), "file": text, "revision": done.revision,
        }));
        return Ok(());
    }
    output::line(text.trim_end());
    output::error_line(&sheet.note());
    Ok(())
}

/// One `[Peer]`.
struct Line<'a> {
    member: &'a Member,
    key: WgKey,
    endpoint: Option<SocketAddr>,
}

impl<'a> Line<'a> {
    fn of(member: &'a Member, endpoint: Option<SocketAddr>) -> Result<Line<'a>, Failure> {
        let key = member.lanes.first().copied();
        let key =
            key.ok_or_else(|| Failure::finding(format!("node {} has no WireGuard key", member.name())))?;
        Ok(Line { member, key, endpoint })
    }

    fn filed(&self) -> FilePeer {
        FilePeer { node: self.member.id, key: self.key, endpoint: self.endpoint }
    }
}

struct Sheet<'a> {
    network: &'a str,
    device: &'a Member,
    endpoint: Option<SocketAddr>,
    peers: Vec<Line<'a>>,
    at: UnixTime,
}

impl Sheet<'_> {
    fn text(&self) -> String {
        let (name, id, at) = (self.device.name(), self.device.id, self.at);
        let network = crate::text::plain(self.network, 253);
        let mut text = format!("# {name} ({id}) in the Warren network {network}, issued {at}\n[Interface]\n");
        let key = self.device.lanes.first().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!(
            "# The private key that belongs to {key}; it never left the device.\n\
             # wg-quick on Linux can take it from a file instead: PostUp = wg set %i private-key /etc/wireguard/%i.key\n\
             PrivateKey = PUT-THE-PRIVATE-KEY-OF-THIS-DEVICE-HERE\n"
        ));
        text.push_str(&format!("Address = {}\n", addresses(self.device)));
        if let Some(endpoint) = self.endpoint {
            text.push_str(&format!("ListenPort = {}\n", endpoint.port()));
        }
        self.peers.iter().for_each(|peer| text.push_str(&self.peer(peer)));
        text
    }

    fn peer(&self, peer: &Line<'_>) -> String {
        let mut text = format!("\n# {}\n[Peer]\nPublicKey = {}\n", peer.member.name(), peer.key);
        match peer.endpoint {
            Some(endpoint) => text.push_str(&format!("Endpoint = {endpoint}\n")),
            None => {
                text.push_str("# Where this node is was not known: it must begin, or issue the file again.\n")
            }
        }
        text.push_str(&format!("AllowedIPs = {}\n", addresses(peer.member)));
        if self.endpoint.is_none() {
            text.push_str(&format!("PersistentKeepalive = {KEEPALIVE}\n"));
        }
        text
    }

    fn note(&self) -> String {
        let name = self.device.name();
        let mut note = match self.peers.len() {
            0 => format!(
                "no grant joins {name} to any node: the file has no peer; apply a policy, then issue it again"
            ),
            n => format!("{name} is joined to {n} node(s); the same policy holds for it, enforced by them"),
        };
        note.push_str(&format!("\nput the file on the device, and its private key into it there; `warren status` says when it is stale, `warren node external-file {name}` issues a new one"));
        note
    }
}

fn addresses(member: &Member) -> String {
    let list = member.addresses().map(|address| match address {
        std::net::IpAddr::V4(v4) => format!("{v4}/32"),
        std::net::IpAddr::V6(v6) => format!("{v6}/128"),
    });
    list.collect::<Vec<_>>().join(", ")
}

/// The part of `node show` that only such a device has.
pub fn show(row: &ExternalRow) {
    let file = match row.issued {
        Some(at) => format!("issued {at} with {} peer(s)", row.peers.len()),
        None => "none was issued".to_owned(),
    };
    output::pairs(&[
        ("endpoint", output::or_dash(row.endpoint.map(|at| at.to_string()))),
        ("file", file),
        ("stale", output::or_dash(Some(row.stale.join("; ")))),
    ]);
}

//! `warren node`: who is in, and the authority's changes to them.

use serde_json::json;
use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_coordinator_core::command::Command;
use warren_coordinator_core::doors::Transport;
use warren_coordinator_core::status::NodeRow;
use warren_wire::issue;
use warren_wire::trust::Member;

use super::args::{AuthorityArg, NodeCommand, NodeTagArgs};
use super::duration::short;
use super::{Context, Failure, Outcome, external, output, vouch};
use crate::api::types::Committed;
use crate::authority::Authority;
use crate::client::url;
use crate::clock;
use crate::network::NetworkInfo;

pub async fn run(context: &Context, command: NodeCommand) -> Outcome {
    match command {
        NodeCommand::List { revoked } => list(context, revoked).await,
        NodeCommand::Show { node } => show(context, &node).await,
        NodeCommand::Tag(args) => tag(context, &args).await,
        NodeCommand::Rename { authority, node, new_name } => {
            let (network, authority) = context.authority(&authority.authority).await?;
            let member = vouch::member(context, &authority, &node).await?;
            let subject = Subject { name: new_name, tags: member.tags().clone() };
            amend(context, &network, &authority, &member, subject).await
        }
        NodeCommand::AddExternal(args) => external::add(context, &args).await,
        NodeCommand::ExternalFile { authority, node, place } => {
            external::file(context, &authority, &node, &place).await
        }
        NodeCommand::Revoke { authority, node, why } => revoke(context, &authority, &node, &why).await,
    }
}

async fn find(context: &Context, who: &str) -> Result<NodeRow, Failure> {
    Ok(context.client.get(&url(&["v1", "nodes", who], &[])).await?)
}

async fn list(context: &Context, revoked: bool) -> Outcome {
    let query = [("revoked", revoked.then(|| "true".to_owned()))];
    let rows: Vec<NodeRow> = context.client.get(&url(&["v1", "nodes"], &query)).await?;
    if context.json {
        output::json(&rows);
        return Ok(());
    }
    super::status::warn_if_observing(context).await?;
    let cells = rows.iter().map(|n| {
        vec![
            n.name.clone(),
            presence(n),
            output::or_dash(Some(n.tags.join(","))),
            output::or_dash(n.v4.map(|a| a.to_string())),
            n.v6.to_string(),
            n.enforced.map_or_else(|| "-".to_owned(), |p| p.generation.to_string()),
            n.peers.to_string(),
            n.id.to_string(),
        ]
    });
    let head = ["NODE", "STATE", "TAGS", "IPV4", "IPV6", "ENFORCES", "PEERS", "ID"];
    output::table(
        &head,
        cells.collect(),
        "no nodes: make a token with `warren token create`, then `warren-node up` on a host",
    );
    Ok(())
}

fn presence(node: &NodeRow) -> String {
    let age = |since: Option<warren_config::time::UnixTime>| since.map(|s| short(clock::now().since(s)));
    match (node.revoked, node.online, age(node.since)) {
        (Some(at), _, _) => format!("revoked {at}"),
        _ if node.external.as_ref().is_some_and(|e| !e.stale.is_empty()) => "external, file stale".to_owned(),
        _ if node.external.is_some() => "external".to_owned(),
        (None, true, Some(age)) => format!("online {age}{}", through(node)),
        (None, false, age) if node.lease_ends.is_some() => {
            let left = node.lease_ends.map(|end| short(end.since(clock::now()))).unwrap_or_default();
            format!(
                "{}, out in {left}",
                age.map_or_else(|| "not seen".to_owned(), |age| format!("away {age}"))
            )
        }
        (None, false, Some(age)) => format!("away {age}"),
        (None, true, None) => "online".to_owned(),
        (None, false, None) => "not seen".to_owned(),
    }
}

fn channel(by: Transport) -> &'static str {
    match by {
        Transport::Udp => "UDP",
        Transport::Quic => "a door, in QUIC datagrams",
        Transport::WebSocket => "a door, in a WebSocket over TLS",
    }
}

/// UDP is what is usual.
fn through(node: &NodeRow) -> String {
    match node.transport {
        None | Some(Transport::Udp) => String::new(),
        Some(door) => format!(", by {}", door.word()),
    }
}

async fn show(context: &Context, who: &str) -> Outcome {
    let node = find(context, who).await?;
    if context.json {
        output::json(&node);
        return Ok(());
    }
    let progress = |p: Option<warren_coordinator_core::status::Progress>| {
        p.map_or_else(
            || "-".to_owned(),
            |p| format!("generation {}, revision {}, {}", p.generation, p.revision, p.at),
        )
    };
    let list = |items: Vec<String>| output::or_dash(Some(items.join(", ")));
    output::pairs(&[
        ("name", node.name.clone()),
        ("id", node.id.to_string()),
        ("state", presence(&node)),
        ("tags", list(node.tags.clone())),
        (
            "addresses",
            list(node.v4.map(|a| a.to_string()).into_iter().chain([node.v6.to_string()]).collect()),
        ),
        ("offers", list(node.offers.clone())),
        ("leads to", list(node.leads_to.clone())),
        ("peers", node.peers.to_string()),
        ("seen at", output::or_dash(node.seen_at.map(|a| a.to_string()))),
        ("channel", output::or_dash(node.transport.map(|by| channel(by).to_owned()))),
        ("endpoints", list(node.endpoints.iter().map(ToString::to_string).collect())),
        ("sent", progress(node.sent)),
        ("enforced", progress(node.enforced)),
        ("agent", output::or_dash(node.agent.clone())),
        (
            "enrolled",
            match node.token {
                Some(token) => format!("{} by token {token}", node.enrolled),
                None => format!("{} by the authority", node.enrolled),
            },
        ),
        ("identity", output::or_dash(node.identity.map(|key| key.to_string()))),
        (
            "wireguard",
            format!(
                "{} (serial {})",
                list(node.wireguard.iter().map(ToString::to_string).collect()),
                node.key_serial
            ),
        ),
        ("amended", format!("serial {}", node.amendment_serial)),
    ]);
    node.external.iter().for_each(external::show);
    Ok(())
}

async fn tag(context: &Context, args: &NodeTagArgs) -> Outcome {
    let editing = !args.add.is_empty() || !args.remove.is_empty();
    if args.tags.is_empty() && !editing && !args.none {
        return Err(Failure::usage(
            "say which tags: all of them, or `--add TAG`, `--remove TAG`, or `--none`",
        ));
    }
    let (network, authority) = context.authority(&args.authority.authority).await?;
    let member = vouch::member(context, &authority, &args.node).await?;
    let mut tags = if editing { member.tags().clone() } else { args.tags.iter().cloned().collect() };
    for gone in &args.remove {
        if !tags.remove(gone) {
            return Err(Failure::finding(format!(
                "node {} does not wear tag `{gone}`: nothing was changed",
                member.name()
            )));
        }
    }
    tags.extend(args.add.iter().cloned());
    let subject = Subject { name: member.name().clone(), tags };
    amend(context, &network, &authority, &member, subject).await
}

async fn amend(
    context: &Context,
    network: &NetworkInfo,
    authority: &Authority,
    member: &Member,
    subject: Subject,
) -> Outcome {
    let serial = member.amendment_serial.saturating_add(1);
    let amendment = issue::amendment(&network.network, member.id, serial, &subject, authority.key());
    let command = Command::AmendNode { node: member.id, amendment };
    let done: Committed = context.client.post("/v1/commands", &command).await?;
    let tags: Vec<&str> = subject.tags.iter().map(Name::as_str).collect();
    match context.json {
        true => output::json(
            &json!({ "node": member.id, "name": subject.name, "tags": tags, "revision": done.revision }),
        ),
        false => output::line(&format!(
            "node {} is now {} with tags [{}] (revision {})",
            member.name(),
            subject.name,
            tags.join(", "),
            done.revision
        )),
    }
    Ok(())
}

async fn revoke(context: &Context, authority: &AuthorityArg, who: &str, why: &str) -> Outcome {
    let (network, authority) = context.authority(&authority.authority).await?;
    let member = vouch::member(context, &authority, who).await?;
    let revocation = issue::revocation(&network.network, member.id, clock::now(), why, authority.key());
    let done: Committed = context.client.post("/v1/commands", &Command::RevokeNode { revocation }).await?;
    match context.json {
        true => output::json(&json!({ "node": member.id, "name": member.name(), "revision": done.revision })),
        false => output::line(&format!(
            "node {} ({}) is revoked (revision {}); its peers are being told",
            member.name(),
            member.id,
            done.revision
        )),
    }
    Ok(())
}

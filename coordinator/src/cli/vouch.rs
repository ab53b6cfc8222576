//! What the authority signed before, checked before it signs more. A command asks the coordinator about a node or an old
//! policy; whoever answers for the coordinator may lie, and what is signed here counts everywhere. So nothing goes from
//! an answer into a signature that the authority's own key has not vouched for.
//!
//! One thing cannot be seen from here: an answer that is true but old. Commands show what they signed.

use std::net::IpAddr;

use warren_config::item::ItemTree;
use warren_config::resolve::{Source, resolve};
use warren_coordinator_core::external::ExternalOffer;
use warren_coordinator_core::query::PolicyText;
use warren_wire::id::{Epoch, Generation};
use warren_wire::signed::Signed;
use warren_wire::trust::{Member, Network, Record, SignedPolicy, Trust};

use super::{Context, Failure};
use crate::api::types::{NodeFile, NodeRecord};
use crate::authority::Authority;
use crate::client::url;

fn roots(authority: &Authority) -> Trust {
    Trust { network: authority.network, authorities: vec![authority.public()] }
}

fn lie(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::finding(format!(
        "the coordinator's answer about {what} is not what this authority signed ({why}): nothing was signed or changed; make sure that the true coordinator answers at this socket, and look at `warren audit verify`"
    ))
}

/// The node that was named, with the name, tags and serials that were signed.
pub async fn member(context: &Context, authority: &Authority, who: &str) -> Result<Member, Failure> {
    let shown = crate::text::plain(who, 80);
    let what = format!("node `{shown}`");
    let answer: NodeRecord = context.client.get(&url(&["v1", "nodes", who, "record"], &[])).await?;
    let charter = Signed::from_base64(&answer.charter).map_err(|e| lie(&what, &e))?;
    let record = Record::from_base64(&answer.record).map_err(|e| lie(&what, &e))?;
    let trust = roots(authority);
    let network = trust.network(&charter).map_err(|e| lie(&what, &e))?;
    let member = trust.member(&network, &record).map_err(|e| lie(&what, &e))?;
    match is_named(&member, who) {
        true => Ok(member),
        false => Err(lie(&what, &format!("it speaks of node {} ({})", member.name(), member.id))),
    }
}

/// The ranges that addresses must lie in, as the authority signed them.
pub fn network(authority: &Authority, charter: &str) -> Result<Network, Failure> {
    let charter = Signed::from_base64(charter).map_err(|e| lie("the network", &e))?;
    roots(authority).network(&charter).map_err(|e| lie("the network", &e))
}

/// A device and the nodes its file is to name: each with the key that was signed for it.
pub fn file(authority: &Authority, answer: &NodeFile, who: &str) -> Result<(Member, Vec<Member>), Failure> {
    let what = format!("the file for `{}`", crate::text::plain(who, 80));
    let network = network(authority, &answer.charter)?;
    let member = |record: &str| {
        let record = Record::from_base64(record).map_err(|e| lie(&what, &e))?;
        roots(authority).member(&network, &record).map_err(|e| lie(&what, &e))
    };
    let device = member(&answer.record)?;
    if !is_named(&device, who) || !device.is_external() {
        return Err(lie(&what, &format!("it speaks of node {} ({})", device.name(), device.id)));
    }
    let peers = answer.peers.iter().map(|peer| member(&peer.record)).collect::<Result<Vec<_>, _>>()?;
    match peers.iter().find(|peer| peer.is_external()) {
        None => Ok((device, peers)),
        Some(peer) => Err(lie(&what, &format!("its peer {} has no agent either", peer.name()))),
    }
}

/// What the coordinator proposes for a device that is not in yet.
pub fn offered(network: &Network, addresses: &ExternalOffer) -> Result<(), Failure> {
    let foreign =
        addresses.v4.map(IpAddr::V4).filter(|_| addresses.v4.is_some_and(|a| !network.allows_v4(a)));
    let foreign = foreign.or(Some(IpAddr::V6(addresses.v6)).filter(|_| !network.allows_v6(addresses.v6)));
    match foreign {
        None => Ok(()),
        Some(address) => Err(lie("free addresses", &format!("{address} is outside the network's ranges"))),
    }
}

/// By name, id or overlay address, as the coordinator looks it up.
fn is_named(member: &Member, who: &str) -> bool {
    let who = who.strip_prefix("node:").unwrap_or(who);
    member.name().as_str() == who
        || who.parse().is_ok_and(|id: warren_wire::id::NodeId| id == member.id)
        || who.parse().is_ok_and(|address: IpAddr| member.addresses().any(|a| a == address))
}

/// Most restores of a network that never had a policy.
const MAX_EPOCH_WITHOUT_POLICY: Epoch = 1000;

fn signed_head(
    authority: &Authority,
    text: &PolicyText,
    what: &str,
    asked: Option<Generation>,
) -> Result<SignedPolicy, Failure> {
    let head = Signed::from_base64(&text.head).map_err(|e| lie(what, &e))?;
    let signed = roots(authority).policy(&head).map_err(|e| lie(what, &e))?;
    match signed.generation == asked.unwrap_or(signed.generation) {
        true => Ok(signed),
        false => Err(lie(what, &format!("it is generation {}", signed.generation))),
    }
}

/// The numbers the next policy follows were signed too: nodes never go back below one, so that one signature over a
/// great number would leave none for later.
pub async fn numbers(
    context: &Context,
    authority: &Authority,
    epoch: Epoch,
    current: Generation,
) -> Result<(), Failure> {
    let what = format!("policy generation {current} of epoch {epoch}");
    if current == 0 {
        return match epoch <= MAX_EPOCH_WITHOUT_POLICY {
            true => Ok(()),
            false => Err(lie(&what, &"no network was restored so often")),
        };
    }
    // That one and not the newest: somebody else may apply at the same time.
    let query = [("generation", Some(current.to_string()))];
    let text: PolicyText = context.client.get(&url(&["v1", "policy"], &query)).await?;
    match signed_head(authority, &text, &what, Some(current))?.epoch {
        signed if signed == epoch => Ok(()),
        signed => Err(lie(&what, &format!("it was signed in epoch {signed}"))),
    }
}

/// Is this the text of that generation, as it was signed?
pub fn policy(authority: &Authority, text: &PolicyText, asked: Option<Generation>) -> Result<(), Failure> {
    let what = format!("policy generation {}", asked.unwrap_or(text.generation));
    let signed = signed_head(authority, text, &what, asked)?;
    let sources: Vec<Source> = text.sources.iter().map(Source::from).collect();
    let resolved = resolve(&sources).map_err(|_| {
        Failure::finding(format!("{what} cannot be read by this version: use the version that applied it"))
    })?;
    let tree = ItemTree::new(&resolved.policy);
    match (tree.root(), tree.len()) == (signed.root, signed.items) {
        true => Ok(()),
        false => Err(lie(&what, &"its text does not give the signed root")),
    }
}

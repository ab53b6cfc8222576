//! The laws, checked after every step. Each says in words what was broken; the world adds the seed and the time.
//!
//! Checked at every delivery: [`Laws::delivered`]. At every publication: [`numbers_never_decrease`]. At every commit and
//! every start of the coordinator: [`crate::model::Model::learn`]. At every connection: no revision and no delta for others.
//! Once the world is quiet: views, symmetry, flow records, and that what is allowed arrives.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use warren_config::policy::Protocol;
use warren_wire::id::{Epoch, Generation, NodeId, Revision};

use crate::model::{Model, Moment};
use crate::packet::{ACK, SYN, Seen, What};

/// Who enforces what, at the end that received something.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    pub node: NodeId,
    pub when: Moment,
}

/// Protocol, opener's end and the other end; for echo the port of the opener is the identifier.
type Opening = (NodeId, u8, SocketAddr, SocketAddr);

#[derive(Debug, Default)]
pub struct Laws {
    /// What each host has sent that opens a flow.
    opened: BTreeSet<Opening>,
    /// SYNs that were delivered: a segment of a connection nobody was asked for is never delivered.
    asked: BTreeSet<Opening>,
}

/// Protocol, its number, ends as the opener of the flow would have them, if this packet opens one or goes the same way.
fn forward(seen: &Seen) -> Option<(Protocol, u8, SocketAddr, SocketAddr)> {
    Some(match seen.what {
        What::Tcp { .. } => (Protocol::Tcp, 6, seen.from, seen.to),
        What::Udp => (Protocol::Udp, 17, seen.from, seen.to),
        What::Ping { id } => (Protocol::IcmpEcho, 1, SocketAddr::new(seen.from.ip(), id), seen.to),
        What::Other(number) => (Protocol::Number(number), number, seen.from, seen.to),
        What::Pong { .. } | What::Error { .. } => return None,
    })
}

/// The same for a packet that goes against the direction of its flow.
fn backward(seen: &Seen) -> Option<(Protocol, u8, SocketAddr, SocketAddr)> {
    Some(match seen.what {
        What::Tcp { .. } => (Protocol::Tcp, 6, seen.to, seen.from),
        What::Udp => (Protocol::Udp, 17, seen.to, seen.from),
        What::Pong { id } => (Protocol::IcmpEcho, 1, SocketAddr::new(seen.to.ip(), id), seen.from),
        What::Other(number) => (Protocol::Number(number), number, seen.to, seen.from),
        What::Ping { .. } | What::Error { .. } => return None,
    })
}

fn is_opening(seen: &Seen) -> bool {
    match seen.what {
        What::Tcp { flags, .. } => flags & (SYN | ACK) == SYN,
        What::Udp | What::Ping { .. } | What::Other(_) => true,
        What::Pong { .. } | What::Error { .. } => false,
    }
}

impl Laws {
    /// A host hands a packet to its agent.
    pub fn sent(&mut self, node: NodeId, seen: &Seen) {
        if let Some((_, number, from, to)) = forward(seen).filter(|_| is_opening(seen)) {
            self.opened.insert((node, number, from, to));
        }
    }

    /// A packet that `origin` put on the underlay was given to the receiver's host.
    ///
    /// # Errors
    /// The law it breaks.
    pub fn delivered(
        &mut self,
        model: &Model,
        receiver: Receiver,
        origin: NodeId,
        seen: &Seen,
    ) -> Result<(), String> {
        inner_source_belongs_to_the_sender(model, receiver, origin, seen)?;
        revoked_nodes_deliver_nothing(model, receiver, origin)?;
        if let What::Error { quoted } = seen.what {
            return error_is_about_a_packet_of_ours(model, receiver, quoted);
        }
        let (me, when) = (receiver.node, receiver.when);
        let ahead = forward(seen).is_some_and(|(protocol, number, from, to)| {
            let opening = (me, number, from, to);
            let asked = is_opening(seen) || self.asked.contains(&opening);
            let passes = asked && opens(model, when, (&origin, from), (&me, to), protocol);
            if passes && is_opening(seen) {
                self.asked.insert(opening);
            }
            passes
        });
        let back = backward(seen).is_some_and(|(protocol, number, from, to)| {
            self.opened.contains(&(me, number, from, to))
                && opens(model, when, (&me, from), (&origin, to), protocol)
        });
        if ahead || back {
            return Ok(());
        }
        Err(format!(
            "nothing is delivered that the oracle denies: {me} got {:?} from {origin} ({} to {}) at {when:?}",
            seen.what, seen.from, seen.to
        ))
    }
}

/// May `from`, at its own address, open this at `to`, or at a host behind it? A host behind a gateway opens nothing.
fn opens(
    model: &Model,
    when: Moment,
    (from, own): (&NodeId, SocketAddr),
    (to, at): (&NodeId, SocketAddr),
    protocol: Protocol,
) -> bool {
    model.holder(own.ip()) == Some(*from)
        && match model.holder(at.ip()) {
            Some(_) => model.allows(when, from, to, protocol, at.port()),
            None => model.allows_behind(when, from, (to, at.ip()), protocol, at.port()),
        }
}

fn inner_source_belongs_to_the_sender(
    model: &Model,
    receiver: Receiver,
    origin: NodeId,
    seen: &Seen,
) -> Result<(), String> {
    let (from, to) = (seen.from.ip(), seen.to.ip());
    // A gateway speaks for what is behind it to those who are granted something there, and is spoken to about that.
    let source = match model.holder(from) {
        Some(holder) => holder == origin,
        None => model.leads(receiver.when, &receiver.node, &origin, from),
    };
    let target = match model.holder(to) {
        Some(holder) => holder == receiver.node,
        None => model.leads(receiver.when, &origin, &receiver.node, to),
    };
    if source && target {
        return Ok(());
    }
    Err(format!(
        "inner source belongs to the sender: {origin} delivered {} to {} at {}",
        seen.from, seen.to, receiver.node
    ))
}

fn revoked_nodes_deliver_nothing(model: &Model, receiver: Receiver, origin: NodeId) -> Result<(), String> {
    match model.revoked.get(&origin) {
        Some(at) if *at <= receiver.when.revision => Err(format!(
            "a revoked node delivers nothing: {origin}, revoked at {at}, reached {} at {:?}",
            receiver.node, receiver.when
        )),
        _ => Ok(()),
    }
}

fn error_is_about_a_packet_of_ours(
    model: &Model,
    receiver: Receiver,
    quoted: Option<(u8, SocketAddr, SocketAddr)>,
) -> Result<(), String> {
    let ours = quoted.is_some_and(|(_, from, _)| model.holder(from.ip()) == Some(receiver.node));
    if ours {
        Ok(())
    } else {
        Err(format!("an ICMP error quotes what {} never sent: {quoted:?}", receiver.node))
    }
}

pub type Numbers = (Epoch, Revision, Generation);

/// # Errors
/// If a node enforces something older than before.
pub fn numbers_never_decrease(node: &str, before: Option<Numbers>, now: Numbers) -> Result<(), String> {
    match before {
        Some(before) if before.0 > now.0 || before.1 > now.1 || before.2 > now.2 => Err(format!(
            "epoch, revision and generation never decrease: {node} went from {before:?} to {now:?}"
        )),
        _ => Ok(()),
    }
}

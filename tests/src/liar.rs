//! A coordinator that holds everything on its disk and its online key, but not the authority's: it may say whatever it
//! likes, to one real node. Built on `warren-wire` alone, so that no honest coordinator's scruples are in the way.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use warren_config::item::{Item, ItemTree};
use warren_node_core::clock::Mono;
use warren_node_core::control::enrolment::Membership;
use warren_wire::frame::{
    CoordinatorSays, Decoder, MAX_FRAME, NodeSays, ToCoordinator, ToNode, Welcome, encode,
};
use warren_wire::issue::State;
use warren_wire::revocation;
use warren_wire::roll::Roll;
use warren_wire::signed::Signed;
use warren_wire::specimen::{SpecimenNetwork, SpecimenNode};
use warren_wire::view::{Body, DELTA_BYTES, Entry, ProvenItem, View, cut};

use crate::administrator::{COORDINATOR, resolved};
use crate::agent::{Agent, Birth, Effect, Workers};
use crate::clock::{SECOND, mono, wall, wall_ms};
use crate::disk::Disk;
use crate::laws::Numbers;

/// Life of the freshness it signs, seconds.
pub const LIFE: u64 = 600;

/// What the coordinator has on its disk.
pub struct Liar {
    pub net: SpecimenNetwork,
    pub me: SpecimenNode,
    policies: BTreeMap<u64, (ItemTree, Signed)>,
    revoked: Vec<Signed>,
    /// As freshness speaks of it; in views it is what they put there.
    pub roll: Roll,
}

impl Liar {
    /// `me` is the node it lies to; `texts` are the policies the authority signed, generation 1 first.
    pub fn new(net: SpecimenNetwork, me: SpecimenNode, texts: &[String]) -> Liar {
        let signed = |(text, generation): (&String, u64)| {
            let tree = ItemTree::new(&resolved(text));
            let head = net.policy_head(generation, tree.root(), tree.len());
            (generation, (tree, head))
        };
        let policies = texts.iter().zip(1..).map(signed).collect();
        let roll = Roll::new(*net.id());
        Liar { net, me, policies, revoked: Vec::new(), roll }
    }

    pub fn policy_head(&self, generation: u64) -> Signed {
        self.policies[&generation].1.clone()
    }

    /// Items of a generation that a node would be given, each with its proof.
    pub fn items(&self, generation: u64) -> Vec<ProvenItem> {
        let tree = &self.policies[&generation].0;
        let concerns = |item: &Item| matches!(item, Item::Settings(_) | Item::Service(_) | Item::Grant(_));
        let numbered = tree.items().iter().zip(0u64..).filter(|((item, _), _)| concerns(item));
        numbered
            .map(|((_, bytes), index)| {
                let proof = tree.prove(index);
                ProvenItem { index, item: bytes.clone(), path: proof.path }
            })
            .collect()
    }

    /// The pages of the roll as it is.
    pub fn show_roll(&self, view: &mut View) {
        self.roll.pages().for_each(|(number, page)| view.insert(Entry::roll(number, page)).unwrap());
    }

    /// An honest view: these peers, this generation.
    pub fn view(&self, generation: u64, peers: &[&SpecimenNode]) -> View {
        let mut view = View::default();
        let mut put = |entry: Entry| view.insert(entry).unwrap();
        put(Entry::new(Body::Charter(self.net.charter.clone())));
        put(Entry::new(Body::Me(self.me.record.clone())));
        put(Entry::new(Body::PolicyHead(self.policy_head(generation))));
        self.items(generation).into_iter().for_each(|item| put(Entry::new(Body::Item(item))));
        for peer in peers {
            put(Entry::peer(peer.id, peer.record.clone()));
            put(Entry::endpoints(peer.id, vec![format!("198.18.9.{}:51820", peer.index)], None));
        }
        view
    }

    /// A revocation the authority has signed; from now on freshness knows of it.
    pub fn note_revocation(&mut self, revocation: Signed) {
        self.revoked.push(revocation);
    }

    pub fn state(&self, revision: u64, generation: u64) -> State {
        State {
            epoch: 1,
            revision,
            generation,
            policy_root: Some(self.policies[&generation].0.root()),
            revocation_head: revocation::head(self.net.id(), &self.revoked),
            roll: self.roll.root(),
        }
    }

    /// A whole view with a good head, and a freshness for the same state.
    pub fn tell(&self, view: &View, state: &State, now: u64) -> Vec<ToNode> {
        let head = self.net.view_head(self.me.id, state, &view.digest());
        let entries = view.entries.values().map(|entry| Entry::clone(entry)).collect();
        let mut frames: Vec<ToNode> = cut(None, entries, Vec::new(), head, DELTA_BYTES)
            .into_iter()
            .map(|delta| say(CoordinatorSays::Delta(delta)))
            .collect();
        frames.push(self.freshness(state, now));
        frames
    }

    pub fn freshness(&self, state: &State, now: u64) -> ToNode {
        say(CoordinatorSays::Freshness(self.net.freshness(state, wall(now), LIFE)))
    }
}

pub fn say(says: CoordinatorSays) -> ToNode {
    ToNode { says: Some(says) }
}

/// A real node that has nobody else to ask.
pub struct Victim {
    pub agent: Agent,
    pub disk: Disk,
    pub now: u64,
    /// What it complained of to the coordinator, and told its owner as a warning or an alarm.
    pub complaints: Vec<String>,
    pub notices: Vec<String>,
    pub cuts: usize,
    pub enforced: Vec<Numbers>,
    /// Datagrams it has sent and nobody has taken.
    sent: Vec<Vec<u8>>,
    decoder: Decoder,
}

impl Victim {
    /// A member of the liar's network, connected and greeted.
    pub fn new(liar: &Liar) -> Victim {
        let mut disk = Disk::of(&liar.me);
        disk.membership = Some(Membership {
            trust: liar.net.trust.clone(),
            network: liar.net.network.clone(),
            member: liar.net.member(&liar.me).unwrap(),
            charter: liar.net.charter.clone(),
            record: liar.me.record.clone(),
            coordinators: vec![COORDINATOR.to_owned()],
            coordinator_key: liar.net.network.coordinators[0],
        });
        let agent = Victim::start(&mut disk, 0);
        let mut victim = Victim {
            agent,
            disk,
            now: 0,
            complaints: Vec::new(),
            notices: Vec::new(),
            cuts: 0,
            enforced: Vec::new(),
            sent: Vec::new(),
            decoder: Decoder::new(MAX_FRAME),
        };
        victim.connect();
        victim
    }

    fn start(disk: &mut Disk, now: u64) -> Agent {
        let endpoints = vec!["198.18.1.1:51820".parse().unwrap()];
        Agent::start(
            disk,
            Birth {
                boot: 1,
                seed: [7; 32],
                endpoints,
                host_ms: wall_ms(now),
                stun: None,
                now: mono(now, SECOND),
            },
        )
    }

    /// The agent dies and starts again from its disk.
    pub fn restart(&mut self) {
        self.agent = Victim::start(&mut self.disk, self.now);
        self.connect();
    }

    pub fn mono(&self) -> Mono {
        mono(self.now, SECOND)
    }

    fn connect(&mut self) {
        let now = self.mono();
        self.decoder = Decoder::new(MAX_FRAME);
        self.agent.handle_connected(&mut self.disk, now);
        let welcome =
            Welcome { epoch: 1, revision: 1, now: wall(self.now).0, seen_as: "198.18.1.1:51820".to_owned() };
        self.hear(&[say(CoordinatorSays::Welcome(welcome))]);
    }

    /// Time passes; a node that gave the channel up gets a new one.
    pub fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += SECOND;
            let now = self.mono();
            let mut workers = Workers::default();
            self.agent.handle_timeout(&mut self.disk, &mut workers, now);
            if self.listen() {
                self.connect();
            }
        }
    }

    /// Takes frames from the coordinator.
    pub fn hear(&mut self, frames: &[ToNode]) {
        let now = self.mono();
        for frame in frames {
            self.agent.handle_bytes(&encode(frame), &mut self.disk, now);
            self.listen();
        }
    }

    /// Reads what the node does; true if it wants a new connection.
    fn listen(&mut self) -> bool {
        let mut dials = false;
        for effect in self.agent.take_effects() {
            match effect {
                Effect::Dial => dials = true,
                Effect::Cut(_) => self.cuts += 1,
                Effect::Notice(notice) => self.notices.push(format!("{}: {}", notice.id, notice.message)),
                Effect::Enforced(p) => {
                    let a = &p.assembly;
                    self.enforced.push((a.epoch, a.revision, a.generation));
                }
                Effect::Say(bytes) => self.decoder.push(&bytes),
                Effect::Datagram { bytes, .. } => self.sent.push(bytes),
                _ => {}
            }
        }
        while let Ok(Some(ToCoordinator { says: Some(says) })) = self.decoder.next() {
            if let NodeSays::Complaint(complaint) = says {
                self.complaints.push(complaint.message);
            }
        }
        dials
    }

    /// Its host sends a packet.
    pub fn send(&mut self, packet: &[u8]) {
        let now = self.mono();
        self.agent.handle_packet(packet, &mut Workers::default(), now);
        self.listen();
    }

    /// What it has sent goes to `other`, and back, until both are silent. They stand where [`Liar::view`] says.
    pub fn exchange(&mut self, other: &mut Victim, places: [SocketAddr; 2]) {
        let mut workers = Workers::default();
        while !(self.sent.is_empty() && other.sent.is_empty()) {
            for bytes in std::mem::take(&mut self.sent) {
                let now = other.mono();
                other.agent.handle_datagram(places[0], &bytes, &mut workers, now);
            }
            other.listen();
            for bytes in std::mem::take(&mut other.sent) {
                let now = self.mono();
                self.agent.handle_datagram(places[1], &bytes, &mut workers, now);
            }
            self.listen();
        }
    }

    /// Everything it enforces, as text: equal texts allow the same.
    pub fn enforces(&self) -> String {
        self.agent.control.publication().map_or(String::new(), |p| {
            let peers: Vec<String> = p.assembly.peers.values().map(|spec| format!("{spec:?}")).collect();
            format!("{:?} {peers:#?}", p.assembly.me)
        })
    }
}

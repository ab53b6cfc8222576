//! One honest coordinator made of specimens, one node under test, and levers for lies.

use warren_config::item::ItemTree;
use warren_config::policy::Policy;
use warren_config::resolve::{Source, resolve};
use warren_wire::flow::FlowReport;
use warren_wire::frame::{CoordinatorSays, FlowsStored, ToNode, Welcome};
use warren_wire::issue::{self, State};
use warren_wire::specimen::{EPOCH_TIME, SpecimenNetwork, SpecimenNode};
use warren_wire::trust::SignedPolicy;
use warren_wire::view::{Body, DELTA_BYTES, Delta, Entry, ProvenItem, View, cut};

use super::super::*;

pub const POLICY: &str = r#"
version = 1
[group.ops]
members = ["a@example.com"]
[tag.web]
owners = ["group:ops"]
[tag.orders]
owners = ["group:ops"]
[tag.db]
owners = ["group:ops"]
[service.orders]
on = ["tag:orders"]
listen = ["tcp/8443"]
[service.db]
on = ["tag:db"]
listen = ["tcp/5432"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders"]
[[grant]]
id = "web-reads-db-for-a-day"
from = ["tag:web"]
to = ["service:db"]
until = 2026-01-02T00:00:00Z
"#;

/// Half an hour after the network was made.
pub const T0: u64 = EPOCH_TIME.0 + 1800;
pub const LIFE: u64 = 604_800;

pub fn policy(text: &str) -> Policy {
    resolve(&[Source { file: "policy.toml".into(), text: text.into() }])
        .unwrap_or_else(|faults| panic!("{faults:?}"))
        .policy
}

/// What a coordinator knows, and what it would tell `web-1`.
pub struct World {
    pub net: SpecimenNetwork,
    pub web: SpecimenNode,
    pub orders: SpecimenNode,
    pub db: SpecimenNode,
    pub epoch: u64,
    pub revision: u64,
    pub generation: u64,
    pub tree: ItemTree,
}

impl World {
    pub fn new() -> World {
        let net = SpecimenNetwork::new(1);
        let (web, orders, db) = (
            net.node(1, "web-1", &["web"]),
            net.node(2, "orders-1", &["orders"]),
            net.node(3, "db-1", &["db"]),
        );
        let tree = ItemTree::new(&policy(POLICY));
        World { net, web, orders, db, epoch: 1, revision: 10, generation: 3, tree }
    }

    pub fn config(&self) -> Config {
        Config {
            trust: self.net.trust.clone(),
            charter: self.net.charter.clone(),
            record: self.web.record.clone(),
            coordinators: 1,
            agent: "test".into(),
            boot: 7,
            hold: false,
        }
    }

    pub fn signed_policy(&self) -> SignedPolicy {
        SignedPolicy {
            epoch: self.epoch,
            generation: self.generation,
            root: self.tree.root(),
            items: self.tree.len(),
        }
    }

    pub fn state(&self) -> State {
        State { epoch: self.epoch, ..self.net.state(self.revision, Some(&self.signed_policy())) }
    }

    pub fn policy_head(&self) -> Signed {
        issue::policy_head(self.net.id(), &self.signed_policy(), EPOCH_TIME, &self.net.authority)
    }

    pub fn item(&self, index: u64) -> Entry {
        let (_, bytes) = &self.tree.items()[index as usize];
        let path = self.tree.prove(index).path;
        Entry::new(Body::Item(ProvenItem { index, item: bytes.clone(), path }))
    }

    /// The honest view of web-1: all items (they all concern it or do no harm), both peers.
    pub fn view(&self) -> View {
        self.view_of(&self.web, &[&self.orders, &self.db])
    }

    /// Node `i` stands at `192.0.2.i`.
    pub fn view_of(&self, me: &SpecimenNode, peers: &[&SpecimenNode]) -> View {
        let mut view = View::default();
        let mut put = |entry| view.insert(entry).unwrap();
        put(Entry::new(Body::Charter(self.net.charter.clone())));
        put(Entry::new(Body::Me(me.record.clone())));
        put(Entry::new(Body::PolicyHead(self.policy_head())));
        (0..self.tree.len()).for_each(|i| put(self.item(i)));
        for peer in peers {
            put(Entry::peer(peer.id, peer.record.clone()));
            put(Entry::endpoints(peer.id, vec![format!("192.0.2.{}:51820", peer.index)], None));
        }
        view
    }

    pub fn whole(&self, view: View) -> Vec<Delta> {
        self.deltas(None, View::default(), view)
    }

    pub fn deltas(&self, base: Option<u64>, old: View, new: View) -> Vec<Delta> {
        let (put, gone) = old.changes_to(&new);
        let head = self.net.view_head(self.web.id, &self.state(), &new.digest());
        cut(base, put, gone, head, DELTA_BYTES)
    }

    pub fn freshness(&self, at: u64) -> Signed {
        self.net.freshness(&self.state(), UnixTime(at), LIFE)
    }

    /// A node that has taken the honest view and enforces it, at `Mono(0)`.
    pub fn settled(&self) -> Driven {
        let mut node = Driven::start(self.config(), None);
        node.welcome(self, T0);
        node.view(self.whole(self.view()));
        node.say(CoordinatorSays::Freshness(self.freshness(T0)));
        assert_eq!(node.peers(), ["db-1", "orders-1"], "{:?}", node.notices());
        node
    }
}

/// A control half with everything it put out so far.
pub struct Driven {
    pub control: Control,
    pub now: Mono,
    pub outputs: Vec<Output>,
}

impl Driven {
    pub fn start(config: Config, stored: Option<&[u8]>) -> Driven {
        Driven::start_at(config, stored, T0 * 1000)
    }

    pub fn start_at(config: Config, stored: Option<&[u8]>, host_ms: u64) -> Driven {
        let control = Control::new(config).unwrap();
        let mut node = Driven { control, now: Mono(0), outputs: Vec::new() };
        node.control.handle_started(stored, host_ms, Mono(0));
        node.drain();
        node
    }

    /// As the agent does: what is published is enforced at once.
    pub fn drain(&mut self) {
        while let Some(output) = self.control.poll_output() {
            if let Output::Publish(publication) = &output {
                let a = &publication.assembly;
                self.control.handle_published(a.epoch, a.revision, a.generation);
            }
            self.outputs.push(output);
        }
    }

    pub fn welcome(&mut self, world: &World, now: u64) {
        self.control.handle_connected(self.now);
        self.drain();
        let welcome = Welcome { epoch: world.epoch, revision: world.revision, now, seen_as: String::new() };
        self.say(CoordinatorSays::Welcome(welcome));
    }

    pub fn say(&mut self, says: CoordinatorSays) {
        self.control.handle_frame(ToNode { says: Some(says) }, self.now);
        self.drain();
    }

    pub fn view(&mut self, deltas: Vec<Delta>) {
        deltas.into_iter().for_each(|delta| self.say(CoordinatorSays::Delta(delta)));
    }

    /// Time passes, timeouts are served as they come.
    pub fn advance_to(&mut self, at: Mono) {
        while let Some((when, _)) = self.control.poll_timeout().filter(|(when, _)| *when <= at) {
            self.now = self.now.max(when);
            self.control.handle_timeout(self.now);
            self.drain();
        }
        self.now = at;
    }

    /// Reconnects after whatever ended the session.
    pub fn reconnect(&mut self, world: &World, now: u64) {
        let at = self.now.plus_secs(40);
        while !matches!(self.control.session, Session::Connecting { .. }) {
            let (when, _) = self.control.poll_timeout().unwrap();
            assert!(when <= at, "no try within 40 s");
            self.advance_to(when);
        }
        self.welcome(world, now);
    }

    pub fn peers(&self) -> Vec<String> {
        let publication = self.control.publication().unwrap();
        let mut names: Vec<String> =
            publication.assembly.peers.values().map(|p| p.member.name().to_string()).collect();
        names.sort();
        names
    }

    pub fn cut(&self) -> Option<CutReason> {
        self.control.publication().unwrap().cut.clone()
    }

    pub fn stored(&self) -> Vec<u8> {
        let stored = |o: &Output| if let Output::Store(bytes) = o { Some(bytes.clone()) } else { None };
        self.outputs.iter().rev().find_map(stored).unwrap()
    }

    pub fn notices(&self) -> Vec<&Notice> {
        self.outputs.iter().filter_map(|o| if let Output::Notice(n) = o { Some(n) } else { None }).collect()
    }

    pub fn has_notice(&self, id: &str) -> bool {
        self.notices().iter().any(|n| n.id == id)
    }

    pub fn sent<'a>(&'a self) -> Vec<&'a NodeSays> {
        let sent = |o: &'a Output| if let Output::Send(frame) = o { frame.says.as_ref() } else { None };
        self.outputs.iter().filter_map(sent).collect()
    }

    pub fn complaints(&self) -> usize {
        self.sent().iter().filter(|s| matches!(s, NodeSays::Complaint(_))).count()
    }

    pub fn reports(&self) -> Vec<&FlowReport> {
        self.sent()
            .into_iter()
            .filter_map(|s| if let NodeSays::Flows(r) = s { Some(r) } else { None })
            .collect()
    }

    pub fn flows_stored(&mut self, sequence: u64) {
        self.say(CoordinatorSays::FlowsStored(FlowsStored { sequence, boot: 7 }));
    }
}

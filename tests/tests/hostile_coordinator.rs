//! Whoever holds everything on the coordinator's disk and its online key, but not the authority's, adds no peer and opens
//! no port. Each lie is refused, changes nothing, and is complained about.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use warren_config::policy::Subject;
use warren_tests::clock::wall;
use warren_tests::liar::{Liar, Victim, say};
use warren_tests::packet::{SYN, Segment, tcp};
use warren_tests::policies::{grant, policy};
use warren_wire::frame::CoordinatorSays;
use warren_wire::id::NodeId;
use warren_wire::issue::{self, State};
use warren_wire::roll::REVOKED;
use warren_wire::signed::Signed;
use warren_wire::specimen::{SpecimenNetwork, SpecimenNode, name};
use warren_wire::view::{Body, DELTA_BYTES, Entry, Key, View, cut};

struct Stage {
    liar: Liar,
    victim: Victim,
    orders: SpecimenNode,
    db: SpecimenNode,
}

/// `web-1` believes generation 2 at revision 10: it may open `orders` at `orders-1`, and nothing else.
fn stage() -> Stage {
    let net = SpecimenNetwork::new(11);
    let (me, orders) = (net.node(1, "web-1", &["web"]), net.node(2, "orders-1", &["orders"]));
    let db = net.node(3, "db-1", &["db"]);
    let older =
        policy(&[grant("web-reads-db", "tag:web", "db"), grant("web-reads-orders", "tag:web", "orders")]);
    let newer = policy(&[grant("web-reads-orders", "tag:web", "orders")]);
    let liar = Liar::new(net, me, &[older, newer.clone(), newer]);
    let mut victim = Victim::new(&liar);
    victim.hear(&liar.tell(&liar.view(2, &[&orders]), &liar.state(10, 2), 0));
    assert_eq!(victim.agent.peers(), vec![orders.id], "{:?}", victim.complaints);
    assert!(victim.complaints.is_empty());
    Stage { liar, victim, orders, db }
}

impl Stage {
    /// Tells a whole view at revision 11 under the coordinator's good signature.
    fn lie(&mut self, view: &View) {
        let frames = self.liar.tell(view, &self.liar.state(11, 2), self.victim.now);
        self.victim.hear(&frames);
    }

    /// The honest view with one entry put in.
    fn with(&self, entry: Entry) -> View {
        let mut view = self.liar.view(2, &[&self.orders]);
        view.insert(entry).unwrap();
        view
    }

    fn coordinator_signs(&self, statement: &Signed) -> Signed {
        let mut forged = statement.clone();
        forged.signatures.clear();
        forged.countersign(&self.liar.net.coordinator);
        forged
    }

    /// Only `orders-1`, with its own key and addresses, and at most what generation 2 grants.
    fn nothing_is_widened(&self, honest: &str, what: &str) {
        // A peer whose record no longer holds is left out after a restart: that is withholding, which it can do anyway.
        let less = what.contains("revocation") || what.contains("restart");
        let less = less && self.victim.agent.peers().is_empty();
        assert!(less || self.victim.enforces() == honest, "{what}: {}", self.victim.enforces());
    }
}

/// Each lie told to a fresh victim: nothing widened, and somebody hears of it.
fn refused(what: &str, lie: impl Fn(&mut Stage)) {
    let mut stage = stage();
    let honest = stage.victim.enforces();
    let notices = stage.victim.notices.len();
    lie(&mut stage);
    stage.nothing_is_widened(&honest, what);
    let heard = !stage.victim.complaints.is_empty() || stage.victim.notices.len() > notices;
    assert!(heard, "{what}: nobody hears of it");
    assert!(!stage.victim.complaints.is_empty(), "{what}: no complaint, only {:?}", stage.victim.notices);
    stage.victim.restart();
    stage.nothing_is_widened(&honest, &format!("{what}, after a restart"));
}

#[test]
fn it_adds_no_peer() {
    let stranger = |stage: &Stage| {
        let other = SpecimenNetwork::new(12);
        let mut node = stage.liar.net.node(9, "orders-9", &["orders"]);
        node.record = other.node(9, "orders-9", &["orders"]).record;
        node
    };
    refused("a node of another authority", |stage| {
        let node = stranger(stage);
        let view = stage.with(Entry::peer(node.id, node.record));
        stage.lie(&view);
    });
    refused("a delegation signed by the coordinator", |stage| {
        let mut node = stage.liar.net.node(9, "orders-9", &["orders"]);
        let delegation = stage.coordinator_signs(node.record.delegation.as_ref().unwrap());
        node.record.delegation = Some(delegation);
        let view = stage.with(Entry::peer(node.id, node.record));
        stage.lie(&view);
    });
    refused("an admission under a token of somebody else", |stage| {
        let mut node = stage.liar.net.node(9, "orders-9", &["orders"]);
        node.record.delegation = stage.orders.record.delegation.clone();
        let view = stage.with(Entry::peer(node.id, node.record));
        stage.lie(&view);
    });
}

#[test]
fn a_member_that_no_grant_joins_is_no_peer() {
    let mut stage = stage();
    let view = stage.with(Entry::peer(stage.db.id, stage.db.record.clone()));
    stage.lie(&view);
    assert_eq!(stage.victim.agent.peers(), vec![stage.orders.id]);
}

#[test]
fn it_changes_no_tags_no_keys_and_no_addresses() {
    refused("tags amended by the coordinator", |stage| {
        let subject = Subject { name: name("db-1"), tags: [name("orders")].into() };
        let net = &stage.liar.net;
        let mut db = stage.db.record.clone();
        db.amendment = Some(issue::amendment(net.id(), stage.db.id, 1, &subject, &net.coordinator));
        let view = stage.with(Entry::peer(stage.db.id, db));
        stage.lie(&view);
    });
    refused("keys of another node", |stage| {
        let mut record = stage.orders.record.clone();
        record.keys = stage.db.record.keys.clone();
        let view = stage.with(Entry::peer(stage.orders.id, record));
        stage.lie(&view);
    });
    refused("keys signed by the coordinator", |stage| {
        let mut record = stage.orders.record.clone();
        record.keys = Some(stage.coordinator_signs(record.keys.as_ref().unwrap()));
        let view = stage.with(Entry::peer(stage.orders.id, record));
        stage.lie(&view);
    });
    refused("addresses signed by the coordinator", |stage| {
        let mut record = stage.orders.record.clone();
        let mut place = stage.orders.place();
        place.v4 = Some(stage.db.v4);
        let net = &stage.liar.net;
        record.admission = Some(issue::admission(net.id(), &place, &net.coordinator, &stage.orders.identity));
        let view = stage.with(Entry::peer(stage.orders.id, record));
        stage.lie(&view);
    });
    refused("one node's record under another's id", |stage| {
        let view = stage.with(Entry::peer(stage.orders.id, stage.db.record.clone()));
        stage.lie(&view);
    });
    refused("other tags for the node itself", |stage| {
        let subject = Subject { name: name("web-1"), tags: [name("ops")].into() };
        let net = &stage.liar.net;
        let mut me = stage.liar.me.record.clone();
        me.amendment = Some(issue::amendment(net.id(), stage.liar.me.id, 1, &subject, &net.coordinator));
        let view = stage.with(Entry::new(Body::Me(me)));
        stage.lie(&view);
    });
    refused("a charter signed by the coordinator", |stage| {
        let view = stage.with(Entry::new(Body::Charter(stage.coordinator_signs(&stage.liar.net.charter))));
        stage.lie(&view);
    });
}

#[test]
fn it_widens_no_policy() {
    refused("an item that is not under the root", |stage| {
        let mut item = stage.liar.items(2).into_iter().find(|i| text(&i.item).contains("8080")).unwrap();
        item.item = text(&item.item).replace("8080", "22").into_bytes();
        let view = stage.with(Entry::new(Body::Item(item)));
        stage.lie(&view);
    });
    refused("items of an older generation under the newer head", |stage| {
        let mut view = stage.liar.view(2, &[&stage.orders, &stage.db]);
        view.entries.retain(|key, _| !matches!(key, Key::Item(_)));
        stage.liar.items(1).into_iter().for_each(|i| view.insert(Entry::new(Body::Item(i))).unwrap());
        stage.lie(&view);
    });
    refused("a policy head signed by the coordinator", |stage| {
        let mut view = stage.liar.view(1, &[&stage.orders, &stage.db]);
        let forged = stage.coordinator_signs(&stage.liar.policy_head(1));
        view.insert(Entry::new(Body::PolicyHead(forged))).unwrap();
        stage.lie(&view);
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_rolls_nothing_back() {
    refused("an older generation, signed by the authority", |stage| {
        let view = stage.liar.view(1, &[&stage.orders, &stage.db]);
        let frames = stage.liar.tell(&view, &stage.liar.state(11, 1), 0);
        stage.victim.hear(&frames);
    });
    refused("an older revision", |stage| {
        let view = stage.liar.view(2, &[&stage.orders]);
        let frames = stage.liar.tell(&view, &stage.liar.state(9, 2), 0);
        stage.victim.hear(&frames[..1]);
    });
    refused("an older generation after a restart", |stage| {
        stage.victim.restart();
        let view = stage.liar.view(1, &[&stage.orders, &stage.db]);
        let frames = stage.liar.tell(&view, &stage.liar.state(12, 1), 0);
        stage.victim.hear(&frames);
    });
}

#[test]
fn it_mixes_no_revisions() {
    refused("a delta on a revision this node does not have", |stage| {
        let view = stage.liar.view(2, &[&stage.orders]);
        let head = stage.liar.net.view_head(stage.liar.me.id, &stage.liar.state(11, 2), &view.digest());
        let deltas = cut(Some(8), Vec::new(), Vec::new(), head, DELTA_BYTES);
        stage.victim.hear(&[say(CoordinatorSays::Delta(deltas[0].clone()))]);
    });
    refused("a view under the head of another", |stage| {
        let view = stage.liar.view(2, &[&stage.orders]);
        let head = stage.liar.net.view_head(stage.liar.me.id, &stage.liar.state(11, 2), &view.digest());
        let fewer = stage.liar.view(2, &[]).entries.values().map(|entry| (**entry).clone()).collect();
        let deltas = cut(None, fewer, Vec::new(), head, DELTA_BYTES);
        stage.victim.hear(&[say(CoordinatorSays::Delta(deltas[0].clone()))]);
    });
    refused("a view that was made for somebody else", |stage| {
        let view = stage.liar.view(2, &[&stage.orders]);
        let head = stage.liar.net.view_head(stage.db.id, &stage.liar.state(11, 2), &view.digest());
        let deltas = cut(
            None,
            view.entries.values().map(|entry| (**entry).clone()).collect(),
            Vec::new(),
            head,
            DELTA_BYTES,
        );
        stage.victim.hear(&[say(CoordinatorSays::Delta(deltas[0].clone()))]);
    });
}

#[test]
fn a_revoked_peer_does_not_come_back() {
    refused("a peer whose revocation was shown", |stage| {
        let net = &stage.liar.net;
        let gone = issue::revocation(net.id(), stage.orders.id, wall(0), "stolen", &net.authority);
        let mut view = stage.liar.view(2, &[]);
        view.insert(Entry::revoked(stage.orders.id, gone.clone())).unwrap();
        stage.liar.note_revocation(gone);
        stage.lie(&view);
        assert!(stage.victim.agent.peers().is_empty());
        stage.victim.complaints.clear();
        let view = stage.liar.view(2, &[&stage.orders]);
        let frames = stage.liar.tell(&view, &stage.liar.state(12, 2), 0);
        stage.victim.hear(&frames);
        assert!(stage.victim.agent.peers().is_empty(), "it is back");
    });
}

#[test]
fn withheld_news_run_out() {
    let mut stage = stage();
    // The freshness names generation 3; its view never comes. New signatures do not keep the old policy alive.
    for _ in 0..12 {
        stage.victim.wait(60);
        let now = stage.victim.now;
        let frame = stage.liar.freshness(&stage.liar.state(11, 3), now);
        stage.victim.hear(&[frame]);
    }
    assert!(stage.victim.agent.peers().is_empty(), "cut once the life of the last good freshness is over");
    assert!(stage.victim.cuts >= 1);
    let warned = stage.victim.notices.iter().any(|n| n.contains("fresh"));
    assert!(warned, "{:?}", stage.victim.notices);
}

/// The victim, and `orders-1`, which the same coordinator tells something else.
fn confidants(told: impl Fn(&mut Liar) -> State) -> (Stage, Victim) {
    let mut stage = stage();
    let net = SpecimenNetwork::new(11);
    let web = net.node(1, "web-1", &["web"]);
    let text = policy(&[grant("web-reads-orders", "tag:web", "orders")]);
    let older = policy(&[]);
    let me = net.node(2, "orders-1", &["orders"]);
    let mut other = Liar::new(net, me, &[older, text.clone(), text]);
    let state = told(&mut other);
    let mut orders = Victim::new(&other);
    let mut view = other.view(state.generation, &[&web]);
    other.show_roll(&mut view);
    orders.hear(&other.tell(&view, &state, 0));
    assert_eq!(orders.agent.peers(), vec![web.id], "{:?}", orders.complaints);
    for _ in 0..75 {
        // Honest traffic, as ever: only where some is do agents speak.
        let from = std::net::SocketAddr::new(web.v4.into(), 4000);
        let to = std::net::SocketAddr::new(stage.orders.v4.into(), 8080);
        stage.victim.send(&tcp(from, to, Segment { seq: 1, ack: 0, flags: SYN, len: 0 }));
        stage.victim.exchange(&mut orders, places());
        stage.victim.wait(1);
        orders.wait(1);
        stage.victim.exchange(&mut orders, places());
    }
    (stage, orders)
}

fn places() -> [std::net::SocketAddr; 2] {
    ["198.18.9.1:51820", "198.18.9.2:51820"].map(|place| place.parse().unwrap())
}

#[test]
fn news_withheld_from_one_node_are_noticed_when_it_speaks_with_another() {
    let (stage, orders) = confidants(|other| other.state(11, 3));
    let heard = stage.victim.complaints.iter().find(|c| c.contains("withholds news"));
    let heard = heard.unwrap_or_else(|| panic!("{:?}", stage.victim.complaints));
    assert!(heard.contains("orders-1") && heard.contains("generation 3"), "{heard}");
    assert!(orders.complaints.is_empty(), "{:?}", orders.complaints);
    // Nothing is taken over from a peer: the last good view stays.
    assert_eq!(stage.victim.agent.peers(), vec![stage.orders.id]);
}

#[test]
fn two_truths_for_two_nodes_are_noticed_when_they_speak() {
    let (stage, orders) = confidants(|other| {
        let gone = issue::revocation(other.net.id(), name_of_nobody(), wall(0), "", &other.net.authority);
        other.note_revocation(gone);
        other.state(10, 2)
    });
    for (who, victim) in [("web-1", &stage.victim), ("orders-1", &orders)] {
        assert!(victim.complaints.iter().any(|c| c.contains("two truths")), "{who}: {:?}", victim.complaints);
    }
}

/// The stolen `db-1` is revoked; the coordinator tells `orders-1`, and `web-1` nothing: neither its view nor its freshness.
#[test]
fn a_revocation_withheld_from_one_node_is_noticed_when_it_speaks_with_another() {
    let (stage, orders) = confidants(|other| {
        other.roll.set(&name_of_nobody(), REVOKED);
        other.state(11, 2)
    });
    let heard = stage.victim.complaints.iter().find(|c| c.contains("withholds news"));
    assert!(heard.is_some_and(|c| c.contains("orders-1")), "{:?}", stage.victim.complaints);
    assert!(orders.complaints.is_empty(), "{:?}", orders.complaints);
}

/// It shows both the same good freshness, and keeps the revoked node, or its former tags, in the view of one.
#[test]
fn a_peer_whose_revocation_or_amendment_is_withheld_is_cut_at_once_or_the_view_runs_out() {
    for serial in [REVOKED, 1] {
        let mut told = stage();
        told.liar.roll.set(&told.orders.id, serial);
        let mut view = told.liar.view(2, &[&told.orders]);
        told.liar.show_roll(&mut view);
        let frames = told.liar.tell(&view, &told.liar.state(11, 2), 0);
        told.victim.hear(&frames);
        assert!(told.victim.agent.peers().is_empty(), "the roll speaks against it");
        assert!(told.victim.complaints.iter().any(|c| c.contains("roll")), "{:?}", told.victim.complaints);

        let mut kept = stage();
        kept.liar.roll.set(&kept.orders.id, serial);
        for _ in 0..12 {
            kept.victim.wait(60);
            let frame = kept.liar.freshness(&kept.liar.state(11, 2), kept.victim.now);
            kept.victim.hear(&[frame]);
        }
        assert!(kept.victim.agent.peers().is_empty(), "a roll that was not shown lets the view run out");
        assert!(kept.victim.cuts >= 1);
    }
}

#[test]
fn nodes_that_were_told_the_same_have_no_doubt() {
    let (stage, orders) = confidants(|other| other.state(10, 2));
    for victim in [&stage.victim, &orders] {
        assert!(victim.complaints.is_empty(), "{:?}", victim.complaints);
        assert_eq!(victim.agent.status(victim.mono()).doubt, None);
    }
}

fn name_of_nobody() -> NodeId {
    NodeId([0xee; 16])
}

#[test]
fn a_freshness_that_is_not_the_coordinators_extends_nothing() {
    refused("a freshness by a stranger", |stage| {
        let other = SpecimenNetwork::new(12);
        let state = stage.liar.state(10, 2);
        let forged = issue::freshness(stage.liar.net.id(), &state, wall(0), 86_400, &other.coordinator);
        stage.victim.hear(&[say(CoordinatorSays::Freshness(forged))]);
    });
    refused("a freshness for a hundred years", |stage| {
        let state = stage.liar.state(10, 2);
        let long = stage.liar.net.freshness(&state, wall(0), 100 * 365 * 86_400);
        stage.victim.hear(&[say(CoordinatorSays::Freshness(long))]);
    });
}

//! Frames on the control channel: bounded, total, and read in one way however the stream is cut.

use proptest::prelude::*;
use prost::Message as _;
use warren_wire::flow::{FlowEnd, FlowRecord, FlowReport, FlowVerdict, address, address_bytes};
use warren_wire::frame::*;
use warren_wire::names::{AskedName, NameClass, NamesReport};
use warren_wire::signed::Signed;
use warren_wire::specimen::SpecimenNetwork;
use warren_wire::trust::Record;

fn hello(n: u64) -> ToCoordinator {
    let digest = vec![n as u8; 32];
    let hello = Hello { epoch: 1, revision: n, digest, agent: "warren-node 0.1".into(), boot: 7 };
    ToCoordinator { says: Some(NodeSays::Hello(hello)) }
}

fn flow() -> FlowRecord {
    FlowRecord {
        flow: 1,
        peer: vec![1; 16],
        outbound: true,
        protocol: 6,
        src: vec![100, 64, 0, 2],
        src_port: 40_000,
        dst: vec![100, 64, 0, 3],
        dst_port: 8443,
        verdict: FlowVerdict::Allow as i32,
        grant: "web-reads-orders".into(),
        service: "orders".into(),
        generation: 1,
        end: FlowEnd::Open as i32,
        count: 1,
        ..Default::default()
    }
}

fn drain<M: prost::Message + Default>(decoder: &mut Decoder) -> Result<Vec<M>, FrameError> {
    let mut out = vec![];
    while let Some(message) = decoder.next()? {
        out.push(message);
    }
    Ok(out)
}

#[test]
fn a_frame_is_a_length_and_a_body() {
    let message = hello(1);
    let frame = encode(&message);
    assert_eq!(frame[..4], (message.encoded_len() as u32).to_be_bytes());
    assert_eq!(frame[4..], message.encode_to_vec());
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in_however_the_stream_is_cut(
        count in 0_u64..12, pieces in proptest::collection::vec(1_usize..70, 1..50),
    ) {
        let sent: Vec<_> = (0..count).map(hello).collect();
        let stream: Vec<u8> = sent.iter().flat_map(encode).collect();
        let mut decoder = Decoder::new(MAX_FRAME_STRANGER);
        let (mut got, mut rest) = (vec![], stream.as_slice());
        for size in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            rest = after;
            decoder.push(piece);
            got.extend(drain::<ToCoordinator>(&mut decoder).unwrap());
        }
        prop_assert_eq!(got, sent);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_are_never_hoarded(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40),
    ) {
        let mut decoder = Decoder::new(1000);
        for chunk in chunks {
            decoder.push(&chunk);
            let result = drain::<ToNode>(&mut decoder);
            prop_assert!(decoder.buffered() <= 1000 + 4);
            if result.is_err() {
                prop_assert_eq!(decoder.buffered(), 0);
            }
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(body: Vec<u8>) {
        if let Ok(message) = ToCoordinator::decode(body.as_slice()) {
            let _ = message.said();
        }
        if let Ok(message) = ToNode::decode(body.as_slice()) {
            let _ = message.said();
        }
        if let Ok(report) = FlowReport::decode(body.as_slice()) {
            let _ = report.records.iter().filter(|r| r.check().is_ok()).count();
        }
        let _ = Record::decode(body.as_slice());
        let _ = Signed::from_bytes(&body);
    }

    #[test]
    fn a_mutated_message_never_panics_and_never_makes_another_member(
        at in any::<prop::sample::Index>(), flip in 1_u8..=255,
    ) {
        let net = SpecimenNetwork::new(1);
        let node = net.node(0, "web-1", &["web"]);
        let honest = net.member(&node).unwrap();
        let mut bytes = CoordinatorSays::Enrolled(Enrolled { record: Some(node.record) }).into_frame();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let mut decoder = Decoder::new(MAX_FRAME_STRANGER);
        decoder.push(&bytes);
        if let Ok(Some(message)) = decoder.next::<ToNode>()
            && let Ok(CoordinatorSays::Enrolled(enrolled)) = message.said()
            && let Ok(member) = net.trust.member(&net.network, &enrolled.record.unwrap())
        {
            prop_assert_eq!(member, honest);
        }
    }

    #[test]
    fn addresses_survive_their_bytes(v4: [u8; 4], v6: [u8; 16], other: Vec<u8>) {
        prop_assert_eq!(address(&v4).map(address_bytes), Some(v4.to_vec()));
        prop_assert_eq!(address(&v6).map(address_bytes), Some(v6.to_vec()));
        prop_assert_eq!(address(&other).is_some(), matches!(other.len(), 4 | 16));
    }

    #[test]
    fn printable_text_has_no_control_characters(text: String, n in 0_usize..50) {
        let shown = printable(&text, n);
        prop_assert!(!shown.chars().any(char::is_control));
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_body_is_gathered() {
    let mut decoder = Decoder::new(MAX_FRAME_STRANGER);
    let length = (MAX_FRAME_STRANGER as u32 + 1).to_be_bytes();
    decoder.push(&length);
    for _ in 0..1000 {
        decoder.push(&[0; 1000]);
        assert_eq!(decoder.buffered(), 0);
    }
    let refused = decoder.next::<ToCoordinator>();
    assert_eq!(
        refused,
        Err(FrameError::TooLarge { bytes: MAX_FRAME_STRANGER + 1, limit: MAX_FRAME_STRANGER })
    );
}

#[test]
fn the_limit_holds_for_a_frame_behind_another() {
    let mut decoder = Decoder::new(MAX_FRAME_STRANGER);
    let mut bytes = encode(&hello(1));
    bytes.extend_from_slice(&u32::MAX.to_be_bytes());
    bytes.extend_from_slice(&[0; 500]);
    decoder.push(&bytes);
    assert_eq!(decoder.next::<ToCoordinator>(), Ok(Some(hello(1))));
    assert!(matches!(decoder.next::<ToCoordinator>(), Err(FrameError::TooLarge { .. })));
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn the_exact_limit_passes_and_one_byte_more_does_not() {
    let message = |n: usize| FlowReport {
        sequence: 1,
        records: vec![FlowRecord { grant: "x".repeat(n), ..flow() }],
        ..Default::default()
    };
    let length = message(500).encoded_len();
    let mut decoder = Decoder::new(length);
    decoder.push(&encode(&message(500)));
    assert!(decoder.next::<FlowReport>().unwrap().is_some());
    decoder.push(&encode(&message(501)));
    assert!(matches!(decoder.next::<FlowReport>(), Err(FrameError::TooLarge { .. })));
}

#[test]
fn the_limit_is_raised_for_a_member() {
    let big = FlowReport { sequence: 1, records: vec![flow(); 2000], ..Default::default() };
    assert!(big.encoded_len() > MAX_FRAME_STRANGER);
    let mut decoder = Decoder::new(MAX_FRAME_STRANGER);
    decoder.set_limit(MAX_FRAME);
    decoder.push(&encode(&big));
    assert_eq!(decoder.next(), Ok(Some(big)));
}

#[test]
fn an_error_ends_the_stream() {
    let mut decoder = Decoder::new(MAX_FRAME);
    decoder.push(&[0, 0, 0, 2, 0xff, 0xff]);
    assert!(matches!(decoder.next::<ToNode>(), Err(FrameError::Unreadable(_))));
    decoder.push(&encode(&hello(1)));
    assert!(matches!(decoder.next::<ToNode>(), Err(FrameError::Unreadable(_))));
}

#[test]
fn an_empty_frame_is_an_error_and_not_silence() {
    let mut decoder = Decoder::new(MAX_FRAME);
    decoder.push(&[0, 0, 0, 0]);
    assert_eq!(decoder.next::<ToNode>(), Err(FrameError::Empty));
    assert_eq!(ToNode { says: None }.said(), Err(FrameError::Empty));
}

#[test]
fn a_message_this_version_does_not_know_says_so() {
    // Field 15, a later kind of message.
    let later = ToNode::decode(&[0x7a, 0x00][..]).unwrap();
    assert_eq!(later.said(), Err(FrameError::Empty));
}

fn asked(name: &str) -> AskedName {
    AskedName { name: name.to_owned(), class: NameClass::Forwarded.into(), asked: 2, unanswered: 1 }
}

fn names(names: Vec<AskedName>) -> NodeSays {
    NodeSays::Names(NamesReport { names, others: 0 })
}

fn endpoints(change: impl FnOnce(&mut MyEndpoints)) -> NodeSays {
    let mut mine = MyEndpoints { port: 1, ..MyEndpoints::default() };
    change(&mut mine);
    NodeSays::Endpoints(mine)
}

fn proven(place: &str, proof: usize) -> ProvenPlace {
    ProvenPlace { place: place.to_owned(), proof: vec![0; proof] }
}

#[test]
fn what_a_node_says_is_bounded() {
    let (long, place) = ("x".repeat(5000), "192.0.2.1:1".to_owned());
    let bad = [
        NodeSays::EnrolBegin(EnrolBegin { token_key: vec![0; 31], ..Default::default() }),
        NodeSays::EnrolBegin(EnrolBegin { token_key: vec![0; 32], name: long.clone(), ..Default::default() }),
        NodeSays::EnrolCommit(EnrolCommit::default()),
        NodeSays::Hello(Hello { agent: long.clone(), ..Default::default() }),
        NodeSays::Hello(Hello { digest: vec![0; 31], ..Default::default() }),
        endpoints(|mine| mine.candidates = vec![String::new(); 9]),
        endpoints(|mine| mine.candidates = vec![long.clone()]),
        endpoints(|mine| mine.mapped = vec![String::new(); 3]),
        endpoints(|mine| mine.mapped = vec![long.clone()]),
        endpoints(|mine| mine.proven = vec![proven(&place, 20); 3]),
        endpoints(|mine| mine.proven = vec![proven(&long, 20)]),
        endpoints(|mine| mine.proven = vec![proven(&place, 19)]),
        NodeSays::Knock(Knock { peer: vec![0; 15] }),
        endpoints(|mine| mine.port = 65_536),
        NodeSays::Flows(FlowReport { records: vec![FlowRecord::default(); 16_385], ..Default::default() }),
        NodeSays::Complaint(Complaint { message: long, revision: 1 }),
        names(vec![asked("a.example"); 257]),
        names(vec![asked(&"x".repeat(1021))]),
        names(vec![asked("a\u{1b}[2J")]),
        names(vec![asked("a b")]),
        names(vec![asked("ä.example")]),
        names(vec![AskedName { class: 0, ..asked("a.example") }]),
        names(vec![AskedName { class: 9, ..asked("a.example") }]),
        names(vec![AskedName { asked: 0, ..asked("a.example") }]),
        names(vec![AskedName { unanswered: 3, ..asked("a.example") }]),
    ];
    for says in bad {
        let said = ToCoordinator { says: Some(says) }.said();
        assert!(matches!(said, Err(FrameError::Malformed(_))), "{said:?}");
    }
    assert!(hello(1).said().is_ok());
    let good = names(vec![asked("a.example"), asked(""), asked("\\000\\.x"), asked(&"x".repeat(1020))]);
    assert!(ToCoordinator { says: Some(good) }.said().is_ok());
}

#[test]
fn what_a_coordinator_says_is_bounded() {
    let bad = [
        CoordinatorSays::EnrolOffer(EnrolOffer::default()),
        CoordinatorSays::Enrolled(Enrolled::default()),
        CoordinatorSays::Refused(Refused { code: 1, message: "x".repeat(5000), proof: None }),
        CoordinatorSays::Welcome(Welcome { seen_as: "x".repeat(65), ..Default::default() }),
    ];
    for says in bad {
        let said = ToNode { says: Some(says) }.said();
        assert!(matches!(said, Err(FrameError::Malformed(_))), "{said:?}");
    }
}

#[test]
fn a_flow_record_no_honest_node_would_send_is_refused() {
    type Change = fn(&mut FlowRecord);
    let changes: [(&str, Change); 11] = [
        ("peer", |f| f.peer = vec![1; 15]),
        ("source address", |f| f.src.clear()),
        ("destination address", |f| f.dst = vec![0; 16]),
        ("protocol", |f| f.protocol = 256),
        ("source port", |f| f.src_port = 65_536),
        ("destination port", |f| f.dst_port = u32::MAX),
        ("grant", |f| f.grant = "x".repeat(64)),
        ("service", |f| f.service = "x".repeat(64)),
        ("verdict", |f| f.verdict = 0),
        ("verdict", |f| f.verdict = 99),
        ("end", |f| f.end = -1),
    ];
    assert_eq!(flow().check(), Ok(()));
    for (field, change) in changes {
        let mut record = flow();
        change(&mut record);
        assert_eq!(record.check().unwrap_err().field, field);
    }
}

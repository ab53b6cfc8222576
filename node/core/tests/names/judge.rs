//! What must hold for any bytes: the hand-written reader agrees with the library, and nothing that comes from outside makes
//! the writer, the screen or what is kept stumble.

use hickory_proto::op::Message;
use hickory_proto::rr::Name;
use warren_config::policy::Settings;
use warren_node_core::names::forward::ask::{Asked, name_of};
use warren_node_core::names::forward::screen::Rules;
use warren_node_core::names::forward::stored::{Age, Stored};
use warren_node_core::names::forward::{Forwarding, Local};
use warren_node_core::names::query::{HEADER, Query};
use warren_node_core::names::reply::{Body, Carrier, Extended, Reply, unanswerable};

/// Bytes as a question from a socket.
pub fn question(bytes: &[u8]) {
    let query = match Query::read(bytes) {
        Ok(query) => query,
        Err(what) => {
            assert!(unanswerable(what).is_none_or(|answer| answer.len() == HEADER));
            return;
        }
    };
    let Some(name) = name_of(&query.question) else { panic!("we read a name that the library cannot") };
    if let Ok(theirs) = Message::from_vec(bytes) {
        let [asked] = theirs.queries.as_slice() else { panic!("one question") };
        assert_eq!(asked.name.to_lowercase(), name);
        assert_eq!(u16::from(asked.query_type), query.kind);
        assert_eq!(theirs.metadata.id, query.id);
        assert_eq!(theirs.edns.is_some(), query.edns.is_some());
    }
    let why = Extended { code: 22, text: "why it failed".to_owned() };
    let reply = Reply {
        code: 2,
        authoritative: false,
        recursion_available: true,
        body: Body::Empty,
        ttl: 5,
        extended: Some(&why),
    };
    let answer = reply.write(&query, Carrier::Datagram);
    assert!(answer.len() <= 512 + usize::from(query.edns.is_some()) * 720);
    assert_eq!(answer.get(..2), bytes.get(..2), "the id");
    let read = Message::from_vec(&answer).expect("the library reads what we wrote");
    assert_eq!(u16::from(read.metadata.response_code), 2);
}

/// Bytes as an upstream's answer to the question for `a.example`, type A.
pub fn answer(bytes: &[u8]) {
    let Ok(message) = Message::from_vec(bytes) else { return };
    let (forwarding, _) = Forwarding::new(&Settings::default(), &Local::default());
    let rules = Rules { names: None, forwarding: &forwarding, private: false };
    let asked = Asked { name: "a.example".to_owned(), kind: 1, dnssec_ok: true, checking_disabled: false };
    let name = Name::from_ascii("a.example.").expect("a name");
    let Ok(screened) = rules.screen(&message, &asked, &name) else { return };
    let owners: Vec<String> = screened.message.answers.iter().map(|r| r.name.to_string()).collect();
    assert!(screened.ttl <= 86_400, "{owners:?}");
    let Ok(stored) = Stored::new(&screened, false) else { return };
    let mut question = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend_from_slice(b"\x01A\x07eXample\x00\x00\x01\x00\x01");
    let query = Query::read(&question).expect("a question");
    for carrier in [Carrier::Datagram, Carrier::Stream] {
        let given = stored.deliver(&query, Age::Seconds(7), carrier, None).expect("it is for this name");
        assert!(given.len() <= carrier.limit(&query));
        Message::from_vec(&given).expect("the library reads what we give");
    }
}

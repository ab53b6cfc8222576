//! What the resolver keeps, for how long and for whom: against a real encrypted server on a loopback address.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod alone;
mod upstream;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use upstream::Manner;
use warren_config::policy::{Settings, Told};
use warren_config::upstream::Scheme;
use warren_node::resolver::answer::Said;
use warren_node_core::names::reply::Carrier;
use world::{Answering, PATIENCE, World, got, names, question, settings, url};

const STALE: u16 = 3;
const PRIVATE: u16 = 15;
const BADVERS: u16 = 16;

/// RFC 8767: past its end an answer is better than none, says what it is, and is not kept for long.
#[tokio::test(flavor = "multi_thread")]
async fn past_its_end_an_answer_is_given_while_nobody_answers_and_says_so() {
    let world = World::new();
    let upstream = world.upstream(Scheme::Tls, Manner::Honest).await;
    let here = world.answering(&settings([url(Scheme::Tls, &upstream)])).await;
    let name = "lives-1.example.";
    let first = here.ask(name, RecordType::A).await;
    assert_eq!((first.ttl, first.why), (Some(1), None));
    drop(upstream);
    let deadline = Instant::now() + PATIENCE;
    let old = loop {
        let answer = here.ask(name, RecordType::A).await;
        if answer.why.is_some() || answer.code != ResponseCode::NoError {
            break answer;
        }
        assert!(Instant::now() < deadline, "its life does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!((old.code, old.records), (ResponseCode::NoError, vec!["203.0.113.7".to_owned()]));
    assert_eq!((old.why.unwrap().0, old.ttl), (STALE, Some(30)));
    // Whoever asks next is not kept waiting for an upstream that has just not answered.
    let mut took = Vec::new();
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(here.ask(name, RecordType::A).await.why.unwrap().0, STALE);
        took.push(asked.elapsed());
    }
    assert!(took.iter().any(|took| *took < Duration::from_millis(500)), "after {took:?}");
    assert!(here.resolver.counters()["dns-forwarded-stale"] >= 2, "{:?}", here.resolver.counters());
}

/// Asks for a name that lives ten seconds until it is fetched ahead: how long that took; `None` if its life ended before, which a busy
/// host may bring about.
async fn until_fetched_ahead(here: &Answering, name: &str) -> Option<Duration> {
    let fetched = || here.resolver.counters()["dns-prefetched"];
    let (began, before) = (Instant::now(), fetched());
    assert_eq!(here.ask(name, RecordType::A).await.ttl, Some(10));
    while fetched() == before {
        let answer = here.ask(name, RecordType::A).await;
        if began.elapsed() >= Duration::from_secs(10) {
            return None;
        }
        assert!(answer.ttl.is_some_and(|ttl| ttl > 0) && answer.why.is_none(), "{answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(fetched() - before, 1);
    Some(began.elapsed())
}

/// Asks until the answer that was kept has reached its end.
async fn outlive(here: &Answering, name: &str) -> world::Got {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = here.ask(name, RecordType::A).await;
        if answer.why.is_some() || answer.code != ResponseCode::NoError {
            return answer;
        }
        assert!(Instant::now() < deadline, "its life does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What must not be passed on does not become better by an old answer, whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_lie_is_refused_to_everybody_though_a_good_answer_was_known() {
    let world = World::new();
    let upstream = world.upstream(Scheme::Tls, Manner::Honest).await;
    let here = world.answering(&settings([url(Scheme::Tls, &upstream)])).await;
    assert_eq!(here.ask("lives-1.example.", RecordType::A).await.code, ResponseCode::NoError);
    upstream.turn(Manner::Private);
    let first = outlive(&here, "lives-1.example.").await;
    assert_eq!((first.code, first.why.unwrap().0), (ResponseCode::Refused, PRIVATE));
    for _ in 0..10 {
        let next = here.ask("lives-1.example.", RecordType::A).await;
        assert_eq!((next.code, next.why.unwrap().0), (ResponseCode::Refused, PRIVATE));
    }
}

/// RFC 8767 section 5, RFC 9520: an upstream that fails at once is spared, however often programs ask.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_is_not_asked_with_every_question_for_what_is_known() {
    let world = World::new();
    let upstream = world.upstream(Scheme::Tls, Manner::Honest).await;
    let here = world.answering(&settings([url(Scheme::Tls, &upstream)])).await;
    assert_eq!(here.ask("lives-1.example.", RecordType::A).await.code, ResponseCode::NoError);
    upstream.turn(Manner::Failing);
    assert_eq!(outlive(&here, "lives-1.example.").await.why.unwrap().0, STALE);
    let before = upstream.questions.load(Ordering::SeqCst);
    for _ in 0..200 {
        let answer = here.ask("lives-1.example.", RecordType::A).await;
        assert_eq!((answer.code, answer.why.unwrap().0), (ResponseCode::NoError, STALE));
    }
    assert_eq!(upstream.questions.load(Ordering::SeqCst), before, "until the recheck timer");
}

/// And it is the fresh one again as soon as somebody answers.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_is_fetched_ahead_of_its_end_and_nobody_waits() {
    let world = World::new();
    let upstream = world.upstream(Scheme::Tls, Manner::Honest).await;
    let here = world.answering(&settings([url(Scheme::Tls, &upstream)])).await;
    let mut fetched = None;
    for number in 0..3 {
        let name = format!("lives-10.n{number}.example.");
        fetched = until_fetched_ahead(&here, &name).await.map(|after| (name, after));
        if fetched.is_some() {
            break;
        }
    }
    let (name, after) = fetched.expect("it ended each time before it was asked again");
    assert!(after > Duration::from_secs(8), "not before its end is near");
    let deadline = Instant::now() + PATIENCE;
    while here.ask(&name, RecordType::A).await.ttl.is_none_or(|ttl| ttl < 9) {
        assert!(Instant::now() < deadline, "the new answer is not kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_forget_what_the_old_ones_let_in() {
    let world = World::new();
    let upstream = world.upstream(Scheme::Tls, Manner::Private).await;
    let strict = settings([url(Scheme::Tls, &upstream)]);
    let mut lax = strict.clone();
    lax.private.insert("lab.example".into());
    let here = world.answering(&lax).await;
    assert_eq!(here.ask("x.lab.example.", RecordType::A).await.records, ["192.168.1.1"]);
    here.resolver.publish(&names(), &strict);
    let refused = here.ask("x.lab.example.", RecordType::A).await;
    assert_eq!((refused.code, refused.why.unwrap().0), (ResponseCode::Refused, PRIVATE));
    // A refusal that was right is not remembered either.
    here.resolver.publish(&names(), &lax);
    assert_eq!(here.ask("x.lab.example.", RecordType::A).await.records, ["192.168.1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn which_names_are_asked_is_told_only_while_the_policy_wants_to_know() {
    let world = World::new();
    let upstream = world.upstream(Scheme::Tls, Manner::Honest).await;
    let quiet = settings([url(Scheme::Tls, &upstream)]);
    let curious = Settings { report: Told::Names, ..quiet.clone() };
    let here = world.answering(&quiet).await;
    here.ask("before.example.", RecordType::A).await;
    assert_eq!(here.resolver.take_names(), None);
    here.resolver.publish(&names(), &curious);
    here.ask("meanwhile.example.", RecordType::A).await;
    let told = here.resolver.take_names().unwrap();
    let told: Vec<&str> = told.names.iter().map(|asked| asked.name.as_str()).collect();
    assert_eq!(told, ["meanwhile.example"], "nothing of before");
    here.ask("meanwhile.example.", RecordType::A).await;
    here.resolver.publish(&names(), &quiet);
    here.ask("afterwards.example.", RecordType::A).await;
    assert_eq!(here.resolver.take_names(), None, "nor of what was asked and not told in time");
}

/// The packet filter keeps peers away; should it ever not, they hear nothing here either.
#[tokio::test(flavor = "multi_thread")]
async fn only_this_host_is_answered() {
    let world = World::new();
    let here = world.answering(&Settings::default()).await;
    let say = |asker: &str| {
        let asker: SocketAddr = asker.parse().unwrap();
        match here.resolver.say(&question("me.prod.internal.", RecordType::A, 7), asker, Carrier::Datagram) {
            Said::Now(answer) => got(&answer),
            _ => panic!("an answer at once"),
        }
    };
    for own in ["127.0.0.1:4000", "[::ffff:127.0.0.1]:4000", "[::1]:4000"] {
        assert_eq!(say(own).records, ["100.64.0.1"], "{own}");
    }
    for other in ["100.64.0.2:4000", "192.0.2.7:4000", "[2001:db8::1]:4000"] {
        let refused = say(other);
        assert_eq!((refused.code, refused.records.len()), (ResponseCode::Refused, 0), "{other}");
    }
    // Its containers may, once they are named.
    here.resolver.set_neighbours(vec!["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(say("192.0.2.7:4000").records, ["100.64.0.1"]);
    assert_eq!(say("100.64.0.2:4000").code, ResponseCode::Refused);
}

/// DN-14: what is no question for an address says nothing about the program.
#[tokio::test(flavor = "multi_thread")]
async fn other_classes_and_versions_are_refused() {
    let world = World::new();
    let here = world.answering(&Settings::default()).await;
    let ask = async |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = question("me.prod.internal.", RecordType::A, 7);
        change(&mut bytes);
        here.client.send(&bytes).await.unwrap();
        let mut buffer = [0; 4096];
        let length = tokio::time::timeout(PATIENCE, here.client.recv(&mut buffer)).await.unwrap().unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    };
    // Behind the name, of 18 bytes, and the type; and in the OPT record, which is the last 11 bytes.
    let chaos = ask(&|bytes| bytes[12 + 18 + 3] = 3).await;
    assert_eq!((chaos.metadata.response_code, chaos.answers.len()), (ResponseCode::Refused, 0));
    let version = ask(&|bytes| {
        let at = bytes.len() - 5;
        bytes[at] = 1;
    })
    .await;
    assert_eq!((u16::from(version.metadata.response_code), version.answers.len()), (BADVERS, 0));
    assert_eq!(ask(&|_| {}).await.answers.len(), 1, "and the same question otherwise is answered");
}

/// One program that asks for very many names leaves a place for whoever has none.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_much_does_not_take_all_places_among_those_who_wait() {
    let world = World::new();
    let silent = world.upstream(Scheme::Tls, Manner::Silent).await;
    let here = world.answering(&settings([url(Scheme::Tls, &silent)])).await;
    let greedy = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    greedy.connect(here.at).await.unwrap();
    // Until it has been told that there is no room, over and over.
    let (mut number, deadline) = (0, Instant::now() + PATIENCE);
    while here.resolver.counters()["dns-no-room"] < 2_000 {
        assert!(Instant::now() < deadline, "{:?}", here.resolver.counters());
        for _ in 0..32 {
            number += 1;
            let _ = greedy.try_send(&question(&format!("r{number}.example."), RecordType::A, 1));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    here.client.send(&question("other.example.", RecordType::A, 7)).await.unwrap();
    let mut buffer = [0; 4096];
    let at_once = tokio::time::timeout(Duration::from_secs(1), here.client.recv(&mut buffer)).await;
    assert!(
        at_once.is_err(),
        "it waits for the upstream and is not sent away: {:?}",
        got(&buffer[..at_once.unwrap().unwrap()])
    );
}

/// A program that keeps every connection there is, and uses each now and then, closes TCP to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_holds_all_connections_gives_up_the_one_that_was_silent_longest() {
    let world = World::new();
    let here = world.answering(&Settings::default()).await;
    let mut held = Vec::new();
    for n in 0..256u16 {
        let mut stream = TcpStream::connect(here.at).await.unwrap();
        assert!(asked_over(&mut stream, n).await, "connection {n}");
        held.push(stream);
    }
    assert!(asked_over(&mut held[0], 300).await, "heard of last");
    assert_eq!(here.ask_by_tcp("me.prod.internal.", RecordType::A).await.records, ["100.64.0.1"]);
    assert!(!asked_over(&mut held[1], 301).await, "this one gave way");
    assert!(asked_over(&mut held[0], 302).await && asked_over(&mut held[255], 303).await);
}

/// Whether it is answered on this connection.
async fn asked_over(stream: &mut TcpStream, id: u16) -> bool {
    let question = question("me.prod.internal.", RecordType::A, id);
    let framed = [&(question.len() as u16).to_be_bytes()[..], &question].concat();
    if stream.write_all(&framed).await.is_err() {
        return false;
    }
    let answer = async {
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await.map(|_| answer)
    };
    match tokio::time::timeout(PATIENCE, answer).await.expect("an answer or an end") {
        Ok(answer) => got(&answer).records == ["100.64.0.1"],
        Err(_) => false,
    }
}

//! The resolver against real encrypted servers on loopback addresses: all three transports, good manners and bad ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod alone;
mod upstream;
mod world;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use upstream::{Manner, serve};
use warren_config::policy::Settings;
use warren_config::upstream::{Scheme, Upstream};
use warren_node_core::names::forward::Local;
use world::{Answering, NAME, PATIENCE, SCHEMES, World, got, names, question, settings, url};

#[tokio::test(flavor = "multi_thread")]
async fn names_are_asked_encrypted_over_all_three_transports_and_kept() {
    let world = World::new();
    for scheme in SCHEMES {
        let upstream = world.upstream(scheme, Manner::Honest).await;
        let here = world.answering(&settings([url(scheme, &upstream)])).await;
        let first = here.ask("www.example.", RecordType::A).await;
        assert_eq!(
            (first.code, first.records),
            (ResponseCode::NoError, vec!["203.0.113.7".to_owned()]),
            "{scheme:?}"
        );
        assert_eq!(upstream.last_length.load(Ordering::SeqCst), 128, "padded (RFC 8467)");
        let again = here.ask("WWW.example.", RecordType::A).await;
        assert_eq!(again.records, ["203.0.113.7"]);
        assert_eq!(upstream.questions.load(Ordering::SeqCst), 1, "from the cache");
        let alias = here.ask("alias.example.", RecordType::A).await;
        assert_eq!(alias.records, ["target.example.", "203.0.113.7"]);
        assert_eq!(here.ask("no-such.example.", RecordType::A).await.code, ResponseCode::NXDomain);
        assert_eq!(here.ask("www.example.", RecordType::MX).await.code, ResponseCode::NoError);
        assert_eq!(here.ask_by_tcp("tcp.example.", RecordType::TXT).await.records, ["hello"]);
        assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "one connection for all");
        // Names of ours never go there.
        let before = upstream.questions.load(Ordering::SeqCst);
        assert_eq!(here.ask("me.prod.internal.", RecordType::A).await.records, ["100.64.0.1"]);
        assert_eq!(here.ask("other.prod.internal.", RecordType::A).await.code, ResponseCode::NXDomain);
        assert_eq!(here.ask("printer.local.", RecordType::A).await.code, ResponseCode::NXDomain);
        assert_eq!(here.ask("localhost.", RecordType::A).await.records, ["127.0.0.1"]);
        assert_eq!(upstream.questions.load(Ordering::SeqCst), before);
    }
}

/// DN-08: nothing but the right certificate will do, and there is no way back to clear text.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_fails_closed_and_says_so() {
    let (world, strangers) = (World::new(), World::new());
    for scheme in SCHEMES {
        let named_otherwise =
            serve(scheme, (Ipv4Addr::LOCALHOST, 0).into(), &world.authority, "other.test", Manner::Honest)
                .await;
        let unknown = strangers.upstream(scheme, Manner::Honest).await;
        for upstream in [&named_otherwise, &unknown] {
            let here = world.answering(&settings([url(scheme, upstream)])).await;
            let failed = here.ask("www.example.", RecordType::A).await;
            assert_eq!((failed.code, failed.records.len()), (ResponseCode::ServFail, 0), "{scheme:?}");
            let (code, text) = failed.why.unwrap();
            assert_eq!(code, 22);
            assert!(text.contains("certificate") && text.contains(scheme.as_str()), "{text}");
            assert_eq!(upstream.questions.load(Ordering::SeqCst), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_to_ask_names_are_refused_and_with_nobody_there_they_fail() {
    let world = World::new();
    let nobody = world.answering(&Settings::default()).await;
    let refused = nobody.ask("www.example.", RecordType::A).await;
    assert_eq!((refused.code, refused.why.unwrap().0), (ResponseCode::Refused, 20));
    assert_eq!(nobody.ask("me.prod.internal.", RecordType::A).await.records, ["100.64.0.1"]);

    let gone = world.upstream(Scheme::Tls, Manner::Honest).await;
    let dead = url(Scheme::Tls, &gone);
    drop(gone);
    let here = world.answering(&settings([dead.clone()])).await;
    let failed = here.ask("www.example.", RecordType::A).await;
    assert_eq!(failed.code, ResponseCode::ServFail);
    let (code, text) = failed.why.unwrap();
    assert!(code == 22 && text.contains(&dead[..20]), "{text}");
}

/// Who measures time, and who takes all the processors there are, one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());
/// What holds a resolver up holds it up each time; what else the host does, not.
const TRIES: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn bad_manners_of_one_upstream_are_covered_by_another() {
    let _alone = ALONE.lock().await;
    let world = World::new();
    for manner in [
        Manner::Silent,
        Manner::Truncating,
        Manner::Malformed,
        Manner::OtherQuestion,
        Manner::Failing,
        Manner::Slow(Duration::from_millis(1500)),
    ] {
        for scheme in SCHEMES {
            let mut took = Vec::new();
            while !took.iter().any(|took| *took < Duration::from_millis(1400)) {
                assert!(took.len() < TRIES, "{manner:?} {scheme:?}: {took:?}");
                let bad = world.upstream(scheme, manner).await;
                let good = world.upstream(Scheme::Tls, Manner::Honest).await;
                let here = world.answering(&settings([url(scheme, &bad), url(Scheme::Tls, &good)])).await;
                let start = Instant::now();
                let answer = here.ask("www.example.", RecordType::A).await;
                took.push(start.elapsed());
                assert_eq!(answer.records, ["203.0.113.7"], "{manner:?} {scheme:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manners_alone_fail_closed_in_bounded_time() {
    let _alone = ALONE.lock().await;
    let world = World::new();
    for manner in
        [Manner::Silent, Manner::Truncating, Manner::Malformed, Manner::OtherQuestion, Manner::Failing]
    {
        let mut took = Vec::new();
        while !took.iter().any(|took| *took < Duration::from_secs(5)) {
            assert!(took.len() < TRIES, "{manner:?}: {took:?}");
            let bad = world.upstream(Scheme::Tls, manner).await;
            let here = world.answering(&settings([url(Scheme::Tls, &bad)])).await;
            let start = Instant::now();
            let failed = here.ask("www.example.", RecordType::A).await;
            took.push(start.elapsed());
            assert_eq!((failed.code, failed.records.len()), (ResponseCode::ServFail, 0), "{manner:?}");
        }
    }
}

/// An answer that comes with another code than success is none (RFC 8484 section 4.2.1), and nobody is sent elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn over_https_only_success_is_an_answer_and_no_redirection_is_followed() {
    let world = World::new();
    for manner in [Manner::Redirecting, Manner::Overloaded] {
        let bad = world.upstream(Scheme::Https, manner).await;
        let here = world.answering(&settings([url(Scheme::Https, &bad)])).await;
        let failed = here.ask("www.example.", RecordType::A).await;
        assert_eq!((failed.code, failed.records.len()), (ResponseCode::ServFail, 0), "{manner:?}");
        assert_eq!(bad.questions.load(Ordering::SeqCst), 1, "{manner:?}: asked once, and nowhere else");
        let good = world.upstream(Scheme::Tls, Manner::Honest).await;
        let here = world.answering(&settings([url(Scheme::Https, &bad), url(Scheme::Tls, &good)])).await;
        assert_eq!(here.ask("www.example.", RecordType::A).await.records, ["203.0.113.7"], "{manner:?}");
    }
}

/// DN-09, DN-12, DN-20.
#[tokio::test(flavor = "multi_thread")]
async fn lies_are_not_passed_on() {
    let world = World::new();
    let private = world.upstream(Scheme::Https, Manner::Private).await;
    let mut with_split = settings([url(Scheme::Https, &private)]);
    with_split.split.insert("corp.example".into(), vec![url(Scheme::Https, &private)]);
    with_split.private.insert("lab.example".into());
    let here = world.answering(&with_split).await;
    let refused = here.ask("www.example.", RecordType::A).await;
    let (code, text) = refused.why.unwrap();
    assert_eq!((refused.code, code), (ResponseCode::Refused, 15));
    assert!(text.contains("192.168.1.1"), "{text}");
    for allowed in ["db.corp.example.", "x.lab.example."] {
        assert_eq!(here.ask(allowed, RecordType::A).await.records, ["192.168.1.1"], "{allowed}");
    }

    let poison = world.upstream(Scheme::Quic, Manner::Poisoning).await;
    let here = world.answering(&settings([url(Scheme::Quic, &poison)])).await;
    assert_eq!(here.ask("www.example.", RecordType::A).await.records, ["203.0.113.7"]);
    assert_eq!(
        here.ask("bank.example.", RecordType::A).await.records[0],
        "203.0.113.7",
        "asked, not remembered"
    );

    for scheme in SCHEMES {
        let huge = world.upstream(scheme, Manner::Huge).await;
        let here = world.answering(&settings([url(scheme, &huge)])).await;
        let cut = here.ask("big.example.", RecordType::TXT).await;
        assert!(cut.truncated && cut.records.is_empty(), "{scheme:?}: {cut:?}");
        assert_eq!(here.ask_by_tcp("big.example.", RecordType::TXT).await.records.len(), 290, "{scheme:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suffix_of_its_own_never_falls_back_to_the_others() {
    let world = World::new();
    let public = world.upstream(Scheme::Tls, Manner::Honest).await;
    let gone = world.upstream(Scheme::Tls, Manner::Honest).await;
    let mut split = settings([url(Scheme::Tls, &public)]);
    split.split.insert("corp.example".into(), vec![url(Scheme::Tls, &gone)]);
    drop(gone);
    let here = world.answering(&split).await;
    assert_eq!(here.ask("db.corp.example.", RecordType::A).await.code, ResponseCode::ServFail);
    assert_eq!(public.questions.load(Ordering::SeqCst), 0);
    assert_eq!(here.ask("www.example.", RecordType::A).await.records, ["203.0.113.7"]);
}

const FOUND: [&str; 2] = ["203.0.113.7", "2001:db8::7"];

/// One policy with dead servers must not cut every node off from the one that mends it.
#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_s_own_name_is_asked_of_the_node_s_own_servers_whatever_the_policy_names() {
    let world = World::new();
    let own = world.upstream(Scheme::Tls, Manner::Honest).await;
    let gone = world.upstream(Scheme::Tls, Manner::Honest).await;
    let dead = url(Scheme::Tls, &gone);
    drop(gone);
    let local = Local { upstream: vec![Upstream::parse(&url(Scheme::Tls, &own)).unwrap()] };
    let resolver = world.resolver(local);
    resolver.publish(&names(), &settings([dead.clone()]));
    assert_eq!(resolver.look_up("www.example").await.unwrap(), FOUND.map(|ip| ip.parse::<IpAddr>().unwrap()));
    // Without servers of its own: those of the policy, or the reason.
    let honest = world.resolver(Local::default());
    honest.publish(&names(), &settings([url(Scheme::Tls, &own)]));
    assert_eq!(honest.look_up("www.example").await.unwrap(), FOUND.map(|ip| ip.parse::<IpAddr>().unwrap()));
    honest.publish(&names(), &settings([dead.clone()]));
    assert!(honest.look_up("www.example").await.unwrap_err().to_string().contains(&dead[..20]));
    // What belongs to a split is asked there first, and only then elsewhere.
    let split = world.upstream(Scheme::Tls, Manner::Honest).await;
    let mut settings = settings([dead]);
    settings.split.insert("example".into(), vec![url(Scheme::Tls, &split)]);
    resolver.publish(&names(), &settings);
    let before = own.questions.load(Ordering::SeqCst);
    assert_eq!(resolver.look_up("www.example").await.unwrap(), FOUND.map(|ip| ip.parse::<IpAddr>().unwrap()));
    assert_eq!((own.questions.load(Ordering::SeqCst), split.questions.load(Ordering::SeqCst)), (before, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_who_ask_the_same_are_one_question() {
    let world = World::new();
    let slow = world.upstream(Scheme::Tls, Manner::Slow(Duration::from_millis(300))).await;
    let here = world.answering(&settings([url(Scheme::Tls, &slow)])).await;
    for id in 0..50 {
        here.client.send(&question("www.example.", RecordType::A, id)).await.unwrap();
    }
    let mut ids = BTreeSet::new();
    let mut buffer = [0; 4096];
    while ids.len() < 50 {
        let n = tokio::time::timeout(PATIENCE, here.client.recv(&mut buffer)).await.unwrap().unwrap();
        let message = Message::from_vec(&buffer[..n]).unwrap();
        assert_eq!(message.answers.len(), 1);
        ids.insert(message.metadata.id);
    }
    assert_eq!(slow.questions.load(Ordering::SeqCst), 1);
}

/// Questions of the test below come so far apart.
const PACE: Duration = Duration::from_millis(20);

/// Servers send small answers only when the one before has been acknowledged (Nagle's algorithm); an acknowledgement that
/// waits for the next question would hold each answer back until then.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_waits_for_the_next_question() {
    let _alone = ALONE.lock().await;
    let mut all = Vec::new();
    for _ in 0..TRIES {
        let (answers, median) = a_hundred_at_a_pace().await;
        if answers > 90 && median < PACE / 2 {
            return;
        }
        all.push((answers, median));
    }
    panic!("answers, and half of them after: {all:?}");
}

/// How many answers came, and the time that half of them took.
async fn a_hundred_at_a_pace() -> (usize, Duration) {
    let world = World::new();
    let upstream = world.upstream(Scheme::Tls, Manner::Honest).await;
    let here = world.answering(&settings([url(Scheme::Tls, &upstream)])).await;
    let (mut sent, mut times, mut buffer) = (std::collections::HashMap::new(), Vec::new(), [0; 4096]);
    for i in 0..100u16 {
        // Two that come close together begin it.
        for id in [2 * i, 2 * i + 1].into_iter().take(if i % 8 == 0 { 2 } else { 1 }) {
            here.client.send(&question(&format!("n{id}.example."), RecordType::A, id)).await.unwrap();
            sent.insert(id, Instant::now());
        }
        let next = Instant::now() + PACE;
        let left = || next.saturating_duration_since(Instant::now());
        while let Ok(received) = tokio::time::timeout(left(), here.client.recv(&mut buffer)).await {
            received.unwrap();
            let asked = sent.remove(&u16::from_be_bytes([buffer[0], buffer[1]])).unwrap();
            times.push(asked.elapsed());
        }
    }
    times.sort();
    (times.len(), times.get(times.len() / 2).copied().unwrap_or(Duration::MAX))
}

/// A server that was restarted, and one that closes idle connections, cost no question.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ended_is_made_anew() {
    let world = World::new();
    for scheme in [Scheme::Tls, Scheme::Https] {
        let first = world.upstream(scheme, Manner::Honest).await;
        let address = first.address;
        let here = world.answering(&settings([url(scheme, &first)])).await;
        assert_eq!(here.ask("a.example.", RecordType::A).await.records, ["203.0.113.7"]);
        first.task.abort();
        let deadline = Instant::now() + PATIENCE;
        let again = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(free) => {
                    drop(free);
                    break serve(scheme, address, &world.authority, NAME, Manner::Honest).await;
                }
                Err(e) => assert!(Instant::now() < deadline, "{e}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let answer = here.ask("b.example.", RecordType::A).await;
        assert_eq!(answer.records, ["203.0.113.7"], "{scheme:?} {:?}", answer.why);
        assert_eq!(again.questions.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_is_given_when_nobody_answers_any_more() {
    let world = World::new();
    let upstream = world.upstream(Scheme::Tls, Manner::Honest).await;
    let here = world.answering(&settings([url(Scheme::Tls, &upstream)])).await;
    assert_eq!(here.ask("www.example.", RecordType::A).await.records, ["203.0.113.7"]);
    drop(upstream);
    // Within its life it is simply known; a name that was never asked fails.
    assert_eq!(here.ask("www.example.", RecordType::A).await.records, ["203.0.113.7"]);
    // Its end takes a moment.
    let (mut tries, deadline) = (0, Instant::now() + PATIENCE);
    let new = loop {
        let new = format!("new-{tries}.example.");
        if here.ask(&new, RecordType::A).await.code == ResponseCode::ServFail {
            break new;
        }
        assert!(Instant::now() < deadline, "it still answers");
        tries += 1;
    };
    let shown = here.resolver.show("www.example", "A").await.unwrap();
    assert!(shown["why"].as_str().unwrap().contains("from the cache"), "{shown}");
    let shown = here.resolver.show(&new, "A").await.unwrap();
    assert!(shown["why"].as_str().unwrap().contains("no encrypted upstream answered"), "{shown}");
    let status = here.resolver.status();
    assert!(status["upstreams"][0]["failing"].as_u64().unwrap() > 0, "{status}");
}

/// Asks twenty times about a name that fails, which goes out once; the name, and how many had been `asked` before. A host that takes
/// longer over it than the failure is remembered asks about another name.
async fn twenty_times_in_a_second(here: &Answering, asked: impl Fn() -> u64) -> (String, u64) {
    for number in 0..TRIES {
        let (name, before, began) = (format!("www-{number}.example."), asked(), Instant::now());
        let remembered = || here.resolver.counters()["dns-failure-remembered"];
        let until_now = remembered();
        for _ in 0..20 {
            let failed = here.ask(&name, RecordType::A).await;
            assert_eq!((failed.code, failed.why.unwrap().0), (ResponseCode::ServFail, 22));
        }
        if began.elapsed() < Duration::from_secs(1) {
            assert_eq!((asked() - before, remembered() - until_now), (1, 19), "asked once");
            return (name, before);
        }
    }
    panic!("twenty questions never took less than a second");
}

/// RFC 9520: a failure is not asked again at once, and an upstream that is back is noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_remembered_for_a_moment_and_not_for_long() {
    let world = World::new();
    let failing = world.upstream(Scheme::Tls, Manner::Failing).await;
    let here = world.answering(&settings([url(Scheme::Tls, &failing)])).await;
    let asked = || failing.questions.load(Ordering::SeqCst);
    let (name, before) = twenty_times_in_a_second(&here, asked).await;
    assert_eq!(here.ask("other.example.", RecordType::A).await.code, ResponseCode::ServFail);
    assert_eq!(asked() - before, 2, "another question is another matter");
    let deadline = Instant::now() + PATIENCE;
    while asked() - before < 3 {
        assert!(Instant::now() < deadline, "never asked again");
        here.ask(&name, RecordType::A).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// DN-01, DN-02, DN-14, DN-16: floods and rubbish harm nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn others_are_answered_while_one_floods() {
    let _alone = ALONE.lock().await;
    let world = World::new();
    let silent = world.upstream(Scheme::Tls, Manner::Silent).await;
    let here = world.answering(&settings([url(Scheme::Tls, &silent)])).await;
    let flood = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    flood.connect(here.at).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let enough = stop.clone();
    let flooding = tokio::spawn(async move {
        // Until the honest client has what it needs, bounded.
        for i in (0..2_000_000u32).take_while(|i| *i < 50_000 || !enough.load(Ordering::SeqCst)) {
            let bytes = match i % 5 {
                0 => vec![0xc0; (i % 600) as usize],
                1 => question("me.prod.internal.", RecordType::AXFR, 1),
                _ => question(&format!("r{i}.example."), RecordType::A, 1),
            };
            // A full buffer is the flooder's loss.
            let _ = flood.try_send(&bytes);
            if i % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    let (mut served, mut slowest) = (0, Duration::ZERO);
    while !flooding.is_finished() {
        let start = Instant::now();
        here.client.send(&question("me.prod.internal.", RecordType::A, served)).await.unwrap();
        let mut buffer = [0; 4096];
        match tokio::time::timeout(Duration::from_secs(1), here.client.recv(&mut buffer)).await {
            Ok(n) => assert_eq!(got(&buffer[..n.unwrap()]).records, ["100.64.0.1"]),
            // The flood filled the socket's buffer in the kernel: asked again, as a resolver would.
            Err(_) => continue,
        }
        served += 1;
        slowest = slowest.max(start.elapsed());
        stop.store(served > 20, Ordering::SeqCst);
    }
    flooding.await.unwrap();
    assert!(served > 20, "{served} answers, the slowest after {slowest:?}");
    let counters = here.resolver.counters();
    assert!(counters["dns-no-room"] > 0, "{counters:?}");
    assert!(counters["dns-overlay-refused"] > 0, "AXFR is refused: {counters:?}");
}

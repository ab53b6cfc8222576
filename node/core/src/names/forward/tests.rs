use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::prelude::*;
use warren_config::policy::Settings;

use super::ask::{self, Asked, BLOCK};
use super::cache::{Cache, Found, Limits};
use super::fleet::Fleet;
use super::screen::{Refusal, Rules, Screened, is_private_v4, is_private_v6};
use super::special::Special;
use super::stored::{Age, Stored};
use super::*;
use crate::clock::Mono;
use crate::names::query::Query;
use crate::names::reply::Carrier;
use crate::names::tests::names_of;

const QUAD9: &str = "tls://9.9.9.9:853#dns.quad9.net";

fn settings(upstream: &[&str]) -> Settings {
    Settings { upstream: upstream.iter().map(|u| (*u).to_owned()).collect(), ..Settings::default() }
}

fn forwarding() -> Forwarding {
    let mut settings = settings(&[QUAD9]);
    settings.split.insert("corp.example".into(), vec!["tls://10.0.0.53#dns.corp.example".into()]);
    settings.split.insert("eu.corp.example".into(), vec!["tls://10.0.1.53#dns.corp.example".into()]);
    settings.private.insert("lab.example".into());
    let (forwarding, faults) = Forwarding::new(&settings, &Local::default());
    assert_eq!(faults, []);
    forwarding
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn asked(text: &str, kind: u16) -> Asked {
    Asked { name: text.to_owned(), kind, dnssec_ok: false, checking_disabled: false }
}

fn a(owner: &str, ip: &str) -> Record {
    Record::from_rdata(name(owner), 300, RData::A(A(ip.parse().unwrap())))
}

fn alias(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 600, RData::CNAME(CNAME(name(target))))
}

fn soa(zone: &str) -> Record {
    Record::from_rdata(name(zone), 3600, RData::SOA(SOA::new(name("ns"), name("h"), 1, 2, 3, 4, 120)))
}

fn answer(question: &str, code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Message {
    let mut message = Message::response(0, OpCode::Query);
    message.metadata.response_code = code;
    message.add_query(Question::query(name(question), RecordType::A));
    message.add_answers(answers);
    message.add_authorities(authorities);
    message
}

fn screen(message: &Message, question: &str) -> Result<Screened, Refusal> {
    let (names, forwarding) = (names_of(0), forwarding());
    let rules = Rules { names: Some(&names), forwarding: &forwarding, private: false };
    rules.screen(message, &asked(question, 1), &name(question))
}

#[test]
fn the_longest_suffix_says_who_is_asked() {
    let f = forwarding();
    assert_eq!(f.route("example.com"), Route::Group(0));
    assert_eq!(f.route("corp.example"), Route::Group(1));
    assert_eq!(f.route("a.corp.example"), Route::Group(1));
    assert_eq!(f.route("notcorp.example"), Route::Group(0));
    assert_eq!(f.route("a.b.eu.corp.example"), Route::Group(2));
    assert_eq!(f.suffix_of_group(2), Some("eu.corp.example"));
    assert!(f.may_be_private("x.corp.example") && f.may_be_private("a.lab.example"));
    assert!(!f.may_be_private("example.com") && !f.may_be_private("xlab.example"));
}

#[test]
fn names_with_a_meaning_of_their_own_go_nowhere() {
    let f = forwarding();
    for absent in [
        "local",
        "printer.local",
        "x.onion",
        "a.test",
        "a.invalid",
        "x.internal",
        "x.home.arpa",
        "1.0.0.10.in-addr.arpa",
        "10.in-addr.arpa",
        "1.1.168.192.in-addr.arpa",
        "1.16.172.in-addr.arpa",
        "d.f.ip6.arpa",
        "0.8.e.f.ip6.arpa",
    ] {
        assert!(matches!(f.route(absent), Route::Special(Special::Absent(_))), "{absent}");
    }
    assert_eq!(f.route("localhost"), Route::Special(Special::Loopback));
    assert_eq!(f.route("a.localhost"), Route::Special(Special::Loopback));
    for public in
        ["locals", "xlocal", "example.org", "8.8.8.8.in-addr.arpa", "1.15.172.in-addr.arpa", "arpa", ""]
    {
        assert_eq!(f.route(public), Route::Group(0), "{public}");
    }
    let mut settings = settings(&[QUAD9]);
    settings.split.insert("internal".into(), vec![QUAD9.into()]);
    let (f, _) = Forwarding::new(&settings, &Local::default());
    assert_eq!(f.route("x.internal"), Route::Group(1), "a split says otherwise");
}

#[test]
fn without_upstreams_nobody_is_asked_and_the_node_s_own_stand_in_for_the_policy_s() {
    let own = Local { upstream: vec![Upstream::parse("quic://1.1.1.1#one.one.one.one").unwrap()] };
    let (none, _) = Forwarding::new(&Settings::default(), &Local::default());
    assert_eq!(none.route("example.com"), Route::Nobody);
    assert!(none.is_empty());
    let (local, _) = Forwarding::new(&Settings::default(), &own);
    assert_eq!(local.group(0), own.upstream);
    let (policy, _) = Forwarding::new(&settings(&[QUAD9, QUAD9]), &own);
    assert_eq!(policy.group(0), [Upstream::parse(QUAD9).unwrap()], "the policy's, each once");
    // All unreadable is not the same as none: nothing is sent to anybody else instead.
    let (broken, faults) = Forwarding::new(&settings(&["udp://9.9.9.9#a"]), &own);
    assert_eq!((broken.route("example.com"), faults.len()), (Route::Nobody, 1));
    let mut split = settings(&[QUAD9]);
    split.split.insert("corp.example".into(), vec!["rubbish".into()]);
    let (split, _) = Forwarding::new(&split, &own);
    assert_eq!(split.route("a.corp.example"), Route::Group(1));
    assert!(split.group(1).is_empty());
}

/// RFC 8467: an observer sees one length for all ordinary names.
#[test]
fn questions_are_padded_and_say_nothing_about_who_asks() {
    for (text, kind) in
        [("a", 1), ("www.example.com", 28), ("a-rather-long-name.of.some.host.example.org", 65)]
    {
        let message = ask::message(&asked(text, kind), &name(text));
        let bytes = message.to_vec().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0, "{text}");
        assert_eq!(bytes.len(), BLOCK, "{text}");
        let read = Message::from_vec(&bytes).unwrap();
        assert_eq!(read.metadata.id, 0);
        assert!(read.metadata.recursion_desired);
        assert_eq!(read.queries[0].name, name(text));
    }
}

#[test]
fn only_the_question_s_own_chain_is_kept() {
    let answers = vec![
        a("evil.example", "203.0.113.66"),
        alias("www.example.com", "cdn.example.net"),
        a("cdn.example.net", "203.0.113.7"),
        a("www.bank.example", "203.0.113.66"),
    ];
    let mut message = answer("www.example.com", ResponseCode::NoError, answers, vec![soa("bank.example")]);
    message.authorities.push(Record::from_rdata(name("com"), 9, RData::NS(NS(name("ns.evil.example")))));
    message.additionals.push(a("ns.evil.example", "203.0.113.66"));
    let kept = screen(&message, "www.example.com").unwrap();
    let text: Vec<String> = kept.message.answers.iter().map(|r| format!("{} {}", r.name, r.data)).collect();
    assert_eq!(text, ["www.example.com. cdn.example.net.", "cdn.example.net. 203.0.113.7"]);
    assert!(kept.message.authorities.is_empty() && kept.message.additionals.is_empty());
    assert_eq!(kept.ttl, 300, "the shortest of the chain");
}

/// DN-11: who is asked about a public name may lead into the zone, and is believed no further.
#[test]
fn what_an_alias_leads_to_in_the_zone_is_said_by_nobody_else() {
    for target in ["orders.prod.internal", "absent.prod.internal", "prod.internal"] {
        let answers = vec![alias("www.example.com", target), a(target, "203.0.113.66")];
        let kept =
            screen(&answer("www.example.com", ResponseCode::NoError, answers, vec![]), "www.example.com");
        let kept = kept.unwrap();
        let text: Vec<String> =
            kept.message.answers.iter().map(|r| format!("{} {}", r.name, r.data)).collect();
        assert_eq!(text, [format!("www.example.com. {target}.")]);
        assert_eq!(kept.ttl, 0, "and it is not kept");
    }
    let near = "notprod.internal.example";
    let answers = vec![alias("www.example.com", near), a(near, "203.0.113.7")];
    let kept = screen(&answer("www.example.com", ResponseCode::NoError, answers, vec![]), "www.example.com");
    assert_eq!(kept.unwrap().message.answers.len(), 2, "a look-alike is public");
}

/// DN-19: signatures and unproven answers are only for those who asked for them.
#[test]
fn an_answer_is_kept_for_those_who_ask_in_the_same_way() {
    let mut cache = Cache::new(Limits::default());
    let ask = |dnssec_ok: bool, checking_disabled: bool| {
        let question = asked("a.example", 1);
        let mut message =
            ask::message(&Asked { dnssec_ok, checking_disabled, ..question }, &name("a.example"));
        message.metadata.id = 7;
        Asked::of(&Query::read(&message.to_vec().unwrap()).unwrap())
    };
    cache.insert(ask(false, true), stored("a.example", 100), Mono::from_millis(0));
    let found =
        |cache: &mut Cache, key: Asked| matches!(cache.find(&key, Mono::from_millis(1)), Found::Fresh { .. });
    assert!(found(&mut cache, ask(false, true)));
    for (dnssec_ok, checking_disabled) in [(false, false), (true, false), (true, true)] {
        assert!(!found(&mut cache, ask(dnssec_ok, checking_disabled)), "{dnssec_ok} {checking_disabled}");
    }
}

#[test]
fn an_answer_to_something_else_or_no_answer_at_all_is_refused() {
    let good = answer("a.example", ResponseCode::NoError, vec![a("a.example", "203.0.113.1")], vec![]);
    assert!(screen(&good, "a.example").is_ok());
    assert_eq!(screen(&good, "b.example").unwrap_err(), Refusal::OtherQuestion);
    for op_code in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut other = good.clone();
        other.metadata.op_code = op_code;
        assert_eq!(screen(&other, "a.example").unwrap_err(), Refusal::NoAnswer, "{op_code:?}");
    }
    let mut question = good.clone();
    question.queries.clear();
    assert_eq!(screen(&question, "a.example").unwrap_err(), Refusal::OtherQuestion);
    let mut cut = good.clone();
    cut.metadata.truncation = true;
    assert_eq!(screen(&cut, "a.example").unwrap_err(), Refusal::Truncated);
    let failed = answer("a.example", ResponseCode::ServFail, vec![], vec![]);
    assert!(matches!(screen(&failed, "a.example"), Err(Refusal::Code(_))));
    let ring = vec![alias("a.example", "b.example"), alias("b.example", "a.example")];
    let ring = answer("a.example", ResponseCode::NoError, ring, vec![]);
    assert_eq!(screen(&ring, "a.example").unwrap_err(), Refusal::Chain);
}

#[test]
fn a_negative_answer_lives_as_its_zone_says_and_no_longer() {
    let none = answer("a.example.com", ResponseCode::NXDomain, vec![], vec![soa("example.com")]);
    let kept = screen(&none, "a.example.com").unwrap();
    assert_eq!((kept.ttl, kept.message.authorities.len()), (120, 1));
    let foreign = answer("a.example.com", ResponseCode::NXDomain, vec![], vec![soa("example.net")]);
    let kept = screen(&foreign, "a.example.com").unwrap();
    assert_eq!((kept.ttl, kept.message.authorities.len()), (0, 0), "a foreign SOA proves nothing");
}

/// DN-12: rebinding.
#[test]
fn public_names_have_no_private_addresses() {
    for ip in [
        "127.0.0.1",
        "192.0.0.2",
        "198.18.0.1",
        "198.19.255.255",
        "10.1.2.3",
        "192.168.1.1",
        "172.20.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.3",
    ] {
        let lie = answer("a.example", ResponseCode::NoError, vec![a("a.example", ip)], vec![]);
        let refusal = screen(&lie, "a.example").unwrap_err();
        assert!(refusal.is_private(), "{ip}");
        assert!(refusal.to_string().contains(ip) && refusal.to_string().contains("private"), "{refusal}");
        for allowed in ["db.corp.example", "x.lab.example"] {
            let split = answer(allowed, ResponseCode::NoError, vec![a(allowed, ip)], vec![]);
            assert!(screen(&split, allowed).is_ok(), "{allowed}");
        }
    }
    // Through an alias too; and what is ours is not answered by others.
    let through = vec![alias("a.example", "b.example"), a("b.example", "10.0.0.1")];
    let through = answer("a.example", ResponseCode::NoError, through, vec![]);
    assert!(screen(&through, "a.example").unwrap_err().is_private());
    let ours = vec![alias("a.example", "orders.prod.internal"), a("orders.prod.internal", "203.0.113.1")];
    let ours = answer("a.example", ResponseCode::NoError, ours, vec![]);
    assert_eq!(screen(&ours, "a.example").unwrap().message.answers.len(), 1, "DN-11");
}

#[test]
fn private_means_the_same_in_ipv6() {
    for private in [
        "::",
        "::1",
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "ff02::1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "2002:a00:1::1",
    ] {
        assert!(is_private_v6(private.parse::<Ipv6Addr>().unwrap()), "{private}");
    }
    for public in ["2001:4860:4860::8888", "64:ff9b::8.8.8.8", "2002:808:808::1", "2606:4700::1"] {
        assert!(!is_private_v6(public.parse::<Ipv6Addr>().unwrap()), "{public}");
    }
    for public in [
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "100.63.0.1",
        "100.128.0.1",
        "192.167.0.1",
        "192.0.0.8",
        "192.0.0.170",
        "198.17.0.1",
        "198.20.0.1",
    ] {
        assert!(!is_private_v4(public.parse::<Ipv4Addr>().unwrap()), "{public}");
    }
}

fn stored(question: &str, ttl: u32) -> Arc<Stored> {
    let mut record = a(question, "203.0.113.1");
    record.ttl = ttl;
    let message = answer(question, ResponseCode::NoError, vec![record], vec![]);
    Arc::new(Stored::new(&Screened { message, ttl }, false).unwrap())
}

fn query(text: &str, id: u16) -> Query {
    let mut message = ask::message(&asked(&text.to_ascii_lowercase(), 1), &name(text));
    message.metadata.id = id;
    Query::read(&message.to_vec().unwrap()).unwrap()
}

#[test]
fn a_kept_answer_is_given_in_the_asker_s_words_and_grows_older() {
    let kept = stored("www.example.com", 300);
    let asked = query("WWW.Example.COM", 4711);
    let given = kept.deliver(&asked, Age::Seconds(100), Carrier::Datagram, None).unwrap();
    let read = Message::from_vec(&given).unwrap();
    assert_eq!((read.metadata.id, read.answers[0].ttl), (4711, 200));
    assert_eq!(read.queries[0].name.to_ascii(), "WWW.Example.COM.");
    assert!(
        read.metadata.recursion_available && !read.metadata.authoritative && !read.metadata.authentic_data
    );
    let stale = kept.deliver(&asked, Age::Stale, Carrier::Datagram, None).unwrap();
    assert_eq!(Message::from_vec(&stale).unwrap().answers[0].ttl, 30);
    let longer = query("a-much-longer-name.example.com", 1);
    assert_eq!(kept.deliver(&longer, Age::Stale, Carrier::Datagram, None), None);
}

#[test]
fn an_explanation_does_not_cut_short_an_answer_that_fits() {
    let answers = (0..26).map(|_| a("www.example.com", "203.0.113.1")).collect();
    let message = answer("www.example.com", ResponseCode::NoError, answers, vec![]);
    let kept = Stored::new(&Screened { message, ttl: 60 }, false).unwrap();
    let mut asked = query("www.example.com", 1);
    asked.edns.as_mut().unwrap().size = 512;
    let extended = Extended { code: code::STALE, text: "x".repeat(200) };
    let given = kept.deliver(&asked, Age::Stale, Carrier::Datagram, Some(&extended)).unwrap();
    let read = Message::from_vec(&given).unwrap();
    assert!(given.len() <= 512 && !read.metadata.truncation, "{} bytes", given.len());
    assert_eq!(read.answers.len(), 26);
    assert!(format!("{:?}", read.edns.unwrap().options()).contains("Unknown(15"), "the code stays");
}

const S: u64 = 1_000;

#[test]
fn an_answer_is_fresh_then_fetched_ahead_then_stale_then_gone() {
    let mut cache = Cache::new(Limits::default());
    let key = asked("a.example", 1);
    let at = |s: u64| Mono::from_millis(s * S);
    assert!(matches!(cache.find(&key, at(0)), Found::Missing));
    cache.insert(key.clone(), stored("a.example", 100), at(0));
    let fresh = |cache: &mut Cache, s| match cache.find(&key, at(s)) {
        Found::Fresh { age, prefetch, .. } => (age, prefetch),
        other => panic!("{s}: {other:?}"),
    };
    assert_eq!(fresh(&mut cache, 50), (50, false));
    assert_eq!(fresh(&mut cache, 95), (95, true));
    assert_eq!(fresh(&mut cache, 96), (96, false), "told once");
    assert!(matches!(cache.find(&key, at(100)), Found::Stale { hopeless: false, .. }));
    cache.handle_failure(&key, at(101));
    assert!(matches!(cache.find(&key, at(102)), Found::Stale { hopeless: true, .. }));
    assert!(matches!(cache.find(&key, at(132)), Found::Stale { hopeless: false, .. }));
    assert!(matches!(cache.find(&key, at(100 + 86_400)), Found::Missing));
    cache.insert(key.clone(), stored("a.example", 0), at(0));
    assert_eq!(cache.len(), 1, "an answer without a life takes nothing away");
}

/// RFC 8767 section 5: a try that failed is not made again with every question.
#[test]
fn what_could_not_be_fetched_ahead_is_not_tried_again_before_the_recheck_timer() {
    let mut cache = Cache::new(Limits::default());
    let key = asked("a.example", 1);
    let at = |s: u64| Mono::from_millis(s * S);
    cache.insert(key.clone(), stored("a.example", 1_000), at(0));
    let mut tries = Vec::new();
    for s in 900..1_100 {
        match cache.find(&key, at(s)) {
            Found::Fresh { prefetch: true, .. } | Found::Stale { hopeless: false, .. } => {
                tries.push(s);
                cache.handle_failure(&key, at(s));
            }
            _ => {}
        }
    }
    assert_eq!(tries, [900, 930, 960, 990, 1_020, 1_050, 1_080]);
}

#[test]
fn after_a_verdict_what_was_known_is_given_to_nobody_until_there_is_a_good_answer() {
    let mut cache = Cache::new(Limits::default());
    let key = asked("a.example", 1);
    for (before, after) in [(50, 51), (100, 101)] {
        cache.insert(key.clone(), stored("a.example", 100), Mono(0));
        assert!(!matches!(cache.find(&key, Mono::from_millis(before * S)), Found::Missing));
        cache.handle_verdict(&key);
        assert!(matches!(cache.find(&key, Mono::from_millis(after * S)), Found::Missing));
    }
    for _ in 0..1_000 {
        cache.insert(key.clone(), stored("a.example", 100), Mono(0));
        cache.handle_verdict(&key);
    }
    assert_eq!(cache.len(), 1, "and takes no more room than one");
    cache.insert(key.clone(), stored("a.example", 100), Mono(0));
    assert!(matches!(cache.find(&key, Mono(0)), Found::Fresh { .. }));
}

/// DN-16: random names push out their own kind.
#[test]
fn a_flood_of_names_takes_no_more_room_and_leaves_what_is_used() {
    let limits = Limits { entries: 100, bytes: 1 << 20 };
    let mut cache = Cache::new(limits);
    let good = asked("good.example", 1);
    cache.insert(good.clone(), stored("good.example", 1000), Mono(0));
    for i in 0..10_000u32 {
        if i % 10 == 0 {
            assert!(matches!(cache.find(&good, Mono(0)), Found::Fresh { .. }), "after {i}");
        }
        let text = format!("r{i}.example");
        cache.insert(asked(&text, 1), stored(&text, 1000), Mono(0));
        assert!(cache.len() <= 101);
    }
    let limits = Limits { entries: 1_000_000, bytes: 100_000 };
    let mut cache = Cache::new(limits);
    for i in 0..5_000u32 {
        let text = format!("r{i}.example");
        cache.insert(asked(&text, 1), stored(&text, 1000), Mono(0));
        assert!(cache.bytes() <= limits.bytes);
    }
    assert!(cache.len() > 100);
}

#[test]
fn the_quickest_healthy_upstream_begins_and_a_failing_one_is_last_but_not_lost() {
    let mut fleet = Fleet::new(3);
    let order = |fleet: &mut Fleet, now| fleet.race(now).starters.iter().map(|(i, _)| *i).collect::<Vec<_>>();
    let now = Mono::from_millis(1_000_000);
    assert_eq!(order(&mut fleet, now), [0, 1, 2]);
    fleet.handle_answer(0, Duration::from_millis(80));
    fleet.handle_answer(1, Duration::from_millis(20));
    assert_eq!(order(&mut fleet, now), [1, 0, 2]);
    let race = fleet.race(now);
    assert_eq!(race.starters[0].1, Duration::ZERO);
    assert_eq!(race.starters[1].1, Duration::from_millis(40), "twice what the first usually takes");
    fleet.handle_failure(1, "certificate", now);
    fleet.handle_failure(1, "certificate", now);
    assert_eq!(order(&mut fleet, now), [0, 2, 1]);
    assert_eq!(fleet.health()[1].last_error.as_deref(), Some("certificate"));
    assert!(fleet.health()[1].is_resting(now) && !fleet.health()[1].is_resting(now.plus_secs(3)));
    for i in [0, 2] {
        fleet.handle_failure(i, "gone", now);
    }
    assert_eq!(order(&mut fleet, now).len(), 3, "all failing: all are asked");
    fleet.handle_answer(1, Duration::from_millis(20));
    assert_eq!(order(&mut fleet, now)[0], 1, "one answer heals");
}

#[test]
fn the_times_of_the_others_stay_known() {
    let mut fleet = Fleet::new(4);
    (0..4).for_each(|i| fleet.handle_answer(i, Duration::from_millis(10 + i as u64)));
    let seconds: std::collections::BTreeSet<usize> = (0..1000)
        .map(|_| fleet.race(Mono(0)).starters)
        .filter(|starters| starters[1].1 == Duration::ZERO)
        .map(|starters| starters[1].0)
        .collect();
    assert_eq!(seconds, [2, 3].into());
}

#[test]
fn answers_are_counted_by_the_time_they_took() {
    let mut fleet = Fleet::new(1);
    for ms in [0, 5, 6, 100, 101, 2_000, 2_001, 9_000] {
        fleet.handle_answer(0, Duration::from_millis(ms));
    }
    let health = &fleet.health()[0];
    assert_eq!(health.within, [2, 1, 1, 1, 1, 2]);
    assert_eq!(health.within.iter().sum::<u64>(), health.answers);
}

#[test]
fn every_failure_says_why() {
    let (code, why) =
        Failure::Tried(vec![(QUAD9.into(), Loss::Network("no answer in time".into()))]).explain();
    assert_eq!((code, why.code), (2, code::UNREACHABLE));
    assert!(why.text.contains(QUAD9) && why.text.contains("no answer in time"));
    let private = Refusal::Private { name: "a.example".into(), address: IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let (code, why) = Failure::Screened(private).explain();
    assert_eq!((code, why.code), (5, code::BLOCKED));
    let lies = Loss::Bogus("A of a.example is not what its owner signed".into());
    let away = Loss::Network("no answer in time".into());
    let bogus = Failure::Tried(vec![("quic://a".into(), away), (QUAD9.into(), lies)]);
    let (code, why) = bogus.explain();
    assert_eq!((code, why.code), (2, code::BOGUS), "what was proven false is more than silence");
    assert!(why.text.contains("DNSSEC") && why.text.contains("is not what its owner signed"), "{}", why.text);
    assert!(bogus.is_verdict(), "an older answer does not make it better");
    assert_eq!(Failure::NoUpstream.explain().0, 2);
    assert_eq!(Failure::Busy.explain().0, 2);
}

proptest! {
    /// Whatever bytes an upstream sends: no stumbling, and what is kept can be given out.
    #[test]
    fn no_answer_makes_the_screen_stumble(noise in proptest::collection::vec((0usize..200, any::<u8>()), 0..12)) {
        let answers = vec![alias("a.example", "b.example"), a("b.example", "203.0.113.1")];
        let mut bytes = answer("a.example", ResponseCode::NoError, answers, vec![soa("example")]).to_vec().unwrap();
        for (at, byte) in noise {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(message) = Message::from_vec(&bytes)
            && let Ok(screened) = screen(&message, "a.example")
            && let Ok(stored) = Stored::new(&screened, false)
        {
            let given = stored.deliver(&query("A.example", 1), Age::Seconds(1), Carrier::Datagram, None).unwrap();
            prop_assert!(Message::from_vec(&given).is_ok());
        }
    }
}

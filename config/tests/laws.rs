//! The laws of the language, each by its number, and hostile input.
//!
//! | law | what | test |
//! |---|---|---|
//! | 1 | nothing is allowed by absence | `law_1_nothing_is_allowed_by_absence`, `law_1_a_truncated_file_never_opens_more`; the last good policy stays: `coordinator/core/tests/policy.rs`, `a_faulty_text_is_refused_…`, `what_is_unsigned_…` |
//! | 2 | allow-only; order never matters | `law_2_a_grant_more_never_takes_away`, `law_2_and_10_order_layout_…` |
//! | 3 | faults with place and hint, all in one go | `law_3_all_faults_…`, `law_3_every_kind_of_fault_…`, `law_3_a_node_that_is_not_enrolled_is_a_warning`; read by eyes: `faults.rs` |
//! | 4 | `all-nodes` on one side only | `law_4_all_nodes_on_both_sides_is_refused` |
//! | 5 | IPv4 and IPv6 together | `law_5_nothing_can_name_an_address_family`; bytes of both: `node/core/tests/policy.rs`, `law_5_a_first_packet_of_either_family_…` |
//! | 6 | direction is who opens | `law_6_a_grant_opens_one_direction`; replies: `node/core/src/conntrack/tests.rs`, `a_granted_flow_passes_both_ways`, `pf_12_a_packet_the_other_way_without_a_flow_is_dropped` |
//! | 7 | names | `law_7_names_have_no_look_alikes` |
//! | 8 | warnings with ids | `law_8_each_warning_has_its_id` |
//! | 9 | UTC instants | `law_9_times_are_utc_instants` |
//! | 10 | the canonical hash | `law_2_and_10_…`, `law_10_whatever_has_a_meaning_has_a_hash` |
//! | 11 | later keys are unknown | `law_11_keys_of_later_capabilities_are_errors` |
//! | 12 | `fmt`, the only tool that edits, keeps comments and order | `layout.rs`: `law_12_…` (four of them) |
//!
//! The lines of "Meanings that two readers must share" and of "Questions the language can be asked" are in `meanings.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

mod generate;

use proptest::prelude::*;
use warren_config::compile::Program;
use warren_config::item::ItemTree;
use warren_config::name::Name;
use warren_config::policy::{Policy, Protocol, Subject, Told};
use warren_config::resolve::{Context, Faults, Resolved, Source, render, resolve, resolve_in};
use warren_config::time::UnixTime;

const FULL: &str = include_str!("../examples/full.toml");
const DEMO: &str = include_str!("../examples/demo.toml");

fn files(texts: &[&str]) -> Vec<Source> {
    let source = |(i, text): (usize, &&str)| Source { file: format!("{i}.toml"), text: (*text).to_owned() };
    texts.iter().enumerate().map(source).collect()
}

fn read(texts: &[&str]) -> Result<Resolved, Faults> {
    resolve(&files(texts))
}

fn good(texts: &[&str]) -> Policy {
    let sources = files(texts);
    resolve(&sources).unwrap_or_else(|f| panic!("{}", render(&f.findings, &sources, false))).policy
}

fn ids(texts: &[&str]) -> Vec<&'static str> {
    read(texts).unwrap_err().findings.iter().map(|finding| finding.id).collect()
}

fn root(texts: &[&str]) -> String {
    ItemTree::new(&good(texts)).root().to_string()
}

fn node(name: &str, tags: &[&str]) -> Subject {
    let name = Name::parse(name).unwrap();
    Subject { name, tags: tags.iter().map(|tag| Name::parse(tag).unwrap()).collect() }
}

#[test]
fn law_1_nothing_is_allowed_by_absence() {
    let nodes = [node("a", &["web"]), node("b", &["db"]), node("c", &[])];
    for texts in [
        &[][..],
        &[""],
        &["# only a comment\n"],
        &["version = 1"],
        &["", "version = 1\n[dns]\nzone = \"x.y\""],
    ] {
        let program = Program::of_policy(&good(texts));
        for (from, to) in nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a, b))) {
            let rules = program.rules(from, to);
            assert!(!rules.joins());
            assert!(!rules.judge(Protocol::Tcp, 443, UnixTime(0)).passes());
            assert!(!rules.judge(Protocol::IcmpEcho, 0, UnixTime(0)).passes());
        }
    }
    assert!(!warren_config::filter::Rules::default().joins());
}

/// The tables of a file, cut before each header.
fn tables(text: &str) -> (String, Vec<String>) {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line.starts_with('[') {
            parts.push(String::new());
        }
        let part = parts.last_mut().unwrap();
        part.push_str(line);
        part.push('\n');
    }
    (parts.remove(0), parts)
}

proptest! {
    #[test]
    fn law_2_and_10_order_layout_comments_and_files_leave_no_trace(
        order in Just((0..tables(FULL).1.len()).collect::<Vec<_>>()).prop_shuffle(),
        cut in 0..20usize,
        loose in any::<bool>(),
    ) {
        let (head, parts) = tables(FULL);
        let mut shuffled: Vec<String> = order.iter().map(|i| parts[*i].clone()).collect();
        if loose {
            shuffled = shuffled.iter().map(|part| format!("# why not\n\n{}\n", part.replace(" = ", "  =  "))).collect();
        }
        let cut = cut.min(shuffled.len());
        let (first, second) = (format!("{head}{}", shuffled[..cut].concat()), shuffled[cut..].concat());
        prop_assert_eq!(root(&[&first, &second]), root(&[FULL]));
        prop_assert_eq!(root(&[&second, "", &first]), root(&[FULL]));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let sources = files(&[&text]);
        if let Err(faults) = resolve(&sources) {
            render(&faults.findings, &sources, true);
        }
    }

    #[test]
    fn no_mutation_of_a_good_file_makes_the_reader_panic(
        at in 0..FULL.len(), len in 0..40usize, insert in prop::sample::select(vec!["", "[", "]", "\"", "'", "=", ".", "\n", "é", "{", "tag:", "\u{0}", "\"\"\"", "9", "&"]),
    ) {
        prop_assume!(FULL.is_char_boundary(at));
        let end = (at..=FULL.len()).find(|i| *i >= at + len && FULL.is_char_boundary(*i)).unwrap_or(FULL.len());
        let text = format!("{}{insert}{}", &FULL[..at], &FULL[end..]);
        let sources = files(&[&text]);
        match resolve(&sources) {
            Ok(resolved) => drop(ItemTree::new(&resolved.policy).root()),
            Err(faults) => {
                prop_assert!(!faults.findings.is_empty());
                let text = render(&faults.findings, &sources, false);
                prop_assert!(text.contains("error["));
            }
        }
    }
}

#[test]
fn law_1_a_truncated_file_never_opens_more() {
    let nodes = [node("web-1", &["web"]), node("orders-1", &["orders"]), node("db-1", &["db"])];
    let whole = Program::of_policy(&good(&[DEMO]));
    for end in 0..DEMO.len() {
        let Some(Ok(cut)) = DEMO.get(..end).map(|text| read(&[text])) else { continue };
        let part = Program::of_policy(&cut.policy);
        for (from, to) in nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a, b))) {
            for (protocol, port) in
                [(Protocol::Tcp, 8080), (Protocol::Tcp, 5432), (Protocol::IcmpEcho, 0), (Protocol::Tcp, 80)]
            {
                let opens = |p: &Program| p.rules(from, to).judge(protocol, port, UnixTime(0)).passes();
                assert!(!opens(&part) || opens(&whole), "cut at {end}");
            }
        }
    }
}

#[test]
fn law_3_all_faults_are_reported_in_one_go() {
    let text = "version = 1\nmood = 1\n[tag.A]\n[service.x]\non = []\nlisten = [\"tcp/0\", \"tpc/1\"]\n[[grant]]\nid = \"g\"\nfrom = [\"tag:no\"]\nto = [\"service:xx\"]\n";
    let faults = read(&[text]).unwrap_err();
    let found: Vec<(&str, usize)> = faults.findings.iter().map(|f| (f.id, f.line)).collect();
    let wanted = [
        ("unknown-key", 2),
        ("bad-name", 3),
        ("empty-list", 5),
        ("bad-port", 6),
        ("unknown-protocol", 6),
        ("unknown-tag", 9),
        ("unknown-service", 10),
    ];
    assert_eq!(found, wanted);
    assert_eq!(
        (faults.findings[6].column, faults.findings[6].hint.as_deref()),
        (7, Some("did you mean `x`?"))
    );
}

/// A fault of each kind the law names: where it is, what is underlined, and the nearest known name.
#[test]
fn law_3_every_kind_of_fault_has_its_place_its_text_and_its_hint() {
    let tables = |rest: &str| {
        format!(
            "version = 1\n[group.ops]\nmembers = [\"a@b.c\"]\n[tag.web]\nowners = [\"group:ops\"]\n[service.shop]\non = [\"tag:web\"]\nlisten = [\"tcp/1\"]\n{rest}\n"
        )
    };
    let grant = |rest: &str| tables(&format!("[[grant]]\nid = \"g\"\n{rest}"));
    let service = |listen: &str| tables(&format!("[service.x]\non = [\"tag:web\"]\nlisten = [{listen}]"));
    let to_shop = "from = [\"tag:web\"]\nto = [\"service:shop\"]";
    // The file, the fault, what is underlined, what the hint names.
    let cases = [
        (grant(&format!("{to_shop}\nexcpet = []")), "unknown-key", "excpet", "except"),
        (tables("[tga.x]"), "unknown-key", "tga", "tag"),
        (grant("from = [\"tag:wep\"]\nto = [\"service:shop\"]"), "unknown-tag", "tag:wep", "web"),
        (tables("[tag.x]\nowners = [\"group:osp\"]"), "unknown-group", "group:osp", "ops"),
        (grant("from = [\"tag:web\"]\nto = [\"service:shpo\"]"), "unknown-service", "service:shpo", "shop"),
        (service("\"tpc/1\""), "unknown-protocol", "tpc", "tcp"),
        (grant(&format!("{to_shop}\nmode = \"enforced\"")), "unknown-value", "enforced", "enforce"),
        (grant("from = []\nto = [\"service:shop\"]"), "empty-list", "[]", ""),
        (service("\"tcp/9-8\""), "backward-range", "9-8", "8-9"),
        (service("\"tcp/0\""), "bad-port", "0", "65535"),
        (tables("[tag.x]\nnot-with = [\"tag:x\"]"), "not-with-itself", "tag:x", ""),
        (grant(&format!("{to_shop}\n[[grant]]\nid = \"g\"\n{to_shop}")), "duplicate-id", "g", ""),
    ];
    for (text, id, underlined, hint) in cases {
        let faults = read(&[&text]).unwrap_err();
        let [fault] = faults.findings.as_slice() else { panic!("{:?}\n{text}", faults.findings) };
        assert_eq!((fault.id, fault.file.as_str()), (id, "0.toml"), "{text}");
        let line = text.lines().nth(fault.line - 1).unwrap();
        let at: String = line.chars().skip(fault.column - 1).collect();
        assert!(at.trim_start_matches('"').starts_with(underlined), "{id}: `{at}`");
        assert!(fault.hint.as_deref().unwrap_or_default().contains(hint), "{id}: {:?}", fault.hint);
        let told = render(&faults.findings, &files(&[&text]), false);
        let place = format!("0.toml:{}:{}", fault.line, fault.column);
        assert!(told.contains(&place) && told.contains(&"^".repeat(underlined.len())), "{told}");
    }
}

#[test]
fn law_4_all_nodes_on_both_sides_is_refused() {
    let text = |listen: &str| {
        format!(
            "version = 1\n[service.x]\non = [\"all-nodes\"]\nlisten = [{listen}]\n[[grant]]\nid = \"g\"\nfrom = [\"all-nodes\"]\nto = [\"service:x\"]\n"
        )
    };
    assert_eq!(ids(&[&text("\"icmp/echo\", \"tcp/22\"")]), ["all-to-all"]);
    assert!(read(&[&text("\"icmp/echo\"")]).is_ok());
}

proptest! {
    /// Allow-only: whatever a policy allows, it allows with one grant more, too.
    #[test]
    fn law_2_a_grant_more_never_takes_away(
        policy in generate::whole_policy(), more in generate::whole_policy(), which in 0..5usize,
        from in generate::subject(), to in generate::subject(),
    ) {
        let Some(grant) = more.grants.values().nth(which) else { return Ok(()) };
        let mut larger = policy.clone();
        let id = Name::parse("more").unwrap();
        larger.grants.insert(id.clone(), warren_config::policy::Grant { id, ..grant.clone() });
        let (few, many) = (Program::of_policy(&policy).rules(&from, &to), Program::of_policy(&larger).rules(&from, &to));
        for (protocol, port) in warren_config::oracle::ever::probes(&policy, None) {
            for at in [4, 9, 20].map(UnixTime) {
                let passes = |rules: &warren_config::filter::Rules| rules.judge(protocol, port, at).passes();
                prop_assert!(!passes(&few) || passes(&many), "{protocol}/{port}");
            }
        }
    }
}

#[test]
fn law_3_a_node_that_is_not_enrolled_is_a_warning() {
    let text = FULL.replace("node:web-canary", "node:web-cannary");
    let context = Context {
        at: None,
        nodes: Some(["web-canary", "resolver-1", "orders-1"].map(|n| Name::parse(n).unwrap()).into()),
    };
    let resolved = resolve_in(&files(&[&text]), &context).unwrap();
    let told: Vec<_> = resolved.warnings.iter().map(|f| (f.id, f.hint.as_deref())).collect();
    assert_eq!(told, [("unknown-node", Some("did you mean `web-canary`?"))]);
}

#[test]
fn law_5_nothing_can_name_an_address_family() {
    let listen = warren_config::question::parse_listen;
    assert!(listen("icmp/echo").is_ok());
    // ICMP, ICMPv6 and what carries or extends only one family have no spelling of their own.
    for bad in [
        "proto/1",
        "proto/58",
        "icmpv6/echo",
        "icmp6/echo",
        "icmp/8",
        "tcp4/1",
        "tcp6/1",
        "udp4/1",
        "tcp/1/ipv4",
    ] {
        assert!(listen(bad).is_err(), "{bad}");
    }
    // The compiled verdict is over protocol and port; an address is no part of it.
    let verdict: fn(
        &warren_config::filter::Rules,
        Protocol,
        u16,
        UnixTime,
    ) -> warren_config::filter::Verdict<'_> = warren_config::filter::Rules::judge;
    let rules = warren_config::filter::Rules::default();
    assert!(!verdict(&rules, Protocol::IcmpEcho, 0, UnixTime(0)).passes());
}

#[test]
fn law_6_a_grant_opens_one_direction() {
    let program = Program::of_policy(&good(&[DEMO]));
    let (web, orders) = (node("web-1", &["web"]), node("orders-1", &["orders"]));
    let passes = |from, to| program.rules(from, to).judge(Protocol::Tcp, 8080, UnixTime(0)).passes();
    assert!(passes(&web, &orders));
    assert!(!passes(&orders, &web), "a reply is part of a flow, never an opening");
}

#[test]
fn law_8_each_warning_has_its_id() {
    let context = Context { at: Some(UnixTime(1_780_000_000)), nodes: None };
    let resolved = resolve_in(&files(&[include_str!("faults/warnings.toml")]), &context).unwrap();
    let told: std::collections::BTreeSet<&str> = resolved.warnings.iter().map(|f| f.id).collect();
    for id in [
        "service-without-offerer",
        "covered-grant",
        "ended-grant",
        "tag-without-owner",
        "repeated-test",
        "shared-port",
        "grant-for-nobody",
    ] {
        assert!(told.contains(id), "{id}: {told:?}");
    }
}

#[test]
fn law_9_times_are_utc_instants() {
    let with = |until: &str| FULL.replace("2027-01-31T00:00:00Z", until);
    let policy = good(&[&with("2027-01-31T00:00:00Z")]);
    let grant = &policy.grants[&Name::parse("web-reads-orders").unwrap()];
    assert_eq!(grant.until, Some(UnixTime(1_801_353_600)));
    assert_eq!(grant.until.unwrap().to_string(), "2027-01-31T00:00:00Z");
    for bad in [
        "2027-01-31T00:00:00",
        "2027-01-31",
        "2027-01-31T00:00:00+00:00",
        "2027-01-31T02:00:00+02:00",
        "00:00:00",
        "2027-01-31T00:00:00.5Z",
        "1950-01-01T00:00:00Z",
    ] {
        assert_eq!(ids(&[&with(bad)]), ["not-utc"], "{bad}");
    }
}

/// One changed thing, another hash.
#[test]
fn law_10_whatever_has_a_meaning_has_a_hash() {
    let mut seen = std::collections::BTreeSet::from([root(&[FULL])]);
    for (from, to) in [
        ("mode    = \"enforce\"", "mode    = \"observe\""),
        ("\"alice@example.com\", ", ""),
        ("[tag.dev]", "[tag.more]\nowners = [\"group:platform\"]\n[tag.dev]"),
        ("\"tcp/9000-9010\"", "\"tcp/9000-9011\""),
        ("\"tag:web & tag:prod\", \"tag:web\"", "\"tag:web\""),
        ("[\"node:web-canary\"]", "[\"node:web-other\"]"),
        ("mode = \"audit\"", "mode = \"off\""),
        ("2027-01-31", "2027-02-01"),
        ("OPS-123", "OPS-124"),
        (", via = \"any\"", ""),
        ("expect = \"allow\"\nby     = \"web-reads-orders\"", "expect = \"allow\""),
        ("prod.internal", "dev.internal"),
        ("9.9.9.9:853", "9.9.9.9:854"),
    ] {
        assert!(FULL.contains(from), "{from}");
        assert!(seen.insert(root(&[&FULL.replacen(from, to, 1)])), "{from} -> {to} leaves no trace");
    }
}

#[test]
fn law_11_keys_of_later_capabilities_are_errors() {
    for key in ["allow = [\"GET /\"]", "rate = 5", "require = \"disk\"", "image = \"sha256:1\""] {
        let text =
            FULL.replacen("id     = \"web-reads-orders\"", &format!("id = \"web-reads-orders\"\n{key}"), 1);
        assert_eq!(ids(&[&text]), ["unknown-key"], "{key}");
    }
}

#[test]
fn law_7_names_have_no_look_alikes() {
    for bad in ["", "-a", "a-", "A", "a_b", "a.b", "wеb", "a b", "*", &"a".repeat(64)] {
        assert!(Name::parse(bad).is_err(), "{bad}");
    }
    for good in ["a", "0", "a-b", "a--b", &"a".repeat(63)] {
        assert!(Name::parse(good).is_ok(), "{good}");
    }
}

#[test]
fn version_mode_and_dns_stand_in_exactly_one_file() {
    let both = ids(&[
        "version = 1\nmode = \"enforce\"\n[dns]\nzone = \"a.b\"",
        "version = 1\nmode = \"enforce\"\n[dns]\nzone = \"a.b\"",
    ]);
    assert_eq!(both, ["written-twice", "written-twice", "written-twice"]);
    assert_eq!(ids(&["[dns]\nzone = \"a.b\""]), ["missing-version"]);
}

/// Nobody learns from the coordinator what is looked for on a node, unless somebody with the authority has signed that wish.
#[test]
fn names_stay_on_the_node_unless_the_policy_asks_for_them() {
    let said = |line: &str| format!("version = 1\n[dns]\nzone = \"a.b\"\n{line}");
    let told = |line: &str| good(&[&said(line)]).settings.report;
    assert_eq!([told(""), told("report = \"nothing\"")], [Told::Nothing; 2]);
    assert_eq!(good(&[]).settings.report, Told::Nothing);
    assert_eq!(told("report = \"names\""), Told::Names);
    // Who does not ask signs what was signed before there was the word, so that older nodes read it.
    assert_eq!(root(&[&said("report = \"nothing\"")]), root(&[&said("")]));
    assert_ne!(root(&[&said("report = \"names\"")]), root(&[&said("")]));
    assert_eq!(ids(&[&said("report = \"all\"")]), ["unknown-value"]);
}

#[test]
fn not_with_is_symmetric() {
    let policy = good(&[FULL]);
    let (web, orders) = (Name::parse("web").unwrap(), Name::parse("orders").unwrap());
    assert!(policy.tags[&web].not_with.contains(&orders) && policy.tags[&orders].not_with.contains(&web));
}

#[test]
fn except_subtracts_and_until_ends_at_its_instant() {
    let program = Program::of_policy(&good(&[FULL]));
    let orders = node("orders-1", &["orders"]);
    let judge = |name, at| {
        program.rules(&node(name, &["web"]), &orders).judge(Protocol::Tcp, 8443, UnixTime(at)).passes()
    };
    let end = 1_801_353_600; // 2027-01-31T00:00:00Z
    assert!(judge("web-1", end - 1));
    assert!(!judge("web-1", end));
    assert!(!judge("web-canary", end - 1));
    assert_eq!(program.rules(&node("web-1", &["web"]), &orders).next_end(UnixTime(0)), Some(UnixTime(end)));
}

#[test]
fn an_audited_grant_joins_nobody() {
    let program = Program::of_policy(&good(&[FULL]));
    let text =
        FULL.replace("everyone-pings", "pings").replace("from = [\"all-nodes\"]", "from = [\"tag:web\"]");
    let rules = Program::of_policy(&good(&[&text])).rules(&node("d", &["dev"]), &node("resolver-1", &[]));
    assert!(!rules.joins());
    let verdict = rules.judge(Protocol::Udp, 53, UnixTime(0));
    assert!(matches!(verdict, warren_config::filter::Verdict::WouldAllow { .. }), "{verdict:?}");
    assert!(
        program.rules(&node("d", &["dev"]), &node("resolver-1", &[])).services(UnixTime(0))
            == [Name::parse("ping").unwrap()]
    );
}

#[test]
fn observe_passes_and_says_so_and_can_answers_as_if_enforcing() {
    let text = DEMO.replacen("version = 1", "version = 1\nmode = \"observe\"", 1);
    let policy = good(&[&text]);
    let (web, db) = (node("web-1", &["web"]), node("db-1", &["db"]));
    let rules = Program::of_policy(&policy).rules(&web, &db);
    assert!(rules.observes() && rules.joins());
    assert_eq!(rules.judge(Protocol::Tcp, 5432, UnixTime(0)), warren_config::filter::Verdict::WouldDeny);
    let listen = warren_config::question::parse_listen("tcp/5432").unwrap();
    assert!(warren_config::question::explain(&policy, &web, &db, listen, UnixTime(0)).is_err());
}

#[test]
fn a_thousand_grants_resolve_quickly() {
    let mut text = "version = 1\n[group.g]\nmembers = [\"a@b.c\"]\n".to_owned();
    for i in 0..1000 {
        text.push_str(&format!("[tag.t{i}]\nowners = [\"group:g\"]\n[service.s{i}]\non = [\"tag:t{i}\"]\nlisten = [\"tcp/{}\"]\n[[grant]]\nid = \"g{i}\"\nfrom = [\"tag:t{}\"]\nto = [\"service:s{i}\"]\n", i + 1, (i + 1) % 1000));
    }
    let begun = std::time::Instant::now();
    assert_eq!(good(&[&text]).grants.len(), 1000);
    println!("1,000 grants: {:?}", begun.elapsed());
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

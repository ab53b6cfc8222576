//! Names that their owners signed: what is proven is said so, what is not signed passes, and lies do not, whoever tells
//! them and however well encrypted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use warren_netns_tests::capture::Capture;
use warren_netns_tests::nameserver::{ADDRESS, NAME};
use warren_netns_tests::process::Finished;
use warren_netns_tests::signed::{self, LIE};
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::warren::{Coordinator, Node};

const POLICY: &str = "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n\
    [dns]\nzone = \"test.internal\"\n";

fn dig(node: &Node, words: &[&str]) -> String {
    let at = format!("@{}", node.v4());
    let done: Finished = node.host.run(&[&["dig", "+tries=1", "+time=6", at.as_str()], words].concat());
    done.ok()
}

/// Flags of an answer: `ad` stands for "proven".
fn flags(answer: &str) -> &str {
    let line = answer.lines().find(|l| l.starts_with(";; flags:")).unwrap_or_default();
    line.trim_start_matches(";; flags:").split(';').next().unwrap_or_default()
}

fn is_proven(answer: &str) -> bool {
    flags(answer).split_whitespace().any(|flag| flag == "ad")
}

#[test]
fn what_is_signed_is_proven_what_is_not_passes_and_lies_are_refused() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let world = signed::start(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let env = vec![
        ("WARREN_NODE_DNS_CA", world.server.ca.clone()),
        ("WARREN_NODE_DNS_VALIDATE", "true".to_owned()),
        ("WARREN_NODE_DNS_ANCHORS", world.anchors.clone()),
    ];
    let web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, Vec::new());
    let capture = Capture::start(&street, "dnssec");
    for scheme in ["tls", "https"] {
        let upstream = format!("upstream = [\"{scheme}://{}#{NAME}\"]\n", street.host("dns").v4);
        coordinator.apply(&format!("{POLICY}{upstream}"));
        // Proven, with records and without.
        for (words, code, holds) in [
            (&["www.signed"][..], "NOERROR", ADDRESS),
            (&["alias.signed"], "NOERROR", ADDRESS),
            (&["a.old.signed"], "NOERROR", ADDRESS),
            (&["www.nsec3"], "NOERROR", ADDRESS),
            (&["www.signed", "AAAA"], "NOERROR", "AUTHORITY: 1"),
            (&["alias.signed", "AAAA"], "NOERROR", "CNAME"),
            (&["gone.signed"], "NXDOMAIN", "SOA"),
            (&["gone.nsec3"], "NXDOMAIN", "SOA"),
            (&["www.nsec3", "AAAA"], "NOERROR", "AUTHORITY: 1"),
            (&["gone-tld"], "NXDOMAIN", "SOA"),
            // Made by an asterisk: with the proof that nothing closer is there (RFC 4035 section 5.3.4, RFC 5155 7.2.6).
            (&["any.wild"], "NOERROR", ADDRESS),
            (&["a.b.wild"], "NOERROR", ADDRESS),
            (&["any.deep.wild"], "NOERROR", ADDRESS),
            (&["any.wild", "AAAA"], "NOERROR", "AUTHORITY: 1"),
            (&["x.any.nsec3"], "NOERROR", ADDRESS),
            (&["x.any.nsec3", "AAAA"], "NOERROR", "AUTHORITY: 1"),
            (&["x.to.signed"], "NOERROR", ADDRESS),
            (&["x.to.signed", "AAAA"], "NOERROR", "CNAME"),
            (&["via.signed"], "NOERROR", ADDRESS),
            (&["via.signed", "AAAA"], "NOERROR", "CNAME"),
            (&["far.signed"], "NOERROR", ADDRESS),
        ] {
            let answer = dig(&web, &[&["+adflag"], words].concat());
            let said = answer.contains(&format!("status: {code}")) && answer.contains(holds);
            assert!(said && is_proven(&answer), "{scheme} {words:?}: {answer}");
        }
        let signatures = dig(&web, &["+dnssec", "www.signed"]);
        assert!(signatures.contains("RRSIG") && is_proven(&signatures), "{signatures}");
        assert!(!dig(&web, &["+noadflag", "www.signed"]).contains("RRSIG"), "only to whom asks for them");

        // Nobody signed these, and the root says so: given, and not said to be proven.
        for words in [&["www.plain"][..], &["out.signed"], &["www.plain", "AAAA"], &["gone.plain"]] {
            let answer = dig(&web, words);
            assert!(!answer.contains("SERVFAIL") && !is_proven(&answer), "{scheme} {words:?}: {answer}");
        }
        for alias in ["out.signed", "x.away.signed"] {
            let answer = dig(&web, &[alias]);
            assert!(
                answer.contains(ADDRESS) && !is_proven(&answer),
                "an alias to where nobody signs: {answer}"
            );
        }

        // Changed, hidden, out of date, or without the signatures there must be.
        for words in [
            &["www.forged"][..],
            &["taken.forged"],
            &["to-forged.signed"],
            &["www.expired"],
            &["gone.expired"],
            &["www.stripped"],
            &["gone.stripped"],
            // Rightly signed, for an asterisk that does not reach so far.
            &["taken.wild"],
            &["to-taken.signed"],
        ] {
            let answer = dig(&web, words);
            let closed = answer.contains("status: SERVFAIL") && answer.contains("EDE: 6 ");
            assert!(closed && answer.contains("DNSSEC"), "{scheme} {words:?}: {answer}");
            assert!(!answer.contains(LIE) && !answer.contains(ADDRESS), "{scheme} {words:?}: {answer}");
        }
        // Who wants to judge himself is given it as it is, and it is never said to be proven.
        let as_it_is = dig(&web, &["+cdflag", "www.forged"]);
        assert!(as_it_is.contains(LIE) && !is_proven(&as_it_is), "{as_it_is}");
        assert!(dig(&web, &["www.forged"]).contains("SERVFAIL"), "and nobody else is");
    }
    let shown = web.cli(&["dns", "query", "www.signed"]).ok();
    assert!(shown.contains("proven by DNSSEC"), "{shown}");
    let refused = web.cli(&["dns", "query", "www.forged"]);
    assert_eq!(refused.code(), 1, "{}", refused.text());
    assert!(refused.text().contains("not what its owner signed"), "{}", refused.text());
    assert!(web.cli(&["dns", "status"]).ok().contains("proven by DNSSEC"));
    let seen = capture.finish();
    assert_eq!((seen.dropped, seen.clear_dns()), (0, 0), "keys are asked encrypted too");
    assert_eq!(seen.containing(b"nsec3") + seen.containing(b"forged"), 0);
}

/// It is the proof that refuses a lie, nothing else.
#[test]
fn without_the_option_a_lie_is_passed_on_and_never_said_to_be_proven() {
    let street = Street::new(&["coord", "web-1", "dns"], Underlay::V4);
    let world = signed::start(&street.host("dns"));
    let coordinator = Coordinator::start(&street, "coord", Underlay::V4);
    let env = vec![("WARREN_NODE_DNS_CA", world.server.ca.clone())];
    let web = Node::enrol_with(&street, &coordinator, "web-1", &["web"], env, Vec::new());
    let upstream = format!("upstream = [\"tls://{}#{NAME}\"]\n", street.host("dns").v4);
    coordinator.apply(&format!("{POLICY}{upstream}"));
    let believed = dig(&web, &["+adflag", "www.forged"]);
    assert!(believed.contains(LIE) && !is_proven(&believed), "{believed}");
}

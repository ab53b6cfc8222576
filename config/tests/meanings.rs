//! Every line of "Meanings that two readers must share" and of "Questions the language can be asked, exactly", in order.
//!
//! | line | test |
//! |---|---|
//! | lists are unions; `except` and `on` | `lists_are_unions_and_except_subtracts_from_from_only` |
//! | `to` of a grant names services only; tests and invariants also nodes with a port | `a_grant_names_services_and_a_test_may_name_a_port` |
//! | a verdict is over source, destination, protocol and port | `judge.rs`; in bytes: `node/core/tests/policy.rs` |
//! | two services on one port | `on_a_shared_port_the_narrower_listen_then_the_smaller_id_is_named` |
//! | `all-nodes` meets `all-nodes` by `icmp/echo` only | `all_nodes_meets_all_nodes_only_by_ping` (also `laws.rs`, law 4) |
//! | `not-with` is symmetric | `laws.rs`: `not_with_is_symmetric` |
//! | `apply` is refused while a node violates it | `coordinator/core/tests/policy.rs`: `a_policy_that_an_enrolled_node_violates_is_refused_and_names_it`; tokens and newcomers: `enrolment.rs` there, `tags_that_…_exclude_each_other_are_refused_at_the_…` |
//! | groups own tags and are never nodes | `a_group_owns_tags_and_is_never_a_node` |
//! | a node name used by a policy is reserved | `coordinator/core/tests/enrolment.rs`: `names_belong_to_the_first_comer_and_reserved_ones_to_bound_tokens`; the proofs count a name as one node: `except_by_name_is_one_node` |
//! | a rename runs the proofs again | none can change: `coordinator/core/tests/policy.rs`: `a_rename_cannot_take_or_leave_a_name_the_policy_speaks_of`; `a_name_the_policy_does_not_speak_of_changes_no_answer` |
//! | `mode = "observe"` passes and records | `laws.rs`: `observe_passes_and_says_so_…`; both ends: `tests/tests/audit_and_observe.rs` |
//! | … bypasses neither the source check nor revocation nor signatures | `node/core/tests/policy.rs`: `observe_lets_no_foreign_source_pass`; `coordinator/core/tests/policy.rs`: `observe_bypasses_neither_revocation_nor_signatures` |
//! | … answers as if enforcing | `tests_and_invariants_answer_as_if_enforcing` |
//! | … takes a flag and raises an alarm | `coordinator/core/tests/policy.rs`: `observe_mode_takes_a_flag_and_raises_an_alarm_until_it_ends` |
//! | `mode = "audit"` joins nobody and gives no key | `laws.rs`: `an_audited_grant_joins_nobody`; `coordinator/core/tests/distribution.rs`: `an_audited_grant_joins_nobody_and_tells_only_its_sender_what_to_recognise` |
//! | … the sender recognises and records | `audit.rs`; `node/core/src/conntrack/tests.rs`: `an_audited_grant_does_not_pass_and_is_recorded_as_would_allow` |
//! | flows end at `until`, without a new generation | `node/core/src/conntrack/tests.rs`: `a_flow_ends_at_the_instant_of_until`; `tests/tests/policy_change.rs`: `until_cuts_at_its_instant_without_a_new_generation` |
//! | `until`: `never` counts it, `always` ignores it | `never_counts_a_grant_that_ends_and_always_ignores_it` |
//! | `only`, `never`, `always` | `only_never_and_always_speak_of_every_possible_node`, `proof.rs` |
//! | `can` says yes only if all passes, else lists both | `can_says_yes_only_if_everything_passes` |
//! | `--ever` ranges over what `not-with` and owners leave | `ever_ranges_over_what_not_with_and_owners_leave` |
//! | merged files | `laws.rs`: `version_mode_and_dns_stand_in_exactly_one_file` |
//! | a test may say what its ends wear | `a_described_end_makes_except_the_only_reason` |
//! | `tag:x` is a node with that tag alone, `node:x` an untagged one unless enrolled | `in_a_question_a_tag_is_a_node_that_wears_it_alone` |
//! | invariants and `--ever` speak of at least that tag | `ever_ranges_over_…`, `only_never_and_always_…` |
//! | exit codes | `coordinator/tests/policy.rs`: `check_and_can_end_with_the_codes_of_the_specification` |
//! | `can`: yes with the grant, no with the nearest miss | `examples.rs`: `a_no_names_the_nearest_miss` |
//! | `can --ever`, `--via any`: witness or proof | `ever_comes_with_a_chain_of_grants` |
//! | `diff` | `examples.rs`: `a_diff_is_exact`; `a_reordered_policy_has_no_difference` |
//! | `prove`, also for tags that nodes wear | `a_proof_counts_with_a_tag_that_a_node_wears_already` |
//! | … asked again at a token and at the enrolment | `coordinator/core/tests/invariants.rs`, each law at each of them |

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::collections::BTreeSet;

use warren_config::compile::Program;
use warren_config::filter::Verdict;
use warren_config::name::Name;
use warren_config::policy::{Policy, Protocol, Subject};
use warren_config::proof;
use warren_config::question::{Answer, Question, can, diff, parse_selector, parse_target, run_tests};
use warren_config::resolve::{Source, render, resolve};
use warren_config::time::UnixTime;

const AT: UnixTime = UnixTime(1_780_000_000);

/// Tags `a`, `b`, `c` that anybody may wear together, `lost` that nobody owns, a service on each of `a`, `b`, `c`.
const GROUND: &str = r#"
version = 1
group.ops.members = ["x@example.com"]
tag.a.owners = ["group:ops"]
tag.b.owners = ["group:ops"]
tag.c.owners = ["group:ops"]
tag.lost = {}
service.a = { on = ["tag:a"], listen = ["tcp/1"] }
service.b = { on = ["tag:b"], listen = ["tcp/2"] }
service.c = { on = ["tag:c", "node:one"], listen = ["tcp/3", "udp/3"] }
"#;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn source(more: &str) -> Vec<Source> {
    vec![Source { file: "p.toml".to_owned(), text: format!("{GROUND}{more}") }]
}

fn policy(more: &str) -> Policy {
    let sources = source(more);
    resolve(&sources).unwrap_or_else(|f| panic!("{}", render(&f.findings, &sources, false))).policy
}

fn faults(more: &str) -> Vec<&'static str> {
    resolve(&source(more)).unwrap_err().findings.iter().map(|finding| finding.id).collect()
}

fn grant(id: &str, from: &str, to: &str, rest: &str) -> String {
    format!("[[grant]]\nid = \"{id}\"\nfrom = [{from}]\nto = [{to}]\n{rest}\n")
}

fn node(name_of: &str, tags: &[&str]) -> Subject {
    Subject { name: name(name_of), tags: tags.iter().map(|tag| name(tag)).collect() }
}

fn passes(policy: &Policy, from: &Subject, to: &Subject, port: u16) -> bool {
    Program::of_policy(policy).rules(from, to).judge(Protocol::Tcp, port, AT).passes()
}

fn holds(policy: &Policy) -> Vec<bool> {
    proof::prove(policy, &BTreeSet::new(), AT).iter().map(proof::Proof::holds).collect()
}

fn law(id: &str, law: &str) -> String {
    format!("[[invariant]]\nid = \"{id}\"\n{law}\n")
}

fn ask(policy: &Policy, nodes: &[Subject], from: &str, to: &str) -> Answer {
    let question =
        Question { from: parse_selector(from).unwrap(), to: parse_target(to, None).unwrap(), at: AT };
    can(policy, nodes, &question).unwrap()
}

#[test]
fn lists_are_unions_and_except_subtracts_from_from_only() {
    let policy = policy(&grant("g", r#""tag:a", "tag:b""#, r#""service:c""#, r#"except = ["tag:c"]"#));
    let c = node("c-1", &["c"]);
    assert!(passes(&policy, &node("x", &["a"]), &c, 3) && passes(&policy, &node("x", &["b"]), &c, 3));
    assert!(!passes(&policy, &node("x", &["a", "c"]), &c, 3), "except takes from `from`");
    assert!(passes(&policy, &node("x", &["a"]), &node("one", &["c"]), 3), "and not from `to`");
    assert!(passes(&policy, &node("x", &["a"]), &node("one", &[]), 3), "`on` is a union");
    assert!(!passes(&policy, &node("x", &[]), &c, 3));
}

#[test]
fn a_grant_names_services_and_a_test_may_name_a_port() {
    for to in ["tag:a", "node:one", "all-nodes", "tag:a tcp/1"] {
        assert_eq!(faults(&grant("g", r#""tag:b""#, &format!("\"{to}\""), "")), ["not-a-service"], "{to}");
    }
    let more = format!(
        "{}[[test]]\nid = \"t\"\nfrom = \"tag:b\"\nto = \"tag:a tcp/22\"\nexpect = \"deny\"\n{}",
        grant("g", r#""tag:b""#, r#""service:a""#, ""),
        law("i", r#"never = { from = ["tag:b"], to = ["tag:a tcp/22", "node:two"] }"#)
    );
    let policy = policy(&more);
    assert!(run_tests(&policy, &[], AT).iter().all(|test| test.passed));
    assert_eq!(holds(&policy), [false], "`node:two` may wear `a`");
}

#[test]
fn on_a_shared_port_the_narrower_listen_then_the_smaller_id_is_named() {
    let more = r#"
service.wide = { on = ["tag:a"], listen = ["tcp/1-9"] }
service.same = { on = ["tag:a"], listen = ["tcp/1"] }
"#;
    let grants = grant("x", r#""tag:b""#, r#""service:wide""#, "")
        + &grant("m", r#""tag:b""#, r#""service:same""#, "")
        + &grant("z", r#""tag:b""#, r#""service:a""#, "");
    let sources = source(&format!("{more}{grants}"));
    let resolved = resolve(&sources).unwrap();
    assert!(resolved.warnings.iter().any(|finding| finding.id == "shared-port"));
    let rules = Program::of_policy(&resolved.policy).rules(&node("b-1", &["b"]), &node("a-1", &["a"]));
    let by = |port| match rules.judge(Protocol::Tcp, port, AT) {
        Verdict::Allow { grant, service, .. } => format!("{grant} {service}"),
        other => format!("{other:?}"),
    };
    assert_eq!((by(1), by(2)), ("m same".to_owned(), "x wide".to_owned()));
}

#[test]
fn all_nodes_meets_all_nodes_only_by_ping() {
    let everywhere =
        |listen: &str| format!("service.all = {{ on = [\"all-nodes\"], listen = [{listen}] }}\n");
    let grant = grant("g", r#""all-nodes""#, r#""service:all""#, "");
    assert_eq!(faults(&format!("{}{grant}", everywhere(r#""tcp/22""#))), ["all-to-all"]);
    let policy = policy(&format!("{}{grant}", everywhere(r#""icmp/echo""#)));
    let rules = Program::of_policy(&policy).rules(&node("x", &[]), &node("y", &[]));
    assert!(rules.judge(Protocol::IcmpEcho, 0, AT).passes() && !rules.judge(Protocol::Tcp, 22, AT).passes());
}

#[test]
fn a_group_owns_tags_and_is_never_a_node() {
    assert_eq!(faults(&grant("g", r#""group:ops""#, r#""service:a""#, "")), ["group-in-selector"]);
    assert_eq!(faults("group.bad.members = [\"node:x\"]"), ["bad-member"]);
    assert_eq!(faults("tag.d.owners = [\"x@example.com\"]"), ["no-kind"]);
}

#[test]
fn except_by_name_is_one_node() {
    let policy = policy(
        &(grant("g", r#""tag:a""#, r#""service:b""#, r#"except = ["node:one"]"#)
            + &law("one-is-out", r#"never = { from = ["node:one"], to = ["service:b"] }"#)
            + &law("two-is-out", r#"never = { from = ["node:two"], to = ["service:b"] }"#)),
    );
    assert_eq!(holds(&policy), [true, false]);
}

/// Why a rename between such names needs no new proof.
#[test]
fn a_name_the_policy_does_not_speak_of_changes_no_answer() {
    let policy = policy(
        &(grant("g", r#""tag:a", "node:one""#, r#""service:b", "service:c""#, r#"except = ["node:two"]"#)
            + &grant("h", r#""all-nodes""#, r#""service:a""#, "")),
    );
    let program = Program::of_policy(&policy);
    for tags in [&[][..], &["a"], &["b"], &["a", "c"]] {
        for other in [node("two", &["a"]), node("x-9", &["b"]), node("one", &["c"])] {
            let renamed = [node("old", tags), node("new", tags)];
            let [old, new] = renamed.each_ref().map(|n| (program.rules(n, &other), program.rules(&other, n)));
            assert!(old == new, "{tags:?}");
        }
    }
    // And one that it speaks of does.
    let b = node("x-9", &["b"]);
    assert!(program.rules(&node("old", &["a"]), &b) != program.rules(&node("two", &["a"]), &b));
}

#[test]
fn tests_and_invariants_answer_as_if_enforcing() {
    let more = law("i", r#"never = { from = ["tag:a"], to = ["service:b"] }"#)
        + "[[test]]\nid = \"t\"\nfrom = \"tag:a\"\nto = \"service:b\"\nexpect = \"deny\"\n";
    let mut policy = policy(&more);
    policy.settings.mode = warren_config::policy::Mode::Observe;
    assert!(passes(&policy, &node("x", &["a"]), &node("y", &["b"]), 2), "observed packets pass");
    assert_eq!(holds(&policy), [true]);
    assert!(run_tests(&policy, &[], AT)[0].passed);
    assert!(!ask(&policy, &[], "tag:a", "service:b").yes);
}

#[test]
fn never_counts_a_grant_that_ends_and_always_ignores_it() {
    let laws = law("a-never", r#"never = { from = ["tag:a"], to = ["service:b"] }"#)
        + &law("b-always", r#"always = { from = ["tag:a"], to = ["service:b"] }"#);
    let with = |until| holds(&policy(&(grant("g", r#""tag:a""#, r#""service:b""#, until) + &laws)));
    assert_eq!(with(""), [false, true]);
    assert_eq!(with("until = 2030-01-01T00:00:00Z"), [false, false]);
    assert_eq!(with("until = 2020-01-01T00:00:00Z"), [true, false], "over is over");
}

#[test]
fn only_never_and_always_speak_of_every_possible_node() {
    let given = grant("g", r#""tag:a & tag:b""#, r#""service:c""#, "");
    let laws = law("a-only-a", r#"only = { from = ["tag:a"], to = ["service:c"] }"#)
        + &law("b-only-c", r#"only = { from = ["tag:c"], to = ["service:c"] }"#)
        + &law("c-never-a", r#"never = { from = ["tag:a"], to = ["service:c"] }"#)
        + &law("d-always-a", r#"always = { from = ["tag:a"], to = ["service:c"] }"#)
        + &law("e-always-ab", r#"always = { from = ["tag:a & tag:b"], to = ["service:c"] }"#);
    // A node of `a` may wear `b` as well, or not: it breaks `never` and `always` both.
    assert_eq!(holds(&policy(&(given + &laws))), [true, false, false, false, true]);
    // `always` wants every `listen` at every offerer.
    let tcp = "service.part = { on = [\"tag:c\", \"node:one\"], listen = [\"tcp/3\"] }\n";
    let part = grant("g", r#""tag:a & tag:b""#, r#""service:part""#, "");
    assert!(!holds(&policy(&format!("{tcp}{part}{laws}")))[4]);
}

#[test]
fn can_says_yes_only_if_everything_passes() {
    let policy = policy(&grant("g", r#""tag:a""#, r#""service:c""#, r#"except = ["node:a-2"]"#));
    let nodes = [node("a-1", &["a"]), node("a-2", &["a"]), node("c-1", &["c"])];
    let answer = ask(&policy, &nodes, "tag:a", "service:c");
    let passing: Vec<String> =
        answer.passes.iter().map(|p| format!("{} {} {}", p.from, p.to, p.listen)).collect();
    assert!(!answer.yes);
    assert_eq!(passing, ["a-1 c-1 tcp/3", "a-1 c-1 udp/3"]);
    assert_eq!(answer.fails.len(), 2);
    assert!(answer.fails.iter().all(|miss| miss.reason == "`a-2` is excepted by node:a-2 in grant `g`"));
    assert!(ask(&policy, &nodes, "node:a-1", "service:c").yes);
}

#[test]
fn ever_ranges_over_what_not_with_and_owners_leave() {
    let grants = grant("g", r#""tag:a & tag:b""#, r#""service:c""#, "")
        + &grant("h", r#""tag:lost""#, r#""service:a""#, "");
    let ever = |text: &str, from: &str, to: &str| {
        let (from, to) = (parse_selector(from).unwrap(), parse_target(to, None).unwrap());
        proof::ever(&policy(text), &from, &to, false, AT).unwrap().is_some()
    };
    assert!(ever(&grants, "tag:a", "service:c"), "it may wear `b` as well");
    assert!(!ask(&policy(&grants), &[], "tag:a", "service:c").yes, "without --ever it wears `a` alone");
    assert!(!ever(
        &format!("{}{grants}", "tag.d = { owners = [\"group:ops\"], not-with = [\"tag:a\"] }\n"),
        "tag:d",
        "service:c"
    ));
    assert!(!ever(&grants, "tag:lost", "service:a"), "nobody can own it");
}

#[test]
fn a_described_end_makes_except_the_only_reason() {
    let test = r#"
[[test]]
id     = "canary-is-out"
from   = { node = "canary", tags = ["a"] }
to     = { node = "b-1", tags = ["b"], service = "b" }
expect = "deny"
"#;
    let passed = |except: &str| {
        let given = grant("g", r#""tag:a""#, r#""service:b""#, except);
        run_tests(&policy(&(given + test)), &[], AT)[0].passed
    };
    assert!(passed(r#"except = ["node:canary"]"#));
    assert!(!passed(""), "without the clause the test fails");
}

#[test]
fn in_a_question_a_tag_is_a_node_that_wears_it_alone() {
    let policy = policy(
        &(grant("g", r#""tag:a""#, r#""service:b""#, "")
            + &grant("h", r#""node:one""#, r#""service:a""#, "")),
    );
    assert!(ask(&policy, &[], "tag:a", "tag:b").yes);
    assert!(ask(&policy, &[], "node:one", "service:a").yes, "an untagged node of that name");
    assert!(!ask(&policy, &[], "node:two", "service:b").yes);
    assert!(
        ask(&policy, &[node("two", &["a"])], "node:two", "service:b").yes,
        "once enrolled it wears its tags"
    );
    // Nobody is enrolled: there may be two of them. One that is enrolled is one.
    assert!(!ask(&policy, &[], "tag:a", "service:a").yes);
    assert!(ask(&policy, &[], "tag:a & tag:b", "tag:b").yes);
    let itself = Question {
        from: parse_selector("tag:a").unwrap(),
        to: parse_target("service:a", None).unwrap(),
        at: AT,
    };
    let error = can(&policy, &[node("one", &["a"])], &itself).unwrap_err();
    assert!(error.to_string().contains("one and the same node"), "{error}");
}

#[test]
fn ever_comes_with_a_chain_of_grants() {
    // A node of `d` wears neither `a` nor `c`: it comes to `c` only through a node of `a`.
    let policy = policy(
        &("[tag.d]\nowners = [\"group:ops\"]\nnot-with = [\"tag:a\", \"tag:c\"]\n".to_owned()
            + &grant("g", r#""tag:d""#, r#""service:a""#, "")
            + &grant("h", r#""tag:a""#, r#""service:c""#, "")),
    );
    let (from, to) = (parse_selector("tag:d").unwrap(), parse_target("service:c", None).unwrap());
    let ever = |through| proof::ever(&policy, &from, &to, through, AT).unwrap();
    let steps: Vec<String> = ever(true).unwrap().steps.iter().map(|step| step.grant.to_string()).collect();
    assert_eq!(steps, ["g", "h"]);
    assert_eq!(ever(false), None, "directly: the proof that it cannot");
}

#[test]
fn a_reordered_policy_has_no_difference() {
    let (g, h) = (
        grant("g", r#""tag:a", "tag:b""#, r#""service:c""#, ""),
        grant("h", r#""tag:b", "tag:a""#, r#""service:a""#, ""),
    );
    let (one, other) = (policy(&format!("{g}{h}")), policy(&format!("{h}{g}")));
    assert_eq!(diff(&one, &other, &[node("x", &["a"])], AT), Default::default());
}

#[test]
fn a_proof_counts_with_a_tag_that_a_node_wears_already() {
    let text = grant("g", r#""tag:lost""#, r#""service:a""#, "")
        + &law("i", r#"never = { from = ["all-nodes"], to = ["service:a"] }"#);
    let policy = policy(&text);
    assert_eq!(holds(&policy), [true]);
    assert!(!proof::prove(&policy, &[name("lost")].into(), AT)[0].holds());
}

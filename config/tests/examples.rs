//! Every example file loads; the demo's policies say what the demo tells.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use warren_config::resolve::{Resolved, Source, render, resolve};

fn load(name: &str) -> Resolved {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let sources = [Source { file: name.to_owned(), text: std::fs::read_to_string(path).unwrap() }];
    resolve(&sources).unwrap_or_else(|faults| panic!("{}", render(&faults.findings, &sources, false)))
}

#[test]
fn every_example_loads() {
    let folder = format!("{}/examples", env!("CARGO_MANIFEST_DIR"));
    let names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let resolved = load(&name);
        assert!(resolved.warnings.is_empty(), "{name}: {:?}", resolved.warnings);
        let now = warren_config::time::UnixTime(1_780_000_000);
        for proof in warren_config::proof::prove(&resolved.policy, &Default::default(), now) {
            assert!(proof.holds(), "{name}: {}: {}", proof.id, proof.message);
        }
    }
}

mod stories {
    use super::load;
    use warren_config::name::Name;
    use warren_config::policy::Subject;
    use warren_config::question::{
        Question, can, diff, parse_listen, parse_selector, parse_target, run_tests,
    };
    use warren_config::time::UnixTime;

    const NOW: UnixTime = UnixTime(1_780_000_000);

    fn node(name: &str, tag: &str) -> Subject {
        Subject { name: Name::parse(name).unwrap(), tags: [Name::parse(tag).unwrap()].into() }
    }

    fn demo_nodes() -> Vec<Subject> {
        vec![node("web-1", "web"), node("orders-1", "orders"), node("db-1", "db")]
    }

    #[test]
    fn the_tests_in_every_example_pass() {
        for name in ["demo.toml", "demo-next.toml", "full.toml", "empty.toml"] {
            for nodes in [Vec::new(), demo_nodes()] {
                for outcome in run_tests(&load(name).policy, &nodes, NOW) {
                    assert!(outcome.passed, "{name}: {}: {}", outcome.id, outcome.message);
                }
            }
        }
    }

    fn ask(policy: &str, from: &str, to: &str, port: Option<&str>) -> (bool, Vec<String>) {
        let question =
            Question { from: parse_selector(from).unwrap(), to: parse_target(to, port).unwrap(), at: NOW };
        let answer = can(&load(policy).policy, &demo_nodes(), &question).unwrap();
        (answer.yes, answer.fails.into_iter().map(|miss| miss.reason).collect())
    }

    #[test]
    fn a_no_names_the_nearest_miss() {
        let no = |reason: &str| (false, vec![reason.to_owned()]);
        assert_eq!(ask("demo.toml", "tag:web", "service:orders", None), (true, vec![]));
        assert_eq!(
            ask("demo.toml", "node:web-1", "service:db", None),
            no("grant `orders-reads-db` allows it only from tag:orders; node `web-1` wears web")
        );
        assert_eq!(
            ask("demo.toml", "node:web-1", "node:db-1", Some("tcp/22")),
            no("`db-1` does not offer a service that listens on tcp/22")
        );
        assert_eq!(
            ask("demo-next.toml", "tag:web", "service:orders", None),
            no("no grant names service `orders`")
        );
        assert_eq!(
            ask("full.toml", "node:web-canary", "service:ping", None),
            (true, vec![]),
            "an unenrolled node is an untagged node of that name"
        );
        let (yes, reasons) = ask("full.toml", "node:web-canary", "service:orders", None);
        assert!(
            !yes && reasons[0].starts_with("grant `web-reads-orders` allows it only from tag:prod & tag:web"),
            "{reasons:?}"
        );
    }

    #[test]
    fn a_question_about_nothing_declared_is_a_bad_question() {
        let policy = load("demo.toml").policy;
        for (from, to) in
            [("tag:wbe", "service:db"), ("tag:web", "service:dbb"), ("tag:web", "tag:dbx tcp/1")]
        {
            let question = Question {
                from: parse_selector(from).unwrap(),
                to: parse_target(to, None).unwrap(),
                at: NOW,
            };
            assert!(can(&policy, &demo_nodes(), &question).is_err(), "{from} {to}");
        }
        for bad in
            ["tcp/0", "tcp/70000", "tcp/9-8", "tpc/9", "proto/6", "icmp/8", "tcp/+9", "tcp/09", "", "tcp"]
        {
            assert!(parse_listen(bad).is_err(), "{bad}");
        }
        for bad in ["", "web", "tag:", "group:platform", "tag:a & node:b", "tag:Web", "*"] {
            assert!(parse_selector(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_diff_is_exact() {
        let (old, new) = (load("demo.toml").policy, load("demo-next.toml").policy);
        let show = |tuples: Vec<warren_config::question::Tuple>| -> Vec<String> {
            tuples.iter().map(|t| format!("{} -> {} {}", t.from, t.to, t.listen)).collect()
        };
        for nodes in [demo_nodes(), Vec::new()] {
            let change = diff(&old, &new, &nodes, NOW);
            assert_eq!(show(change.gained), ["tag:web -> tag:db tcp/5432"]);
            assert_eq!(show(change.lost), ["tag:web -> tag:orders tcp/8080"]);
            assert_eq!(diff(&old, &old, &nodes, NOW), Default::default());
        }
    }
}

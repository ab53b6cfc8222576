//! Every example file loads; the demo's policies say what the demo tells.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use warren_config::resolve::{Resolved, Source, render, resolve};
use warren_config::time::UnixTime;

/// Every policy in `examples/`: a file, or a folder whose files are one policy.
const POLICIES: &[&str] = &[
    "demo-next.toml",
    "demo.toml",
    "empty.toml",
    "fleet",
    "full.toml",
    "many-teams",
    "migration/1-watch.toml",
    "migration/2-learn.toml",
    "migration/3-enforce.toml",
    "migration/4-prove.toml",
    "office",
    "shop",
    "walls",
];

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "toml"));
    files.sort();
    files
}

fn load(name: &str) -> Resolved {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let files = if path.is_dir() { toml_files(&path) } else { vec![path] };
    let source = |path: &PathBuf| Source {
        file: path.file_name().unwrap().to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    let sources: Vec<Source> = files.iter().map(source).collect();
    resolve(&sources).unwrap_or_else(|faults| panic!("{}", render(&faults.findings, &sources, false)))
}

#[test]
fn every_example_loads_proves_and_passes_its_tests_without_a_warning() {
    let now = UnixTime(1_780_000_000);
    for name in POLICIES {
        let resolved = load(name);
        assert!(resolved.warnings.is_empty(), "{name}: {:?}", resolved.warnings);
        for proof in warren_config::proof::prove(&resolved.policy, &Default::default(), now) {
            assert!(proof.holds(), "{name}: {}: {}", proof.id, proof.message);
        }
        for test in warren_config::question::run_tests(&resolved.policy, &[], now) {
            assert!(test.passed, "{name}: {}: {}", test.id, test.message);
        }
    }
}

/// No example is forgotten, and the guide speaks of each.
#[test]
fn every_example_is_tested_and_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found: BTreeSet<String> = BTreeSet::new();
    let relative = |path: &Path| path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
    found.extend(toml_files(&folder).iter().map(|path| relative(path)));
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.ends_with("migration") {
            found.extend(toml_files(&path).iter().map(|path| relative(path)));
        } else if path.is_dir() && !toml_files(&path).is_empty() {
            found.insert(relative(&path));
        }
    }
    assert_eq!(found, POLICIES.iter().map(|name| (*name).to_owned()).collect());
    let guide = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for name in found.iter().filter(|name| !name.starts_with("demo")) {
        assert!(guide.contains(name.as_str()), "{name} is not explained");
    }
}

/// What each step of the migration gives and takes.
#[test]
fn the_migration_opens_nothing_on_its_way_but_what_was_learned() {
    let policy = |step: &str| load(&format!("migration/{step}.toml")).policy;
    let steps = ["1-watch", "2-learn", "3-enforce", "4-prove"].map(policy);
    let change = |i: usize| {
        let diff = warren_config::question::diff(&steps[i], &steps[i + 1], &[], UnixTime(1_780_000_000));
        (diff.gained.len(), diff.lost.len())
    };
    assert_eq!([change(0), change(1), change(2)], [(2, 0), (0, 0), (0, 0)]);
    use warren_config::policy::Mode::{Enforce, Observe};
    assert_eq!(steps.map(|policy| policy.settings.mode), [Observe, Observe, Enforce, Enforce]);
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
    fn the_demos_tests_pass_over_its_nodes() {
        for name in ["demo.toml", "demo-next.toml", "full.toml", "empty.toml"] {
            for outcome in run_tests(&load(name).policy, &demo_nodes(), NOW) {
                assert!(outcome.passed, "{name}: {}: {}", outcome.id, outcome.message);
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

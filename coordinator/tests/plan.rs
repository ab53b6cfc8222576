//! `warren policy plan`, differences, and what a reviewer is told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Node, World, block_on, code, stdout, wait_for};
use warren_wire::flow::FlowReport;
use warren_wire::frame::{CoordinatorSays, NodeSays};

const SHOP: &str = r#"version = 1
[group.platform]
members = ["alice@example.com"]
[tag.web]
owners = ["group:platform"]
[tag.orders]
owners = ["group:platform"]
[tag.relic]
[service.orders]
on = ["tag:orders"]
listen = ["tcp/8443", "tcp/9000-9010"]
[service.metrics]
on = ["tag:orders"]
listen = ["udp/9100"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders"]
[[grant]]
id = "web-reads-metrics"
from = ["tag:web", "tag:relic"]
to = ["service:metrics"]
"#;

/// The same policy in another order and layout, over three files.
fn split(world: &World) -> String {
    let dir = world.path("policy.d");
    std::fs::create_dir(&dir).unwrap();
    let files = [
        (
            "10-metrics.toml",
            "# who may look\n[[grant]]\nto   = [ \"service:metrics\" ]\nfrom = [\n  \"tag:relic\", # old\n  \"tag:web\",\n]\nid = \"web-reads-metrics\"\n\n[service.metrics]\nlisten = [\"udp/9100\"]\non = [\"tag:orders\"]\n",
        ),
        (
            "20-tags.toml",
            "version = 1\ntag.relic = {}\ntag.orders = { owners = [\"group:platform\"] }\ntag.web.owners = [\"group:platform\"]\n[group]\nplatform.members = [\"alice@example.com\"]\n",
        ),
        (
            "30-orders.toml",
            "[[grant]]\nfrom = [\"tag:web\"]\nid = \"web-reads-orders\"\nto = [\"service:orders\"]\n[service.orders]\nlisten = [\"tcp/9000-9010\", \"tcp/8443\"]\non = [\"tag:orders\"]\n",
        ),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    dir.display().to_string()
}

#[test]
fn a_reordered_reformatted_or_split_policy_differs_in_nothing() {
    let world = World::new();
    let _service = world.serve();
    let (file, folder) = (world.write("policy.toml", SHOP), split(&world));
    let empty = serde_json::json!({ "gained": [], "lost": [] });
    for (old, new) in [(&file, &folder), (&folder, &file)] {
        assert_eq!(world.json(&["policy", "diff", old, new]), empty);
    }
    let root = |path: &str| world.json(&["policy", "check", path])["root"].clone();
    assert_eq!(root(&file), root(&folder));
    // Against the one in force too, and wherever a file is taken a folder is.
    world.ok(&["policy", "apply", &file]);
    assert_eq!(world.json(&["policy", "diff", &folder]), empty);
    let plan = world.ok(&["policy", "plan", &folder]);
    assert!(plan.contains("Nobody gains or loses a grant of anything"), "{plan}");
    for words in [&["policy", "check"][..], &["policy", "test"], &["policy", "prove"], &["policy", "apply"]] {
        world.ok(&[words, &[folder.as_str()]].concat());
    }
    world.ok(&["policy", "apply", "--dry-run", &folder]);
    assert!(world.ok(&["can", "--policy", &folder, "tag:web", "service:orders"]).starts_with("yes"));
    assert!(
        world.ok(&["can", "--policy", &folder, "--ever", "tag:web", "service:orders"]).starts_with("yes")
    );
    assert_eq!(world.json(&["policy", "show"])["sources"].as_array().map(Vec::len), Some(3));
    // One thing flipped is seen, exactly.
    let wider = world.write("wider.toml", &SHOP.replace("tcp/9000-9010", "tcp/9000-9012"));
    let diff = world.json(&["policy", "diff", &folder, &wider]);
    assert_eq!(
        diff["gained"][0]["listen"],
        serde_json::json!({ "protocol": "tcp", "first": 9011, "last": 9012 })
    );
    assert_eq!(
        diff["gained"][0]["by"],
        serde_json::json!([{ "service": "orders", "grant": "web-reads-orders" }])
    );
    assert_eq!(
        (diff["gained"].as_array().map(Vec::len), diff["lost"].as_array().map(Vec::len)),
        (Some(1), Some(0))
    );
}

fn enrol(world: &World, addr: std::net::SocketAddr) {
    for (number, tag, name) in [(1, "web", "web-1"), (2, "orders", "orders-1")] {
        let token = world.token(&["--tag", tag, "--name", name]);
        block_on(Node::new(number, &token).enrol(&token, addr)).unwrap();
    }
}

#[test]
fn a_plan_says_what_is_lost_and_which_flows_that_were_seen_it_would_cut() {
    let world = World::new();
    let service = world.serve();
    let file = world.write("policy.toml", SHOP);
    world.ok(&["policy", "apply", &file]);
    enrol(&world, service.addr());
    let none = world.ok(&["policy", "plan", &file]);
    assert!(none.contains("No flow was ever stored"), "{none}");
    let token = world.token(&[]);
    block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        let records = vec![world.window(1), world.window(2)];
        line.say(NodeSays::Flows(FlowReport {
            sequence: 1,
            records,
            lost: 3,
            boot: 1,
            ..Default::default()
        }))
        .await;
        line.hear_until(|said| matches!(said, CoordinatorSays::FlowsStored(_)).then_some(())).await;
    });
    let history = || world.json(&["flow", "list", "--history"]).as_array().map(Vec::len);
    wait_for("the history", || (history() == Some(2)).then_some(()));

    let narrow = world.write("narrow.toml", &SHOP.replace("\"tcp/8443\", ", ""));
    let output = world.run(&["policy", "plan", &narrow]);
    let text = stdout(&output);
    assert_eq!(code(&output), 1, "{text}");
    for words in [
        "generation 1 would become 2",
        "- nodes that wear web may no longer open tcp/8443 at nodes that wear orders  (service orders, grant web-reads-orders)",
        "cuts web-1 -> orders-1 tcp/8443: 2 flows, 2.2 kB",
        "of the last 30 days; the store reaches back only to 20",
        "3 records were lost before they were stored",
        "Plan: 0 gained, 1 lost; seen flows that would be cut: 2.",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let output = world.run(&["--json", "policy", "plan", "--days", "1", &narrow]);
    let plan: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (code(&output), &plan["cuts"][0]["flows"], &plan["seen"]["records"]),
        (1, &2.into(), &2.into())
    );
    assert_eq!((&plan["cuts"][0]["loss"], &plan["current"]), (&plan["diff"]["lost"][0], &1.into()));
    // It changed nothing; what loses nothing that was used is free to go.
    assert_eq!(world.json(&["status"])["generation"], 1);
    let unused = world.write("unused.toml", &SHOP.replace("\"tcp/8443\", \"tcp/9000-9010\"", "\"tcp/8443\""));
    let text = world.ok(&["policy", "plan", &unused]);
    assert!(text.contains("tcp/9000-9010") && text.contains("seen flows that would be cut: 0"), "{text}");
    // What could not be applied says so.
    let clash = SHOP.replace("[tag.web]", "[tag.web]\nnot-with = [\"tag:orders\"]");
    world.ok(&["node", "tag", "web-1", "--add", "orders"]);
    let clash = world.write("clash.toml", &clash);
    for words in [&["policy", "plan", &clash][..], &["policy", "apply", "--dry-run", &clash]] {
        let output = world.run(words);
        assert_eq!(code(&output), 1);
        assert!(
            stdout(&output).contains("tags `orders` and `web` may not be worn together"),
            "{}",
            stdout(&output)
        );
    }
    world.fails(2, &["policy", "plan", "/nonexistent"]);
    world.fails(1, &["policy", "plan", &world.write("bad.toml", "version = 1\n[tog.web]\n")]);
    service.kill();
    world.fails(3, &["policy", "plan", &file]);
}

#[test]
fn can_ever_counts_with_the_tags_that_are_worn() {
    let world = World::new();
    let service = world.serve();
    let file = world.write("policy.toml", SHOP);
    world.ok(&["policy", "apply", &file]);
    let asked = ["can", "--ever", "tag:relic", "service:metrics"];
    assert_eq!(code(&world.run(&asked)), 1, "nobody can own it");
    // A token that was given out is enough: its node could come at any moment.
    let token = world.token(&["--tag", "relic", "--name", "relic-1"]);
    let yes = world.ok(&asked);
    assert!(yes.starts_with("yes: a node that wears `relic` can open udp/9100"), "{yes}");
    block_on(Node::new(1, &token).enrol(&token, service.addr())).unwrap();
    assert_eq!(world.json(&asked)["witness"]["from"]["tags"], serde_json::json!(["relic"]));
    let offline = ["can", "--policy", &file, "--ever", "tag:relic", "service:metrics"];
    assert_eq!(code(&world.run(&offline)), 1, "a file knows no nodes");
    assert_eq!(code(&world.run(&["can", "--ever", "node:orders", "service:metrics"])), 1, "a service's name");
    world.fails(2, &["can", "--ever", "tag:relik", "service:metrics"]);

    // The same holds for the proofs: over the network as it is.
    let only =
        "[[invariant]]\nid = \"web-alone\"\nonly = { from = [\"tag:web\"], to = [\"service:metrics\"] }\n";
    let walled = world.write("walled.toml", &format!("{SHOP}{only}"));
    world.ok(&["policy", "check", &walled]);
    let error = world.fails(1, &["policy", "apply", &walled]);
    assert!(error.contains("- invariant web-alone: a node that wears `relic`"), "{error}");
    world.ok(&["policy", "prove"]);
    world.ok(&["policy", "test"]);
}

#[test]
fn what_can_be_checked_can_be_applied_a_folder_of_many_files_too() {
    let world = World::new();
    let _service = world.serve();
    std::fs::create_dir(world.path("policy.d")).unwrap();
    world.write("policy.d/000.toml", "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n");
    for i in 1..1000 {
        world.write(
            &format!("policy.d/{i:03}.toml"),
            &format!("# {}\n[tag.t{i}]\nowners = [\"group:ops\"]\n", "x".repeat(2000)),
        );
    }
    let folder = world.path("policy.d").display().to_string();
    world.ok(&["policy", "check", &folder]);
    world.ok(&["policy", "apply", &folder]);
    assert_eq!(world.json(&["policy", "show"])["sources"].as_array().map(Vec::len), Some(1000));
    world.write("policy.d/more.toml", "");
    for words in [["policy", "check"], ["policy", "apply"]] {
        let error = world.fails(2, &[words[0], words[1], &folder]);
        assert!(error.contains("more than 1000 policy files"), "{error}");
    }
}

//! A policy's way through the command: checked, compared, signed, in force, enforced, rolled back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Node, World, block_on, code, enforce, stderr, stdout};

const WEB_TO_ORDERS: &str = r#"
version = 1
[group.platform]
members = ["alice@example.com"]
[tag.web]
owners = ["group:platform"]
[tag.orders]
owners = ["group:platform"]
[service.orders]
on = ["tag:orders"]
listen = ["tcp/8443"]
[[grant]]
id = "web-reads-orders"
from = ["tag:web"]
to = ["service:orders"]
[[test]]
id = "web-may"
from = "tag:web"
to = "service:orders"
expect = "allow"
"#;

#[test]
fn a_policy_is_in_force_when_applied_and_enforced_when_the_nodes_say_so() {
    let world = World::new();
    let service = world.serve();
    let token = world.token(&["--tag", "web", "--name", "web-1"]);
    let node = Node::new(1, &token);
    block_on(node.enrol(&token, service.addr())).unwrap();
    let file = world.write("policy.toml", WEB_TO_ORDERS);
    world.ok(&["policy", "check", &file]);
    let dry = world.ok(&["policy", "apply", &file, "--dry-run"]);
    assert!(dry.contains("generation 0 would become 1") && dry.contains("nothing was changed"), "{dry}");
    assert_eq!(world.json(&["status"])["generation"], 0);
    // Nobody online to enforce it: nobody is waited for, and the command says who is not there.
    let none = world.ok(&["policy", "apply", &file, "--wait", "enforced", "--timeout", "20s"]);
    assert!(none.contains("not there: web-1 (away, has not said what it enforces, since 20"), "{none}");
    block_on(async {
        let mut line = node.join(service.addr()).await;
        // It is online and does not enforce it in time.
        let args = ["policy", "apply", &file, "--wait", "enforced", "--timeout", "1s"];
        let late = world.run(&args);
        assert_eq!(code(&late), 1);
        assert!(stderr(&late).contains("0 of 1") && stderr(&late).contains("web-1"), "{}", stderr(&late));
        while enforce(&mut line).await < 2 {}
        let waiting = tokio::task::spawn_blocking(move || {
            let output = world.run(&["policy", "apply", &file, "--wait", "enforced", "--expect", "2"]);
            (world, file, output)
        });
        while enforce(&mut line).await < 3 {}
        let (world, file, output) = waiting.await.unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains("generation 3 is in force"), "{}", stdout(&output));
        let status = world.json(&["status"]);
        assert_eq!(
            (&status["enforcement"]["enforced"], &status["enforcement"]["of"]),
            (&1.into(), &1.into())
        );
        let moved = world.fails(1, &["policy", "apply", &file, "--expect", "1"]);
        assert!(moved.contains("generation 3, not 1"), "{moved}");
    });
}

#[test]
fn a_faulty_policy_changes_nothing_and_says_where_it_is_wrong() {
    let world = World::new();
    let _service = world.serve();
    let good = world.write("good.toml", WEB_TO_ORDERS);
    world.ok(&["policy", "apply", &good]);
    let bad = world.write("bad.toml", &WEB_TO_ORDERS.replace("tag:web\"]", "tag:wep\"]"));
    for args in [&["policy", "check", &bad][..], &["policy", "apply", &bad]] {
        let error = world.fails(1, args);
        assert!(
            error.contains("bad.toml") && error.contains("wep") && error.contains("did you mean `web`"),
            "{error}"
        );
    }
    let failing =
        world.write("failing.toml", &WEB_TO_ORDERS.replace("expect = \"allow\"", "expect = \"deny\""));
    let output = world.run(&["policy", "apply", &failing]);
    assert_eq!(code(&output), 1, "{}", stdout(&output));
    assert!(stderr(&output).contains("web-may"), "{}", stderr(&output));
    assert_eq!(world.json(&["policy", "history"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn can_and_diff_answer_without_a_coordinator() {
    let world = World::empty();
    let file = world.write("policy.toml", WEB_TO_ORDERS);
    let yes = world.ok(&["can", "--policy", &file, "tag:web", "service:orders"]);
    assert!(yes.starts_with("yes"), "{yes}");
    let no = world.run(&["can", "--policy", &file, "node:laptop", "service:orders"]);
    assert_eq!(code(&no), 1);
    assert!(stdout(&no).starts_with("no"), "{}", stdout(&no));
    world.fails(2, &["can", "--policy", &file, "tag:web", "service:orderz"]);
    world.fails(2, &["can", "--policy", "/nonexistent", "tag:web", "service:orders"]);
    let empty = world.write("empty.toml", "version = 1\n");
    let same = world.ok(&["policy", "diff", &file, &file]);
    assert!(same.contains("no difference"), "{same}");
    let lost = world.ok(&["policy", "diff", &file, &empty]);
    assert!(lost.contains("- ") && lost.contains("tcp/8443"), "{lost}");
}

#[test]
fn check_and_can_end_with_the_codes_of_the_specification() {
    let world = World::empty();
    let clean = world.write("clean.toml", WEB_TO_ORDERS);
    let warned = world.write("warned.toml", &format!("{WEB_TO_ORDERS}[tag.lost]\n"));
    let faulty = world.write("faulty.toml", &WEB_TO_ORDERS.replace("8443", "0"));
    let failing =
        world.write("failing.toml", &WEB_TO_ORDERS.replace("expect = \"allow\"", "expect = \"deny\""));
    let never = "[[invariant]]\nid = \"i\"\nnever = { from = [\"tag:web\"], to = [\"service:orders\"] }\n";
    let broken = world.write("broken.toml", &format!("{WEB_TO_ORDERS}{never}"));
    let missing = "/nonexistent/policy.toml";
    for (file, wanted) in
        [(clean.as_str(), 0), (&warned, 0), (&faulty, 1), (&failing, 1), (&broken, 1), (missing, 2)]
    {
        for form in [&["--json"][..], &["--sarif"], &[]] {
            let output = world.run(&[&["policy", "check", file], form].concat());
            assert_eq!(code(&output), wanted, "{file} {form:?}: {}", stderr(&output));
        }
    }
    assert_eq!(code(&world.run(&["policy", "check"])), 2);
    assert_eq!(code(&world.run(&["policy", "check", &clean, "--nothing"])), 2);
    for (args, wanted) in [
        (&["tag:web", "service:orders"][..], 0),
        (&["tag:web", "tag:orders", "tcp/8443"], 0),
        (&["--ever", "tag:web", "service:orders"], 0),
        (&["node:laptop", "service:orders"], 1),
        (&["--ever", "tag:web", "tag:orders", "tcp/22"], 1),
        (&["tag:wep", "service:orders"], 2),
        (&["web", "service:orders"], 2),
        (&["tag:web", "tag:orders", "tpc/1"], 2),
        (&["--via", "any", "tag:web", "service:orders"], 2),
    ] {
        let output = world.run(&[&["can", "--policy", &clean], args].concat());
        assert_eq!(code(&output), wanted, "{args:?}: {}{}", stdout(&output), stderr(&output));
    }
    for bad in [&faulty, missing] {
        assert_eq!(code(&world.run(&["can", "--policy", bad, "tag:web", "service:orders"])), 2, "{bad}");
    }
}

#[test]
fn a_rollback_is_a_new_generation_with_old_text() {
    let world = World::new();
    let _service = world.serve();
    let file = world.write("policy.toml", WEB_TO_ORDERS);
    let empty = world.write("empty.toml", "version = 1\n");
    world.ok(&["policy", "apply", &file]);
    world.ok(&["policy", "apply", &empty]);
    world.ok(&["policy", "rollback", "1"]);
    let (first, third) = (world.json(&["policy", "show", "1"]), world.json(&["policy", "show"]));
    assert_eq!(
        (&third["generation"], &third["root"], &third["sources"]),
        (&3.into(), &first["root"], &first["sources"])
    );
    assert!(world.ok(&["policy", "history"]).contains("in force"));
}

#[test]
fn tags_and_names_are_changed_by_the_authority_and_why_knows_them() {
    let world = World::new();
    let service = world.serve();
    let file = world.write("policy.toml", WEB_TO_ORDERS);
    world.ok(&["policy", "apply", &file]);
    for (number, tag, name) in [(1, "web", "web-1"), (2, "orders", "orders-1")] {
        let token = world.token(&["--tag", tag, "--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    assert!(world.ok(&["why", "web-1", "orders-1", "tcp/8443"]).contains("web-reads-orders"));
    let refused = world.run(&["why", "web-1", "orders-1", "tcp/22"]);
    assert_eq!(code(&refused), 1);
    assert!(stdout(&refused).starts_with("refused"), "{}", stdout(&refused));
    let near = world.fails(1, &["why", "wep-1", "orders-1", "tcp/22"]);
    assert!(near.contains("did you mean `web-1`"), "{near}");
    assert!(world.ok(&["can", "tag:web", "service:orders"]).starts_with("yes"));

    world.ok(&["node", "tag", "web-1", "--add", "orders", "--remove", "web"]);
    world.ok(&["node", "rename", "web-1", "old-web"]);
    let node = world.json(&["node", "show", "old-web"]);
    assert_eq!((&node["tags"], &node["amendment_serial"]), (&serde_json::json!(["orders"]), &2.into()));
    assert_eq!(code(&world.run(&["why", "old-web", "orders-1", "tcp/8443"])), 1);
    world.fails(1, &["node", "tag", "old-web", "--remove", "web"]);
    world.fails(2, &["node", "tag", "old-web"]);
    world.ok(&["node", "tag", "old-web", "--none"]);
}

const WALL: &str = r#"
[tag.dev]
owners = ["group:platform"]
[tag.db]
owners = ["group:platform"]
not-with = ["tag:dev", "tag:web"]
[service.db]
on = ["tag:db"]
listen = ["tcp/5432"]
[[grant]]
id = "orders-reads-db"
from = ["tag:orders"]
to = ["service:db"]
[[invariant]]
id = "web-never-db"
never = { from = ["tag:web"], to = ["service:db"], via = "any" }
"#;

#[test]
fn a_broken_invariant_stops_the_build_with_its_witness() {
    let world = World::empty();
    let file = world.write("policy.toml", &format!("{WEB_TO_ORDERS}{WALL}"));
    let output = world.run(&["policy", "check", &file]);
    assert_eq!(code(&output), 1);
    assert!(
        stdout(&output).contains("invariant web-never-db is broken: a node that wears"),
        "{}",
        stdout(&output)
    );
    assert_eq!(code(&world.run(&["policy", "prove", &file])), 1);
    let sarif = world.run(&["policy", "check", "--sarif", &file]);
    let log: serde_json::Value = serde_json::from_str(&stdout(&sarif)).unwrap();
    assert_eq!((code(&sarif), &log["runs"][0]["results"][0]["ruleId"]), (1, &"invariant-broken".into()));
    let ever = |args: &[&str]| {
        let output = world.run(&[&["can", "--policy", &file, "--ever"], args].concat());
        (code(&output), stdout(&output))
    };
    let (yes, text) = ever(&["tag:web", "service:db"]);
    assert!(
        yes == 0 && text.starts_with("yes: a node that wears `orders` and `web` can open tcp/5432"),
        "{text}"
    );
    let (no, text) = ever(&["tag:dev", "tag:dev tcp/22"]);
    assert!(no == 1 && text.starts_with("no: no node of tag:dev that could be enrolled"), "{text}");
    assert_eq!(ever(&["tag:dve", "service:db"]).0, 2);

    // Walled off, a chain is left; without the grant nothing is.
    let apart =
        format!("{WEB_TO_ORDERS}{WALL}").replace("[tag.orders]", "[tag.orders]\nnot-with = [\"tag:web\"]");
    let apart = world.write("apart.toml", &apart);
    let output = world.run(&["policy", "prove", &apart]);
    let text = stdout(&output);
    assert!(
        code(&output) == 1
            && text.contains("grant `web-reads-orders`")
            && text.contains("which can open tcp/5432"),
        "{text}"
    );
    assert_eq!(code(&world.run(&["can", "--policy", &apart, "--ever", "tag:web", "service:db"])), 1);
    assert_eq!(
        code(&world.run(&["can", "--policy", &apart, "--ever", "--via", "any", "tag:web", "service:db"])),
        0
    );
    assert_eq!(code(&world.run(&["policy", "test", &apart])), 0);
}

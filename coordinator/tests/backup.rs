//! Backup and restore.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Node, World, block_on, mode};
use warren_wire::frame::{CoordinatorSays, RefusalCode};

const EMPTY_POLICY: &str = "version = 1\n";

#[test]
fn a_restore_is_the_same_network_in_a_new_epoch() {
    let world = World::new();
    let service = world.serve();
    let token = world.token(&["--name", "web-1"]);
    let unused = world.token(&["--name", "web-2"]);
    let node = Node::new(1, &token);
    block_on(node.enrol(&token, service.addr())).unwrap();
    let policy = world.write("policy.toml", EMPTY_POLICY);
    world.ok(&["policy", "apply", &policy]);
    let file = world.path("backup").display().to_string();
    world.ok(&["backup", &file]);
    assert_eq!(mode(&world.path("backup")), 0o600);
    let error = world.fails(2, &["backup", &file]);
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(service.stop(), 0);

    // The old directory is lost.
    std::fs::rename(world.state(), world.path("lost")).unwrap();
    let restored = world.json(&["restore", &file]);
    assert_eq!((&restored["epoch"], &restored["generation"]), (&2.into(), &2.into()));
    let service = world.serve();
    let status = world.json(&["status"]);
    assert_eq!(
        (&status["epoch"], &status["generation"], &status["nodes"]),
        (&2.into(), &2.into(), &1.into())
    );
    world.ok(&["audit", "verify"]);
    block_on(async {
        let mut line = node.join(service.addr()).await;
        let head = line
            .hear_until(|said| match said {
                CoordinatorSays::Delta(delta) => delta.head.clone(),
                _ => None,
            })
            .await;
        let head: warren_wire::statement::ViewHead = head.peek().unwrap();
        assert_eq!((head.epoch, head.generation), (2, 2));
        // The backup may be older than a token's redemption: all tokens made before are void.
        let refused = Node::new(2, &unused).enrol(&unused, service.addr()).await.unwrap_err();
        assert_eq!(refused.code, RefusalCode::TokenRevoked as i32, "{}", refused.message);
    });
    world.token(&["--name", "web-2"]);
}

#[test]
fn a_backup_that_is_damaged_foreign_or_open_restores_nothing() {
    let (world, other) = (World::new(), World::new());
    let service = world.serve();
    let file = world.path("backup").display().to_string();
    world.ok(&["backup", &file]);
    assert_eq!(service.stop(), 0);
    let fresh = world.path("fresh").display().to_string();
    let restore = |more: &[&str]| {
        let args: Vec<&str> =
            ["restore", "--state", &fresh].into_iter().chain(more.iter().copied()).collect();
        let output = world.run(&args);
        assert_ne!(common::code(&output), 0);
        assert!(!world.path("fresh").exists(), "a failed restore leaves nothing");
        common::stderr(&output)
    };
    let foreign = other.authority().display().to_string();
    let error = restore(&["--authority", &foreign, &file]);
    assert!(error.contains("belongs to network"), "{error}");
    let error = restore(&["/nonexistent"]);
    assert!(error.contains("/nonexistent does not exist"), "{error}");
    let junk = world.write("junk", "junk");
    let error = restore(&[&junk]);
    assert!(error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&junk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let error = restore(&[&junk]);
    assert!(error.contains("not a store of Warren's"), "{error}");
    let log = world.state().join("warren.db").display().to_string();
    let error = restore(&[&log]);
    assert!(error.contains("not a backup"), "{error}");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute("UPDATE log SET entry = replace(entry, 'prod', 'dorp')", []).unwrap();
    connection.execute("UPDATE log SET entry = replace(entry, '604800', '604801')", []).unwrap();
    drop(connection);
    let error = restore(&[&file]);
    assert!(error.contains("altered"), "{error}");
    let error = world.fails(1, &["restore", &file]);
    assert!(error.contains("already holds"), "{error}");
}

//! What the command says when something is wrong: what, with which value, and what to do; and that nothing changed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{World, code, mode, stderr, stdout};

/// Every word must be in the text.
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[test]
fn no_coordinator_is_exit_3_and_says_how_to_start_it() {
    let world = World::new();
    for args in [&["status"][..], &["token", "list"], &["node", "show", "x"], &["can", "tag:a", "service:b"]]
    {
        says(&world.fails(3, args), &["not running", "coordinator.sock", "warren serve"]);
    }
    let error = world.fails(3, &["--json", "status"]);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["error"]["exit"], 3);
}

#[test]
fn serve_without_a_state_says_init() {
    let world = World::empty();
    says(&world.fails(2, &["serve"]), &["no coordinator state", "warren init", "--state"]);
    assert!(!world.state().exists());
}

#[test]
fn init_refuses_to_touch_what_exists() {
    let world = World::new();
    let before = snapshot(&world.state());
    says(&world.fails(1, &["init"]), &["already holds", "nothing was changed", "warren serve"]);
    assert_eq!(snapshot(&world.state()), before);

    let other = world.path("other").display().to_string();
    let error = world.fails(1, &["init", "--state", &other]);
    says(&error, &["authority.key exists already", "never overwritten", "--authority"]);
    assert!(!world.path("other").exists(), "a failed init leaves nothing");
    world.fails(1, &["init", "--state", &world.path("new/state").display().to_string()]);
    assert!(!world.path("new").exists(), "not even a parent");

    let full = world.path("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::set_permissions(&full, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(full.join("x"), "x").unwrap();
    let (full, key) = (full.display().to_string(), world.path("new.key").display().to_string());
    let error = world.fails(1, &["init", "--state", &full, "--authority", &key]);
    says(&error, &["not empty", "`x`"]);
}

fn snapshot(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn init_checks_what_it_is_told_and_leaves_nothing_behind() {
    let world = World::empty();
    for (args, words) in [
        (&["--name", "Prod!"][..], &["Prod!", "a-z"][..]),
        (&["--listen", "localhost"], &["localhost"]),
        (&["--advertise", "coord"], &["HOST:PORT"]),
        (&["--v4-range", "100.64.0.0/40"], &["100.64.0.0/40"]),
        (&["--v4-range", "8.8.8.8/8"], &["8.8.8.8/8"]),
        (&["--freshness", "5s"], &["5 s"]),
        (&["--freshness", "soon"], &["soon", "7d"]),
        (&["--service-user", "no-such-user-here"], &["no-such-user-here", "useradd"]),
    ] {
        let args: Vec<&str> = ["init"].into_iter().chain(args.iter().copied()).collect();
        says(&world.fails(2, &args), words);
        assert!(!world.state().exists() && !world.authority().exists(), "{args:?} left something");
    }
}

#[test]
fn serve_runs_without_the_authority_and_never_opens_it() {
    let world = World::new();
    // A FIFO would block whoever opens it for reading; and then it is gone altogether.
    std::fs::rename(world.authority(), world.path("away.key")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(world.authority()).status().unwrap();
    assert!(fifo.success());
    let service = world.serve();
    world.ok(&["status"]);
    assert_eq!(service.stop(), 0);
    std::fs::remove_file(world.authority()).unwrap();
    let service = world.serve();
    says(&world.fails(2, &["token", "create"]), &["does not exist", "--authority", "WARREN_AUTHORITY"]);
    world.ok(&["token", "list"]);
    let away = world.path("away.key").display().to_string();
    world.ok(&["token", "create", "--authority", &away]);
    assert_eq!(service.stop(), 0);
}

#[test]
fn an_authority_file_that_is_open_foreign_or_damaged_signs_nothing() {
    let (world, other) = (World::new(), World::new());
    let _service = world.serve();
    let foreign = other.authority().display().to_string();
    let error = world.fails(2, &["token", "create", "--authority", &foreign]);
    says(&error, &["belongs to network", "--authority"]);
    std::fs::set_permissions(world.authority(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    says(&world.fails(2, &["token", "create"]), &["0644", "chmod 600"]);
    let junk = world.write("junk.key", "not json");
    std::fs::set_permissions(&junk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    says(&world.fails(2, &["token", "create", "--authority", &junk]), &["junk.key", "not an authority key"]);
    assert_eq!(world.json(&["status"])["revision"], 1, "nothing was changed");
}

#[test]
fn two_services_never_share_a_state_a_socket_or_a_port() {
    let (world, other) = (World::new(), World::new());
    let service = world.serve();
    says(&world.fails(1, &["serve"]), &["another `warren serve`", "--state"]);
    let socket = world.socket().display().to_string();
    says(&other.fails(1, &["serve", "--socket", &socket]), &["another coordinator answers", "--socket"]);
    let addr = service.addr().to_string();
    says(&other.fails(1, &["serve", "--listen", &addr]), &["already in use", &addr, "--listen"]);
    says(&other.fails(1, &["serve", "--listen", "192.0.2.1:7946"]), &["no address 192.0.2.1:7946"]);
    world.ok(&["status"]);
}

#[test]
fn a_newer_state_is_refused_and_left_as_it_is() {
    let world = World::new();
    let settings = world.state().join("settings.json");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    says(&world.fails(1, &["serve"]), &["newer version", "format 2", "upgrade"]);
    std::fs::write(&settings, text).unwrap();
    let path = world.state().join("warren.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    says(&world.fails(1, &["serve"]), &["newer version", "schema 7", "upgrade"]);
}

#[test]
fn wrong_words_are_json_too_when_json_was_asked_for() {
    let error = World::empty().fails(2, &["--json", "token", "create", "--name", "Web_1"]);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    says(error["error"]["message"].as_str().unwrap(), &["Web_1", "a-z"]);
}

#[test]
fn a_state_with_a_part_missing_or_damaged_says_which_and_what_to_do() {
    for file in ["settings.json", "online.key", "warren.db"] {
        let world = World::new();
        let path = world.state().join(file);
        if file != "settings.json" {
            std::fs::remove_file(&path).unwrap();
            says(&world.fails(1, &["serve"]), &[file, "missing", "warren restore"]);
        }
        let _ = std::fs::remove_file(&path);
        warren_coordinator::files::create_private(&path, b"{ nothing\n").unwrap();
        says(&world.fails(1, &["serve"]), &[file, "warren"]);
    }
}

#[test]
fn a_state_that_others_can_enter_is_refused() {
    let world = World::new();
    std::fs::set_permissions(world.state(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    says(&world.fails(1, &["serve"]), &["0755", "chmod 700"]);
    std::fs::set_permissions(world.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let key = world.state().join("online.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    says(&world.fails(1, &["serve"]), &["online.key", "0640", "chmod 600"]);
    assert_eq!(mode(&key), 0o640, "it is for the operator to judge");
}

#[test]
fn wrong_words_get_a_hint() {
    let world = World::new();
    let _service = world.serve();
    says(&world.fails(2, &["token", "create", "--ttl", "soon"]), &["soon", "1h30m"]);
    says(&world.fails(2, &["token", "create", "--tag", "Web"]), &["Web", "a-z"]);
    says(&world.fails(2, &["token", "create", "--uses", "0"]), &["0"]);
    says(&world.fails(1, &["token", "revoke", "zzz"]), &["zzz", "token list"]);
    let secret = world.ok(&["token", "create"]);
    says(&world.fails(2, &["token", "revoke", secret.trim()]), &["secret token itself"]);
    says(&world.fails(1, &["node", "show", "nobody"]), &["nobody", "node list"]);
    says(&world.fails(1, &["node", "revoke", "\u{1b}[31mx"]), &["u{1b}"]);
    says(&world.fails(1, &["policy", "show"]), &["no policy was ever applied", "policy apply"]);
    says(&world.fails(1, &["policy", "show", "9"]), &["generation 9", "policy history"]);
    says(&world.fails(2, &["policy", "check", "/nonexistent.toml"]), &["/nonexistent.toml"]);
    says(&world.fails(2, &["policy", "apply", "/dev/zero"]), &["/dev/zero", "regular file"]);
    says(&world.fails(2, &["nonsense"]), &["nonsense"]);
    says(&world.fails(2, &["policy", "apply", "x", "--timeout", "5s"]), &["--wait"]);
}

#[test]
fn an_unadvertised_coordinator_needs_an_address_for_its_tokens() {
    let world = World::empty();
    world.ok(&["init", "--api", "off", "--listen", "0.0.0.0:0"]);
    let _service = world.serve();
    says(&world.fails(2, &["token", "create"]), &["--coordinator HOST:PORT"]);
    world.ok(&["token", "create", "--coordinator", "coord.example.com:7946"]);
}

#[test]
fn a_token_is_alone_on_standard_output() {
    let world = World::new();
    let _service = world.serve();
    let output = world.run(&["token", "create", "--tag", "tag:web", "--uses", "3", "--ttl", "2h"]);
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    assert!(text.starts_with("warren1_") && text.lines().count() == 1, "{text}");
    says(&stderr(&output), &["3 use(s)", "only once"]);
    let row = &world.json(&["token", "list"])[0];
    assert_eq!((&row["uses"], &row["tags"][0], &row["state"]), (&3.into(), &"web".into(), &"usable".into()));
}

#[test]
fn output_into_a_closed_pipe_is_no_panic() {
    let world = World::new();
    let mut command = world.command(&["--help"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
}

//! The program as a user meets it: exit codes, and errors that say what to do. No root, no network beyond loopback.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use warren_wire::id::{IdentityKey, NetworkId};
use warren_wire::token::Token;
use zeroize::Zeroizing;

fn node(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warren-node"));
    command.args(args).env("WARREN_NODE_STATE", state).env("WARREN_NODE_RUN", state.join("run"));
    command
        .env_remove("WARREN_TOKEN")
        .env_remove("WARREN_TOKEN_FILE")
        .env_remove("WARREN_NODE_SOCKET")
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn says(output: &Output, code: i32, words: &[&str]) {
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

/// A token of a coordinator that nobody runs.
fn token(address: &str) -> String {
    let key =
        |seed| IdentityKey(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes());
    let token = Token {
        network: NetworkId([1; 16]),
        authorities: vec![key(1)],
        coordinators: vec![address.to_owned()],
        coordinator_key: key(2),
        seed: Zeroizing::new([3; 32]),
    };
    token.encode().to_string()
}

fn fresh() -> tempfile::TempDir {
    tempfile::tempdir().expect("directory")
}

#[test]
fn what_is_no_token_is_bad_input_and_touches_nothing() {
    let base = fresh();
    let state = base.path().join("state");
    let output = node(&state, &["enroll", "--token", "hunter2"]).output().expect("run");
    says(&output, 2, &["not an enrolment token", "warren1_"]);
    assert!(!state.exists(), "nothing was made");
}

#[test]
fn a_token_on_the_command_line_works_but_is_warned_about_and_never_repeated() {
    let base = fresh();
    let text = token("127.0.0.1:9");
    let output = node(&base.path().join("state"), &["enroll", "--token", &text]).output().expect("run");
    says(&output, 3, &["ps", "--token-file", "127.0.0.1:9"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains(&text));
}

#[test]
fn an_unreachable_coordinator_is_named_and_the_token_stays_good() {
    let base = fresh();
    let state = base.path().join("state");
    let mut child = node(&state, &["enroll"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run");
    let text = token("127.0.0.1:9");
    child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("write");
    says(&child.wait_with_output().expect("wait"), 3, &["127.0.0.1:9", "warren serve", "still good"]);
    let output = node(&state, &["run"]).output().expect("run");
    says(&output, 2, &["not enrolled", "warren-node up --token-file"]);
}

#[test]
fn without_a_token_enroll_says_where_to_get_one() {
    let base = fresh();
    let output = node(&base.path().join("state"), &["enroll"]).output().expect("run");
    says(&output, 2, &["--token-file", "warren token create"]);
    let output =
        node(&base.path().join("state"), &["enroll", "--token-file", "/nonexistent"]).output().expect("run");
    says(&output, 2, &["/nonexistent", "cannot be read"]);
    assert!(!base.path().join("state").exists());
}

#[test]
fn without_an_agent_questions_end_with_three_and_json_too() {
    let base = fresh();
    for question in [&["status"][..], &["peers"], &["why", "db-1", "tcp/5432"], &["ping", "db-1"]] {
        says(&node(base.path(), question).output().expect("run"), 3, &["warren-node run"]);
    }
    let output = node(base.path(), &["--json", "status"]).output().expect("run");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(json["exit"], 3);
}

#[test]
fn wrong_words_are_usage_errors() {
    let base = fresh();
    for wrong in [&["status", "--colour"][..], &["why", "only-one"], &["run", "--mtu", "200"], &[]] {
        assert_eq!(node(base.path(), wrong).output().expect("run").status.code(), Some(2), "{wrong:?}");
    }
    says(&node(base.path(), &["--help"]).output().expect("run"), 0, &["Exit codes"]);
}

#[test]
fn a_settings_file_alone_brings_the_token_and_the_settings() {
    let base = fresh();
    let file = base.path().join("node.toml");
    std::fs::write(&file, format!("token = \"{}\"\nhostname = true\n", token("127.0.0.1:9"))).expect("write");
    let output =
        node(&base.path().join("state"), &["up"]).env("WARREN_NODE_CONFIG", &file).output().expect("run");
    says(&output, 3, &["127.0.0.1:9", "still good", "chmod 600"]);
    std::fs::write(&file, "tokenfile = \"x\"\n").expect("write");
    let path = file.to_string_lossy().into_owned();
    let output = node(&base.path().join("state"), &["up", "--config", &path]).output().expect("run");
    says(&output, 2, &["node.toml", "tokenfile", "did you mean `token-file`?"]);
    let missing = base.path().join("none.toml").to_string_lossy().into_owned();
    let output = node(&base.path().join("state"), &["status", "--config", &missing]).output().expect("run");
    says(&output, 2, &["none.toml", "cannot be read"]);
}

#[test]
fn an_unattended_host_waits_instead_of_ending_and_takes_the_token_that_comes_later() {
    let base = fresh();
    let (file, log) = (base.path().join("token"), base.path().join("log"));
    std::fs::write(&file, "warren1_nonsense").expect("write");
    let path = file.to_string_lossy().into_owned();
    let mut child = node(&base.path().join("state"), &["up", "--unattended", "--token-file", &path])
        .stderr(std::fs::File::create(&log).expect("log"))
        .spawn()
        .expect("run");
    let mut has_said = |word: &str| {
        for _ in 0..600 {
            let text = std::fs::read_to_string(&log).expect("log");
            if text.contains(word) {
                return;
            }
            assert!(child.try_wait().expect("wait").is_none(), "it ended: {text}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("`{word}` was not said: {}", std::fs::read_to_string(&log).expect("log"));
    };
    has_said("damaged or cut off");
    has_said("tried again in");
    std::fs::write(&file, token("127.0.0.1:9")).expect("write");
    has_said("127.0.0.1:9");
    child.kill().expect("kill");
    child.wait().expect("wait");
}

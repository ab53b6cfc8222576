//! The pipelines in `config/examples/ci/`: the commands that stand in them are run, with a good policy and with a bad one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{World, code};
use serde_json::Value;

const GOOD: &str =
    "version = 1\n[group.ops]\nmembers = [\"a@example.com\"]\n[tag.web]\nowners = [\"group:ops\"]\n";
const BAD: &str = "version = 1\n[tag.web]\nowners = [\"group:opz\"]\n";

fn pipeline(name: &str) -> String {
    let path = format!("{}/../config/examples/ci/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// What follows `key` on its line, for every line that has it.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key))
        .map(str::trim)
        .collect()
}

/// The items of the list under `key`.
fn items<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let after = text.lines().skip_while(|line| line.trim() != key).skip(1);
    after.map_while(|line| line.trim_start().strip_prefix("- ")).collect()
}

/// A checkout with `policy.d`, and a shell that stops at the first failing command, as both services' shells do.
fn run(policy: &str, commands: &[&str]) -> (World, Output) {
    let world = World::empty();
    std::fs::create_dir(world.path("policy.d")).unwrap();
    world.write("policy.d/policy.toml", policy);
    let warren = Path::new(env!("CARGO_BIN_EXE_warren")).parent().unwrap();
    let path = format!("{}:{}", warren.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("bash");
    shell.args(["-e", "-o", "pipefail", "-c", &commands.join("\n")]).env("PATH", path);
    let output = shell.current_dir(world.dir.path()).output().unwrap();
    (world, output)
}

fn written(world: &World, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(world.path(name)).unwrap()).unwrap()
}

#[test]
fn the_github_pipeline_stops_at_a_bad_policy_and_uploads_what_is_wrong() {
    let text = pipeline("github.yml");
    let commands: Vec<&str> = values(&text, "run:");
    assert!(!commands.is_empty() && commands.iter().all(|c| c.starts_with("warren policy ")), "{commands:?}");
    let uploaded = values(&text, "sarif_file:");
    let (world, output) = run(GOOD, &commands);
    assert_eq!(code(&output), 0);
    assert_eq!(written(&world, uploaded[0])["runs"][0]["results"], serde_json::json!([]));
    let (world, output) = run(BAD, &commands);
    assert_eq!(code(&output), 1);
    let results = &written(&world, uploaded[0])["runs"][0]["results"];
    assert_eq!(results[0]["ruleId"], "unknown-group");
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "policy.d/policy.toml", "as the repository knows the file");
    assert_eq!(place["region"]["startLine"], 3);
}

#[test]
fn the_gitlab_pipeline_stops_at_a_bad_policy_and_keeps_what_is_wrong() {
    let text = pipeline("gitlab.yml");
    let (script, after) = (items(&text, "script:"), items(&text, "after_script:"));
    assert!(script.iter().chain(&after).all(|c| c.starts_with("warren ")) && !script.is_empty());
    for (policy, exit) in [(GOOD, 0), (BAD, 1)] {
        assert_eq!(code(&run(policy, &script).1), exit);
        // Run whatever became of the script; its own exit code counts for nothing.
        let (world, _) = run(policy, &after);
        let artifact = values(&text, "paths:")[0].trim_matches(['[', ']']);
        assert_eq!(written(&world, artifact)["ok"], exit == 0);
    }
}

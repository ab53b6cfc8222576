//! What is asked and impossible is refused with what is valid, for every parameter that the description of the API knows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::World;
use common::web::{API, Reply, Web, key};
use serde_json::Value;

/// What no route can do anything with, of the parameter `name` of `path`. A parameter that is new gets its own line here.
fn impossible(path: &str, name: &str, later: u64) -> Vec<String> {
    let later = later.to_string();
    let values: &[&str] = match (path, name) {
        (_, "edges") => &["-1", "1.5", "x", "99999999999999999999"],
        (_, "limit") => &["10001", "-1", "1.5", "x", "99999999999999999999"],
        (_, "window" | "within") => &["0", "31622401", "-1", "x"],
        (_, "resolution") => &["7", "0", "-60", "x"],
        (_, "at" | "since") => &[&later, "-1", "tomorrow"],
        ("/v1/edges", "until") => &[&later, "-1", "tomorrow"],
        (_, "until") => &["-1", "tomorrow"],
        ("/v1/edges", "after") => &["x", "1.", "1.2.3", "-1.2"],
        (_, "cursor") => &["999999", "-1", "x", "0000000000000000-", "0123456789abcdef-x", ""],
        (_, "after") => &["999999", "-1", "x"],
        ("/v1/policy/diff", "from" | "to") | (_, "generation") => &["-1", "x"],
        (_, "from" | "to" | "node") => &["a%20b", "%3Cb%3E", ""],
        (_, "grant" | "service" | "name") => &["No%20Name", ""],
        (_, "before") => &["x", "1.", "1.2", "1.2.3.4", "1.2.3", "0.-1.2"],
        (_, "protocol") => &["256", "-1", "tcp", ""],
        (_, "port") => &["tcp/0", "tcp/70000", "x", ""],
        (_, "verdict") => &["maybe", ""],
        (_, "revoked" | "flows" | "through") => &["maybe", "2"],
        (_, "key") => &["x", ""],
        (_, "scope") => &["king", ""],
        _ => panic!("what is impossible for `{name}` of {path}? Say so in this table"),
    };
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// Parameters that a route cannot do without.
fn needed(path: &str) -> Vec<(&'static str, &'static str)> {
    match path {
        "/v1/can" | "/v1/why" | "/v1/ever" => vec![("from", "tag:web"), ("to", "service:orders")],
        "/v1/externals/offer" => {
            vec![("key", "5LeOV3qEPlRWW%2B0SdtDihvNshEZtQrs%2B%2Bt%2BZA4%2FUi6Q%3D"), ("name", "phone")]
        }
        "/v1/links" => vec![("scope", "read")],
        _ => Vec::new(),
    }
}

/// Method, path with its own parameters filled in, and the names of the query's.
fn operations(document: &Value) -> Vec<(String, String, Vec<String>)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let all = operation["parameters"].as_array().unwrap();
            let of_query = all.iter().filter(|p| p["in"] == "query");
            let names = of_query.map(|p| p["name"].as_str().unwrap().to_owned()).collect();
            found.push((
                method.to_uppercase(),
                path.replace("{who}", "web-1").replace("{id}", "aaaaaaaaaaaa"),
                names,
            ));
        }
    }
    found
}

fn url(path: &str, pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Routes that ask about two ends, or a device, in the words of the policy.
fn is_question(url: &str) -> bool {
    ["/v1/can?", "/v1/why?", "/v1/ever?", "/v1/externals/offer?"].iter().any(|path| url.starts_with(path))
}

/// RFC 9457, and words about `name`.
fn refused(reply: &Reply, url: &str, name: &str) -> Result<(), String> {
    let head = reply.head.to_ascii_lowercase();
    // An end may be well formed, or nearly, and nobody's.
    let status = reply.status == 400 || is_question(url) && matches!(reply.status, 404 | 422);
    if !status || !head.contains("content-type: application/problem+json") {
        return Err(format!("{url}: {} {}", reply.status, reply.body));
    }
    let problem = reply.json();
    let text = |field: &str| problem[field].as_str().unwrap_or_default();
    let words = format!("{} {}", text("detail"), text("hint"));
    // Of an end the question itself speaks, by what was written for it.
    let named = words.contains(&format!("`{name}`")) || is_question(url) && !text("hint").is_empty();
    let whole = problem["status"] == reply.status && text("type").starts_with("/problems/");
    match whole && named && !text("title").is_empty() {
        true => Ok(()),
        false => Err(format!("{url}: it does not say what `{name}` may be: {words}")),
    }
}

#[test]
fn every_impossible_value_of_every_parameter_is_refused_with_what_is_valid() {
    let world = World::new();
    let service = world.serve_with(API);
    let (web, admin) = (Web::of(&service), key(&world, "admin", &["--scope", "admin"]));
    let later = warren_coordinator::clock::now().0 + 10_000;
    let document = web.with_key(&admin, "GET", "/openapi.json", "").json();
    let (mut asked, mut wrong) = (0, Vec::new());
    for (method, path, names) in operations(&document) {
        for name in &names {
            let others: Vec<_> = needed(&path).into_iter().filter(|(other, _)| other != name).collect();
            let values = impossible(&path, name, later);
            let pairs = values.iter().map(|value| [&[(name.as_str(), value.as_str())][..], &others].concat());
            // And said twice, which could mean either.
            let twice = [&[(name.as_str(), "1"), (name.as_str(), "2")][..], &others].concat();
            for pairs in pairs.chain([twice]) {
                let url = url(&path, &pairs);
                asked += 1;
                wrong.extend(refused(&web.with_key(&admin, &method, &url, ""), &url, name).err());
            }
        }
        let strange = url(&path, &[&needed(&path)[..], &[("form", "web-1")]].concat());
        if method == "GET" {
            let reply = web.with_key(&admin, &method, &strange, "");
            let said = reply.status == 400 && reply.json()["detail"].as_str().unwrap().contains("form");
            wrong.extend((!said).then(|| format!("{strange}: {} {}", reply.status, reply.body)));
        }
    }
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 150, "{asked}");
}

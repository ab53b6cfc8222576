//! The API on the network: its door, its keys and sessions, and what it says of flows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::web::{API, Reply, Web, key, routes_of};
use common::{Node, Service, World, block_on, wait_for};
use serde_json::{Value, json};
use warren_coordinator::api::ROUTES;
use warren_coordinator_core::access::Scope;
use warren_wire::flow::{FlowEnd, FlowRecord, FlowReport, FlowVerdict, Workload};
use warren_wire::frame::{CoordinatorSays, NodeSays};

#[test]
fn every_route_refuses_no_key_a_small_scope_and_an_ended_key() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let read = key(&world, "reader", &[]);
    let operate = key(&world, "operator", &["--scope", "operate"]);
    let short = key(&world, "short", &["--scope", "admin", "--ttl", "1s"]);
    let gone = key(&world, "gone", &["--scope", "admin"]);
    world.ok(&["key", "revoke", "gone"]);
    wait_for("the short key to end", || {
        (web.with_key(&short, "GET", "/v1/network", "").status == 401).then_some(())
    });
    let (mut reads, mut more) = (0, 0);
    let described = routes_of(&web.with_key(&read, "GET", "/openapi.json", "").json());
    assert_eq!(described.len(), ROUTES.len(), "everything in the table is described");
    let document = web.with_key(&read, "GET", "/openapi.json", "").json();
    let methods: Vec<&String> = document["paths"]["/v1/session"].as_object().unwrap().keys().collect();
    assert_eq!(methods, ["delete", "get", "post"], "so is signing in, and out");
    for (method, path, scope) in described {
        let name = format!("{method} {path}");
        let refused = |reply: Reply, status: u16, word: &str| {
            assert_eq!(reply.status, status, "{name}: {}", reply.body);
            assert_eq!(reply.json()["type"], format!("/problems/{word}"), "{name}");
            assert!(reply.head.to_ascii_lowercase().contains("application/problem+json"), "{name}");
        };
        refused(web.ask(&method, &path, &[], ""), 401, "unauthenticated");
        refused(web.with_key(&short, &method, &path, ""), 401, "unauthenticated");
        refused(web.with_key(&gone, &method, &path, ""), 401, "unauthenticated");
        for (key, has) in [(&read, Scope::Read), (&operate, Scope::Operate)] {
            if has < scope {
                let reply = web.with_key(key, &method, &path, "{}");
                assert!(reply.body.contains(scope.word()), "{name}: {}", reply.body);
                refused(reply, 403, "forbidden");
                more += 1;
            }
        }
        reads += usize::from(scope == Scope::Read);
    }
    assert!(reads > 15 && more >= 6, "{reads} {more}");
    assert_eq!(web.with_key(&read, "GET", "/v1/status", "").status, 200);
    let unknown = web.with_key(&read, "GET", "/v1/nothing", "");
    assert_eq!((unknown.status, unknown.json()["type"].clone()), (404, json!("/problems/not-found")));
}

#[test]
fn who_guesses_keys_must_wait_and_the_owner_of_a_key_is_in_the_audit() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let admin = key(&world, "ada@ops", &["--scope", "admin"]);
    let made = web.with_key(&admin, "POST", "/v1/keys", &json!({"name": "ci", "scope": "read"}).to_string());
    assert_eq!(made.status, 200, "{}", made.body);
    let text = made.json()["key"].as_str().unwrap().to_owned();
    assert!(!world.ok(&["--json", "key", "list"]).contains(&text) && !world.log().contains(&text));
    assert_eq!(web.with_key(&text, "GET", "/v1/status", "").status, 200);
    let id = made.json()["row"]["id"].as_str().unwrap().to_owned();
    assert_eq!(web.with_key(&admin, "POST", &format!("/v1/keys/{id}/revoke"), "").status, 200);
    assert_eq!(web.with_key(&text, "GET", "/v1/status", "").status, 401, "from the moment it is answered");
    let audit = world.ok(&["audit", "list"]);
    assert!(audit.contains("key:ada@ops") && audit.contains("API key ci"), "{audit}");
    for name in ["", "a b", "x\ny", &"n".repeat(65)] {
        let body = json!({"name": name, "scope": "read"}).to_string();
        let refused = web.with_key(&admin, "POST", "/v1/keys", &body);
        assert_eq!(
            (refused.status, &refused.json()["type"]),
            (422, &json!("/problems/bad-key-name")),
            "{name}"
        );
    }
    let guessed = (0..40).map(|_| web.with_key("wrn_guess", "GET", "/v1/status", "").status);
    let guessed: Vec<u16> = guessed.collect();
    assert!(guessed.first() == Some(&401) && guessed.last() == Some(&429), "{guessed:?}");
    let mine = web.with_key(&admin, "GET", "/v1/status", "");
    assert_eq!(mine.status, 200, "who has a key does not pay for a neighbour who guesses: {}", mine.body);
    world.ok(&["key", "list"]);
}

#[test]
fn a_link_signs_in_once_and_a_session_proves_itself() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let url = world.ok(&["ui", "--scope", "read"]);
    let code = url.trim().split_once("/#link=").unwrap().1.to_owned();
    let body = json!({ "link": code }).to_string();
    let signed_in = web.ask("POST", "/v1/session", &[], &body);
    assert_eq!(signed_in.status, 200, "{}", signed_in.body);
    assert_eq!(signed_in.json()["scope"], "read");
    let line = signed_in.head.to_ascii_lowercase();
    assert!(line.contains("httponly") && line.contains("samesite=strict"), "{line}");
    assert_eq!(web.ask("POST", "/v1/session", &[], &body).status, 401, "once");
    assert!(!world.log().contains(&code));
    let (cookie, csrf) = (signed_in.cookie(), signed_in.json()["csrf"].as_str().unwrap().to_owned());
    let with = |method, path, more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str())], more].concat();
        web.ask(method, path, &headers, &json!({"sources": []}).to_string()).status
    };
    assert_eq!(with("GET", "/v1/status", &[]), 200);
    assert_eq!(with("GET", "/v1/session", &[]), 200);
    assert_eq!(with("GET", "/v1/keys", &[]), 403, "the link gave away only reading");
    assert_eq!(with("POST", "/v1/policy/review", &[]), 403, "without the token of the session");
    assert_eq!(with("POST", "/v1/policy/review", &[("warren-csrf", "wrong")]), 403);
    assert_ne!(with("POST", "/v1/policy/review", &[("warren-csrf", &csrf)]), 403);
    assert_eq!(with("GET", "/v1/status", &[("host", "evil.example")]), 421);
    assert_eq!(with("GET", "/v1/status", &[("origin", "http://evil.example")]), 403);
    assert_eq!(with("GET", "/v1/status", &[("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(with("DELETE", "/v1/session", &[]), 403);
    assert_eq!(with("DELETE", "/v1/session", &[("warren-csrf", &csrf)]), 204);
    assert_eq!(with("GET", "/v1/status", &[]), 401);
}

#[test]
fn a_session_ends_with_the_key_it_began_with() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let text = key(&world, "browser", &[]);
    let signed_in = web.ask("POST", "/v1/session", &[], &json!({ "key": text }).to_string());
    let cookie = signed_in.cookie();
    assert_eq!(web.ask("GET", "/v1/status", &[("cookie", &cookie)], "").status, 200);
    world.ok(&["key", "revoke", "browser"]);
    let after = web.ask("GET", "/v1/status", &[("cookie", &cookie)], "");
    assert!(after.status == 401 && after.body.contains("revoked"), "{}", after.body);
}

#[test]
fn sessions_are_shown_and_ended_by_an_administrator_and_that_is_in_the_audit() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let sign_in = |body: Value| web.ask("POST", "/v1/session", &[], &body.to_string());
    let code = |scope: &str| {
        let url = world.ok(&["ui", "--scope", scope]);
        url.trim().split_once("/#link=").unwrap().1.to_owned()
    };
    let (lost, mine) = (sign_in(json!({ "link": code("admin") })), sign_in(json!({ "link": code("read") })));
    let unopened = code("admin");
    let status = |cookie: &str| web.ask("GET", "/v1/status", &[("cookie", cookie)], "").status;
    assert_eq!((status(&lost.cookie()), status(&mine.cookie())), (200, 200));
    // Only who may give access may take it, or see it.
    let operate = key(&world, "operator", &["--scope", "operate"]);
    for (method, path) in [("GET", "/v1/sessions"), ("POST", "/v1/sessions/end")] {
        assert_eq!(web.with_key(&operate, method, path, "\"all\"").status, 403);
    }
    let rows = world.json(&["session", "list"]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 3, "{rows:?}");
    let of = |scope: &str, opened: bool| {
        let row = rows.iter().find(|row| row["scope"] == scope && row["used"].is_null() != opened);
        row.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let mut stream = web.connect();
    let head = format!("GET /v1/events HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n\r\n", web.host, lost.cookie());
    stream.write_all(head.as_bytes()).unwrap();
    hear(&mut stream, "id: ");
    let ended = world.ok(&["session", "end", &of("admin", true)]);
    assert!(ended.contains("127.0.0.1") && ended.contains("admin"), "{ended}");
    assert_eq!((status(&lost.cookie()), status(&mine.cookie())), (401, 200));
    // The last chunk (RFC 9112, section 7.1): its stream ends as well, before anything else is told.
    hear(&mut stream, "0\r\n\r\n");
    let again = world.run(&["session", "end", &of("admin", true)]);
    assert!(
        !again.status.success() && String::from_utf8_lossy(&again.stderr).contains("there is no session")
    );
    world.ok(&["session", "end", "--all"]);
    assert_eq!(status(&mine.cookie()), 401);
    assert_eq!(sign_in(json!({ "link": unopened })).status, 401, "a link in wrong hands opens nothing");
    assert_eq!(world.json(&["session", "list"]), json!([]));
    let audit = world.ok(&["audit", "list"]);
    assert!(audit.contains("1 session(s) of the page ended") && audit.contains("2 session(s)"), "{audit}");
    world.ok(&["audit", "verify"]);
}

#[test]
fn nothing_of_a_body_is_read_before_it_is_known_who_sends_it() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let host = web.host.clone();
    for path in ["/v1/commands", "/v1/policy/review", "/v1/session"] {
        let mut stream = web.connect();
        let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 100000000\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains(" 401") || answer.contains(" 413"), "{path}: {answer}");
    }
    let many: Vec<(String, String)> = (0..200).map(|i| (format!("x-{i}"), "y".repeat(10))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(web.ask("GET", "/v1/status", &many, "").status, 431);
    let long = "z".repeat(200_000);
    assert!(matches!(web.ask("GET", "/v1/status", &[("x", &long)], "").status, 431 | 0));
    // Connections beyond one source's share are closed at once, and when they end there is room again.
    let held: Vec<TcpStream> = (0..128).map(|_| web.connect()).collect();
    wait_for("the share to be used up", || {
        let mut one_more = web.connect();
        (one_more.read(&mut [0; 1]).ok() == Some(0)).then_some(())
    });
    drop(held);
    wait_for("room again", || (web.ask("GET", "/v1/status", &[], "").status == 401).then_some(()));
}

/// What a stranger sends slowly, or without saying how much it is, ends as soon as what would have been too much.
#[test]
fn strangers_who_do_not_say_how_much_they_send_or_send_it_slowly_are_left() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let begin = |head: &str| {
        let mut stream = web.connect();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        stream
            .write_all(format!("POST /v1/session HTTP/1.1\r\nhost: {}\r\n{head}", web.host).as_bytes())
            .unwrap();
        stream
    };
    let said = |mut stream: TcpStream| {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    let chunk = format!("2000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x2000));
    let untold = begin(&format!("transfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunk}"));
    let answer = said(untold);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let (head, body) = (begin("x-slow: "), begin("connection: close\r\ncontent-length: 100\r\n\r\n{\"key\""));
    let answer = said(body);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("in time"), "{answer}");
    let mut first = [0; 16];
    let read = { head }.read(&mut first).expect("an end, and not this test's patience");
    let word = String::from_utf8_lossy(&first[..read]).into_owned();
    assert!(
        word.is_empty() || word.starts_with("HTTP/1.1 408"),
        "closed, without a word about the network: {word}"
    );
}

#[test]
fn the_page_is_served_and_guards_itself() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    for path in ["/", "/flows", "/nodes/web-1"] {
        let page = web.ask("GET", path, &[], "");
        assert_eq!(page.status, 200, "{path}");
        let head = page.head.to_ascii_lowercase();
        for line in
            ["content-security-policy: default-src 'none'", "x-content-type-options: nosniff", "text/html"]
        {
            assert!(head.contains(line), "{path}: no {line} in {head}");
        }
        assert!(
            !page.body.contains("http://") && !page.body.contains("https://"),
            "no request leaves the page"
        );
    }
    assert_eq!(web.ask("GET", "/nothing.js", &[], "").status, 404);
    assert_eq!(web.ask("POST", "/", &[], "").status, 405);
    assert_eq!(web.ask("GET", "/", &[("host", "evil.example")], "").status, 421);
}

/// The API over TLS, asked by curl, which knows only this certificate.
fn over_tls(service: &Service, certificate: &std::path::Path) -> (bool, String) {
    let port = service.info["api"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let mut curl = std::process::Command::new("curl");
    curl.args(["-s", "--max-time", "20", "--cacert"]).arg(certificate);
    let said = curl.arg(format!("https://localhost:{port}/v1/status")).output().unwrap();
    (said.status.success(), String::from_utf8_lossy(&said.stdout).into_owned())
}

#[test]
fn beyond_loopback_everything_is_tls_with_the_own_certificate_or_a_given_one() {
    let world = World::new();
    let everywhere = &["--api", "0.0.0.0:0"];
    let service = world.serve_with(everywhere);
    assert!(service.info["api"].as_str().unwrap().starts_with("https://"), "{}", service.info);
    let own = world.state().join("web.crt");
    let (answered, said) = over_tls(&service, &own);
    assert!(answered && said.contains("/problems/unauthenticated"), "{said}");
    // In clear nothing is said.
    let port = service.info["api"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let clear = Web { host: format!("127.0.0.1:{port}") };
    assert_ne!(clear.ask("GET", "/v1/status", &[], "").status, 200);
    assert_eq!(clear.ask("GET", "/v1/status", &[], "").body, "");
    assert_eq!(service.stop(), 0);
    // Another one, given by its files: it is shown, and the own one no longer.
    let (certificate, key) = (world.path("given.crt"), world.path("given.key"));
    for (from, to) in [("web.crt", &certificate), ("web.key", &key)] {
        std::fs::rename(world.state().join(from), to).unwrap();
    }
    set(&world, "api", json!({ "certificate": certificate, "key": key }));
    let service = world.serve_with(everywhere);
    assert!(over_tls(&service, &certificate).0);
    assert!(!own.exists(), "no other was made");
    assert_eq!(service.stop(), 0);
    let unasked: std::net::SocketAddr = warren_coordinator::api::web::DEFAULT_LISTEN.parse().unwrap();
    assert!(unasked.ip().is_loopback(), "without a word about it");
}

fn record(world: &World, flow: u64, first: bool, verdict: FlowVerdict) -> FlowRecord {
    let named = Workload { process: "curl".into(), unit: "shop.service".into(), ..Workload::default() };
    let window = FlowRecord { first, workload: Some(named), ..world.window(flow) };
    if verdict != FlowVerdict::Deny {
        return FlowRecord { verdict: verdict as i32, ..window };
    }
    let end = FlowEnd::Refused as i32;
    let (grant, service) = Default::default();
    FlowRecord { verdict: verdict as i32, grant, service, end, count: 5, ..window }
}

#[test]
fn the_map_says_what_the_records_said_live_and_after_a_restart() {
    let world = World::new();
    let service = world.serve_with(API);
    for (number, name) in [(1, "web-1"), (2, "orders-1")] {
        let token = world.token(&["--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    let before = warren_coordinator::clock::now();
    let token = world.token(&[]);
    let records = vec![
        record(&world, 7, true, FlowVerdict::Allow),
        record(&world, 7, false, FlowVerdict::Allow),
        record(&world, 8, true, FlowVerdict::Allow),
        record(&world, 9, true, FlowVerdict::Deny),
    ];
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    // Somebody listens meanwhile.
    let mut events = web.connect();
    let host = web.host.clone();
    let head = format!(
        "GET /v1/events?flows=true HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {reader}\r\n\r\n"
    );
    events.write_all(head.as_bytes()).unwrap();
    let mut heard = String::new();
    let mut hear_until = |words: &[&str]| {
        wait_for("an event", || {
            let mut chunk = [0; 4096];
            let read = events.read(&mut chunk).unwrap();
            heard.push_str(&String::from_utf8_lossy(&chunk[..read]));
            words.iter().all(|word| heard.contains(word)).then_some(())
        });
    };
    hear_until(&["text/event-stream"]);
    block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        line.say(NodeSays::Flows(FlowReport { sequence: 1, records, boot: 1, ..Default::default() })).await;
        line.hear_until(|said| matches!(said, CoordinatorSays::FlowsStored(_)).then_some(())).await;
    });
    hear_until(&["event: flows", "event: edges", "\"bytes_back\":3000", "event: nodes"]);
    // Whose it is, and which names lead to a node, is told live as well.
    hear_until(&["\"process\":\"curl\"", "\"unit\":\"shop.service\"", "\"dns\":[\"web-1.warren.internal\""]);
    world.token(&["--name", "db-1"]);
    hear_until(&["event: audit", "token-stored", "event: status"]);
    assert!(!heard.contains("resync"), "{heard}");

    let map = |world: &World| world.json(&["map", "--within", "10m"]);
    let check = |map: &Value| {
        let edges = map["edges"].as_array().unwrap();
        let of = |verdict: &str| edges.iter().find(|e| e["verdict"] == verdict).unwrap();
        let (allowed, refused) = (of("allow"), of("deny"));
        assert_eq!(edges.len(), 2, "{map}");
        for (field, value) in
            [("flows", 2), ("tries", 0), ("bytes_out", 300), ("bytes_back", 3000), ("packets_out", 6)]
        {
            assert_eq!(allowed[field], value, "{field}: {map}");
        }
        assert_eq!((&refused["tries"], &refused["flows"]), (&json!(5), &json!(0)));
        assert_eq!(allowed["from"]["name"], "web-1");
        assert_eq!((&allowed["to"]["name"], &allowed["port"]), (&json!("orders-1"), &json!(8443)));
        assert_eq!(allowed["seen_by"], json!(["from"]));
    };
    wait_for("the map", || (map(&world)["edges"].as_array()?.len() == 2).then_some(()));
    check(&map(&world));
    let text = world.ok(&["map"]);
    assert!(text.contains("web-1 -> orders-1 tcp/8443  allowed by web-reads-orders  2 flows"), "{text}");
    assert!(text.contains("orders-1, no service\n└─ web-1  REFUSED  tcp/8443  5 tries"), "{text}");
    let by_key = web.with_key(&reader, "GET", "/v1/edges?resolution=60&from=web-1&verdict=allow", "");
    let steps: u64 = by_key.json()["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["edge"]["bytes_out"].as_u64().unwrap())
        .sum();
    assert_eq!(steps, 300, "{}", by_key.body);
    let none = web.with_key(&reader, "GET", "/v1/edges?from=orders-1", "");
    assert_eq!(none.json()["rows"], json!([]));

    assert_eq!(service.stop(), 0);
    let _service = world.serve();
    check(&map(&world));
    // Before the first node there was nobody, and nothing was said.
    let past = world.json(&["map", "--at", &(before.0 - 3600).to_string()]);
    assert_eq!((&past["nodes"], &past["edges"], &past["live"]), (&json!([]), &json!([]), &json!(false)));
    assert!(world.fails(2, &["map", "--at", "yesterday"]).contains("yesterday"));
    let error = world.fails(2, &["map", "--at", "2199-01-01T00:00:00Z"]);
    assert!(error.contains("future"), "{error}");
}

/// The settings with one of them changed.
fn set(world: &World, name: &str, value: Value) {
    let path = world.state().join("settings.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    settings[name] = value;
    std::fs::write(&path, settings.to_string()).unwrap();
}

#[test]
fn a_map_that_cannot_hold_everything_says_what_it_left_out() {
    let world = World::new();
    set(&world, "map", json!({ "edges": 1 }));
    let service = world.serve_with(API);
    for (number, name) in [(1, "web-1"), (2, "orders-1")] {
        let token = world.token(&["--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    let token = world.token(&[]);
    let records =
        vec![record(&world, 7, true, FlowVerdict::Allow), record(&world, 9, true, FlowVerdict::Deny)];
    block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        line.say(NodeSays::Flows(FlowReport { sequence: 1, records, boot: 1, ..Default::default() })).await;
        line.hear_until(|said| matches!(said, CoordinatorSays::FlowsStored(_)).then_some(())).await;
    });
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let map = |query: &str| web.with_key(&reader, "GET", &format!("/v1/map?window=600{query}"), "").json();
    wait_for("both edges", || (map("")["extent"]["total"] == 2).then_some(()));
    let shown = |map: &Value| (map["extent"]["shown"].clone(), map["edges"].as_array().unwrap().len());
    // As the settings say; whoever asks for more gets no more, for less, less.
    for (query, limit) in [("", 1), ("&edges=5", 1), ("&edges=0", 0)] {
        let map = map(query);
        assert_eq!(shown(&map), (json!(limit), limit), "{query}: {map}");
        assert_eq!((&map["extent"]["total"], &map["extent"]["limit"]), (&json!(2), &json!(limit)), "{query}");
        assert_eq!(map["extent"]["left_out"]["tries"], 5, "{query}: {map}");
        let flows = if limit == 0 { 1 } else { 0 };
        assert_eq!(map["extent"]["left_out"]["flows"], flows, "{query}: what passed is the heaviest");
    }
    let text = world.ok(&["map"]);
    assert!(text.contains("1 of 2 edges are left out") && text.contains("5 tries"), "{text}");
    assert_eq!(service.stop(), 0);
    set(&world, "map", json!({ "edges": 2 }));
    let _service = world.serve();
    let whole = world.json(&["map", "--within", "10m"]);
    assert_eq!((&whole["extent"]["shown"], &whole["extent"]["left_out"]["tries"]), (&json!(2), &json!(0)));
    assert!(!world.ok(&["map"]).contains("left out"));
}

#[test]
fn a_listener_that_falls_behind_is_told_to_load_anew_and_hears_what_comes_then() {
    let world = World::new();
    let service = world.serve_with(API);
    for (number, name) in [(1, "web-1"), (2, "orders-1")] {
        let token = world.token(&["--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let mut slow = web.connect();
    let head = format!(
        "GET /v1/events?flows=true HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {reader}\r\n\r\n",
        web.host
    );
    slow.write_all(head.as_bytes()).unwrap();
    let mut heard = [0; 12];
    slow.read_exact(&mut heard).unwrap();
    // It reads no further, and much happens.
    let one = FlowRecord { workload: None, ..record(&world, 1, true, FlowVerdict::Allow) };
    let records =
        |report: u64| (0..150).map(|n| FlowRecord { flow: report * 1000 + n, ..one.clone() }).collect();
    block_on(async {
        let mut line = Node::new(1, &world.token(&[])).join(service.addr()).await;
        for sequence in 1..=700 {
            let report = FlowReport { sequence, records: records(sequence), boot: 1, ..Default::default() };
            line.say(NodeSays::Flows(report)).await;
            // As many under way as a node has: each waits for the disk.
            if sequence % 14 == 0 {
                line.hear_until(|said| match said {
                    CoordinatorSays::FlowsStored(stored) => (stored.sequence >= sequence).then_some(()),
                    _ => None,
                })
                .await;
            }
        }
    });
    let mut seen = Vec::new();
    let mut read_until = |word: &[u8]| {
        wait_for("the stream", || {
            let mut chunk = vec![0; 1 << 20];
            let read = slow.read(&mut chunk).unwrap();
            assert!(read > 0, "the stream goes on");
            seen.extend_from_slice(&chunk[..read]);
            let found = seen.windows(word.len()).any(|window| window == word);
            seen.drain(..seen.len().saturating_sub(word.len()));
            found.then_some(())
        });
    };
    read_until(b"event: resync");
    world.token(&["--name", "afterwards-1"]);
    read_until(b"afterwards-1");
}

#[test]
fn impossible_questions_are_refused_with_what_is_valid() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let later = warren_coordinator::clock::now().0 + 10_000;
    let cases = [
        ("/v1/flows?since=200&until=100".to_owned(), "must not end before it begins"),
        (format!("/v1/flows/history?since={later}"), "in the future"),
        ("/v1/flows?from=a%20b".to_owned(), "a node's name, its id, or an overlay address"),
        ("/v1/flows/since?to=%3Cb%3E".to_owned(), "a node's name, its id, or an overlay address"),
        ("/v1/flows?grant=No%20Name".to_owned(), "1 to 63 of a-z"),
        ("/v1/flows?verdict=maybe".to_owned(), "would-deny"),
        ("/v1/flows?until=tomorrow".to_owned(), "until"),
        ("/v1/flows?form=web-1".to_owned(), "`from`"),
        ("/v1/flows/since?cursor=9223372036854775808".to_owned(), "is not the `cursor`"),
        ("/v1/edges?since=200&until=100".to_owned(), "between 1 and"),
        ("/v1/edges?resolution=7".to_owned(), "1, 60 or 3600"),
        ("/v1/edges?after=x".to_owned(), "`next`"),
        (format!("/v1/map?at={later}"), "in the future"),
        ("/v1/map?window=0".to_owned(), "between 1 and"),
        ("/v1/policy/usage?within=99999999".to_owned(), "a year"),
        (format!("/v1/why?from=a&to=b&at={later}"), "in the future"),
    ];
    for (path, words) in cases {
        let reply = web.with_key(&reader, "GET", &path, "");
        assert_eq!(reply.status, 400, "{path}: {}", reply.body);
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{path}: {detail}");
    }
    for path in ["/v1/nodes/%FF", "/v1/nodes/%FF/record", "/v1/nodes/a%C3/file"] {
        let reply = web.with_key(&reader, "GET", path, "");
        assert_eq!((reply.status, &reply.json()["type"]), (400, &json!("/problems/bad-request")), "{path}");
        assert!(reply.head.to_ascii_lowercase().contains("application/problem+json"), "{}", reply.head);
    }
    let wrong = web.with_key(&reader, "DELETE", "/v1/status", "");
    assert_eq!((wrong.status, &wrong.json()["type"]), (405, &json!("/problems/method-not-allowed")));
    assert!(wrong.head.to_ascii_lowercase().contains("allow: get"), "{}", wrong.head);
}

#[test]
fn two_generations_are_compared_whichever_they_are() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let tags = "version = 1\n[tag.web]\n[tag.orders]\n[service.orders]\non = [\"tag:orders\"]\nlisten = [\"tcp/8080\"]\n";
    let grant = "[[grant]]\nid = \"web-reads-orders\"\nfrom = [\"tag:web\"]\nto = [\"service:orders\"]\n";
    for text in [tags.to_owned(), format!("{tags}{grant}"), tags.to_owned()] {
        world.ok(&["policy", "apply", &world.write("p.toml", &text)]);
    }
    let diff = |query: &str| {
        let reply = web.with_key(&reader, "GET", &format!("/v1/policy/diff{query}"), "");
        assert_eq!(reply.status, 200, "{query}: {}", reply.body);
        let said = reply.json();
        let count = |side: &str| said["diff"][side].as_array().unwrap().len();
        (said["from"].as_u64().unwrap(), said["to"].as_u64().unwrap(), count("gained"), count("lost"))
    };
    assert_eq!(diff(""), (2, 3, 0, 1));
    assert_eq!(diff("?to=2"), (1, 2, 1, 0));
    assert_eq!(diff("?from=1&to=3"), (1, 3, 0, 0));
    assert_eq!(diff("?from=3&to=2"), (3, 2, 1, 0));
    assert_eq!(diff("?from=0&to=2"), (0, 2, 1, 0));
    assert_eq!(web.with_key(&reader, "GET", "/v1/policy/diff?to=9", "").status, 404);
}

#[test]
fn the_past_is_asked_as_it_was() {
    let world = World::new();
    let service = world.serve();
    for (number, name, tag) in [(1, "web-1", "web"), (2, "orders-1", "orders")] {
        let token = world.token(&["--name", name, "--tag", tag]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    let tags = "version = 1\n[tag.web]\n[tag.orders]\n[service.orders]\non = [\"tag:orders\"]\nlisten = [\"tcp/8080\"]\n";
    let grant = "[[grant]]\nid = \"web-reads-orders\"\nfrom = [\"tag:web\"]\nto = [\"service:orders\"]\n";
    let apply = |name: &str, text: &str| {
        let file = world.write(name, text);
        world.ok(&["policy", "apply", &file]);
        world.json(&["policy", "history"]).as_array().unwrap().iter().find(|r| r["current"] == true).unwrap()
            ["applied"]
            .as_u64()
            .unwrap()
    };
    let granted = apply("a.toml", &format!("{tags}{grant}"));
    wait_for("the next second", || (warren_coordinator::clock::now().0 > granted).then_some(()));
    apply("b.toml", tags);
    world.fails(1, &["can", "tag:web", "service:orders"]);
    let then = granted.to_string();
    world.ok(&["can", "tag:web", "service:orders", "--at", &then]);
    let why = world.json(&["why", "web-1", "orders-1", "tcp/8080", "--at", &then]);
    assert_eq!((&why["allowed"], &why["generation"]), (&json!(true), &json!(1)));
    // Before the policy there was none, and before the nodes there were none.
    let before =
        world.fails(2, &["can", "tag:web", "service:orders", "--at", &(granted - 100_000).to_string()]);
    assert!(before.contains("no tag `web`"), "{before}");
    let nobody = world.fails(1, &["why", "web-1", "orders-1", "--at", &(granted - 100_000).to_string()]);
    assert!(nobody.contains("web-1"), "{nobody}");
    assert!(
        world
            .fails(2, &["can", "tag:web", "service:orders", "--at", "2199-01-01T00:00:00Z"])
            .contains("future")
    );
}

/// A listener that saw the event `last`.
fn listen(web: &Web, key: &str, last: &str) -> TcpStream {
    let (mut stream, host) = (web.connect(), &web.host);
    let head = format!(
        "GET /v1/events HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\nlast-event-id: {last}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The id of the last event among `heard`.
fn last_id(heard: &str) -> String {
    heard.lines().filter_map(|l| l.strip_prefix("id: ")).next_back().unwrap().trim().to_owned()
}

#[test]
fn a_sole_listener_that_was_away_while_flows_came_begins_anew_and_one_that_missed_none_goes_on() {
    let world = World::new();
    let service = world.serve_with(API);
    for (number, name) in [(1, "web-1"), (2, "orders-1")] {
        let token = world.token(&["--name", name]);
        block_on(Node::new(number, &token).enrol(&token, service.addr())).unwrap();
    }
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let say = |sequence: u64| {
        block_on(async {
            let records = vec![record(&world, sequence, true, FlowVerdict::Allow)];
            let mut line = Node::new(1, &world.token(&[])).join(service.addr()).await;
            line.say(NodeSays::Flows(FlowReport { sequence, records, boot: 1, ..Default::default() })).await;
            line.hear_until(|said| matches!(said, CoordinatorSays::FlowsStored(_)).then_some(())).await;
        });
    };
    let mut stream = listen(&web, &reader, "");
    hear(&mut stream, "event: resync");
    say(1);
    let before = last_id(&hear(&mut stream, "event: edges"));
    drop(stream);
    wait_for("nobody to listen", || {
        let metrics = world.ok(&["metrics"]);
        metrics.lines().any(|line| line.ends_with("event_listeners 0")).then_some(())
    });
    say(2);
    let mut back = listen(&web, &reader, &before);
    let heard = hear(&mut back, "\n\n");
    assert!(heard.contains("event: resync"), "edges came that it will never hear of: {heard}");
    // What a stream says first is a place to come back to, though nothing has happened.
    let mut fresh = web.connect();
    let head =
        format!("GET /v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {reader}\r\n\r\n", web.host);
    fresh.write_all(head.as_bytes()).unwrap();
    let place = last_id(&hear(&mut fresh, "\n\n"));
    let mut again = listen(&web, &reader, &place);
    world.token(&["--name", "b-1"]);
    let heard = hear(&mut again, "name b-1");
    assert!(!heard.contains("resync"), "{heard}");
}

/// All that it hears until `word`.
fn hear(stream: &mut TcpStream, word: &str) -> String {
    let mut heard = String::new();
    wait_for(word, || {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).unwrap();
        heard.push_str(&String::from_utf8_lossy(&chunk[..read]));
        heard.contains(word).then(|| heard.clone())
    })
}

#[test]
fn a_log_that_cannot_be_read_for_a_moment_costs_no_listener_the_news() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let mut stream = listen(&web, &reader, "0123456789abcdef-7");
    hear(&mut stream, "event: resync");
    let (log, away) = (world.state().join("warren.db"), world.state().join("away.db"));
    std::fs::rename(&log, &away).unwrap();
    world.token(&["--name", "a-1"]);
    wait_for("a warning", || world.log().contains("trying again").then_some(()));
    std::fs::rename(&away, &log).unwrap();
    hear(&mut stream, "name a-1");
}

#[test]
fn a_listener_who_was_away_goes_on_or_is_told_to_load_anew() {
    let world = World::new();
    let service = world.serve_with(API);
    let web = Web::of(&service);
    let reader = key(&world, "reader", &[]);
    let mut stranger = listen(&web, &reader, "0123456789abcdef-7");
    hear(&mut stranger, "event: resync");
    world.token(&["--name", "a-1"]);
    let heard = hear(&mut stranger, "name a-1");
    let id = heard.lines().filter_map(|l| l.strip_prefix("id: ")).next_back().unwrap().trim().to_owned();
    world.token(&["--name", "b-1"]);
    hear(&mut stranger, "name b-1");
    let mut back = listen(&web, &reader, &id);
    let heard = hear(&mut back, "name b-1");
    assert!(!heard.contains("resync") && !heard.contains("name a-1"), "{heard}");
    // Whoever loses the key loses the stream.
    world.ok(&["key", "revoke", "reader"]);
    // The last chunk (RFC 9112, section 7.1).
    hear(&mut back, "\r\n0\r\n\r\n");
}

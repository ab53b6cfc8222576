//! Flow records for an OpenTelemetry receiver: what was offered is sent, refused, dropped or waiting, and all of it is shown.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use common::{Node, Service, World, block_on, wait_for};
use serde_json::{Value, json};
use warren_wire::flow::{FlowEnd, FlowRecord, FlowReport, FlowVerdict};
use warren_wire::frame::{CoordinatorSays, NodeSays};

/// One request as a receiver sees it.
struct Got {
    head: String,
    body: Value,
}

/// A receiver that answers each request with the next of `answers`, then with the last for ever.
fn receiver(answers: Vec<(u16, &'static str)>) -> (String, Receiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, got) = channel();
    std::thread::spawn(move || {
        let last = *answers.last().unwrap();
        let mut answers = answers.into_iter();
        for stream in listener.incoming() {
            let (status, body) = answers.next().unwrap_or(last);
            if sender.send(request(stream.unwrap(), status, body)).is_err() {
                return;
            }
        }
    });
    (address, got)
}

fn request(stream: impl Read + Write, status: u16, answer: &str) -> Got {
    let mut lines = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    lines.read_exact(&mut body).unwrap();
    let length = answer.len();
    let _ = write!(
        lines.get_mut(),
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
    );
    let _ = lines.get_mut().flush();
    Got { head, body: serde_json::from_slice(&body).unwrap() }
}

fn world(endpoint: &str) -> World {
    world_with(json!({ "endpoint": endpoint, "headers": { "authorization": "Basic c2VjcmV0" } }))
}

fn world_with(otlp: Value) -> World {
    let world = World::new();
    set(&world, otlp);
    world
}

fn set(world: &World, otlp: Value) {
    let file = world.state().join("settings.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    settings["otlp"] = otlp;
    std::fs::write(&file, settings.to_string()).unwrap();
}

/// An authority, and a receiver that shows a certificate of it for `name`. What arrives in it arrives whole or not at all.
fn secure_receiver(name: &str) -> (String, String, Receiver<Got>) {
    let (ca_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, ca_key);
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, got) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            // A client that does not believe the certificate goes before it has said anything.
            if stream.conn.complete_io(&mut stream.sock).is_err() {
                continue;
            }
            if sender.send(request(stream, 200, "{}")).is_err() {
                return;
            }
        }
    });
    (format!("https://localhost:{port}"), ca, got)
}

fn report(world: &World, service: &Service, records: u64) {
    report_often(world, service, 1, records);
}

/// So many reports of so many records, until the last is acknowledged.
fn report_often(world: &World, service: &Service, reports: u64, records: u64) {
    let token = world.token(&["--name", "web-1"]);
    let node = Node::new(1, &token);
    block_on(node.enrol(&token, service.addr())).unwrap();
    let own: std::net::Ipv4Addr =
        world.json(&["node", "show", "web-1"])["v4"].as_str().unwrap().parse().unwrap();
    let now = warren_coordinator::clock::now_ms();
    let records = (0..records).map(|flow| FlowRecord {
        flow,
        outbound: true,
        protocol: 6,
        src: own.octets().to_vec(),
        src_port: 40_000,
        dst: vec![100, 64, 9, 9],
        dst_port: 22,
        verdict: FlowVerdict::Deny as i32,
        generation: 3,
        started_ms: now,
        last_ms: now,
        end: FlowEnd::Refused as i32,
        count: 7,
        ..Default::default()
    });
    let records: Vec<FlowRecord> = records.collect();
    block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        for sequence in 1..=reports {
            let records = records.clone();
            line.say(NodeSays::Flows(FlowReport { sequence, records, boot: 1, ..Default::default() })).await;
            line.hear_until(|said| match said {
                CoordinatorSays::FlowsStored(stored) => (stored.sequence == sequence).then_some(()),
                _ => None,
            })
            .await;
        }
    });
}

/// `export` of the status.
fn export(world: &World) -> Value {
    world.json(&["status"])["export"].clone()
}

fn records(got: &Got) -> &Vec<Value> {
    got.body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap()
}

/// `warren_otlp_records_total` by outcome, and what waits.
fn sums(world: &World) -> [u64; 4] {
    let text = world.ok(&["metrics"]);
    let read = |line: &str| -> u64 {
        let found =
            text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in {text}"));
        found.trim().parse().unwrap()
    };
    let outcome = |word: &str| read(&format!("warren_otlp_records_total{{outcome=\"{word}\"}}"));
    [outcome("sent"), outcome("refused"), outcome("dropped"), read("warren_otlp_queue_records")]
}

#[test]
fn a_record_arrives_with_its_ends_its_verdict_and_its_numbers() {
    let (address, got) = receiver(vec![(200, "{}")]);
    let world = world(&format!("http://{address}"));
    let service = world.serve();
    report(&world, &service, 3);
    let got = got.recv_timeout(common::PATIENCE).unwrap();
    assert!(got.head.starts_with("POST /v1/logs HTTP/1.1\r\n"), "{}", got.head);
    for line in
        ["content-type: application/json", "authorization: Basic c2VjcmV0", &format!("host: {address}")]
    {
        assert!(got.head.contains(line), "no {line} in {}", got.head);
    }
    assert!(!world.log().contains("c2VjcmV0"), "what opens the receiver is in no log");
    assert_eq!(records(&got).len(), 3);
    let record = &records(&got)[0];
    let of = |key: &str| {
        let all = record["attributes"].as_array().unwrap();
        let found = all.iter().find(|a| a["key"] == key).unwrap_or_else(|| panic!("no {key} in {record}"));
        found["value"].as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(of("warren.source.name"), "web-1");
    assert_eq!((of("destination.address"), of("destination.port")), ("100.64.9.9".into(), "22".into()));
    assert_eq!((of("network.transport"), of("warren.flow.verdict")), ("tcp".into(), "deny".into()));
    assert_eq!((of("warren.flow.count"), of("warren.flow.generation")), ("7".into(), "3".into()));
    assert_eq!(record["severityNumber"], 13, "what is refused stands out");
    assert_eq!(record["body"]["stringValue"], "web-1 -> 100.64.9.9 tcp/22 deny");
    assert!(record["timeUnixNano"].as_str().unwrap().len() == 19, "{record}");
    wait_for("the count", || (sums(&world) == [3, 0, 0, 0]).then_some(()));
}

#[test]
fn what_cannot_be_taken_now_is_tried_again_and_what_is_refused_is_counted() {
    let partly = "{\"partialSuccess\":{\"rejectedLogRecords\":\"1\",\"errorMessage\":\"too old\"}}";
    let (address, got) = receiver(vec![(503, ""), (429, ""), (200, partly)]);
    let world = world(&format!("http://{address}/custom/path"));
    let service = world.serve();
    report(&world, &service, 3);
    let tries: Vec<Got> = (0..3).map(|_| got.recv_timeout(common::PATIENCE).unwrap()).collect();
    assert!(tries.iter().all(|t| t.head.starts_with("POST /custom/path ") && t.body == tries[0].body));
    wait_for("the count", || (sums(&world) == [2, 1, 0, 0]).then_some(()));
}

#[test]
fn what_a_receiver_will_never_take_is_dropped_and_counted() {
    let (address, got) = receiver(vec![(400, "no")]);
    let world = world(&format!("http://{address}"));
    let service = world.serve();
    report(&world, &service, 3);
    got.recv_timeout(common::PATIENCE).unwrap();
    wait_for("the count", || (sums(&world) == [0, 0, 3, 0]).then_some(()));
    assert!(world.log().contains("the OTLP receiver refuses flow records"));
}

#[test]
fn over_tls_records_go_to_whom_a_known_authority_vouches_for() {
    let (endpoint, ca, got) = secure_receiver("localhost");
    let world = world_with(Value::Null);
    let ca = world.write("ca.pem", &ca);
    set(&world, json!({ "endpoint": endpoint, "ca": ca }));
    let service = world.serve();
    report(&world, &service, 3);
    assert_eq!(records(&got.recv_timeout(common::PATIENCE).unwrap()).len(), 3);
    wait_for("the count", || (sums(&world) == [3, 0, 0, 0]).then_some(()));
    let shown = export(&world);
    assert_eq!((&shown["exported"], &shown["last_error"]), (&json!(3), &Value::Null), "{shown}");
    assert!(shown["endpoint"].as_str().unwrap().starts_with("https://localhost:"), "{shown}");
}

#[test]
fn over_tls_nobody_else_hears_a_word_and_the_status_says_why() {
    let (endpoint, ca, got) = secure_receiver("localhost");
    let (other, _, unheard) = secure_receiver("collector.example");
    // A stranger's certificate under the right name; and the right authority's under another name.
    for (endpoint, ca) in [(&endpoint, None), (&other, Some(ca))] {
        let world = world_with(Value::Null);
        let mut otlp = json!({ "endpoint": endpoint, "headers": { "authorization": "Basic c2VjcmV0" } });
        if let Some(ca) = ca {
            otlp["ca"] = world.write("ca.pem", &ca).into();
        }
        set(&world, otlp);
        let service = world.serve();
        report(&world, &service, 3);
        let error = wait_for("the error", || export(&world)["last_error"]["why"].as_str().map(str::to_owned));
        assert!(error.contains("certificate"), "{error}");
        let shown = export(&world);
        assert_eq!((&shown["exported"], &shown["waiting"]), (&json!(0), &json!(3)), "{shown}");
        let text = world.ok(&["status"]);
        assert!(text.contains("export ") && text.contains("certificate"), "{text}");
    }
    assert!(got.try_recv().is_err() && unheard.try_recv().is_err(), "nothing was said, not even the header");
}

#[test]
fn a_receiver_that_never_answers_costs_what_it_does_not_take_and_no_record_of_ours() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let world = world(&format!("http://{address}"));
    let service = world.serve();
    // 60,000 records, each report acknowledged: recording waits for nobody.
    report_often(&world, &service, 30, 2_000);
    let [sent, refused, dropped, waiting] = sums(&world);
    assert_eq!((sent, refused, dropped + waiting), (0, 0, 60_000));
    assert!((48_000..=50_000).contains(&waiting), "{waiting} wait");
    let shown = export(&world);
    assert_eq!((&shown["dropped"], &shown["waiting"]), (&json!(dropped), &json!(waiting)), "{shown}");
    assert_eq!(shown["capacity"], 50_000);
    assert!(shown["last_error"]["why"].as_str().unwrap().contains("full"), "{shown}");
    let status = world.json(&["status"]);
    assert_eq!(status["flows"]["recorded"], 60_000, "all of them are on the map");
    drop(listener);
}

#[test]
fn an_endpoint_that_is_none_stops_the_service_before_it_starts() {
    for (endpoint, why) in
        [("ftp://x", "neither http"), ("collector", "neither http"), ("http://", "address")]
    {
        let world = world(endpoint);
        let said = world.fails(2, &["serve", "--api", "off"]);
        assert!(said.contains("otlp.endpoint") && said.contains(why), "{endpoint}: {said}");
    }
}

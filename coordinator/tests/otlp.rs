//! Flow records for an OpenTelemetry receiver: what was offered is sent, refused, dropped or waiting, and all of it is shown.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
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

fn request(stream: TcpStream, status: u16, answer: &str) -> Got {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    lines.read_exact(&mut body).unwrap();
    let mut stream = stream;
    let length = answer.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
    );
    Got { head, body: serde_json::from_slice(&body).unwrap() }
}

fn world(endpoint: &str) -> World {
    let world = World::new();
    let file = world.state().join("settings.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    settings["otlp"] = json!({ "endpoint": endpoint, "headers": { "authorization": "Basic c2VjcmV0" } });
    std::fs::write(&file, settings.to_string()).unwrap();
    world
}

fn report(world: &World, service: &Service, records: u64) {
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
    let records = records.collect();
    block_on(async {
        let mut line = Node::new(1, &token).join(service.addr()).await;
        line.say(NodeSays::Flows(FlowReport { sequence: 1, records, boot: 1, ..Default::default() })).await;
        line.hear_until(|said| matches!(said, CoordinatorSays::FlowsStored(_)).then_some(())).await;
    });
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
fn an_endpoint_that_is_none_stops_the_service_before_it_starts() {
    for (endpoint, why) in
        [("ftp://x", "neither http"), ("collector", "neither http"), ("http://", "address")]
    {
        let world = world(endpoint);
        let said = world.fails(2, &["serve", "--api", "off"]);
        assert!(said.contains("otlp.endpoint") && said.contains(why), "{endpoint}: {said}");
    }
}

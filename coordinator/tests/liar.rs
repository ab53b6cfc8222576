//! Whoever holds the coordinator, but not the authority's file, may answer the administrator's commands as he likes: what
//! they sign with the authority must not come from his mouth.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Node, Service, World, block_on, code, stderr};
use serde_json::{Value, json};
use warren_coordinator::authority::Authority;
use warren_wire::id::IdentityKey;
use warren_wire::token::Token;
use warren_wire::trust::Record;

/// A socket between the command and the true coordinator that changes answers on the way.
struct Liar {
    /// Bodies of the commands that were sent, what was signed in them.
    sent: Arc<Mutex<Vec<Value>>>,
    socket: String,
}

type Lie = fn(path: &str, answer: &mut Value);

fn request(stream: &mut UnixStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let head = loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break String::from_utf8(bytes).unwrap();
        }
    };
    let length =
        head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

fn answer(truth: &Path, head: &str, body: &[u8], lie: Lie) -> Vec<u8> {
    let mut stream = UnixStream::connect(truth).unwrap();
    stream.write_all(head.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes[at..]) else { return bytes };
    lie(head.split(' ').nth(1).unwrap(), &mut value);
    let status = String::from_utf8_lossy(&bytes).lines().next().unwrap().to_owned();
    let body = value.to_string();
    let head = format!(
        "{status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

impl Liar {
    fn before(world: &World, lie: Lie) -> Liar {
        Liar::at(world, str::to_owned, lie)
    }

    /// `turn` changes the question, `lie` the answer.
    fn at(world: &World, turn: fn(&str) -> String, lie: Lie) -> Liar {
        let (truth, path) = (world.socket(), world.path("liar.sock"));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = sent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (head, body) = request(&mut stream);
                if head.starts_with("POST /v1/commands") {
                    seen.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                }
                let _ = stream.write_all(&answer(&truth, &turn(&head), &body, lie));
            }
        });
        Liar { sent, socket: path.display().to_string() }
    }

    fn ask(&self, world: &World, args: &[&str]) -> std::process::Output {
        let args: Vec<&str> = ["--socket", &self.socket].into_iter().chain(args.iter().copied()).collect();
        world.run(&args)
    }

    fn signed_nothing(&self, world: &World, args: &[&str], says: &str) {
        let output = self.ask(world, args);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
        assert_eq!(*self.sent.lock().unwrap(), Vec::<Value>::new(), "something was signed");
    }
}

/// A coordinator with two members, `web-1` with tag `web` and `spy-1` without any.
fn two_members() -> (World, Service) {
    let world = World::new();
    let service = world.serve();
    let web = world.token(&["--name", "web-1", "--tag", "web"]);
    let spy = world.token(&["--name", "spy-1"]);
    block_on(async {
        Node::new(1, &web).enrol(&web, service.addr()).await.unwrap();
        Node::new(2, &spy).enrol(&spy, service.addr()).await.unwrap();
    });
    (world, service)
}

#[test]
fn a_lying_coordinator_gets_no_authority_of_its_own_into_a_token() {
    let world = World::new();
    let _service = world.serve();
    let liar = Liar::before(&world, |path, answer| {
        if path == "/v1/network" {
            let key = ed25519_dalek::SigningKey::from_bytes(&[66; 32]);
            answer["authorities"].as_array_mut().unwrap().push(json!(IdentityKey::of(&key)));
        }
    });
    let output = liar.ask(&world, &["token", "create"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let token = Token::decode(common::stdout(&output).trim()).unwrap();
    assert_eq!(token.authorities, [Authority::read(&world.authority()).unwrap().public()]);
}

#[test]
fn a_lying_coordinator_gets_no_tags_signed_that_the_authority_never_gave() {
    let (world, _service) = two_members();
    let liar = Liar::before(&world, |path, answer| {
        if path.starts_with("/v1/nodes/") && answer["tags"].is_array() {
            answer["tags"].as_array_mut().unwrap().push(json!("admin"));
        }
    });
    for (args, node) in [
        (vec!["node", "tag", "web-1", "--add", "canary"], "web-1"),
        (vec!["node", "rename", "spy-1", "spy-2"], "spy-2"),
    ] {
        let output = liar.ask(&world, &args);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let tags = world.json(&["node", "show", node])["tags"].to_string();
        assert!(!tags.contains("admin"), "{args:?} signed {tags}");
    }
}

#[test]
fn a_lying_coordinator_cannot_turn_a_command_at_another_node() {
    let (world, _service) = two_members();
    for args in [["node", "tag", "web-1", "admin"].as_slice(), &["node", "revoke", "web-1"]] {
        // Asked for one node, it speaks of another.
        let liar = Liar::at(&world, |head| head.replacen("/v1/nodes/web-1", "/v1/nodes/spy-1", 1), |_, _| {});
        liar.signed_nothing(&world, args, "web-1");
    }
}

#[test]
fn a_rollback_signs_only_what_the_authority_once_signed() {
    let world = World::new();
    let _service = world.serve();
    let policy = world.write("p.toml", "version = 1\n");
    world.ok(&["policy", "apply", &policy]);
    let other = world.write("q.toml", "version = 1\n[tag.web]\n");
    world.ok(&["policy", "apply", &other]);
    let liar = Liar::before(&world, |path, answer| {
        if path.starts_with("/v1/policy?generation=1") {
            answer["sources"][0]["text"] = json!("version = 1\nmode = \"observe\"\n");
        }
    });
    liar.signed_nothing(&world, &["policy", "rollback", "1", "--allow-observe"], "generation 1");
    assert_eq!(world.json(&["status"])["generation"], json!(2));
}

/// A coordinator that refuses still has what was signed.
#[test]
fn observe_mode_is_not_even_signed_unless_it_is_allowed() {
    let world = World::new();
    let _service = world.serve();
    let policy = world.write("p.toml", "version = 1\nmode = \"observe\"\n");
    let liar = Liar::before(&world, |_, _| {});
    liar.signed_nothing(&world, &["policy", "apply", &policy], "observe");
}

/// Nodes never go back: a great number signed once would be the last.
#[test]
fn a_lying_coordinator_gets_no_great_number_signed() {
    let world = World::new();
    let _service = world.serve();
    let policy = world.write("p.toml", "version = 1\n");
    let epoch: Lie = |path, answer| {
        if path == "/v1/policy/review" {
            answer["epoch"] = json!(1_u64 << 60);
        }
    };
    Liar::before(&world, epoch).signed_nothing(&world, &["policy", "apply", &policy], "epoch");
    world.ok(&["policy", "apply", &policy]);
    world.ok(&["policy", "apply", &policy]);
    Liar::before(&world, epoch).signed_nothing(&world, &["policy", "apply", &policy], "epoch");
    let generation: Lie = |path, answer| {
        if path == "/v1/policy/review" {
            answer["current"] = json!(1_u64 << 60);
        }
    };
    Liar::before(&world, generation).signed_nothing(&world, &["policy", "apply", &policy], "generation");
}

/// Phones may ping everybody.
const PHONES: &str = r#"
version = 1
[tag.web]
[tag.phone]
[service.ping]
on = ["all-nodes"]
listen = ["icmp/echo"]
[[grant]]
id = "phones-ping"
from = ["tag:phone"]
to = ["service:ping"]
"#;

/// `wg pubkey` of some private key.
const PHONE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

/// A device sends its packets to whom its file names: the keys of one node beside the addresses of another would lead
/// them to a thief.
#[test]
fn a_lying_coordinator_gets_no_other_nodes_key_into_a_file() {
    let (world, _service) = two_members();
    world.ok(&["policy", "apply", &world.write("p.toml", PHONES)]);
    world.ok(&["node", "add-external", "--public-key", PHONE, "--name", "phone", "--tag", "phone"]);
    let swapped: Lie = |path, answer| {
        if path.ends_with("/file") {
            let record =
                |at: usize| Record::from_base64(answer["peers"][at]["record"].as_str().unwrap()).unwrap();
            let (a, b) = (record(0), record(1));
            let mixed = Record { keys: b.keys, ..a };
            answer["peers"][0]["record"] = json!(mixed.to_base64());
        }
    };
    let file = ["node", "external-file", "phone"];
    Liar::before(&world, swapped).signed_nothing(&world, &file, "not what this authority signed");
    let foreign: Lie = |path, answer| {
        if path.ends_with("/file") {
            answer["record"] = answer["peers"][0]["record"].clone();
        }
    };
    Liar::before(&world, foreign).signed_nothing(&world, &file, "it speaks of node");
    let unsigned: Lie = |path, answer| {
        if path.ends_with("/file") {
            answer["peers"][0]["record"] = json!(Record::default().to_base64());
        }
    };
    Liar::before(&world, unsigned).signed_nothing(&world, &file, "not what this authority signed");
    let honest = Liar::before(&world, |_, _| {});
    let output = honest.ask(&world, &file);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn a_lying_coordinator_gets_no_address_signed_that_lies_outside_the_network() {
    let (world, _service) = two_members();
    let add = ["node", "add-external", "--public-key", PHONE, "--name", "phone"];
    let outside: Lie = |path, answer| {
        if path.starts_with("/v1/externals/offer") {
            answer["v4"] = json!("192.0.2.1");
        }
    };
    Liar::before(&world, outside).signed_nothing(&world, &add, "192.0.2.1 is outside the network's ranges");
    let charter: Lie = |path, answer| {
        if path.starts_with("/v1/externals/offer") {
            answer["charter"] = json!("AAAA");
        }
    };
    Liar::before(&world, charter).signed_nothing(&world, &add, "not what this authority signed");
}

#[test]
fn a_device_is_added_with_the_key_name_and_tags_that_were_typed() {
    let (world, _service) = two_members();
    world.ok(&["policy", "apply", &world.write("p.toml", PHONES)]);
    let more: Lie = |path, answer| {
        if path.starts_with("/v1/externals/offer") {
            answer["tags"] = json!(["admin"]);
            answer["name"] = json!("root");
        }
    };
    let output = Liar::before(&world, more)
        .ask(&world, &["node", "add-external", "--public-key", PHONE, "--tag", "phone"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let file = String::from_utf8(output.stdout).unwrap();
    assert!(file.contains(PHONE) && file.contains("# web-1") && file.contains("# spy-1"), "{file}");
    let nodes = world.json(&["node", "list"]);
    let device = nodes.as_array().unwrap().iter().find(|node| node["external"].is_object()).unwrap();
    assert_eq!((&device["tags"], &device["wireguard"]), (&json!(["phone"]), &json!([PHONE])));
    assert!(device["name"].as_str().unwrap().starts_with("external-"), "{device}");
    for bad in ["AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &format!("{PHONE}x")] {
        let output = world.run(&["node", "add-external", "--public-key", bad]);
        assert_eq!(code(&output), 2, "{bad}");
    }
}

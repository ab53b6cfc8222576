//! The API on the network, asked byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use warren_coordinator_core::access::Scope;

use super::{PATIENCE, Service, World};

/// `serve` with an API on a port of its own.
pub const API: &[&str] = &["--api", "127.0.0.1:0"];

/// The service's API, asked over a socket of our own so that every header is ours.
pub struct Web {
    pub host: String,
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.body))
    }
    pub fn cookie(&self) -> String {
        let line = self.head.lines().find(|l| l.to_ascii_lowercase().starts_with("set-cookie:")).unwrap();
        line.split_once(": ").unwrap().1.split(';').next().unwrap().to_owned()
    }
}

impl Web {
    pub fn of(service: &Service) -> Web {
        Web { host: service.info["api"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned() }
    }
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut all = vec![("host", self.host.as_str()), ("connection", "close")];
        all.retain(|(name, _)| !headers.iter().any(|(h, _)| h == name));
        let length = body.len().to_string();
        all.push(("content-length", &length));
        all.extend(headers);
        let head: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = self.connect();
        stream.write_all(format!("{method} {path} HTTP/1.1\r\n{head}\r\n{body}").as_bytes()).unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }
    pub fn with_key(&self, key: &str, method: &str, path: &str, body: &str) -> Reply {
        self.ask(method, path, &[("authorization", &format!("Bearer {key}"))], body)
    }
}

pub fn key(world: &World, name: &str, more: &[&str]) -> String {
    let args: Vec<&str> = ["key", "create", name].into_iter().chain(more.iter().copied()).collect();
    world.ok(&args).trim().to_owned()
}

/// Every operation of the description that needs a scope: method, path with its parameters filled in, and the scope it names.
pub fn routes_of(document: &Value) -> Vec<(String, String, Scope)> {
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let filled: Vec<&str> = path.split('/').map(|p| if p.starts_with('{') { "x" } else { p }).collect();
        for (method, operation) in operations.as_object().unwrap() {
            let words = operation["description"].as_str().unwrap();
            let scopes = [Scope::Read, Scope::Operate, Scope::Admin];
            let scope = scopes.into_iter().find(|s| words.contains(&format!("`{}`", s.word())));
            found.extend(scope.map(|scope| (method.to_uppercase(), filled.join("/"), scope)));
        }
    }
    found
}

//! A download and an upload that go on: every byte is checked, and the first error ends them.

use crate::process::Daemon;
use crate::street::Host;
use crate::wait::{eventually, until};
use crate::warren::LIMIT;
use std::time::Duration;

const PROGRAM: &str = include_str!("flows/streams.py");

#[derive(Debug)]
pub struct Streams {
    client: Daemon,
    _server: Daemon,
}

impl Streams {
    /// From `client` to the overlay address `to` of `server`, at `port`; both run when this returns.
    pub fn open(client: &Host, server: &Host, to: &str, port: u16) -> Streams {
        let port = port.to_string();
        let serve = server.daemon("streams-serve", &["python3", "-c", PROGRAM, "serve", &port]);
        until("the server listens", LIMIT, || serve.output().contains("ready"));
        let client = client.daemon("streams", &["python3", "-c", PROGRAM, "open", to, &port]);
        let mut streams = Streams { client, _server: serve };
        streams.go_on(200_000);
        streams
    }

    /// Bytes down and up.
    pub fn moved(&self) -> (u64, u64) {
        let text = self.client.output();
        let line = text.lines().rev().find(|l| l.starts_with("got ")).unwrap_or_default().to_owned();
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(0))
    }

    /// Both carry `bytes` more; says how long that took.
    #[track_caller]
    pub fn go_on(&mut self, bytes: u64) -> Duration {
        let before = self.moved();
        until("both streams go on", LIMIT, || {
            assert!(self.client.finished().is_none(), "{}", self.client.output());
            let now = self.moved();
            now.0 > before.0 + bytes && now.1 > before.1 + bytes
        })
    }

    /// Ends them; bytes down and up.
    #[track_caller]
    pub fn end(mut self) -> (u64, u64) {
        self.client.signal("TERM");
        let status = eventually("the client ends", Duration::from_secs(10), || self.client.finished());
        assert!(status.success(), "{}", self.client.output());
        self.moved()
    }
}

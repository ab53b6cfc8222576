//! A device with a stock WireGuard instead of an agent, set up from the file that the administrator was given.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::Daemon;
use crate::stock::tool;
use crate::street::{Host, Street};
use crate::wait::until;
use crate::warren::LIMIT;

/// What the file has in the place of the private key.
const PLACEHOLDER: &str = "PUT-THE-PRIVATE-KEY-OF-THIS-DEVICE-HERE";

/// Which WireGuard the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stock {
    /// Debian's `wireguard-go`.
    WireguardGo,
    /// `boringtun-cli`, which `scripts/test` builds into `target/tools`.
    Boringtun,
}

impl Stock {
    pub const ALL: [Stock; 2] = [Stock::WireguardGo, Stock::Boringtun];

    fn program(self) -> Vec<String> {
        match self {
            Stock::WireguardGo => vec!["wireguard-go".to_owned(), "-f".to_owned()],
            Stock::Boringtun => {
                let words = ["--foreground", "--disable-drop-privileges", "--verbosity", "error"];
                std::iter::once(tool("boringtun-cli")).chain(words.map(str::to_owned)).collect()
            }
        }
    }
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The device. Its private key is made here and shown to nobody.
#[derive(Debug)]
pub struct Device {
    pub host: Host,
    pub interface: String,
    private: String,
    pub public: String,
    _daemon: Daemon,
}

impl Device {
    /// The interface is there; it knows nobody yet.
    pub fn start(street: &Street, host: &str, stock: Stock) -> Device {
        let host = street.host(host);
        let private = host.run(&["wg", "genkey"]).ok().trim().to_owned();
        std::fs::write(host.dir.join("device.key"), &private).unwrap();
        let public = host.run(&["bash", "-c", &format!("wg pubkey <{}", host.path("device.key"))]).ok();
        // The control sockets of all namespaces lie in one directory.
        let interface =
            format!("wx{}n{}", std::process::id() % 100_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let program = stock.program();
        let words: Vec<&str> = program.iter().map(String::as_str).chain([interface.as_str()]).collect();
        let daemon = host.daemon("device", &words);
        let socket = socket(&interface);
        until("the device's interface is there", LIMIT, || {
            socket.exists() && host.run(&["ip", "link", "show", &interface]).status.success()
        });
        Device { host, interface, private, public: public.trim().to_owned(), _daemon: daemon }
    }

    pub fn private(&self) -> &str {
        &self.private
    }

    /// As `wg-quick up` would: keys and peers, addresses, routes to what is behind the peers.
    #[track_caller]
    pub fn install(&self, file: &str) {
        assert!(!file.contains(&self.private), "the private key is the device's own");
        let path = self.host.path(&format!("{}.conf", self.interface));
        std::fs::write(&path, file.replace(PLACEHOLDER, &self.private)).unwrap();
        let stripped = self.host.run(&["wg-quick", "strip", &path]).ok();
        std::fs::write(self.host.dir.join("stripped"), stripped).unwrap();
        let dev = self.interface.as_str();
        self.host.run(&["wg", "setconf", dev, &self.host.path("stripped")]).ok();
        self.host.run(&["ip", "link", "set", dev, "mtu", "1420", "up"]).ok();
        for address in values(file, "Address") {
            self.host.run(&["ip", "addr", "replace", &address, "dev", dev]).ok();
        }
        for range in values(file, "AllowedIPs") {
            self.host.run(&["ip", "route", "replace", &range, "dev", dev]).ok();
        }
    }

    /// Seconds since 1970 of its newest handshake with the node that has this key; 0 for none.
    pub fn handshake(&self, key: &str) -> u64 {
        let shown = self.host.run(&["wg", "show", &self.interface, "latest-handshakes"]).ok();
        let line = shown.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|at| at.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(socket(&self.interface));
    }
}

fn socket(interface: &str) -> PathBuf {
    Path::new("/var/run/wireguard").join(format!("{interface}.sock"))
}

/// What stands behind `key =`, in every section, one by one.
pub fn values(file: &str, key: &str) -> Vec<String> {
    let lines = file.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| name.trim() == key);
    lines.flat_map(|(_, list)| list.split(',')).map(|value| value.trim().to_owned()).collect()
}

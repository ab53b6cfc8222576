//! The sockets of doors: what can be had is taken, what cannot is said with what to do about it.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use warren_wire::door::{Carriage, DoorAt};

use super::{DoorSettings, Words};
use crate::relay::Ports;

/// Descriptors that everything else may need.
const OTHERS: u64 = 1024;
/// A door has its own connection and a socket towards the port.
const EACH: u64 = 2;

#[derive(Default)]
pub struct Sockets {
    pub tcp: Vec<TcpListener>,
    pub udp: Option<Ports>,
}

impl Sockets {
    pub fn tcp_at(at: SocketAddr) -> io::Result<Sockets> {
        Ok(Sockets { tcp: vec![tcp(at)?], udp: None })
    }

    pub fn names(&self) -> Vec<String> {
        let tcp = self.tcp.iter().filter_map(|socket| socket.local_addr().ok());
        let udp = self.udp.iter().filter_map(|ports| ports.control.local_addr().ok());
        tcp.map(|at| format!("tcp {at}")).chain(udp.map(|at| format!("udp {at}"))).collect()
    }

    /// In the order in which nodes shall try them.
    pub fn told(&self) -> Vec<DoorAt> {
        let door = |carriage, at: SocketAddr| DoorAt { carriage, port: at.port() };
        let udp = self.udp.iter().filter_map(|ports| ports.control.local_addr().ok());
        let tcp = self.tcp.iter().filter_map(|socket| socket.local_addr().ok());
        let udp = udp.map(|at| door(Carriage::Quic, at));
        udp.chain(tcp.map(|at| door(Carriage::WebSocket, at))).collect()
    }
}

/// For the UDP port `port`. A port on loopback has none: between it and its host there is no firewall.
pub fn bind(settings: &DoorSettings, words: &Words, port: SocketAddr) -> Sockets {
    if !settings.enabled || port.ip().is_loopback() {
        return Sockets::default();
    }
    let other = SocketAddr::new(port.ip(), settings.port);
    let mut sockets = Sockets::default();
    for at in [Some(other), Some(port).filter(|port| *port != other)].into_iter().flatten() {
        match tcp(at) {
            Ok(socket) => sockets.tcp.push(socket),
            Err(error) => warn(words, "TCP", at, &error),
        }
    }
    if other != port {
        match Ports::bind(other, 0) {
            Ok(ports) => sockets.udp = Some(ports),
            Err(error) => warn(words, "UDP", other, &error),
        }
    }
    sockets
}

fn tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(at)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn warn(words: &Words, what: &str, at: SocketAddr, error: &io::Error) {
    let Words { port, off } = words;
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "another program has it: give this host a second address for one of them, or choose another port with {port}"
            )
        }
        io::ErrorKind::PermissionDenied => "ports under 1024 need CAP_NET_BIND_SERVICE".to_owned(),
        _ => format!("{off} switches doors off"),
    };
    tracing::warn!(
        "no door on {what} {at} ({error}): nodes in networks without UDP do not find one there; {advice}"
    );
}

/// How many doors there may be: as many descriptors as the host gives this process decide.
pub fn room(most: usize) -> usize {
    let wanted = (most as u64).saturating_mul(EACH).saturating_add(OTHERS);
    let limit = getrlimit(Resource::Nofile);
    let has = limit.current.unwrap_or(u64::MAX);
    let may = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    if has < may {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(may), maximum: limit.maximum });
    }
    let has = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = usize::try_from(has.saturating_sub(OTHERS.min(has / 2)) / EACH).unwrap_or(usize::MAX);
    room.min(most)
}

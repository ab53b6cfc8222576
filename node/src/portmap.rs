//! The sockets to the gateway that may map a port. Everything they say and hear is decided in [`warren_node_core::portmap`].

mod exchange;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use warren_node_core::portmap::owed::Owed;
use warren_node_core::portmap::upnp::Fault;
use warren_node_core::portmap::upnp::http::Response;
use warren_node_core::portmap::{Gateway, Output, PORT, PortMap};

use crate::clock::boot;
use crate::state::StateDir;

/// Datagrams of one look; who sends more is heard at the next.
const TURN: usize = 8;
/// RFC 6887 section 7.1 says 1,100 bytes; an answer to a search of UPnP is one datagram of a LAN.
const LONGEST: usize = 2_048;
/// How long a gateway may take to take a mapping back, when the agent stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why nobody is asked.
pub const NO_GATEWAY: &str = "this host has no IPv4 default route";

type Heard = (u64, Result<Response, Fault>);

pub struct PortMapper {
    map: PortMap,
    /// Of [`PortMap::owed`], what lies on the disk.
    written: Vec<Owed>,
    /// To the present gateway: the kernel gives nothing else to it.
    socket: Option<UdpSocket>,
    /// While UPnP's answer to a search is waited for.
    search: Option<UdpSocket>,
    /// The one that is under way; another takes its place.
    exchange: Option<JoinHandle<()>>,
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
}

impl PortMapper {
    /// For the WireGuard socket's `port`, if one is `wanted`. What earlier starts could not give back is given back in any case.
    pub fn new(port: u16, wanted: bool, owed: Vec<Owed>) -> Result<PortMapper, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let map = PortMap::new(seed, port).owing(owed.clone());
        let map = if wanted { map } else { map.only_giving_back() };
        let (socket, search, exchange, heard) = (None, None, None, mpsc::channel(2));
        Ok(PortMapper { map, written: owed, socket, search, exchange, heard })
    }

    /// The default route, as it is now. The same again changes nothing.
    pub fn set_gateway(&mut self, at: Option<Ipv4Addr>) {
        let connected = at.and_then(|at| Some((at, connect(at)?)));
        let gateway = connected.as_ref().map(|(at, (_, local))| Gateway { at: *at, local: *local });
        if gateway != self.map.gateway() {
            tracing::debug!(?gateway, "the gateway that is asked to map the port");
            self.socket = connected.map(|(_, (socket, _))| socket);
            self.search = None;
            self.give_up();
            self.map.set_gateway(gateway, boot());
        }
    }

    pub fn ask_again(&mut self) {
        self.map.ask_again(boot());
    }

    /// Hears what has come, asks what is due. Where the port is outside.
    pub fn turn(&mut self, state: &StateDir) -> Option<SocketAddr> {
        let (now, before) = (boot(), self.map.outside(boot()));
        self.hear();
        self.remember(state);
        while let Some(output) = self.map.poll_output(now) {
            self.remember(state);
            self.say(output);
        }
        if !self.map.is_searching() {
            self.search = None;
        }
        let outside = self.map.outside(now);
        match outside {
            Some(outside) if before != Some(outside) => tracing::info!(%outside, "the gateway maps the port"),
            None if before.is_some() => tracing::info!("the gateway maps the port no more"),
            _ => {}
        }
        outside
    }

    /// A mapping without end is written down before it is asked for: whoever is killed then leaves word of it.
    fn remember(&mut self, state: &StateDir) {
        let owed = self.map.owed();
        if owed == self.written {
            return;
        }
        match state.store_owed(&owed) {
            Ok(()) => self.written = owed,
            Err(e) => tracing::warn!("a port mapping without end may stay at the gateway: {e}"),
        }
    }

    fn hear(&mut self) {
        let now = boot();
        let mut bytes = [0; LONGEST + 1];
        if let (Some(socket), Some(gateway)) = (&self.socket, self.map.gateway()) {
            for _ in 0..TURN {
                let Ok(length) = socket.recv(&mut bytes) else { break };
                let heard = bytes.get(..length).unwrap_or_default();
                self.map.handle_answer((gateway.at, PORT).into(), heard, now);
            }
        }
        if let Some(search) = &self.search {
            for _ in 0..TURN {
                let Ok((length, from)) = search.recv_from(&mut bytes) else { break };
                self.map.handle_found(from, bytes.get(..length).unwrap_or_default(), now);
            }
        }
        while let Ok((id, response)) = self.heard.1.try_recv() {
            self.map.handle_response(id, response, now);
        }
    }

    /// What cannot be sent is like what gets no answer.
    fn say(&mut self, output: Output) {
        match output {
            Output::Question(question) => {
                self.socket.iter().for_each(|socket| drop(socket.send(&question)));
            }
            Output::Search { to, bytes } => {
                let local = self.map.gateway().map(|gateway| gateway.local);
                if self.search.is_none() {
                    self.search = local.and_then(|local| {
                        search_from(local).inspect_err(|e| tracing::debug!("no search by UPnP: {e}")).ok()
                    });
                }
                self.search.iter().for_each(|socket| drop(socket.send_to(&bytes, to)));
            }
            Output::Exchange { id, at, request } => {
                self.give_up();
                let Some(gateway) = self.map.gateway() else { return };
                let tell = self.heard.0.clone();
                self.exchange = Some(tokio::spawn(async move {
                    let response = exchange::exchange(gateway.local, at, request).await;
                    // Nobody hears it when the agent has stopped.
                    let _ = tell.send((id, response)).await;
                }));
            }
        }
    }

    fn give_up(&mut self) {
        self.exchange.take().iter().for_each(JoinHandle::abort);
    }

    /// The agent stops: what was granted is given back; see [`PortMapper::released`].
    pub fn release(&mut self) {
        self.give_up();
        if let Some(output) = self.map.release(boot()) {
            self.say(output);
        }
    }

    /// The gateway has had its moment to take it back.
    pub async fn released(&mut self, state: &StateDir) {
        if let Some(exchange) = self.exchange.take() {
            let _ = tokio::time::timeout(LAST_WORDS, exchange).await;
        }
        self.hear();
        self.remember(state);
    }

    /// `None`: no mapping is wanted.
    pub fn status(&self) -> Option<Value> {
        let ((speech, why), now) = (self.map.standing(), boot());
        let alone = self.map.gateway().is_none().then_some(NO_GATEWAY);
        self.map.asks().then(|| {
            json!({
                "gateway": self.map.gateway().map(|gateway| gateway.at),
                "protocol": speech,
                "outside": self.map.outside(now),
                "left_s": self.map.left(now).map(|left| left.as_secs()),
                "endless": self.map.is_endless(),
                "why": why.or(alone),
            })
        })
    }
}

fn connect(gateway: Ipv4Addr) -> Option<(UdpSocket, Ipv4Addr)> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect((gateway, PORT)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(local) => Some((socket, *local.ip())),
        SocketAddr::V6(_) => None,
    }
}

/// The link of `local` and no other: that is where the gateway is, and nobody beyond a router is to hear it.
fn search_from(local: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((local, 0))?;
    socket.set_nonblocking(true)?;
    let options = SockRef::from(&socket);
    options.set_multicast_if_v4(&local)?;
    options.set_multicast_ttl_v4(1)?;
    options.set_multicast_loop_v4(false)?;
    Ok(socket)
}

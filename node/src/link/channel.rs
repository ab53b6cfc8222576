//! One live control channel: a reader and a writer, so that a coordinator that does not read can stall neither the
//! control loop nor, ever, a packet.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use warren_node_core::door::Transport;
use warren_wire::frame::{Decoder, FrameError, MAX_FRAME, ToCoordinator, ToNode, encode};

use super::connect::{ConnectError, Connector, Link};

/// Frames waiting to be written; a full queue means that the coordinator has stopped reading.
const WAITING: usize = 256;
/// Bytes of one read.
const READ: usize = 64 * 1024;

/// What happened on a channel. `turn` tells channels of different tries apart.
#[derive(Debug)]
pub enum Event {
    Connected(u64, Channel),
    Failed(u64, ConnectError),
    Frame(u64, Box<ToNode>),
    Unreadable(u64, FrameError),
    Lost(u64, String),
    /// The channel goes through a door, and this is a connection that needs none.
    Better(u64, Box<Link>),
}

impl Event {
    pub fn turn(&self) -> u64 {
        match self {
            Event::Connected(turn, _)
            | Event::Failed(turn, _)
            | Event::Frame(turn, _)
            | Event::Unreadable(turn, _)
            | Event::Better(turn, _)
            | Event::Lost(turn, _) => *turn,
        }
    }
}

/// The sending half. Dropping it closes the connection.
#[derive(Debug)]
pub struct Channel {
    frames: mpsc::Sender<Vec<u8>>,
    connection: Connection,
    remote: SocketAddr,
    transport: Transport,
}

impl Channel {
    /// Tries `address` and reports on `events`: `Connected` or `Failed`, later frames and the end.
    pub fn open(connector: Arc<Connector>, address: String, turn: u64, events: mpsc::Sender<Event>) {
        tokio::spawn(async move {
            match connector.connect(&address).await {
                Err(e) => drop(events.send(Event::Failed(turn, e)).await),
                Ok(link) => carry(&connector, link, turn, &events).await,
            }
        });
    }

    /// Goes on over `link`; reports as [`Channel::open`] does.
    pub fn go_on(connector: Arc<Connector>, link: Link, turn: u64, events: mpsc::Sender<Event>) {
        tokio::spawn(async move { carry(&connector, link, turn, &events).await });
    }

    /// The coordinator's address, also behind a door.
    pub fn remote(&self) -> SocketAddr {
        let remote = match self.transport {
            Transport::Udp => self.connection.remote_address(),
            Transport::Quic | Transport::WebSocket => self.remote,
        };
        SocketAddr::new(remote.ip().to_canonical(), remote.port())
    }

    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Never waits. `Err`: the coordinator has not read for too long; give the channel up.
    pub fn send(&self, frame: &ToCoordinator) -> Result<(), &'static str> {
        self.frames.try_send(encode(frame)).map_err(|_| "the coordinator does not take what is sent to it")
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

async fn carry(connector: &Connector, link: Link, turn: u64, events: &mpsc::Sender<Event>) {
    let transport = link.transport();
    let Link { endpoint, connection, remote, door } = link;
    let (send, receive) = match connection.open_bi().await {
        Ok(streams) => streams,
        Err(e) => return drop(events.send(Event::Lost(turn, e.to_string())).await),
    };
    let (frames, waiting) = mpsc::channel(WAITING);
    tokio::spawn(write(send, waiting));
    let channel = Channel { frames, connection: connection.clone(), remote, transport };
    let better = async {
        if door.is_none() {
            return std::future::pending::<()>().await;
        }
        let link = connector.better(remote).await;
        let _ = events.send(Event::Better(turn, Box::new(link))).await;
        std::future::pending().await
    };
    if events.send(Event::Connected(turn, channel)).await.is_ok() {
        tokio::select! {
            end = read(receive, turn, events) => drop(events.send(end).await),
            () = better => {}
        }
    }
    connection.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
}

async fn write(mut stream: SendStream, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if stream.write_all(&frame).await.is_err() {
            // The reader hears the reason.
            return;
        }
    }
    let _ = stream.finish();
}

async fn read(mut stream: RecvStream, turn: u64, events: &mpsc::Sender<Event>) -> Event {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut buffer = vec![0; READ];
    loop {
        match stream.read(&mut buffer).await {
            Ok(Some(n)) => decoder.push(buffer.get(..n).unwrap_or_default()),
            Ok(None) => return Event::Lost(turn, "the coordinator ended the session".to_owned()),
            Err(e) => return Event::Lost(turn, e.to_string()),
        }
        loop {
            match decoder.next::<ToNode>() {
                Ok(Some(frame)) => {
                    if events.send(Event::Frame(turn, Box::new(frame))).await.is_err() {
                        return Event::Lost(turn, "the agent stops".to_owned());
                    }
                }
                Ok(None) => break,
                Err(e) => return Event::Unreadable(turn, e),
            }
        }
    }
}

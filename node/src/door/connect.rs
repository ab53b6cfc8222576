//! One try to open a door.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, VarInt};
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use warren_door::{End, Local, Tally, carry_quic, carry_websocket};
use warren_node_core::door::{Transport, Way};
use warren_wire::door::{QUIC_ALPN, TLS_ALPN};
use warren_wire::id::IdentityKey;

use super::Door;
use crate::link::{SERVER_NAME, Stranger, bound, door_tls, quic_door_tls};

/// A door that does not open in this time is none.
const OPEN: Duration = Duration::from_secs(6);

/// Which door, and for whom.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The host that has it.
    pub host: IpAddr,
    pub way: Way,
    /// Keys that may answer.
    pub keys: Vec<IdentityKey>,
    /// This process's socket that it is for.
    pub serves: SocketAddr,
    /// The host's address to leave from; else the kernel chooses.
    pub from: Option<IpAddr>,
}

/// Why there is no door.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    #[error("no answer from {transport} {at} within {} seconds", OPEN.as_secs(), transport = .transport.name())]
    Silent { transport: Transport, at: SocketAddr },
    #[error("{transport} {at}: {why}", transport = .transport.name())]
    Failed { transport: Transport, at: SocketAddr, why: String },
    #[error("the server at {at} has key {found}, which is not this network's")]
    WrongKey { at: SocketAddr, found: IdentityKey },
    #[error("no socket on this host: {why}")]
    Local { why: String },
    #[error("{at} says that it has no door: let UDP to it through, or switch doors on there")]
    None { at: SocketAddr },
}

/// Opens one.
///
/// # Errors
/// There is none there, or it is a stranger's.
pub async fn open(opening: &Opening) -> Result<Door, DoorError> {
    let at = SocketAddr::new(opening.host, opening.way.port);
    let local = Local::of(opening.serves).map_err(|e| DoorError::Local { why: e.to_string() })?;
    let stranger = Stranger::default();
    let transport = opening.way.transport;
    let opened = timeout(OPEN, async {
        match transport {
            Transport::WebSocket => websocket(opening, at, local, &stranger).await,
            Transport::Quic => quic(opening, at, local, &stranger).await,
            Transport::Udp => Err("UDP needs no door".to_owned()),
        }
    });
    match opened.await {
        Ok(Ok(door)) => Ok(door),
        Ok(Err(why)) => Err(match stranger.lock().ok().and_then(|key| *key) {
            Some(found) => DoorError::WrongKey { at, found },
            None => DoorError::Failed { transport, at, why },
        }),
        Err(_) => Err(DoorError::Silent { transport, at }),
    }
}

async fn websocket(
    opening: &Opening,
    at: SocketAddr,
    local: Local,
    stranger: &Stranger,
) -> Result<Door, String> {
    let config = door_tls(opening.keys.clone(), Arc::clone(stranger), TLS_ALPN).map_err(|e| e.to_string())?;
    let tcp = tcp(opening, at).await.map_err(|e| e.to_string())?;
    let name = ServerName::try_from(SERVER_NAME).map_err(|e| e.to_string())?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|e| e.to_string())?;
    let tls: Box<TlsStream<TcpStream>> = Box::new(tls);
    let stream = warren_door::ask(tls).await.map_err(|e| e.to_string())?;
    Ok(run(opening.way, local, move |local, tally| async move {
        carry_websocket(stream, &local, &tally, |_| Ok(()), |_| ()).await
    }))
}

async fn tcp(opening: &Opening, at: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(from) = opening.from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn quic(opening: &Opening, at: SocketAddr, local: Local, stranger: &Stranger) -> Result<Door, String> {
    let crypto = quic_door_tls(opening.keys.clone(), Arc::clone(stranger), QUIC_ALPN);
    let mut config = ClientConfig::new(Arc::new(crypto.map_err(|e| e.to_string())?));
    config.transport_config(Arc::new(warren_door::transport()));
    let endpoint = bound(opening.from, at.is_ipv4()).map_err(|e| e.to_string())?;
    let connecting = endpoint.connect_with(config, at, SERVER_NAME).map_err(|e| e.to_string())?;
    let connection =
        Closing { connection: connecting.await.map_err(|e| e.to_string())?, _endpoint: endpoint };
    Ok(run(opening.way, local, move |local, tally| async move {
        carry_quic(&connection.connection, &local, &tally, |_| Ok(()), |_| ()).await
    }))
}

/// A QUIC connection that says goodbye.
struct Closing {
    connection: Connection,
    _endpoint: Endpoint,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

fn run<F>(way: Way, local: Local, carry: impl FnOnce(Arc<Local>, Arc<Tally>) -> F) -> Door
where
    F: Future<Output = End> + Send + 'static,
{
    let (at, local, tally) = (local.at(), Arc::new(local), Arc::new(Tally::default()));
    let (tell, over) = watch::channel(None);
    let carrying = carry(local, Arc::clone(&tally));
    let task = tokio::spawn(async move {
        let end = carrying.await;
        let _ = tell.send(Some(end.to_string()));
    });
    Door { at, way, over, tally, task }
}

//! Does UDP reach the coordinator's port? A question of STUN says so without a handshake and without a trace there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use warren_wire::stun::{self, TransactionId};

/// When it is asked, after the first time; then waited for.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(400), Duration::from_millis(500), Duration::from_millis(600)];

/// True as soon as there is an answer; false after a second and a half.
pub async fn passes(to: SocketAddr, from: Option<IpAddr>) -> bool {
    ask(to, from).await.unwrap_or(false)
}

async fn ask(to: SocketAddr, from: Option<IpAddr>) -> std::io::Result<bool> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(from.unwrap_or(any), 0)).await?;
    socket.connect(to).await?;
    let mut id = [0; 12];
    getrandom::fill(&mut id).map_err(std::io::Error::other)?;
    let question = stun::question(TransactionId(id));
    let mut buffer = [0; 256];
    for wait in AGAIN {
        let _ = socket.send(&question).await;
        let until = Instant::now() + wait;
        while let Ok(received) = timeout_at(until, socket.recv(&mut buffer)).await {
            let Ok(len) = received else {
                // Refused by the host: there is nothing to wait for, but perhaps later.
                tokio::time::sleep_until(until).await;
                break;
            };
            let answer = buffer.get(..len).and_then(stun::read_answer);
            if answer.is_some_and(|(answered, _)| answered == TransactionId(id)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

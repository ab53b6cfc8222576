//! Questions in datagrams. Read until there are none; what is known is answered before the next is read.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use warren_node_core::names::reply::Carrier;

use super::Resolver;
use super::answer::Said;

/// No question is longer.
const LONGEST: usize = 4096;
/// Others have a turn after so many.
const BATCH: usize = 64;

pub async fn serve(resolver: Arc<Resolver>, socket: Arc<UdpSocket>) {
    let mut buffer = [0; LONGEST];
    loop {
        if socket.readable().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, asker)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    match resolver.say(bytes, asker, Carrier::Datagram) {
                        // A full send buffer loses the answer, as a network would: the asker asks again.
                        Said::Now(answer) => drop(socket.try_send_to(&answer, asker)),
                        Said::Silence => {}
                        Said::Later(later) => {
                            let socket = Arc::clone(&socket);
                            tokio::spawn(async move { drop(socket.send_to(&later.await, asker).await) });
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // An earlier answer met a closed port: nothing of ours is wrong.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

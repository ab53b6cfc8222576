//! Questions over TCP (RFC 7766): several on one connection, answered as they are ready.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use warren_node_core::names::reply::Carrier;

use super::Resolver;
use super::answer::Said;

/// Connections at the same time, and how long one may be silent; less when they become rare.
const CONNECTIONS: usize = 256;
const IDLE: Duration = Duration::from_secs(10);
const IDLE_WHEN_CROWDED: Duration = Duration::from_secs(1);
/// Answers of one connection that wait to be written; then no further question is read.
const UNWRITTEN: usize = 16;
/// Longest question: nobody needs 64 KiB to ask.
const LONGEST: u16 = 4096;

pub async fn serve(resolver: Arc<Resolver>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, asker)) => {
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
                let crowded = room.available_permits() < CONNECTIONS / 2;
                let idle = if crowded { IDLE_WHEN_CROWDED } else { IDLE };
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move {
                    // However it ends, the asker sees the end of its connection.
                    let _ = converse(resolver, stream, asker, idle).await;
                    drop(place);
                });
            }
            // Out of descriptors: wait until some asker is gone.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(
    resolver: Arc<Resolver>,
    stream: TcpStream,
    asker: SocketAddr,
    idle: Duration,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut read, mut write) = stream.into_split();
    let (answers, mut ready) = mpsc::channel::<Vec<u8>>(UNWRITTEN);
    let writer = async move {
        while let Some(answer) = ready.recv().await {
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
            let framed = [&length[..], &answer].concat();
            timeout(IDLE, write.write_all(&framed)).await??;
        }
        Ok(())
    };
    let reader = async move {
        while let Some(question) = timeout(idle, next(&mut read)).await?? {
            let Ok(place) = answers.clone().reserve_owned().await else { break };
            match resolver.say(&question, asker, Carrier::Stream) {
                Said::Now(answer) => drop(place.send(answer)),
                Said::Silence => {}
                Said::Later(later) => {
                    tokio::spawn(async move { drop(place.send(later.await)) });
                }
            }
        }
        Ok(())
    };
    let (read, written): (io::Result<()>, io::Result<()>) = tokio::join!(reader, writer);
    read.and(written)
}

/// `None` when the asker has no more.
async fn next(read: &mut tokio::net::tcp::OwnedReadHalf) -> io::Result<Option<Vec<u8>>> {
    let length = match read.read_u16().await {
        Ok(length) => length,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    };
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length.into()];
    read.read_exact(&mut question).await?;
    Ok(Some(question))
}

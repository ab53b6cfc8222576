//! Questions over TCP (RFC 7766): several on one connection, answered as they are ready.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use warren_node_core::names::reply::Carrier;
use warren_node_core::names::seats::Seats;

use super::Resolver;
use super::answer::Said;
use crate::clock::boot;

/// Connections at the same time, and how long one may be silent; less when they become rare.
const CONNECTIONS: usize = 256;
const IDLE: Duration = Duration::from_secs(10);
const IDLE_WHEN_CROWDED: Duration = Duration::from_secs(1);
/// Answers of one connection that wait to be written; then no further question is read.
const UNWRITTEN: usize = 16;
/// Longest question: nobody needs 64 KiB to ask.
const LONGEST: u16 = 4096;

pub async fn serve(resolver: Arc<Resolver>, listener: TcpListener) {
    let hall = Arc::new(Hall::default());
    loop {
        match listener.accept().await {
            Ok((stream, asker)) => hall.admit(&resolver, stream, asker),
            // Out of descriptors: wait until some asker is gone.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Connections at one address. When all places are taken, somebody who is silent gives up his.
struct Hall {
    seats: Mutex<Seats>,
    conversations: Mutex<HashMap<u64, AbortHandle>>,
}

impl Default for Hall {
    fn default() -> Hall {
        Hall { seats: Mutex::new(Seats::new(CONNECTIONS)), conversations: Mutex::default() }
    }
}

impl Hall {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn conversations(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, resolver: &Arc<Resolver>, stream: TcpStream, asker: SocketAddr) {
        let (number, given_up) = self.seats().take(asker.ip().to_canonical(), boot());
        let (gone, crowded) = {
            let mut conversations = self.conversations();
            let gone = given_up.and_then(|number| conversations.remove(&number));
            (gone, conversations.len() > CONNECTIONS / 2)
        };
        gone.iter().for_each(AbortHandle::abort);
        let idle = if crowded { IDLE_WHEN_CROWDED } else { IDLE };
        let seat = Seat { hall: Arc::clone(self), number };
        let resolver = Arc::clone(resolver);
        let conversation = tokio::spawn(async move {
            // However it ends, the asker sees the end of its connection.
            let _ = converse(resolver, stream, asker, idle, seat).await;
        });
        // No lock is held over the spawning: a runtime that ends drops the conversation, and with it its seat, at once.
        let mut conversations = self.conversations();
        if self.seats().has(number) {
            conversations.insert(number, conversation.abort_handle());
        }
    }
}

/// A place in the hall, given back at the end however it comes.
struct Seat {
    hall: Arc<Hall>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hall.seats().leave(self.number);
        self.hall.conversations().remove(&self.number);
    }
}

async fn converse(
    resolver: Arc<Resolver>,
    stream: TcpStream,
    asker: SocketAddr,
    idle: Duration,
    seat: Seat,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut read, mut write) = stream.into_split();
    let (answers, mut ready) = mpsc::channel::<Vec<u8>>(UNWRITTEN);
    let seat = &seat;
    let writer = async move {
        while let Some(answer) = ready.recv().await {
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX).to_be_bytes();
            let framed = [&length[..], &answer].concat();
            timeout(IDLE, write.write_all(&framed)).await??;
            seat.hall.seats().handle_answer(seat.number, boot());
        }
        Ok(())
    };
    let reader = async move {
        while let Some(question) = timeout(idle, next(&mut read)).await?? {
            let Ok(place) = answers.clone().reserve_owned().await else { break };
            seat.hall.seats().handle_question(seat.number, boot());
            match resolver.say(&question, asker, Carrier::Stream) {
                Said::Now(answer) => drop(place.send(answer)),
                Said::Silence => seat.hall.seats().handle_answer(seat.number, boot()),
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

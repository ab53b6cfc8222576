//! One connection: frames in, frames out, and the clock on both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Moment};

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Incoming, RecvStream, SendStream, VarInt};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, timeout, timeout_at};
use warren_wire::frame::{Decoder, FrameError, MAX_FRAME, MAX_FRAME_STRANGER, RELAY_ALPN};

use super::gate::Place;
use super::outbox::{Out, Outbox};
use super::{Event, MEMBER_BYTES, Message, SessionId, TURNS, Tongue};
use crate::door::Callers;
use crate::strangers::{Proof, Proven};
use crate::tls;

/// Application close codes (RFC 9000 section 20.2) of the control channel.
pub const CLOSE_DONE: u32 = 0;
pub const CLOSE_PROTOCOL: u32 = 1;
pub const CLOSE_STOPPING: u32 = 2;
pub const CLOSE_SILENT: u32 = 3;

/// A stranger says something useful in this time, or goes.
const STRANGER_TIME: Duration = Duration::from_secs(10);
/// A client takes the next bytes in this time, or goes.
const WRITE_TIME: Duration = Duration::from_secs(20);
/// So often it is looked at where a member is: it may move and say nothing.
const LOOK: Duration = Duration::from_secs(1);
/// To where a member has moved it may only have said so. By then QUIC has validated the path, or gone back from it (RFC 9000
/// section 9.3).
const STEADY: Duration = Duration::from_secs(15);
const READ_CHUNK: usize = 32 * 1024;
/// Said to a stranger that is thrown out for another one.
const FOR_ANOTHER: &str = "others wait for this place";

/// Why a session ended; told to the peer in the close frame and to the log.
enum End {
    /// The peer or the owner is done.
    Done(&'static str),
    Protocol(String),
    Silent,
    Gone,
}

pub(super) async fn run(
    session: SessionId,
    incoming: Incoming,
    place: Place,
    (callers, proven): (Callers, Proven),
    events: mpsc::Sender<Event>,
) {
    let deadline = Instant::now() + STRANGER_TIME;
    let caller = callers.of(incoming.remote_address());
    let remote = caller.remote;
    let leave = place.leave();
    let at = incoming.remote_address().ip();
    let proof = incoming.remote_address_validated().then(|| proven.enter(at));
    let Ok(connecting) = incoming.accept() else { return };
    let Ok(Ok(connection)) = before(deadline, &leave, connecting).await else {
        return tracing::debug!(%remote, "handshake failed");
    };
    // Who has finished the handshake receives where he says.
    let proof = proof.unwrap_or_else(|| proven.enter(at));
    let key = match tls::peer_key(connection.peer_identity()) {
        Ok(key) => key,
        Err(error) => return close(&connection, CLOSE_PROTOCOL, &error.to_string()),
    };
    let speaks = tongue(&connection);
    let (send, recv) = match before(deadline, &leave, connection.accept_bi()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return tracing::debug!(%remote, "gone before it opened a stream"),
        Err(why) => return close(&connection, CLOSE_SILENT, why),
    };
    let (outbox, out) = Outbox::new();
    let shared = Shared {
        authorised: AtomicBool::default(),
        overrun: outbox.overrun(),
        place: Mutex::new(place),
        proof: Mutex::new(proof),
        callers,
        proven,
    };
    if events.send(Event::Opened { session, key, caller, outbox, speaks }).await.is_err() {
        return close(&connection, CLOSE_STOPPING, "the coordinator is stopping");
    }
    let end = tokio::select! {
        end = read(session, &connection, speaks, recv, &events, &shared, deadline) => end,
        end = write(send, out, &shared, &connection) => end,
        end = look(&shared, &connection) => end,
        () = leave.notified() => End::Done(FOR_ANOTHER),
    };
    let _ = events.send(Event::Closed { session }).await;
    finish(&connection, end);
}

/// What comes of `work`, unless its time is over or its place is wanted before: then which of both.
async fn before<T>(
    deadline: Instant,
    leave: &Notify,
    work: impl IntoFuture<Output = T>,
) -> Result<T, &'static str> {
    tokio::select! {
        done = timeout_at(deadline, work) => done.map_err(|_| "no stream was opened in time"),
        () = leave.notified() => Err(FOR_ANOTHER),
    }
}

struct Shared {
    authorised: AtomicBool,
    overrun: Arc<AtomicBool>,
    place: Mutex<Place>,
    proof: Mutex<Proof>,
    callers: Callers,
    proven: Proven,
}

impl Shared {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proof(&self) -> MutexGuard<'_, Proof> {
        self.proof.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is no stranger's, nor is it one for some minutes after it has ended.
    fn authorise(&self, connection: &Connection) {
        self.authorised.store(true, Ordering::Release);
        self.place().promote();
        self.proof().lasts(Moment::now());
        self.callers.prove(connection.remote_address());
        self.follow(connection);
    }

    /// A member may move, and is answered there as it was. A stranger may not.
    fn follow(&self, connection: &Connection) {
        if !self.authorised.load(Ordering::Acquire) {
            return;
        }
        let at = connection.remote_address().ip().to_canonical();
        let mut proof = self.proof();
        if proof.at() != at {
            *proof = self.proven.enter(at);
            proof.lasts(Moment::now() + STEADY);
        }
    }
}

/// Follows a member that says nothing. Ends never.
async fn look(shared: &Shared, connection: &Connection) -> End {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.follow(connection);
    }
}

/// TLS has agreed on one of the two.
fn tongue(connection: &Connection) -> Tongue {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    match data.and_then(|data| data.protocol) {
        Some(protocol) if protocol == RELAY_ALPN => Tongue::Relay,
        _ => Tongue::Node,
    }
}

fn next(decoder: &mut Decoder, speaks: Tongue) -> Result<Option<Message>, FrameError> {
    match speaks {
        Tongue::Node => Ok(decoder.next()?.map(Message::Node)),
        Tongue::Relay => Ok(decoder.next()?.map(Message::Relay)),
    }
}

async fn read(
    session: SessionId,
    connection: &Connection,
    speaks: Tongue,
    mut recv: RecvStream,
    events: &mpsc::Sender<Event>,
    shared: &Shared,
    deadline: Instant,
) -> End {
    let turns = Arc::new(Semaphore::new(TURNS));
    let mut decoder = Decoder::new(MAX_FRAME_STRANGER);
    let mut large = false;
    let mut remote = connection.remote_address();
    loop {
        let authorised = shared.authorised.load(Ordering::Acquire);
        let chunk = match authorised {
            true => recv.read_chunk(READ_CHUNK, true).await,
            false => match timeout_at(deadline, recv.read_chunk(READ_CHUNK, true)).await {
                Ok(chunk) => chunk,
                // Authorised while this read was waiting: go on without the clock.
                Err(_) if shared.authorised.load(Ordering::Acquire) => continue,
                Err(_) => return End::Silent,
            },
        };
        let chunk = match chunk {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return End::Done("the node closed the stream"),
            Err(_) => return End::Gone,
        };
        // Looked at again: what was read may be the first that a member says, and large.
        let authorised = authorised || shared.authorised.load(Ordering::Acquire);
        if authorised && !large {
            decoder.set_limit(MAX_FRAME);
            large = true;
        }
        decoder.push(&chunk.bytes);
        shared.follow(connection);
        if connection.remote_address() != remote {
            remote = connection.remote_address();
            let seen = shared.callers.of(remote).remote;
            if events.send(Event::Moved { session, remote: seen }).await.is_err() {
                return End::Done("the coordinator is stopping");
            }
        }
        loop {
            match next(&mut decoder, speaks) {
                Ok(Some(message)) => {
                    let Ok(turn) = turns.clone().acquire_owned().await else { return End::Gone };
                    if events.send(Event::Said { session, message, turn }).await.is_err() {
                        return End::Done("the coordinator is stopping");
                    }
                }
                Ok(None) => break,
                Err(error) => return protocol(error),
            }
        }
        if !authorised && !shared.place().holds(decoder.buffered()) {
            return End::Done("too many unfinished messages from this address: try again");
        }
    }
}

fn protocol(error: FrameError) -> End {
    End::Protocol(error.to_string())
}

async fn write(
    mut send: SendStream,
    mut out: mpsc::UnboundedReceiver<Out>,
    shared: &Shared,
    connection: &Connection,
) -> End {
    while let Some(next) = out.recv().await {
        if shared.overrun.load(Ordering::Relaxed) {
            return End::Done("too slow: reconnect to be sent what was missed");
        }
        shared.follow(connection);
        match next {
            Out::Authorised => {
                shared.authorise(connection);
                connection.set_receive_window(VarInt::from_u32(MEMBER_BYTES));
            }
            Out::Frame(frame) => match write_all(&mut send, &frame.bytes).await {
                Some(end) => return end,
                None => continue,
            },
            Out::Close(why) => {
                let _ = send.finish();
                // The last frames (a refusal, say) must arrive before the connection goes.
                let _ = timeout(WRITE_TIME, send.stopped()).await;
                return End::Done(why);
            }
        }
    }
    End::Done("the coordinator let go of the session")
}

/// Progress is asked of each piece, not of the whole: a slow line may take a large view.
async fn write_all(send: &mut SendStream, bytes: &[u8]) -> Option<End> {
    for piece in bytes.chunks(16 * 1024) {
        match timeout(WRITE_TIME, send.write_all(piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Some(End::Gone),
            Err(_) => return Some(End::Done("too slow: reconnect to be sent what was missed")),
        }
    }
    None
}

fn finish(connection: &Connection, end: End) {
    match end {
        End::Done(why) => close(connection, CLOSE_DONE, why),
        End::Protocol(why) => close(connection, CLOSE_PROTOCOL, &why),
        End::Silent => close(connection, CLOSE_SILENT, "nothing useful was said in 10 s"),
        End::Gone => {}
    }
}

fn close(connection: &Connection, code: u32, why: &str) {
    tracing::debug!(remote = %connection.remote_address(), code, why = %why.escape_debug(), "session closed");
    connection.close(VarInt::from_u32(code), why.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, UdpSocket};

    use warren_wire::frame::ALPN;

    use super::super::{Limits, Listener};
    use super::*;

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < end, "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Only keep-alives of QUIC come from the new place. And who has gone is remembered.
    #[tokio::test]
    async fn a_member_that_moves_and_says_nothing_is_followed() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &[7; 32], Limits::default()).unwrap();
        let (to, proven) = (listener.local_addr().unwrap(), listener.proven.clone());
        let (sender, mut events) = mpsc::channel(4);
        tokio::spawn(Arc::new(listener).run(sender));
        let crypto = tls::client(&[8; 32], tls::public_of(&[7; 32]), ALPN).unwrap();
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(200)));
        config.transport_config(Arc::new(transport));
        let mut endpoint = quinn::Endpoint::client("127.0.5.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(config);
        let connection = endpoint.connect(to, "warren").unwrap().await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&[0]).await.unwrap();
        let Some(Event::Opened { outbox, .. }) = events.recv().await else { panic!("no session") };
        let (old, new) = (IpAddr::from([127, 0, 5, 1]), IpAddr::from([127, 0, 5, 2]));
        outbox.authorised();
        assert_eq!((proven.counts(old), proven.counts(new)), (1, 0));
        endpoint.rebind(UdpSocket::bind((new, 0)).unwrap()).unwrap();
        until("it is proven where it is", || (proven.counts(old), proven.counts(new)) == (0, 1)).await;
        assert!(proven.remembers(old), "there it was a member");
        drop((send, connection, endpoint));
        until("it has gone", || proven.counts(new) == 0).await;
        assert!(!proven.remembers(new), "it was there for a moment only");
    }
}

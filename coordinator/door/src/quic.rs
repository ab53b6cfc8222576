//! A door in QUIC datagrams: one that does not fit is two halves ([`warren_wire::door::split`]).

use std::time::{Duration, Instant};

use quinn::{Connection, IdleTimeout, SendDatagramError, TransportConfig, VarInt};
use warren_wire::door::{Joiner, split};
use warren_wire::frame::FIRST_ROUND_TRIP;

use crate::{End, Local, Tally, local};

/// Bytes that wait, each way; the oldest are lost.
const BUFFER: usize = 128 * 1024;
const IDLE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Datagrams, and nothing else.
pub fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(1024))
        .receive_window(VarInt::from_u32(1024))
        .crypto_buffer_size(4 * 1024)
        .datagram_receive_buffer_size(Some(BUFFER))
        .datagram_send_buffer_size(BUFFER)
        .initial_rtt(FIRST_ROUND_TRIP)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok());
    config
}

/// Until either side ends. `inward` is shown every datagram that comes and `outward` every one that goes; what `inward` says no to
/// ends the door.
pub async fn carry(
    connection: &Connection,
    local: &Local,
    tally: &Tally,
    inward: impl FnMut(&[u8]) -> Result<(), End>,
    outward: impl FnMut(&[u8]),
) -> End {
    tokio::select! {
        end = read(connection, local, tally, inward) => end,
        end = write(connection, local, tally, outward) => end,
    }
}

async fn read(
    connection: &Connection,
    local: &Local,
    tally: &Tally,
    mut inward: impl FnMut(&[u8]) -> Result<(), End>,
) -> End {
    let (mut joiner, start, mut lost) = (Joiner::default(), Instant::now(), 0);
    loop {
        let piece = match connection.read_datagram().await {
            Ok(piece) => piece,
            Err(error) => return End::Gone(error.to_string()),
        };
        let Ok(joined) = joiner.handle(&piece, start.elapsed()) else {
            return End::Protocol("a datagram that is no piece of one".to_owned());
        };
        tally.lost(joiner.lost().saturating_sub(lost));
        lost = joiner.lost();
        let Some(datagram) = joined else { continue };
        if let Err(end) = inward(&datagram) {
            return end;
        }
        match local.send(&datagram) {
            true => tally.inward(datagram.len()),
            false => tally.lost(1),
        }
    }
}

async fn write(connection: &Connection, local: &Local, tally: &Tally, mut outward: impl FnMut(&[u8])) -> End {
    let (mut buffer, mut id) = (local::buffer(), 0u32);
    loop {
        let got = match local.receive(&mut buffer).await {
            Ok(got) => got,
            Err(error) => return End::Local(error.to_string()),
        };
        let (datagrams, lost) = local::datagrams(&buffer, &got);
        tally.lost(lost);
        for datagram in datagrams {
            outward(datagram);
            id = id.wrapping_add(1);
            match send(connection, datagram, id) {
                Ok(()) => tally.outward(datagram.len()),
                Err(SendDatagramError::ConnectionLost(error)) => return End::Gone(error.to_string()),
                Err(SendDatagramError::TooLarge) => tally.lost(1),
                Err(error) => return End::Protocol(error.to_string()),
            }
        }
    }
}

fn send(connection: &Connection, datagram: &[u8], id: u32) -> Result<(), SendDatagramError> {
    let room = connection.max_datagram_size().unwrap_or(0);
    let (first, second) = split(datagram, id, room).ok_or(SendDatagramError::TooLarge)?;
    connection.send_datagram(first.into())?;
    second.map_or(Ok(()), |second| connection.send_datagram(second.into()))
}

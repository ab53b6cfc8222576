//! A door in a WebSocket: a binary message is a datagram.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use warren_wire::door::MAX_DATAGRAM;

use crate::{End, Local, Tally, local};

/// The other end takes the next bytes in this time, or the door closes.
const WRITE_TIME: Duration = Duration::from_secs(20);
const READ_BUFFER: usize = 16 * 1024;
const WRITE_BUFFER: usize = 32 * 1024;

/// What either end accepts, and holds.
pub(crate) fn settings() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER + 2 * MAX_DATAGRAM)
        .max_message_size(Some(MAX_DATAGRAM))
        .max_frame_size(Some(MAX_DATAGRAM))
}

/// Until either side ends. `inward` is shown every datagram that comes and `outward` every one that goes; what `inward` says no to
/// ends the door.
pub async fn carry<S>(
    stream: WebSocketStream<S>,
    local: &Local,
    tally: &Tally,
    inward: impl FnMut(&[u8]) -> Result<(), End>,
    outward: impl FnMut(&[u8]),
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut source) = stream.split();
    tokio::select! {
        end = read(&mut source, local, tally, inward) => end,
        end = write(&mut sink, local, tally, outward) => end,
    }
}

async fn read<S>(
    source: &mut SplitStream<WebSocketStream<S>>,
    local: &Local,
    tally: &Tally,
    mut inward: impl FnMut(&[u8]) -> Result<(), End>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let datagram = match source.next().await {
            Some(Ok(Message::Binary(datagram))) => datagram,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                return End::Protocol("a message that is not binary".to_owned());
            }
            Some(Ok(Message::Close(_))) | None => return End::Gone("it closed the connection".to_owned()),
            Some(Err(error)) => return end(&error),
        };
        if let Err(end) = inward(&datagram) {
            return end;
        }
        match !datagram.is_empty() && local.send(&datagram) {
            true => tally.inward(datagram.len()),
            false => tally.lost(1),
        }
    }
}

async fn write<S>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    local: &Local,
    tally: &Tally,
    mut outward: impl FnMut(&[u8]),
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = local::buffer();
    loop {
        let got = match local.receive(&mut buffer).await {
            Ok(got) => got,
            Err(error) => return End::Local(error.to_string()),
        };
        let (datagrams, lost) = local::datagrams(&buffer, &got);
        tally.lost(lost);
        let all = async {
            for datagram in datagrams {
                outward(datagram);
                tally.outward(datagram.len());
                sink.feed(Message::Binary(Bytes::copy_from_slice(datagram))).await?;
            }
            sink.flush().await
        };
        match timeout(WRITE_TIME, all).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return end(&error),
            Err(_) => return End::Slow,
        }
    }
}

fn end(error: &Error) -> End {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) => End::Gone(error.to_string()),
        // Gone without a farewell.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone(error.to_string()),
        _ => End::Protocol(error.to_string()),
    }
}

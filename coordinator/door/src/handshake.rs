//! The WebSocket's own handshake (RFC 6455 section 4), inside TLS: one path, one protocol, nothing else is here.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config, client_async_with_config};
use warren_wire::door::{PATH, PROTOCOL};

use crate::websocket::settings;

/// Required by HTTP; it names nobody.
const HOST: &str = "warren";

/// The server's side. The library bounds head and headers, the caller the time.
///
/// # Errors
/// Whoever asks for something else than a door hears 404.
pub async fn accept<S>(stream: S) -> Result<WebSocketStream<S>, Box<Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let accepted = accept_hdr_async_with_config(stream, answer, Some(settings())).await;
    accepted.map_err(Box::new)
}

#[expect(clippy::result_large_err, reason = "the library's type")]
fn answer(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let ours = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').any(|protocol| protocol.trim() == PROTOCOL));
    if request.uri().path() != PATH || !ours {
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        return Err(refusal);
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// The node's side.
///
/// # Errors
/// The server is no door.
pub async fn ask<S>(stream: S) -> Result<WebSocketStream<S>, Box<Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let uri = Uri::builder().scheme("ws").authority(HOST).path_and_query(PATH).build();
    let uri = uri.map_err(|error| Box::new(Error::HttpFormat(error)))?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(PROTOCOL);
    let (stream, _) = client_async_with_config(request, stream, Some(settings())).await.map_err(Box::new)?;
    Ok(stream)
}

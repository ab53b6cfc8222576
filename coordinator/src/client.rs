//! The command's end of the local socket: one HTTP/1.1 request per connection.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::problem::Problem;

/// The service gives up after 60 s; a little more, so that its own words arrive.
const TIME: Duration = Duration::from_secs(70);
/// Largest answer that is read into memory.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

pub struct Client {
    socket: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "the coordinator is not running (nothing answers at {socket}): start it with `warren serve`, or name its socket with `--socket PATH`"
    )]
    NotRunning { socket: PathBuf },
    #[error(
        "no permission to use the coordinator's socket {socket}: run the command as root or as the service's user, or join its group (`warren`) and log in again"
    )]
    NotPermitted { socket: PathBuf },
    #[error("the coordinator at {socket} did not answer within a minute: see its log")]
    Silent { socket: PathBuf },
    #[error("the connection to the coordinator at {socket} failed: {why}")]
    Broken { socket: PathBuf, why: String },
    #[error(
        "the coordinator at {socket} answered what this program cannot read ({why}): use programs of the same version on both ends"
    )]
    Unreadable { socket: PathBuf, why: String },
    #[error("{}", .0.detail)]
    Problem(Problem),
}

impl Client {
    pub fn new(socket: &Path) -> Client {
        Client { socket: socket.to_owned() }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self.request(Method::GET, path, Vec::new()).await?;
        self.read(answer).await
    }

    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.unreadable(&e))?;
        let answer = self.request(Method::POST, path, body).await?;
        self.read(answer).await
    }

    /// An answer that is plain text.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let answer = self.request(Method::GET, path, Vec::new()).await?;
        let bytes = self.body(answer).await?;
        String::from_utf8(bytes.to_vec()).map_err(|e| self.unreadable(&e))
    }

    /// Writes the answer's body to `sink`; returns its length. A body that is cut off is an error.
    pub async fn download(&self, path: &str, sink: &mut impl std::io::Write) -> Result<u64, DownloadError> {
        let mut answer = self.request(Method::GET, path, Vec::new()).await?.into_body();
        let mut length = 0;
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|e| self.broken(&e))?;
            if let Some(data) = frame.data_ref() {
                sink.write_all(data).map_err(DownloadError::Write)?;
                length += data.len() as u64;
            }
        }
        Ok(length)
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response<Incoming>) -> Result<T, ClientError> {
        let bytes = self.body(answer).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.unreadable(&e))
    }

    async fn body(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = tokio::time::timeout(TIME, Limited::new(answer.into_body(), MAX_ANSWER).collect()).await;
        let body = body.map_err(|_| ClientError::Silent { socket: self.socket.clone() })?;
        Ok(body.map_err(|e| self.broken(&e))?.to_bytes())
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let exchange = async {
            let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.connect_error(&e))?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|e| self.broken(&e))?;
            tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(hyper::header::HOST, "warren")
                .header(hyper::header::CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body)))
                .map_err(|e| self.unreadable(&e))?;
            sender.send_request(request).await.map_err(|e| self.broken(&e))
        };
        let silent = |_| ClientError::Silent { socket: self.socket.clone() };
        let answer = tokio::time::timeout(TIME, exchange).await.map_err(silent)??;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let bytes = self.body(answer).await?;
        Err(self.problem(status, &bytes))
    }

    fn problem(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        match serde_json::from_slice(bytes) {
            Ok(problem) => ClientError::Problem(problem),
            // The coordinator gave the question up; it takes as long as this program waits.
            Err(_) if status == StatusCode::SERVICE_UNAVAILABLE && bytes.is_empty() => {
                ClientError::Silent { socket: self.socket.clone() }
            }
            Err(_) => self.unreadable(&format!("status {status}")),
        }
    }

    fn connect_error(&self, error: &std::io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning { socket },
            ErrorKind::PermissionDenied => ClientError::NotPermitted { socket },
            _ => ClientError::Broken { socket, why: error.to_string() },
        }
    }
    fn broken(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), why: error.to_string() }
    }
    fn unreadable(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreadable { socket: self.socket.clone(), why: error.to_string() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("it cannot be written: {0}")]
    Write(std::io::Error),
}

/// Path and query from words that may hold anything (RFC 3986 section 2.1). Pairs without a value are left out.
pub fn url(path: &[&str], query: &[(&str, Option<String>)]) -> String {
    let mut out = String::new();
    for part in path {
        out.push('/');
        out.push_str(&encode(part));
    }
    let pairs: Vec<String> = query
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|v| format!("{name}={}", encode(v))))
        .collect();
    if !pairs.is_empty() {
        out.push('?');
        out.push_str(&pairs.join("&"));
    }
    out
}

fn encode(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.~:".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_can_change_the_path_or_the_query() {
        let got = url(&["v1", "nodes", "../a?b"], &[("x", Some("tag:a & tag:b".into())), ("y", None)]);
        assert_eq!(got, "/v1/nodes/..%2Fa%3Fb?x=tag:a%20%26%20tag:b");
    }
}

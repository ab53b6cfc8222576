//! One request to the receiver, over a connection of its own: batches are large and seldom.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{OtlpError, OtlpSettings};
use crate::text::plain;

/// One request, with its connection.
const TIME: Duration = Duration::from_secs(15);
/// More of an answer is not read.
const MAX_ANSWER: usize = 64 * 1024;

/// Where batches go.
pub struct Receiver {
    uri: Uri,
    host: String,
    port: u16,
    headers: HeaderMap,
    /// None: in clear.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What became of a request.
pub enum Delivery {
    /// Some records of it may have been rejected (`partialSuccess`).
    Taken {
        rejected: u64,
    },
    /// It makes no sense to send it again.
    Refused(String),
    Later(String),
}

impl Receiver {
    pub fn of(settings: &OtlpSettings) -> Result<Receiver, OtlpError> {
        let endpoint = &settings.endpoint;
        let wrong = |why| OtlpError::Endpoint { endpoint: plain(endpoint, 200), why };
        let uri: Uri = endpoint.parse().map_err(|_| wrong("this is no address"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let host = uri.host().ok_or_else(|| wrong("it names no host"))?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" | "" => "/v1/logs",
            path => path,
        };
        let path: Uri = path.parse().map_err(|_| wrong("its path is none"))?;
        let tls = if secure { Some(tls(settings, &host)?) } else { None };
        let authority = uri.authority().map(|all| all.as_str().to_owned()).unwrap_or_default();
        Ok(Receiver { uri: path, headers: headers(settings, &authority)?, host, port, tls })
    }

    /// Its address, without a name and a password that may stand in front of the host.
    pub fn shown(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        plain(&format!("{scheme}://{host}:{}{}", self.port, self.uri.path()), 200)
    }

    pub async fn send(&self, body: &[u8]) -> Delivery {
        match tokio::time::timeout(TIME, self.exchange(body)).await {
            Ok(Ok(delivery)) => delivery,
            Ok(Err(error)) => Delivery::Later(error.to_string()),
            Err(_) => Delivery::Later(format!("no answer within {} s", TIME.as_secs())),
        }
    }

    async fn exchange(&self, body: &[u8]) -> Result<Delivery, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let response = match &self.tls {
            None => self.ask(stream, body).await?,
            Some((tls, name)) => self.ask(tls.connect(name.clone(), stream).await?, body).await?,
        };
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        Ok(judge(status, &answer))
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        body: &[u8],
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::post(self.uri.clone()).body(Full::new(Bytes::copy_from_slice(body)))?;
        *request.headers_mut() = self.headers.clone();
        Ok(sender.send_request(request).await?)
    }
}

/// OTLP specification, "OTLP/HTTP response": 200 is success or partial success; 429, 502, 503 and 504 may be tried again.
fn judge(status: StatusCode, answer: &[u8]) -> Delivery {
    match status.as_u16() {
        200..=299 => Delivery::Taken { rejected: rejected(answer) },
        429 | 502 | 503 | 504 => Delivery::Later(format!("it says {status}")),
        _ => Delivery::Refused(format!("it says {status}: {}", plain(&String::from_utf8_lossy(answer), 200))),
    }
}

fn rejected(answer: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let count = answer.pointer("/partialSuccess/rejectedLogRecords");
    count.and_then(|count| count.as_u64().or_else(|| count.as_str()?.parse().ok())).unwrap_or(0)
}

fn headers(settings: &OtlpSettings, authority: &str) -> Result<HeaderMap, OtlpError> {
    let mut headers = HeaderMap::new();
    let own = [
        ("host", authority),
        ("content-type", "application/json"),
        ("user-agent", concat!("warren/", env!("CARGO_PKG_VERSION"))),
    ];
    let given = settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.into_iter().chain(given) {
        let wrong = || OtlpError::Header { name: plain(name, 100) };
        let parsed = HeaderName::try_from(name).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}

fn tls(settings: &OtlpSettings, host: &str) -> Result<(TlsConnector, ServerName<'static>), OtlpError> {
    let endpoint = || plain(&settings.endpoint, 200);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| OtlpError::Endpoint {
        endpoint: endpoint(),
        why: "its host has no name a certificate could have",
    })?;
    let mut roots = RootCertStore::empty();
    match &settings.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |why: String| OtlpError::Authorities { path: path.clone(), why };
            let found = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
            for one in found {
                let one = one.map_err(|e| wrong(e.to_string()))?;
                roots.add(one).map_err(|e| wrong(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("there is no certificate in it".to_owned()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| OtlpError::Endpoint { endpoint: endpoint(), why: "TLS cannot be set up" })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}

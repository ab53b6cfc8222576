//! `/metrics` for a scraper on this host: HTTP/1.1, one request a connection, GET and nothing else. Off unless it is asked for,
//! and only on loopback: others on the network must not be able to ask.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Reply, Request, Waiting};

/// Scrapers served at the same time; each has so long, and says so much.
const SCRAPERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 8 * 1024;
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Stops listening when dropped.
pub struct Scraped(tokio::task::JoinHandle<()>);

impl Drop for Scraped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers at `listen` with what the control loop says.
pub async fn scrape(listen: SocketAddr, requests: mpsc::Sender<Waiting>) -> io::Result<Scraped> {
    let listener = TcpListener::bind(listen).await?;
    let room = Arc::new(Semaphore::new(SCRAPERS));
    Ok(Scraped(tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
                    let requests = requests.clone();
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(PATIENCE, answer(stream, &requests)).await;
                        drop(place);
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    })))
}

async fn answer(mut stream: TcpStream, requests: &mpsc::Sender<Waiting>) -> io::Result<()> {
    let head = head(&mut stream).await?;
    let (status, body) = match asked(&head) {
        Ok(()) => metrics(requests).await,
        Err(refused) => refused,
    };
    let kind = if status.starts_with("200") { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Until the empty line; what is longer than [`MAX_HEAD`] is an error.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        head.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if read == 0 || head.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(head)
}

type Answer = (&'static str, String);

/// Only this path, and only for a name of this host: a name that somebody else points at loopback is none.
fn asked(head: &[u8]) -> Result<(), Answer> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let host = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim().to_owned())
    });
    let name = host.as_deref().map(|host| {
        host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name)
    });
    let own = name.is_some_and(|name| {
        name.eq_ignore_ascii_case("localhost")
            || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    match (words.next(), words.next().map(|path| path.split('?').next().unwrap_or_default())) {
        _ if !own => Err(("421 Misdirected Request", "ask 127.0.0.1 or localhost\n".to_owned())),
        (Some("GET"), Some("/metrics")) => Ok(()),
        (Some("GET"), _) => Err(("404 Not Found", "there is only /metrics\n".to_owned())),
        _ => Err(("405 Method Not Allowed", "there is only GET\n".to_owned())),
    }
}

async fn metrics(requests: &mpsc::Sender<Waiting>) -> Answer {
    let stops = || ("503 Service Unavailable", "the agent is stopping\n".to_owned());
    let (reply, answer) = oneshot::channel();
    if requests.send(Waiting { request: Request::Metrics, reply }).await.is_err() {
        return stops();
    }
    match answer.await {
        Ok(Reply::Ok(Value::String(text))) => ("200 OK", text),
        _ => stops(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_path_is_answered_and_only_under_a_name_of_this_host() {
        let ask = |line: &str, host: &str| {
            asked(format!("{line}\r\nHost: {host}\r\n\r\n").as_bytes()).map_err(|(status, _)| status)
        };
        for host in ["127.0.0.1:9586", "localhost", "[::1]:9586", "LOCALHOST:1"] {
            assert_eq!(ask("GET /metrics HTTP/1.1", host), Ok(()), "{host}");
        }
        for host in ["evil.example:9586", "", "10.0.0.1:9586", "localhost.evil.example"] {
            assert_eq!(ask("GET /metrics HTTP/1.1", host), Err("421 Misdirected Request"), "{host}");
        }
        assert_eq!(ask("GET / HTTP/1.1", "localhost"), Err("404 Not Found"));
        assert_eq!(ask("POST /metrics HTTP/1.1", "localhost"), Err("405 Method Not Allowed"));
        assert!(asked(b"\xff\xfe\r\n\r\n").is_err());
    }
}

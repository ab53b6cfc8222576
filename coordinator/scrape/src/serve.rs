//! `/metrics` for a scraper on this host: HTTP/1.1, one request a connection, GET and nothing else. Off unless it is asked for,
//! and only on loopback or at a socket file: others on the network must not be able to ask.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::socket::listen;
use super::{CONTENT_TYPE, Place};

/// Scrapers served at the same time; each has so long, and says so much.
const SCRAPERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 8 * 1024;
/// Users of the program's group may ask at a socket file, and root.
const MODE: u32 = 0o660;

/// Stops listening when dropped, and takes the socket file away.
pub struct Scraped {
    place: Place,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scraped {
    fn drop(&mut self) {
        self.task.abort();
        if let Place::Socket(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn at(place: &Place) -> io::Result<Listener> {
        match place {
            Place::Port(at) => TcpListener::bind(at).await.map(Listener::Tcp),
            Place::Socket(path) => listen(path, MODE).map(Listener::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Listener::Tcp(listener) => Box::new(listener.accept().await?.0),
            Listener::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }

    /// A browser can be led to a port under a foreign name, and to no file.
    fn is_told_names(&self) -> bool {
        matches!(self, Listener::Tcp(_))
    }
}

/// Answers at `place` with the sheet that `tell` makes; it makes none while the program ends.
///
/// # Errors
/// The place cannot be had.
pub async fn serve<F>(place: Place, tell: impl Fn() -> F + Clone + Send + 'static) -> io::Result<Scraped>
where
    F: Future<Output = Option<String>> + Send,
{
    let listener = Listener::at(&place).await?;
    let room = Arc::new(Semaphore::new(SCRAPERS));
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    let Ok(slot) = Arc::clone(&room).try_acquire_owned() else { continue };
                    let (tell, names) = (tell.clone(), listener.is_told_names());
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(PATIENCE, answer(stream, names, tell)).await;
                        drop(slot);
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(Scraped { place, task })
}

async fn answer<F: Future<Output = Option<String>>>(
    mut stream: Box<dyn Stream>,
    names: bool,
    tell: impl Fn() -> F,
) -> io::Result<()> {
    let head = head(&mut stream).await?;
    let (status, body) = match asked(&head, names) {
        Ok(()) => match tell().await {
            Some(sheet) => ("200 OK", sheet),
            None => ("503 Service Unavailable", "the program is stopping\n".to_owned()),
        },
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
async fn head(stream: &mut Box<dyn Stream>) -> io::Result<Vec<u8>> {
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

/// Only this path, and at a port only for a name of this host: a name that somebody else points at loopback is none.
fn asked(head: &[u8], names: bool) -> Result<(), Answer> {
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
        _ if names && !own => Err(("421 Misdirected Request", "ask 127.0.0.1 or localhost\n".to_owned())),
        (Some("GET"), Some("/metrics")) => Ok(()),
        (Some("GET"), _) => Err(("404 Not Found", "there is only /metrics\n".to_owned())),
        _ => Err(("405 Method Not Allowed", "there is only GET\n".to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_one_path_is_answered_and_only_under_a_name_of_this_host() {
        let ask = |line: &str, host: &str| {
            asked(format!("{line}\r\nHost: {host}\r\n\r\n").as_bytes(), true).map_err(|(status, _)| status)
        };
        for host in ["127.0.0.1:9586", "localhost", "[::1]:9586", "LOCALHOST:1"] {
            assert_eq!(ask("GET /metrics HTTP/1.1", host), Ok(()), "{host}");
        }
        for host in ["evil.example:9586", "", "10.0.0.1:9586", "localhost.evil.example"] {
            assert_eq!(ask("GET /metrics HTTP/1.1", host), Err("421 Misdirected Request"), "{host}");
        }
        assert_eq!(ask("GET / HTTP/1.1", "localhost"), Err("404 Not Found"));
        assert_eq!(ask("POST /metrics HTTP/1.1", "localhost"), Err("405 Method Not Allowed"));
        for names in [true, false] {
            assert!(asked(b"\xff\xfe\r\n\r\n", names).is_err());
        }
        let whatever = b"GET /metrics HTTP/1.1\r\nHost: prometheus\r\n\r\n";
        assert_eq!(asked(whatever, false), Ok(()), "at a file nobody is misled by a name");
    }

    #[tokio::test]
    async fn a_socket_file_is_for_the_group_and_goes_with_the_program() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        let tell = || async { Some("# EOF\n".to_owned()) };
        let scraped = serve(Place::Socket(path.clone()), tell).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n# EOF\n"), "{text}");
        drop(scraped);
        assert!(!path.exists());
        std::fs::write(&path, "something else").unwrap();
        assert!(serve(Place::Socket(path.clone()), tell).await.is_err(), "and nothing else is replaced");
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    }
}

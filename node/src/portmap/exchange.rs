//! One connection to the gateway: what UPnP asks is sent, what comes is read until it is whole, too long or too late. What it means is
//! decided in [`warren_node_core::portmap::upnp`].

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use warren_node_core::portmap::upnp::Fault;
use warren_node_core::portmap::upnp::http::{self, Response};

/// For all of it: connecting, asking and reading.
const LIMIT: Duration = Duration::from_secs(5);
/// Read at once.
const PIECE: usize = 4_096;

/// From `local`, the address that a mapping is asked for: gateways let a host ask for itself alone.
pub async fn exchange(local: Ipv4Addr, at: SocketAddrV4, request: Vec<u8>) -> Result<Response, Fault> {
    match tokio::time::timeout(LIMIT, talk(local, at, &request)).await {
        Ok(response) => response,
        Err(_) => Err(Fault::Silent),
    }
}

async fn talk(local: Ipv4Addr, at: SocketAddrV4, request: &[u8]) -> Result<Response, Fault> {
    let mut stream = connect(local, at).await.map_err(|_| Fault::Silent)?;
    stream.write_all(request).await.map_err(|_| Fault::Silent)?;
    let (mut bytes, mut piece) = (Vec::new(), [0; PIECE]);
    loop {
        let read = stream.read(&mut piece).await;
        let (length, ended) = match read {
            Ok(0) | Err(_) => (0, true),
            Ok(length) => (length, false),
        };
        bytes.extend_from_slice(piece.get(..length).unwrap_or_default());
        match http::read(&bytes, ended)? {
            Some(response) => return Ok(response),
            None if ended => return Err(Fault::Silent),
            None => {}
        }
    }
}

async fn connect(local: Ipv4Addr, at: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((local, 0).into())?;
    socket.connect(at.into()).await
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

    /// A server for one connection: hears a question, says `said` over and over, `times` times, and hangs up.
    fn serve(said: &'static [u8], times: usize) -> SocketAddrV4 {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let SocketAddr::V4(at) = listener.local_addr().unwrap() else { unreachable!("bound to IPv4") };
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 64];
            let _ = stream.read(&mut question);
            (0..times).take_while(|_| stream.write_all(said).is_ok()).count()
        });
        at
    }

    #[tokio::test]
    async fn what_is_whole_is_read_and_what_is_endless_or_leads_elsewhere_is_not() {
        let asked = |at| exchange(HERE, at, b"GET / HTTP/1.1\r\n\r\n".to_vec());
        let whole = Response { status: 200, body: b"abc".to_vec() };
        assert_eq!(
            asked(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 1)).await,
            Ok(whole.clone())
        );
        assert_eq!(asked(serve(b"HTTP/1.0 200 OK\r\n\r\nabc", 1)).await, Ok(whole));
        assert_eq!(
            asked(serve(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", 1)).await,
            Err(Fault::Elsewhere)
        );
        assert_eq!(
            asked(serve(b"HTTP/1.1 200 OK\r\n\r\n aaaaaaaaaaaaaaaaaa", 1 << 30)).await,
            Err(Fault::TooLong)
        );
        assert_eq!(asked(serve(b"HTTP/1.1 200", 1)).await, Err(Fault::NotHttp));
        let nobody = TcpListener::bind((HERE, 0)).and_then(|gone| gone.local_addr()).unwrap();
        let SocketAddr::V4(nobody) = nobody else { unreachable!("bound to IPv4") };
        assert_eq!(asked(nobody).await, Err(Fault::Silent));
    }
}

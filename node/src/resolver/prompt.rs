//! TCP towards upstreams that says at once what it has got.
//!
//! A server that waits for word of its last answer before it sends the next small one (Nagle's algorithm, RFC 1122 section
//! 4.2.3.4) and a kernel that waits with that word until it has something else to send (delayed acknowledgements) would
//! between them hold every answer back until the next question: from the first two questions that come close together on,
//! for as long as the connection lives.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use hickory_net::runtime::{DnsTcpStream, QuicSocketBinder, RuntimeProvider, TokioRuntimeProvider};
use rustix::net::sockopt::set_tcp_quickack;

type Plain = <TokioRuntimeProvider as RuntimeProvider>::Tcp;
type Later<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

/// The library's own way to open sockets, but for [`Stream`].
#[derive(Clone, Default)]
pub struct Prompt(TokioRuntimeProvider);

impl RuntimeProvider for Prompt {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = Stream;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        patience: Option<Duration>,
    ) -> Later<Stream> {
        let connecting = self.0.connect_tcp(server, from, patience);
        Box::pin(async move { connecting.await.map(Stream) })
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> Later<Self::Udp> {
        self.0.bind_udp(local, server)
    }

    fn quic_binder(&self) -> Option<&dyn QuicSocketBinder> {
        self.0.quic_binder()
    }
}

pub struct Stream(Plain);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(_))) {
            // It holds until the kernel changes its mind, so it is asked for each time; without it answers are only slower.
            let _ = set_tcp_quickack(&self.0.0, true);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl DnsTcpStream for Stream {
    type Time = <Plain as DnsTcpStream>::Time;
}

//! What a connection over TCP holds of bytes that nobody has made sense of yet: counted as they come, for its source together
//! ([`Place::holds`]), until it is known who is there.
//!
//! Every byte that came counts, TLS and all, and only whole messages are taken off: so it is never more than what is counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::channel::Place;

pub struct Meter(Mutex<Inner>);

struct Inner {
    place: Place,
    held: usize,
    most: usize,
    member: bool,
}

impl Meter {
    /// Of this connection alone no more than `most`.
    pub fn new(place: Place, most: usize) -> Arc<Meter> {
        Arc::new(Meter(Mutex::new(Inner { place, held: 0, most, member: false })))
    }

    /// False for too much.
    fn came(&self, bytes: usize) -> bool {
        let mut inner = self.0.lock();
        inner.held = inner.held.saturating_add(bytes);
        inner.member || (inner.held <= inner.most && inner.place.holds(inner.held))
    }

    /// A whole message of so many bytes is dealt with.
    pub fn went(&self, bytes: usize) {
        let mut inner = self.0.lock();
        inner.held = inner.held.saturating_sub(bytes);
        inner.place.holds(inner.held);
    }

    /// From now on it may hold so much.
    pub fn allow(&self, most: usize) {
        self.0.lock().most = most;
    }

    /// It is known who is there: nothing is counted any more.
    pub fn promote(&self) {
        let mut inner = self.0.lock();
        inner.member = true;
        inner.place.promote();
    }
}

/// A stream whose bytes are counted.
pub struct Metered<S> {
    pub stream: S,
    pub meter: Arc<Meter>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = buffer.filled().len().saturating_sub(before);
        match self.meter.came(came) {
            true => read,
            false => Poll::Ready(Err(io::Error::other("too much before it is known who is there"))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    use super::*;
    use crate::channel::{Answer, Gate, Limits};

    const LIMITS: Limits = Limits {
        incoming: 1,
        strangers: 8,
        strangers_per_source: 8,
        bytes_per_source: 64,
        connections: 9,
        connections_per_source: 9,
    };

    fn place(gate: &Gate) -> Place {
        match gate.admit("192.0.2.1:1".parse().unwrap(), true, Instant::now()) {
            Answer::Accept(place) => place,
            Answer::Retry | Answer::Refuse => panic!("there is room"),
        }
    }

    #[tokio::test]
    async fn what_connections_of_one_source_hold_together_is_bounded_until_it_is_known_who_is_there() {
        let gate = Gate::new(LIMITS);
        let metered = || {
            let (near, far) = tokio::io::duplex(1024);
            (Metered { stream: near, meter: Meter::new(place(&gate), 40) }, far)
        };
        let ((mut one, mut to_one), (mut two, mut to_two)) = (metered(), metered());
        let mut buffer = [0; 100];
        to_one.write_all(&[0; 40]).await.unwrap();
        assert_eq!(one.read(&mut buffer).await.unwrap(), 40);
        to_two.write_all(&[0; 24]).await.unwrap();
        assert_eq!(two.read(&mut buffer).await.unwrap(), 24);
        one.meter.went(30);
        to_one.write_all(&[0; 31]).await.unwrap();
        assert!(one.read(&mut buffer).await.is_err(), "more than it may hold alone");
        drop((one, to_one));
        two.meter.allow(100);
        to_two.write_all(&[0; 41]).await.unwrap();
        assert!(two.read(&mut buffer).await.is_err(), "more than its source may hold");
        two.meter.promote();
        to_two.write_all(&[0; 90]).await.unwrap();
        assert_eq!(two.read(&mut buffer).await.unwrap(), 90);
    }
}

//! The control channel's UDP socket, with STUN beside QUIC: whoever asks hears which address he is seen at (RFC 8489; how
//! the two share a port is RFC 9443). No state, no allocation that lasts, and an answer that finds no room is lost.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use warren_wire::stun;

/// Questions of one receive that are answered: an honest node sends one.
const ANSWERED: usize = 4;

#[derive(Debug)]
pub struct Socket(pub Arc<dyn AsyncUdpSocket>);

impl Socket {
    fn answer(&self, datagrams: &[u8], meta: &RecvMeta) {
        for question in datagrams.chunks(meta.stride.max(1)).take(ANSWERED) {
            let Some(id) = stun::read_question(question) else { continue };
            let contents = stun::answer(id, meta.addr);
            let transmit = Transmit {
                destination: meta.addr,
                ecn: None,
                contents: &contents,
                segment_size: None,
                src_ip: meta.dst_ip,
            };
            let _ = self.0.try_send(&transmit);
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.0.clone().create_io_poller()
    }
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    /// What was STUN is left as an empty receive, which QUIC passes over.
    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.0.poll_recv(context, buffers, metas);
        if let Poll::Ready(Ok(count)) = &received {
            for (buffer, meta) in buffers.iter().zip(metas).take(*count) {
                let datagrams = buffer.get(..meta.len).unwrap_or_default();
                if stun::is_stun(datagrams) {
                    self.answer(datagrams, meta);
                    meta.len = 0;
                }
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }
    fn max_receive_segments(&self) -> usize {
        self.0.max_receive_segments()
    }
    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::UdpSocket;

    use super::super::{Limits, Listener};
    use super::*;

    /// Both on one port: a question is answered with the asker's address, and everything else is still QUIC's.
    #[tokio::test]
    async fn a_question_on_the_control_port_is_answered_and_nothing_else_of_it() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &[7; 32], Limits::default()).unwrap();
        let at = listener.local_addr().unwrap();
        let (events, _owner) = tokio::sync::mpsc::channel(4);
        tokio::spawn(Arc::new(listener).run(events));
        let asker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let id = stun::TransactionId([5; 12]);
        let question = stun::question(id);
        asker.send_to(&question[..20], at).await.unwrap(); // too short for an answer
        asker.send_to(&question, at).await.unwrap();
        let mut buffer = [0; 2048];
        let answer = tokio::time::timeout(Duration::from_secs(10), asker.recv_from(&mut buffer)).await;
        let (len, from) = answer.unwrap().unwrap();
        let told = stun::read_answer(&buffer[..len]);
        assert_eq!((from, told), (at, Some((id, asker.local_addr().unwrap()))));
        // QUIC itself: an unknown version of a packet that is long enough is answered (RFC 9000 section 6.1).
        let mut unknown = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
        unknown.resize(1200, 0);
        asker.send_to(&unknown, at).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), asker.recv_from(&mut buffer)).await;
        let (len, _) = answer.unwrap().unwrap();
        assert!(!stun::is_stun(&buffer[..len]) && buffer[0] & 0x80 != 0 && buffer[1..5] == [0; 4]);
    }
}

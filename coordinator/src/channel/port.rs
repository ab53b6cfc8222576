//! The control channel's UDP socket, with two more beside QUIC. STUN: whoever asks hears which address he is seen at (RFC
//! 8489; how they share a port is RFC 9443); no state, no allocation that lasts, and an answer that finds no room is lost.
//! And frames for the relay, where the kernel does not steer them to sockets of their own. What goes to an address that nobody
//! has proven leaves by other sockets ([`crate::strangers`]).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use warren_coordinator_core::relay::{Forward, Place};
use warren_wire::{relay, stun};

use crate::relay::Beside;
use crate::strangers::{Kind, Proven, Strangers};
use crate::stun::Stun;

/// Questions of one receive that are answered: an honest node sends one.
const ANSWERED: usize = 4;

#[derive(Debug)]
pub struct Socket {
    pub inner: Arc<dyn AsyncUdpSocket>,
    /// None: questions are not answered here.
    pub stun: Option<Stun>,
    pub relay: Option<Beside>,
    pub strangers: Strangers,
    pub proven: Proven,
}

impl Socket {
    fn answer(&self, stun: &Stun, datagrams: &[u8], meta: &RecvMeta) {
        for question in datagrams.chunks(meta.stride.max(1)).take(ANSWERED) {
            // What only looks like a question takes nothing from those who ask.
            if stun::read_question(question).is_none() || !self.may(Kind::Question, meta.addr) {
                continue;
            }
            let Some(contents) = stun.reply(question, meta.addr) else { continue };
            let transmit = Transmit {
                destination: meta.addr,
                ecn: None,
                contents: &contents,
                segment_size: None,
                src_ip: meta.dst_ip,
            };
            self.send_or_lose(&transmit);
        }
    }

    fn may(&self, kind: Kind, to: SocketAddr) -> bool {
        self.proven.knows(to.ip()) || self.strangers.may(kind, to)
    }

    /// To a stranger by a socket for strangers. Never waits.
    fn send_or_lose(&self, transmit: &Transmit<'_>) {
        if self.proven.has(transmit.destination.ip()) || !self.strangers.send(transmit) {
            let _ = self.inner.try_send(transmit);
        }
    }

    /// How many frames found no room.
    fn forward(&self, forward: &Forward, bytes: &[u8]) -> u64 {
        let Place { at: destination, by: src_ip } = forward.to;
        let segment = forward.segment.max(1);
        let at_once = segment.saturating_mul(self.inner.max_transmit_segments().max(1));
        let lost = bytes.chunks(at_once).filter(|piece| {
            let segment_size = (segment < piece.len()).then_some(segment);
            let transmit = Transmit { destination, ecn: None, contents: piece, segment_size, src_ip };
            self.inner.try_send(&transmit).is_err()
        });
        lost.map(|piece| piece.len().div_ceil(segment) as u64).sum()
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    /// What is lost on the way to a stranger is sent again by who misses it, as after any loss.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.proven.has(transmit.destination.ip()) {
            return self.inner.try_send(transmit);
        }
        if self.may(Kind::Handshake, transmit.destination) {
            self.send_or_lose(transmit);
        }
        Ok(())
    }

    /// What was STUN or a frame is left as an empty receive, which QUIC passes over.
    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(context, buffers, metas);
        if let Poll::Ready(Ok(count)) = &received {
            for (buffer, meta) in buffers.iter_mut().zip(metas).take(*count) {
                let datagrams = buffer.get_mut(..meta.len).unwrap_or_default();
                if let Some(stun) = self.stun.as_ref().filter(|_| stun::is_stun(datagrams)) {
                    self.answer(stun, datagrams, meta);
                    meta.len = 0;
                } else if let Some(beside) = self.relay.as_ref().filter(|_| relay::is_frame(datagrams)) {
                    let from = Place { at: meta.addr, by: meta.dst_ip };
                    beside.carry(from, datagrams, meta.stride, |forward, bytes| self.forward(forward, bytes));
                    meta.len = 0;
                }
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }
    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }
    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use parking_lot::Mutex;
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

    /// Hands that only count what they are given.
    #[derive(Debug, Default)]
    struct Hands(Mutex<Vec<SocketAddr>>);

    impl AsyncUdpSocket for Hands {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            unreachable!("nobody waits for these")
        }
        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            self.0.lock().push(transmit.destination);
            Ok(())
        }
        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from(([0, 0, 0, 0], 0)))
        }
    }

    fn port() -> (Socket, Arc<Hands>) {
        let hands = Arc::new(Hands::default());
        let socket = Socket {
            inner: hands.clone(),
            stun: Some(Stun::default()),
            relay: None,
            strangers: Strangers::new(Vec::new()).unwrap(),
            proven: Proven::default(),
        };
        (socket, hands)
    }

    fn address(number: u32) -> SocketAddr {
        (std::net::Ipv4Addr::from_bits(0x0a00_0000 + number), 5000).into()
    }
    fn asks(socket: &Socket, from: SocketAddr, question: &[u8]) {
        let mut meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, question.len(), question.len());
        socket.answer(&Stun::default(), question, &meta);
    }
    fn question() -> [u8; stun::QUESTION] {
        stun::question(stun::TransactionId([5; 12]))
    }
    fn shakes_hands(socket: &Socket, to: SocketAddr) {
        let contents = &[0xc0; 1200];
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None };
        socket.try_send(&transmit).unwrap();
    }
    fn sent(hands: &Hands, to: SocketAddr) -> usize {
        hands.0.lock().iter().filter(|at| **at == to).count()
    }
    /// All that strangers are given is taken, and goes on being taken while others ask.
    fn emptied(socket: &Socket) {
        for number in 1000..60_000 {
            asks(socket, address(number), &question());
            shakes_hands(socket, address(number));
        }
    }

    #[test]
    fn what_is_no_question_takes_nothing_from_those_who_ask() {
        let (socket, hands) = port();
        let mut forged = question();
        forged[0] = 1; // an answer, as STUN has it
        (0..60_000).for_each(|number| asks(&socket, address(number), &forged));
        asks(&socket, address(7), &question());
        assert_eq!(*hands.0.lock(), [address(7)]);
    }

    #[test]
    fn questions_take_nothing_from_handshakes() {
        let (socket, hands) = port();
        (1000..60_000).for_each(|number| asks(&socket, address(number), &question()));
        assert_eq!(sent(&hands, address(7)), 0);
        (0..4).for_each(|_| shakes_hands(&socket, address(7)));
        assert_eq!(sent(&hands, address(7)), 4);
    }

    #[test]
    fn a_member_that_comes_back_is_no_stranger_however_much_strangers_ask() {
        let (socket, hands) = port();
        let mut proof = socket.proven.enter(address(7).ip());
        proof.lasts(Instant::now());
        drop(proof);
        emptied(&socket);
        (0..10).for_each(|_| shakes_hands(&socket, address(7)));
        (0..10).for_each(|_| asks(&socket, address(7), &question()));
        assert_eq!(sent(&hands, address(7)), 20);
    }

    #[test]
    fn thousands_of_nodes_behind_one_address_of_a_member_are_told_where_they_are() {
        let (socket, hands) = port();
        let _member = socket.proven.enter(address(7).ip());
        (0..5000).for_each(|_| asks(&socket, address(7), &question()));
        assert_eq!(sent(&hands, address(7)), 5000);
    }
}

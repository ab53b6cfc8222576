//! An enrolled peer that holds its keys and keeps no rule: a stock WireGuard session, and any bytes inside it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use x25519_dalek::{PublicKey, StaticSecret};

use super::knock::Key;

pub struct Rogue {
    /// One session for each key: a target may answer on another than the one it was spoken to.
    tunns: Vec<Tunn>,
    pub socket: UdpSocket,
    target: SocketAddr,
    /// Inner packets that came, but for words of the agent.
    pub heard: Vec<Vec<u8>>,
    /// When the last inner packet came, and when sessions were last looked after.
    came: Option<Instant>,
    tended: Option<Instant>,
}

/// So often sessions are looked after.
const TEND: Duration = Duration::from_millis(100);

/// Keys as `wg` prints them, `A` or `A,B`: mine and the target's, in the same order.
#[derive(Debug)]
pub struct Keys(Vec<[u8; 32]>);

impl std::str::FromStr for Keys {
    type Err = String;
    fn from_str(text: &str) -> Result<Keys, String> {
        text.split(',').map(|key| key.parse::<Key>().map(|key| key.0)).collect::<Result<_, _>>().map(Keys)
    }
}

/// What an agent says of its own accord to the agent at the other end: over UDP, to the one address that no node has, the
/// first of the network's /48. No attack claims to come from there, so it answers none.
fn is_word(packet: &[u8]) -> bool {
    let udp = packet.first() == Some(&0x60) && packet.get(6) == Some(&17);
    udp && packet.get(30..40).is_some_and(|host| host == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

impl Rogue {
    /// At `place`, where the target looks for whom the keys belong to, perhaps. There is no session yet.
    pub fn stand(place: SocketAddr, target: SocketAddr, privates: Keys, peers: &Keys) -> io::Result<Rogue> {
        let socket = UdpSocket::bind(place)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let pairs = privates.0.into_iter().zip(&peers.0).enumerate();
        let tunns = pairs.map(|(at, (private, peer))| {
            Tunn::new(StaticSecret::from(private), PublicKey::from(*peer), None, None, at as u32, None)
        });
        Ok(Rogue { tunns: tunns.collect(), socket, target, heard: Vec::new(), came: None, tended: None })
    }

    /// A session with `target` for each pair of keys.
    pub fn connect(target: SocketAddr, privates: Keys, peers: &Keys) -> io::Result<Rogue> {
        let mut rogue = Rogue::stand((Ipv4Addr::UNSPECIFIED, 0).into(), target, privates, peers)?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            rogue.initiate()?;
            let tried = Instant::now();
            while tried.elapsed() < Duration::from_secs(1) {
                rogue.listen_once()?;
                if rogue.tunns.iter().all(|tunn| tunn.stats().0.is_some()) {
                    return Ok(rogue);
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the target does not answer these keys"))
    }

    fn initiate(&mut self) -> io::Result<()> {
        for tunn in &mut self.tunns {
            let mut buffer = [0; 2048];
            if let TunnResult::WriteToNetwork(message) = tunn.format_handshake_initiation(&mut buffer, true) {
                self.socket.send_to(message, self.target)?;
            }
        }
        Ok(())
    }

    /// Sessions end, and a target that began anew has forgotten them: when nothing has come out of them for `quiet`, there is
    /// another handshake for each key, and again until something comes.
    pub fn keep_up(&mut self, quiet: Duration) -> io::Result<()> {
        if self.tended.is_some_and(|tended| tended.elapsed() < TEND) {
            return Ok(());
        }
        self.tended = Some(Instant::now());
        for tunn in &mut self.tunns {
            if let TunnResult::WriteToNetwork(message) = tunn.update_timers(&mut [0; 2048]) {
                self.socket.send_to(message, self.target)?;
            }
        }
        if self.came.is_none_or(|came| came.elapsed() > quiet) || !self.made_together(quiet) {
            self.initiate()?;
        }
        Ok(())
    }

    /// Else a target that began anew has made one, and has forgotten the others.
    fn made_together(&self, within: Duration) -> bool {
        let ages = || self.tunns.iter().map(|tunn| tunn.stats().0.unwrap_or(Duration::MAX));
        ages().max().zip(ages().min()).is_none_or(|(oldest, newest)| oldest.saturating_sub(newest) <= within)
    }

    /// Takes one datagram in, if one comes soon.
    fn listen_once(&mut self) -> io::Result<bool> {
        let (mut datagram, mut buffer) = ([0; 65_536], [0; 65_536]);
        let len = match self.socket.recv_from(&mut datagram) {
            Ok((len, _)) => len,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(false);
            }
            // An ICMP error about something that was sent before.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => return Ok(false),
            Err(e) => return Err(e),
        };
        for tunn in &mut self.tunns {
            match tunn.decapsulate(None, &datagram[..len], &mut buffer) {
                TunnResult::WriteToNetwork(message) => {
                    self.socket.send_to(message, self.target)?;
                }
                TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                    self.came = Some(Instant::now());
                    self.heard.extend(Some(packet.to_vec()).filter(|packet| !is_word(packet)));
                }
                // Not for this key.
                TunnResult::Err(_) => continue,
                TunnResult::Done => {}
            }
            break;
        }
        Ok(true)
    }

    /// Takes in what has come, without waiting for more.
    pub fn drain(&mut self) -> io::Result<()> {
        self.socket.set_read_timeout(Some(Duration::from_micros(1)))?;
        for _ in 0..256 {
            if !self.listen_once()? {
                break;
            }
        }
        self.socket.set_read_timeout(Some(Duration::from_millis(20)))
    }

    /// Listens for `time`.
    pub fn listen(&mut self, time: Duration) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.listen_once()?;
        }
        Ok(())
    }

    /// Listens until an inner packet satisfies `wanted`.
    pub fn hear(&mut self, time: Duration, wanted: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.listen_once()?;
            if self.heard.iter().any(|packet| wanted(packet)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The data message for these inner bytes, not sent. The library seals whatever it is given.
    pub fn seal(&mut self, inner: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = vec![0; inner.len() + 256];
        match self.tunns.first_mut()?.encapsulate(inner, &mut buffer) {
            TunnResult::WriteToNetwork(message) => Some(message.to_vec()),
            _ => None,
        }
    }

    pub fn send(&mut self, inner: &[u8]) -> io::Result<bool> {
        let Some(message) = self.seal(inner) else { return Ok(false) };
        self.socket.send_to(&message, self.target)?;
        Ok(true)
    }
}

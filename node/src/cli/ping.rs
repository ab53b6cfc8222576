//! `ping`: ICMP echo (RFC 792, RFC 4443) to an overlay name; the agent resolves it. No root where the host allows
//! unprivileged echo sockets (`net.ipv4.ping_group_range`).

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use super::Said;
use crate::error::{Error, Exit};
use crate::socket::{Reply, Request, ask};

const WAIT: Duration = Duration::from_secs(1);
const PAYLOAD: &[u8; 32] = b"warren-node ping................";

pub fn command(socket: &Path, to: &str, count: u16) -> Result<Said, Error> {
    let address = resolve(socket, to)?;
    let echo = Echo::open(address)?;
    let mut lines = vec![format!("ping {to} ({address})")];
    let mut times = Vec::new();
    for sequence in 1..=count.max(1) {
        let began = Instant::now();
        match echo.once(sequence) {
            Ok(time) => {
                lines.push(format!("  seq={sequence} time={:.3} ms", time.as_secs_f64() * 1000.0));
                times.push(time.as_secs_f64() * 1000.0);
            }
            Err(e) => lines.push(format!("  seq={sequence} {}", explain(&e))),
        }
        if sequence < count {
            std::thread::sleep(WAIT.saturating_sub(began.elapsed()));
        }
    }
    let sent = usize::from(count.max(1));
    lines.push(format!("{} of {sent} answered", times.len()));
    let exit = if times.is_empty() { Exit::Unreachable } else { Exit::Ok };
    let json =
        json!({ "to": to, "address": address, "sent": sent, "received": times.len(), "times_ms": times });
    Ok(Said { json, text: lines.join("\n"), exit })
}

fn resolve(socket: &Path, to: &str) -> Result<IpAddr, Error> {
    if let Ok(address) = to.parse() {
        return Ok(address);
    }
    match ask(socket, &Request::Resolve { name: to.to_owned() })? {
        Reply::Ok(list) => {
            let first = list.get(0).and_then(Value::as_str).and_then(|text| text.parse().ok());
            first.ok_or_else(|| Error::Refused(format!("`{to}` has no address")))
        }
        Reply::Finding(json) => {
            Err(Error::Refused(json.get("why").and_then(Value::as_str).unwrap_or("no such name").to_owned()))
        }
        Reply::Bad(text) => Err(Error::Usage(text)),
    }
}

fn explain(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer within a second".to_owned(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::HostUnreachable => {
            "refused: no grant joins you to that (see `warren-node why TO icmp/echo`)".to_owned()
        }
        _ => e.to_string(),
    }
}

struct Echo {
    socket: Socket,
    v6: bool,
    /// Raw IPv4 sockets hand over the IP header too.
    raw: bool,
    identifier: u16,
}

impl Echo {
    fn open(to: IpAddr) -> Result<Echo, Error> {
        let (domain, protocol) =
            if to.is_ipv4() { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
        let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, false),
            Err(_) => {
                let raw = Socket::new(domain, Type::RAW, Some(protocol)).map_err(|_| {
                    Error::Failed(
                        "not allowed to send ICMP echo: run as root, or `sysctl net.ipv4.ping_group_range='0 2147483647'`".to_owned(),
                    )
                })?;
                (raw, true)
            }
        };
        let ready = || -> io::Result<()> {
            socket.set_read_timeout(Some(WAIT))?;
            socket.connect(&SocketAddr::new(to, 0).into())
        };
        ready().map_err(Error::io(format!("reach {to}")))?;
        let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
        Ok(Echo { socket, v6: to.is_ipv6(), raw, identifier })
    }

    fn once(&self, sequence: u16) -> io::Result<Duration> {
        let began = Instant::now();
        self.socket.send(&self.request(sequence))?;
        let mut buffer = [0; 2048];
        while began.elapsed() < WAIT {
            let length = (&self.socket).read(&mut buffer)?;
            if self.answers(buffer.get(..length).unwrap_or_default(), sequence) {
                return Ok(began.elapsed());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Is this the reply to our request? An echo socket changes the identifier and shows only our own replies.
    fn answers(&self, bytes: &[u8], sequence: u16) -> bool {
        let header =
            if self.raw && !self.v6 { bytes.first().map_or(0, |b| usize::from(b & 0x0f) * 4) } else { 0 };
        let reply = if self.v6 { 129 } else { 0 };
        match bytes.get(header..).and_then(<[u8]>::first_chunk::<8>) {
            Some([kind, 0, _, _, i0, i1, s0, s1]) => {
                let ours = !self.raw || u16::from_be_bytes([*i0, *i1]) == self.identifier;
                *kind == reply && ours && u16::from_be_bytes([*s0, *s1]) == sequence
            }
            _ => false,
        }
    }

    fn request(&self, sequence: u16) -> Vec<u8> {
        let kind = if self.v6 { 128 } else { 8 };
        let mut packet = vec![kind, 0, 0, 0];
        packet.extend_from_slice(&self.identifier.to_be_bytes());
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(PAYLOAD);
        if !self.v6 {
            let sum = checksum(&packet).to_be_bytes();
            packet.splice(2..4, sum);
        }
        packet
    }
}

/// RFC 1071. For ICMPv6 the kernel fills it in.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| match pair {
        [a, b] => u32::from(u16::from_be_bytes([*a, *b])),
        [a] => u32::from(u16::from_be_bytes([*a, 0])),
        _ => 0,
    };
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        let mut packet = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1, 0xff];
        let sum = checksum(&packet).to_be_bytes();
        packet.splice(2..4, sum);
        assert_eq!(checksum(&packet), 0);
    }
}

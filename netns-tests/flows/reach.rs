//! What a new host does first: it finds its neighbour by name and pings it, finds the hub by name and asks it over HTTP, and writes down when
//! it had done so. It tries until it can. One small program, because a hundred shells that run `dig` in a loop are what a
//! hundred agents would then wait for.
//!
//! `flows-reach NEIGHBOUR HUB PORT FILE`

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's program ends at the first surprise")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use socket2::{Domain, Protocol, Socket, Type};

const PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
/// An address of the overlay; who routes it into the tunnel has an address there.
const OVERLAY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, neighbour, hub, port, file] = &args[..] else { panic!("flows-reach NEIGHBOUR HUB PORT FILE") };
    let me = until(overlay_address);
    println!("address {me}");
    let found = until(|| resolve(me, neighbour));
    println!("{neighbour} is {found}");
    until(|| ping(found));
    println!("{found} answered");
    let found = until(|| resolve(me, hub));
    println!("{hub} is {found}");
    until(|| ask(SocketAddr::from((found, port.parse().unwrap()))));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    std::fs::write(format!("{file}.new"), format!("{now}")).unwrap();
    std::fs::rename(format!("{file}.new"), file).unwrap();
}

fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        match attempt() {
            Some(value) => return value,
            None => sleep(PAUSE),
        }
    }
}

fn overlay_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect((OVERLAY, 53)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) if own.octets()[0] == 100 => Some(own),
        _ => None,
    }
}

/// The first address of a name that the node's own server gives.
fn resolve(server: Ipv4Addr, name: &str) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect((server, 53)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut question = vec![0x17, 0x29, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).ok()?);
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send(&question).ok()?;
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).ok()?;
    // The question again, then a pointer to its name, type A, class, life, length, address (RFC 1035 section 4.1).
    let record = answer.get(question.len()..len)?;
    let address: [u8; 4] = record.get(12..16)?.try_into().ok()?;
    (record[2..4] == [0, 1]).then(|| Ipv4Addr::from(address))
}

fn ping(to: Ipv4Addr) -> Option<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).ok()?;
    socket.connect(&SocketAddr::from((to, 0)).into()).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let id = std::process::id().to_be_bytes();
    let mut echo = vec![8, 0, 0, 0, id[2], id[3], 0, 1];
    let sum = echo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    let check = !(((sum & 0xffff) + (sum >> 16)) as u16);
    echo[2..4].copy_from_slice(&check.to_be_bytes());
    socket.send(&echo).ok()?;
    // Behind the IPv4 header: the reply to this question.
    let mut buffer = [0; 64];
    let len = (&socket).read(&mut buffer).ok()?;
    (len >= 28 && buffer[20] == 0 && buffer[24..26] == id[2..]).then_some(())
}

fn ask(at: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect_timeout(&at, 2 * PATIENCE).ok()?;
    stream.set_read_timeout(Some(2 * PATIENCE)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut head = [0; 7];
    stream.read_exact(&mut head).ok()?;
    (&head == b"HTTP/1.").then_some(())
}

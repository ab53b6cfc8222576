//! Malformed questions to a name server, over UDP and TCP: mutations of a good one, rubbish, and connections that do
//! everything wrong. It must go on answering, over both.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use warren_netns_tests::attack::args::{Args, fail};
use warren_netns_tests::attack::knock::Noise;
use warren_netns_tests::attack::pace::pace;
use warren_netns_tests::attack::verdict::verdict;

const USAGE: &str = "attack-bad-questions --target IP:PORT [--rate 5000] [--seconds 5]";
/// `a.example`, type A, with EDNS and a cookie.
const GOOD: &[u8] = b"\x12\x34\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x01a\x07example\x00\x00\x01\x00\x01\
    \x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x0c\x00\x0a\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08";
const PATIENCE: Duration = Duration::from_secs(3);
/// How many of its answers to bad questions are looked at.
const LOOKED_AT: u64 = 50_000;

fn main() -> ExitCode {
    let args = Args::parse(USAGE);
    let target: SocketAddr = args.need("target");
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let made = socket.connect(target).and_then(|()| socket.set_nonblocking(true));
    made.unwrap_or_else(|e| fail(USAGE, &e.to_string()));
    let (mut noise, mut sent, mut streams, mut longest) = (Noise(7), 0u64, 0u64, 0usize);
    pace(args.or("rate", 5_000), args.or("seconds", 5), |i| {
        let bytes = bad(&mut noise, i);
        sent += u64::from(socket.send(&bytes).is_ok());
        let mut buffer = [0; 65_536];
        if i < LOOKED_AT
            && let Ok(n) = socket.recv(&mut buffer)
        {
            longest = longest.max(n);
        }
        if i % 50 == 0 {
            streams += u64::from(over_tcp(target, &bytes, i / 50).is_ok());
        }
    });
    println!("{sent} datagrams, {streams} connections, the longest answer {longest} bytes");
    let alive = (answers_udp(target), answers_tcp(target));
    let held = alive == (true, true) && sent > 0 && streams > 0 && longest <= 1232;
    verdict(held, &format!("afterwards it answers over UDP and TCP: {alive:?}"))
}

fn bad(noise: &mut Noise, i: u64) -> Vec<u8> {
    let mut bytes = GOOD.to_vec();
    let random = noise.bytes(16);
    match i % 8 {
        0 => return noise.bytes(usize::from(random[0]) * 2),
        1 => bytes.truncate(usize::from(random[0]) % GOOD.len()),
        // A name that points at itself.
        2 => bytes[12..14].copy_from_slice(&[0xc0, 12]),
        3 => bytes[4..12].copy_from_slice(&random[..8]),
        4 => bytes[12] = random[0],
        5 => bytes.extend_from_slice(&noise.bytes(2000)),
        _ => {
            for pair in random.chunks(2) {
                let at = usize::from(pair[0]) % bytes.len();
                bytes[at] = pair[1];
            }
        }
    }
    bytes
}

/// Too long, too short, broken off, many at once, closed without a word.
fn over_tcp(target: SocketAddr, bytes: &[u8], i: u64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    let length = match i % 5 {
        0 => u16::MAX,
        1 => 0,
        2 => (bytes.len() as u16).saturating_mul(2),
        _ => bytes.len() as u16,
    };
    let framed = [&length.to_be_bytes()[..], bytes].concat();
    let times = if i % 5 == 4 { 50 } else { 1 };
    for _ in 0..times {
        // It may hang up at any moment, and is right to.
        if stream.write_all(&framed).is_err() {
            break;
        }
    }
    Ok(())
}

fn right(answer: &[u8]) -> bool {
    answer.len() > 12 && answer[..2] == GOOD[..2] && answer[2] & 0x80 != 0
}

fn answers_udp(target: SocketAddr) -> bool {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let Ok(socket) = UdpSocket::bind(any) else { return false };
    let mut buffer = [0; 2048];
    let mut ask = || {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(GOOD, target)?;
        socket.recv(&mut buffer).map(|n| right(&buffer[..n]))
    };
    (0..3).any(|_| ask().unwrap_or(false))
}

fn answers_tcp(target: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[&(GOOD.len() as u16).to_be_bytes()[..], GOOD].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        Ok::<bool, std::io::Error>(right(&answer))
    };
    (0..3).any(|_| ask().unwrap_or(false))
}

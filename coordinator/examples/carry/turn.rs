//! As much of a TURN client (RFC 8656) as a server without authentication needs: one allocation, one channel.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// In front of what goes through a channel.
pub const HEAD: usize = 4;
const CHANNEL: u16 = 0x4000;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
const SUCCESS: u16 = 0x0100;

/// What the sender sends through the channel comes to the receiver.
pub fn bind(sender: &UdpSocket, server: SocketAddr, receiver: SocketAddr) {
    sender.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // REQUESTED-TRANSPORT: UDP.
    ask(sender, server, ALLOCATE, &[&[0, 0x19, 0, 4, 17, 0, 0, 0]]);
    let number = [0, 0x0c, 0, 4, 0x40, 0, 0, 0];
    let SocketAddr::V4(peer) = receiver else { panic!("IPv4 only") };
    let mut address = vec![0, 0x12, 0, 8, 0, 1];
    address.extend((peer.port() ^ 0x2112).to_be_bytes());
    address.extend(peer.ip().octets().iter().zip(COOKIE).map(|(a, b)| a ^ b));
    ask(sender, server, CHANNEL_BIND, &[&number, &address]);
}

fn ask(socket: &UdpSocket, server: SocketAddr, kind: u16, attributes: &[&[u8]]) {
    let attributes = attributes.concat();
    let mut message = kind.to_be_bytes().to_vec();
    message.extend((attributes.len() as u16).to_be_bytes());
    message.extend(COOKIE);
    message.extend([kind as u8; 12]);
    message.extend(attributes);
    socket.send_to(&message, server).unwrap();
    let mut answer = [0; 1500];
    let len = socket.recv(&mut answer).unwrap_or_else(|e| panic!("no answer of the TURN server: {e}"));
    let got = u16::from_be_bytes([answer[0], answer[1]]);
    assert_eq!(got, kind | SUCCESS, "the TURN server refused: {:02x?}", &answer[..len]);
}

pub fn write(frame: &mut [u8]) {
    let len = (frame.len() - HEAD) as u16;
    frame[..2].copy_from_slice(&CHANNEL.to_be_bytes());
    frame[2..4].copy_from_slice(&len.to_be_bytes());
}

//! Which socket of a `SO_REUSEPORT` group gets a datagram: a classic BPF program that looks at the first bytes of the
//! UDP payload (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)). Its answer is the position of a socket in the order of binding.
//!
//! At a node, data messages (type 4) go to the worker that the receiver index names; everything else, and so every flood
//! of handshakes and garbage, goes to the first socket, where no data worker reads. At a coordinator, frames of the relay go
//! to the relay thread that their sender's seat names, so that one thread judges all of one sender, and everything else
//! (QUIC, STUN) to the first socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::checked;

/// Byte of a WireGuard data message where the 24 bits that name a lane begin (the index is little-endian and its low
/// 8 bits count sessions).
const INDEX: u32 = 5;
const DATA: u32 = 4;

/// First byte of a frame of a relay, and the bytes in front of the WireGuard message in it (`warren_wire::relay`).
const FRAME: u32 = 0x80;
const HEAD: u32 = 20;
/// Byte of a frame that holds the lowest bits of its sender's seat.
const SEAT: u32 = 3;

/// One instruction, as in `struct sock_filter`.
fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Socket 0 for all but data messages; data messages, also in a relay's frame, to socket `1 + (index mod workers)`. A
/// datagram too short to be read goes to socket 0, because a load out of range ends the program with 0.
fn program(workers: u32) -> [libc::sock_filter; 12] {
    use libc::{
        BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_B, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MOD, BPF_RET,
    };
    [
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, 0),
        step(BPF_JMP | BPF_JEQ | BPF_K, 5, 0, DATA),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 8, FRAME),
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, HEAD),
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 6, DATA),
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, HEAD + INDEX),
        step(BPF_JMP | BPF_JA, 0, 0, 1),
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, INDEX),
        step(BPF_ALU | BPF_MOD | BPF_K, 0, 0, workers.max(1)),
        step(BPF_ALU | BPF_ADD | BPF_K, 0, 0, 1),
        step(BPF_RET | BPF_A, 0, 0, 0),
        step(BPF_RET | BPF_K, 0, 0, 0),
    ]
}

/// Socket 0 for all but frames; frames to socket `1 + (seat mod threads)`, or to socket 0, too, if there are no threads.
fn relay_program(threads: u32) -> [libc::sock_filter; 7] {
    use libc::{BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MOD, BPF_RET};
    let to_thread = if threads == 0 { 4 } else { 0 };
    [
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, 0),
        step(BPF_JMP | BPF_JEQ | BPF_K, to_thread, 4, FRAME),
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, SEAT),
        step(BPF_ALU | BPF_MOD | BPF_K, 0, 0, threads.max(1)),
        step(BPF_ALU | BPF_ADD | BPF_K, 0, 0, 1),
        step(BPF_RET | BPF_A, 0, 0, 0),
        step(BPF_RET | BPF_K, 0, 0, 0),
    ]
}

/// Steers the group that `socket` belongs to; all its sockets are bound already: one for handshakes, then `workers`.
pub fn attach(socket: impl AsFd, workers: u32) -> io::Result<()> {
    attach_program(socket, &mut program(workers))
}

/// The same for a coordinator: one socket for all else, then one for each of `threads` of its relay. Sockets of the group behind
/// those get nothing.
pub fn attach_relay(socket: impl AsFd, threads: u32) -> io::Result<()> {
    attach_program(socket, &mut relay_program(threads))
}

fn attach_program(socket: impl AsFd, steps: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: steps.len() as libc::c_ushort, filter: steps.as_mut_ptr() };
    let len = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: `program` points to `steps`, which lives until the call returns; the kernel copies and verifies it.
    checked(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            len,
        )
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::datagram::{Wait, receive};

    fn group(count: usize) -> Vec<UdpSocket> {
        let mut port = 0;
        let mut group = Vec::new();
        for _ in 0..count {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            socket.bind(&address.into()).unwrap();
            let socket = UdpSocket::from(socket);
            port = socket.local_addr().unwrap().port();
            group.push(socket);
        }
        group
    }

    fn message(kind: u8, index: u32) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend((index << 8 | 0x5a).to_le_bytes());
        bytes.extend([0; 24]);
        bytes
    }

    /// In a relay's frame.
    fn framed(carried: Vec<u8>) -> Vec<u8> {
        [vec![0x80; 20], carried].concat()
    }

    /// Sends each to the group and says which sockets got it.
    fn check(group: &[UdpSocket], cases: &[(Vec<u8>, usize)]) {
        let to = group[0].local_addr().unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (bytes, want) in cases {
            from.send_to(bytes, to).unwrap();
            // Delivery on loopback is done when the send returns.
            let mut buffer = [0; 64];
            let got: Vec<usize> = (0..group.len())
                .filter(|at| receive(&group[*at], &mut buffer, Wait::Never).is_ok())
                .collect();
            assert_eq!(got, [*want], "{bytes:?}");
        }
    }

    #[test]
    fn data_goes_to_the_worker_its_index_names_and_all_else_to_the_first_socket() {
        let group = group(4);
        attach(&group[0], 3).unwrap();
        let cases = [
            (message(1, 7), 0),
            (message(2, 8), 0),
            (message(3, 9), 0),
            (message(4, 0), 1),
            (message(4, 1), 2),
            (message(4, 2), 3),
            (message(4, 3), 1),
            (message(4, 0x123405), 3),
            (message(5, 1), 0),
            (vec![4, 0, 0], 0),
            (vec![], 0),
            (framed(message(4, 1)), 2),
            (framed(message(4, 0x123405)), 3),
            (framed(message(1, 1)), 0),
            (framed(vec![0; 8]), 0),
            (vec![0x80; 12], 0),
        ];
        check(&group, &cases);
    }

    #[test]
    fn sockets_behind_those_of_the_relay_get_nothing() {
        let group = group(4);
        for (threads, frame) in [(0, 0), (1, 1)] {
            attach_relay(&group[0], threads).unwrap();
            let all = [0x80, 0xc0, 0x40, 0, 4]
                .map(|first| (vec![first; 40], if first == 0x80 { frame } else { 0 }));
            check(&group, &all);
        }
    }

    #[test]
    fn frames_of_one_seat_go_to_one_thread_of_the_relay_and_all_else_to_the_first_socket() {
        let group = group(3);
        attach_relay(&group[0], 2).unwrap();
        let frame = |from: [u8; 3]| [&[0x80][..], &from, &[0; 24]].concat();
        let cases = [
            (frame([9, 9, 0]), 1),
            (frame([9, 9, 1]), 2),
            (frame([7, 7, 254]), 1),
            (frame([0, 0, 255]), 2),
            // QUIC, long and short; STUN; WireGuard; what is too short.
            (vec![0xc0; 40], 0),
            (vec![0x40; 40], 0),
            (vec![0; 20], 0),
            (message(4, 1), 0),
            (vec![0x80, 1, 1], 0),
            (vec![], 0),
        ];
        check(&group, &cases);
    }
}

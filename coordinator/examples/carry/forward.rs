//! Both ends of what can be said of a relay's speed: the relay, and nothing but the system calls.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use warren_coordinator::clock;
use warren_coordinator::relay::{Carrier, Ports, RelaySettings, Threads};
use warren_coordinator_core::relay::{Pair, Seating};
use warren_kernel::datagram::{self, Wait};
use warren_kernel::option::{Switch, set};
use warren_wire::id::NodeId;

use super::way::{down, receiver, sender, up};

/// The relay of `warren serve`, with two seats that may talk, until it is killed.
pub fn relay(listen: SocketAddr, threads: u32) {
    let settings =
        RelaySettings { threads, megabits: 1_000_000, packets: 100_000_000, ..RelaySettings::default() };
    let (carrier, _asked) = Carrier::new(&settings);
    let now = clock::mono();
    for (seat, node) in [(sender(), 1), (receiver(), 2)] {
        let until = now + Duration::from_secs(24 * 3600);
        let (up, down) = (up(seat), down(seat));
        carrier.relay().seat(Seating { seat, node: NodeId([node; 16]), up, down, until }, now);
    }
    let ports = Ports::bind(listen, threads).unwrap();
    assert_eq!(ports.relay.len(), threads as usize, "steered");
    let threads = Threads::start(carrier.clone(), ports.relay).unwrap();
    println!("ready");
    loop {
        // As the owner does when it is asked again.
        carrier.relay().answer(Pair::of(sender(), receiver()), true, clock::mono());
        std::thread::sleep(Duration::from_secs(60));
        if !ports.control.local_addr().is_ok_and(|at| at.port() == listen.port()) {
            return threads.stop();
        }
    }
}

/// Whatever comes goes to `to`, a batch at a time.
pub fn plain(listen: SocketAddr, to: SocketAddr) {
    let socket = UdpSocket::bind(listen).unwrap();
    set(&socket, Switch::UdpGro, true).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    println!("ready");
    loop {
        let Ok(received) = datagram::receive(&socket, &mut buffer, Wait::Socket) else { continue };
        let segment = u16::try_from(received.segment).ok().filter(|size| usize::from(*size) < received.len);
        let _ = datagram::send(&socket, &to, &buffer[..received.len], segment, Wait::Socket);
    }
}

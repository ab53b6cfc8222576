//! Messages that a data worker got although they are not data (the kernel glued them to data, or does not steer): a
//! short bounded queue to the control worker. Data never passes through it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

/// More than that waiting means a flood: the newest are dropped.
const ROOM: usize = 256;

#[derive(Debug)]
pub struct Aside {
    waiting: Mutex<VecDeque<(SocketAddr, Vec<u8>)>>,
    event: OwnedFd,
}

impl Aside {
    pub fn new() -> io::Result<Aside> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Aside { waiting: Mutex::new(VecDeque::new()), event })
    }

    /// False if there is no room.
    pub fn put(&self, from: SocketAddr, message: &[u8]) -> bool {
        let mut waiting = self.waiting.lock();
        let room = waiting.len() < ROOM;
        if room {
            waiting.push_back((from, message.to_vec()));
        }
        drop(waiting);
        // Full means that the event is set already.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        room
    }

    pub fn take(&self) -> Option<(SocketAddr, Vec<u8>)> {
        let taken = self.waiting.lock().pop_front();
        if taken.is_none() {
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
        taken
    }
}

impl AsFd for Aside {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_messages_set_aside_is_bounded_and_what_was_taken_comes_in_order() {
        let aside = Aside::new().expect("an event");
        let from = SocketAddr::from(([127, 0, 0, 1], 9));
        let kept = (0..ROOM + 50).filter(|n| aside.put(from, &[*n as u8])).count();
        assert_eq!(kept, ROOM);
        let taken: Vec<u8> = std::iter::from_fn(|| aside.take()).map(|(_, message)| message[0]).collect();
        assert_eq!(taken.len(), ROOM);
        assert!(taken.iter().enumerate().all(|(n, byte)| *byte == n as u8));
    }
}

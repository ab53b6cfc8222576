//! What waits to be written to one client. The owner puts messages in without ever waiting; a client that does not
//! take them is dropped and asks for what it missed when it comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// Bytes that may wait for one client: a whole view of a large network, a few times over.
pub const MAX_QUEUED: usize = 32 * 1024 * 1024;
/// Bytes that may wait for all clients together.
pub const MAX_QUEUED_TOTAL: usize = 512 * 1024 * 1024;

static TOTAL: AtomicUsize = AtomicUsize::new(0);

pub(super) enum Out {
    Frame(Counted),
    /// The client is authorised: larger frames are read from now on.
    Authorised,
    /// Send what is queued, then close for this reason.
    Close(&'static str),
}

/// A frame that gives its bytes back to the counters when it is gone, written or not.
pub(super) struct Counted {
    pub bytes: Vec<u8>,
    mine: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.mine.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        TOTAL.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// The sending half, held by the owner.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::UnboundedSender<Out>,
    queued: Arc<AtomicUsize>,
    overrun: Arc<AtomicBool>,
}

/// The client does not keep up; the connection is being dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSlow;

impl Outbox {
    pub(super) fn new() -> (Outbox, mpsc::UnboundedReceiver<Out>) {
        let (queue, out) = mpsc::unbounded_channel();
        (Outbox { queue, queued: Arc::default(), overrun: Arc::default() }, out)
    }

    /// Queues one encoded frame. A single frame always fits an empty queue.
    pub fn send(&self, bytes: Vec<u8>) -> Result<(), TooSlow> {
        let waiting = self.queued.load(Ordering::Relaxed);
        let full = waiting > 0
            && (waiting + bytes.len() > MAX_QUEUED
                || TOTAL.load(Ordering::Relaxed) + bytes.len() > MAX_QUEUED_TOTAL);
        if full || self.overrun.load(Ordering::Relaxed) {
            self.overrun.store(true, Ordering::Relaxed);
            let _ = self.queue.send(Out::Close("too slow: reconnect to be sent what was missed"));
            return Err(TooSlow);
        }
        self.queued.fetch_add(bytes.len(), Ordering::Relaxed);
        TOTAL.fetch_add(bytes.len(), Ordering::Relaxed);
        let frame = Counted { bytes, mine: self.queued.clone() };
        self.queue.send(Out::Frame(frame)).map_err(|_| TooSlow)
    }

    pub fn authorised(&self) {
        let _ = self.queue.send(Out::Authorised);
    }

    pub fn close(&self, why: &'static str) {
        let _ = self.queue.send(Out::Close(why));
    }

    pub(super) fn overrun(&self) -> Arc<AtomicBool> {
        self.overrun.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_reads_nothing_is_dropped_and_its_bytes_are_given_back() {
        let (outbox, out) = Outbox::new();
        let frame = vec![0; 1024 * 1024];
        let sent = (0..100).take_while(|_| outbox.send(frame.clone()).is_ok()).count();
        assert_eq!(sent, MAX_QUEUED / frame.len());
        assert_eq!(outbox.send(vec![1]), Err(TooSlow), "once too slow, always too slow");
        drop(out);
        assert_eq!(outbox.queued.load(Ordering::Relaxed), 0);
    }
}

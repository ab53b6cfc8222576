//! One open door: whose it is, whether anybody at the port has said that it is good, and whether it is still used.
//!
//! Good is a door through which the relay passes a frame out (it does so only to who has written an authentic one), or whose
//! control channel is authorised ([`super::Callers::prove`]). QUIC's packets by themselves prove nothing: anybody may have a handshake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use warren_door::End;
use warren_wire::relay;

use super::callers::Caller;
use crate::meter::Meter;

/// A door that is not good yet ends after this long,
pub const STRANGER_TIME: Duration = Duration::from_secs(30);
/// and carries no more datagrams in than this. An enrolment needs about ten.
pub const STRANGER_DATAGRAMS: u32 = 512;
/// A door by which the port says nothing is not used: questions to a relay and keep-alives of QUIC are more frequent.
pub const SILENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(2);

/// See the module.
pub struct Watch {
    caller: Caller,
    meter: Arc<Meter>,
    begun: Instant,
    good: AtomicBool,
    came: AtomicU32,
    /// Milliseconds after it was opened.
    heard: AtomicU64,
}

impl Watch {
    pub fn new(caller: Caller, meter: Arc<Meter>) -> Watch {
        Watch {
            caller,
            meter,
            begun: Instant::now(),
            good: AtomicBool::new(false),
            came: AtomicU32::new(0),
            heard: AtomicU64::new(0),
        }
    }

    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// It counts as a member's from now on.
    pub fn prove(&self) {
        if !self.good.swap(true, Ordering::Relaxed) {
            self.meter.promote();
            self.hear();
        }
    }

    pub fn is_good(&self) -> bool {
        self.good.load(Ordering::Relaxed)
    }

    /// May one more come in, of so many bytes?
    pub fn inward(&self, bytes: usize) -> Result<(), End> {
        if self.good.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.meter.went(bytes);
        match self.came.fetch_add(1, Ordering::Relaxed) < STRANGER_DATAGRAMS {
            true => Ok(()),
            false => Err(End::Protocol("too much before it has shown to be a member".to_owned())),
        }
    }

    /// What the port says.
    pub fn outward(&self, datagram: &[u8]) {
        if relay::is_frame(datagram) {
            self.prove();
            self.hear();
        } else if datagram.first().is_some_and(|first| first & 0xc0 == 0x40) {
            // QUIC after its handshake (RFC 9000 section 17.3).
            self.hear();
        }
    }

    fn hear(&self) {
        let ms = self.begun.elapsed().as_millis();
        self.heard.store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns when it has no reason to stay.
    pub async fn over(&self) -> End {
        loop {
            tokio::time::sleep(LOOK).await;
            let age = self.begun.elapsed();
            let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
            match self.good.load(Ordering::Relaxed) {
                false if age > STRANGER_TIME => {
                    return End::Protocol("nobody here knows who it is".to_owned());
                }
                true if age.saturating_sub(heard) > SILENCE => {
                    return End::Gone("it is not used any more".to_owned());
                }
                _ => {}
            }
        }
    }
}

//! So many a second, for so long; and listening until nobody answers any more.

use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const SLICE: Duration = Duration::from_millis(5);

/// Calls `act` with 0, 1, 2, … at `rate` calls a second for `seconds`; returns how many calls were made. A machine that is
/// too slow makes fewer: it is the caller's to say so.
pub fn pace(rate: u64, seconds: u64, mut act: impl FnMut(u64)) -> u64 {
    let start = Instant::now();
    let end = Duration::from_secs(seconds);
    let mut done = 0;
    while start.elapsed() < end {
        let due = rate * start.elapsed().as_micros() as u64 / 1_000_000;
        // What could not be sent in time is not made up for in one burst.
        done = done.max(due.saturating_sub(rate / 10 + 1));
        while done < due {
            act(done);
            done += 1;
        }
        std::thread::sleep(SLICE);
    }
    done
}

/// No answer for so long, and none comes any more.
const QUIET: Duration = Duration::from_millis(500);
/// Whoever is answered without end stops listening.
const LISTEN: Duration = Duration::from_secs(5);

/// Late answers count too: calls `hear`, which reads what is there, until nothing comes any more.
pub fn hear_out(ears: &UdpSocket, mut hear: impl FnMut()) -> io::Result<()> {
    let start = Instant::now();
    ears.set_read_timeout(Some(QUIET))?;
    loop {
        ears.set_nonblocking(false)?;
        let more = ears.peek(&mut [0]).is_ok();
        ears.set_nonblocking(true)?;
        hear();
        if !more || start.elapsed() > LISTEN {
            return Ok(());
        }
    }
}

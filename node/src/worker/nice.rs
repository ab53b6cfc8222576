//! Packet threads go before ordinary programs, as the kernel's own network code does: whoever waits for a packet waits for
//! them. Where the agent may not do that (the systemd unit lets it), it works all the same, only later.

/// The nice value of a thread that carries packets.
const AHEAD: i32 = -10;

/// The calling thread goes before ordinary programs, or where it was put by whoever started the agent.
#[derive(Debug)]
pub struct Rank {
    own: i32,
    ahead: bool,
}

impl Rank {
    pub fn ahead() -> Rank {
        let own = rustix::process::getpriority_process(None).unwrap_or(0);
        let mut rank = Rank { own, ahead: false };
        rank.set(true);
        rank
    }

    pub fn set(&mut self, ahead: bool) {
        if self.ahead != ahead {
            self.ahead = ahead;
            let nice = if ahead { self.own.min(AHEAD) } else { self.own };
            // Of the calling thread only: on Linux each has a nice value of its own.
            if let Err(e) = rustix::process::setpriority_process(None, nice) {
                tracing::debug!("the priority of a packet thread stays: {e}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn a_thread_goes_ahead_alone_and_comes_back() {
        let nice = || getpriority_process(None).expect("a nice value");
        let before = nice();
        std::thread::spawn(move || {
            let mut rank = Rank::ahead();
            // Who may not has the value it had.
            assert!([AHEAD, before].contains(&nice()));
            rank.set(false);
            assert_eq!(nice(), before);
        })
        .join()
        .expect("it ends well");
        assert_eq!(nice(), before, "the others stay where they were");
    }
}

//! Somebody who knocks at a port that no grant names, and sends a mark, without end; and an eavesdropper on the underlay.
//! Whatever happens to the agents meanwhile: the port stays shut, and the mark is never heard.

use crate::capture::Capture;
use crate::process::Daemon;
use crate::street::Host;
use crate::town::Town;
use crate::wait::until;
use crate::warren::{COORDINATOR_PORT, LIMIT, WIREGUARD_PORT};

/// Where web-1 knocks at orders-1; somebody listens there.
pub const HIDDEN: u16 = 9090;
const MARK: &str = "MARKER-window";

#[derive(Debug)]
pub struct Watch {
    capture: Capture,
    knocking: Daemon,
    _hidden: Daemon,
}

/// Both families, as fast as it can; prints `tried N` after each round, and `OPEN` when somebody answers.
fn knock(from: &Host, targets: &[String]) -> Daemon {
    let one = |target: &String| {
        format!(
            "if timeout 0.3 bash -c 'exec 3<>/dev/tcp/{target}/{HIDDEN}' 2>/dev/null; then echo OPEN $n; fi; \
             printf {MARK} 2>/dev/null >/dev/udp/{target}/9091; "
        )
    };
    let all: String = targets.iter().map(one).collect();
    let script = format!("n=0; while :; do n=$((n+1)); {all} echo tried $n; done 2>/dev/null");
    from.daemon("knock", &["bash", "-c", &script])
}

impl Watch {
    pub fn begin(town: &Town) -> Watch {
        let hidden = town.orders.serve_http(HIDDEN);
        let capture = Capture::start(&town.street, "watch");
        let knocking = knock(&town.web.host, &[town.orders.v4(), town.orders.v6()]);
        Watch { capture, knocking, _hidden: hidden }
    }

    /// Rounds of knocking so far.
    pub fn tried(&self) -> usize {
        self.knocking.output().matches("tried").count()
    }

    /// Waits until there was knocking from begin to end of one round more.
    pub fn wait_for_knocks(&self) {
        let before = self.tried();
        until("somebody knocks", LIMIT, || self.tried() >= before + 3);
    }

    pub fn knows_it_open(&self) -> bool {
        self.knocking.output().contains("OPEN")
    }

    /// Nothing was open, nothing was heard.
    pub fn end(self) {
        until("it has knocked often enough", LIMIT, || self.tried() > 10);
        assert!(!self.knows_it_open(), "{}", self.knocking.output());
        drop(self.knocking);
        let seen = self.capture.finish();
        assert_eq!(seen.dropped, 0, "a capture with holes proves nothing");
        assert_eq!(seen.containing(MARK.as_bytes()), 0, "the mark was sent in clear");
        assert_eq!(seen.strange_but_refusals(&[WIREGUARD_PORT, COORDINATOR_PORT]), vec![]);
    }
}

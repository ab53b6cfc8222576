//! How the TCP connections of an edge fare, as the kernels at their ends measure it.

use warren_wire::flow::more;

use crate::flows::FlowRow;

/// What one side told in some time. It adds up, like the sums beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Smoothed round-trip times added up, microseconds, and how many they were.
    pub rtt_us: u64,
    pub rtts: u64,
    /// Segments this side sent again; none: not known.
    pub retransmissions: Option<u64>,
}

impl Quality {
    pub fn of(row: &FlowRow) -> Quality {
        // A flow that only ends, long after its last packet, measured nothing.
        let measured = row.rtt_us.filter(|_| row.packets_out > 0 || row.packets_back > 0);
        Quality {
            rtt_us: measured.unwrap_or_default(),
            rtts: u64::from(measured.is_some()),
            retransmissions: row.retransmissions,
        }
    }

    pub fn add(&mut self, other: &Quality) {
        self.rtt_us = self.rtt_us.saturating_add(other.rtt_us);
        self.rtts = self.rtts.saturating_add(other.rtts);
        self.retransmissions = more(self.retransmissions, other.retransmissions);
    }

    /// None: nobody told one.
    pub fn mean_rtt_us(&self) -> Option<u64> {
        self.rtt_us.checked_div(self.rtts)
    }
}

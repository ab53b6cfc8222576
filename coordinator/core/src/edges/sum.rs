//! What is counted on an edge.

use serde::{Deserialize, Serialize};
use warren_wire::flow::{FlowEnd, more};

use super::Quality;
use crate::flows::FlowRow;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Sum {
    /// Flows that began.
    pub flows: u64,
    /// Refused attempts.
    pub tries: u64,
    /// From the opener to the other end; bytes of whole IP packets.
    pub packets_out: u64,
    pub bytes_out: u64,
    pub packets_back: u64,
    pub bytes_back: u64,
}

impl Sum {
    pub fn of(row: &FlowRow) -> Sum {
        let refused = row.end == FlowEnd::Refused;
        Sum {
            flows: if row.first && !refused { row.count.max(1) } else { 0 },
            tries: if refused { row.count } else { 0 },
            packets_out: row.packets_out,
            bytes_out: row.bytes_out,
            packets_back: row.packets_back,
            bytes_back: row.bytes_back,
        }
    }

    pub fn add(&mut self, other: &Sum) {
        let sum = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        sum(&mut self.flows, other.flows);
        sum(&mut self.tries, other.tries);
        sum(&mut self.packets_out, other.packets_out);
        sum(&mut self.bytes_out, other.bytes_out);
        sum(&mut self.packets_back, other.packets_back);
        sum(&mut self.bytes_back, other.bytes_back);
    }

    /// What remains without `part`.
    #[must_use]
    pub fn without(&self, part: &Sum) -> Sum {
        Sum {
            flows: self.flows.saturating_sub(part.flows),
            tries: self.tries.saturating_sub(part.tries),
            packets_out: self.packets_out.saturating_sub(part.packets_out),
            bytes_out: self.bytes_out.saturating_sub(part.bytes_out),
            packets_back: self.packets_back.saturating_sub(part.packets_back),
            bytes_back: self.bytes_back.saturating_sub(part.bytes_back),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes_out.saturating_add(self.bytes_back)
    }
}

/// What each end of an edge says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    pub opener: Option<Sum>,
    pub other: Option<Sum>,
    /// Of the same two.
    pub fares: [Quality; 2],
}

impl Sides {
    pub fn add(&mut self, opener: bool, sum: &Sum, quality: &Quality) {
        let [first, second] = &mut self.fares;
        let (side, fares) = if opener { (&mut self.opener, first) } else { (&mut self.other, second) };
        side.get_or_insert_default().add(sum);
        fares.add(quality);
    }

    /// Round-trip time in the mean, microseconds: the opener's word, the other end's where he said nothing.
    pub fn rtt_us(&self) -> Option<u64> {
        self.fares.iter().find_map(Quality::mean_rtt_us)
    }

    /// What both ends sent again, as far as they say.
    pub fn retransmissions(&self) -> Option<u64> {
        self.fares.iter().fold(None, |sum, quality| more(sum, quality.retransmissions))
    }

    /// The opener's word, the other end's where he said nothing.
    pub fn shown(&self) -> Sum {
        self.opener.or(self.other).unwrap_or_default()
    }

    /// The received bytes of one end are never more than what the other end sent; less is loss on the way, or a record that
    /// is still to come. `inner` and `outer` are the same sums over a shorter and a longer stretch: what one end counted in
    /// one second the other may have counted in the one before. `Some`: more arrived than was sent, which no honest pair of
    /// reports says.
    pub fn contradiction(&self, inner: &Sides, outer: &Sides) -> Option<(Sum, Sum)> {
        let (opener, other) = (self.opener?, self.other?);
        let out = inner.other?.bytes_out > outer.opener?.bytes_out;
        let back = inner.opener?.bytes_back > outer.other?.bytes_back;
        (out || back).then_some((opener, other))
    }

    /// Would be a contradiction if nothing else were known.
    pub fn differs(&self) -> bool {
        let (Some(opener), Some(other)) = (self.opener, self.other) else { return false };
        other.bytes_out > opener.bytes_out || opener.bytes_back > other.bytes_back
    }
}

//! What the local host is told when its packet was refused: TCP RST, or ICMP "administratively prohibited".

use super::Packet;

/// The answer to the local host for a refused outbound packet: `None` if it must not be answered (an ICMP error, a RST, a
/// later fragment). Not on the fast path; the judge limits how often it is asked for.
pub fn refusal(_bytes: &[u8], _packet: &Packet) -> Option<Vec<u8>> {
    todo!()
}

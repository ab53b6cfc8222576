//! The maximum segment size that a SYN announces (RFC 9293 section 3.7.1), lowered to what the tunnel carries: then
//! neither end sends what would have to be cut or refused on the way, also where ICMP is lost (RFC 2923 section 2.1).

use super::bytes::{array, put, u8_at, u16_at};
use super::{Fragment, Kind, Packet, TcpFlags};

const FIXED: usize = 20;
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
/// Offset of the checksum in the TCP header.
const CHECKSUM: usize = 16;

/// Lowers the announced size of a SYN to what fits packets of `limit` bytes, and mends its checksum. True if it was
/// larger. `bytes` begin at the IP header.
pub fn clamp(bytes: &mut [u8], packet: &Packet, limit: usize) -> bool {
    let Kind::Tcp(tcp) = packet.kind else { return false };
    if !tcp.flags.has(TcpFlags::SYN) || packet.fragment != Fragment::None {
        return false;
    }
    let most = limit.saturating_sub(packet.l4 + FIXED).try_into().unwrap_or(u16::MAX);
    let Some(at) = find(bytes, packet.l4 + FIXED, packet.payload) else { return false };
    match u16_at(bytes, at) {
        Ok(announced) if announced > most => {
            replace(bytes, packet.l4, at, most);
            true
        }
        _ => false,
    }
}

/// Where the two bytes of the value are.
fn find(bytes: &[u8], mut at: usize, end: usize) -> Option<usize> {
    while at < end {
        match u8_at(bytes, at).ok()? {
            END => return None,
            NOP => at += 1,
            kind => {
                let len = usize::from(u8_at(bytes, at + 1).ok()?);
                if len < 2 || at + len > end {
                    return None;
                }
                if kind == MSS && len == 4 {
                    return Some(at + 2);
                }
                at += len;
            }
        }
    }
    None
}

/// RFC 1624, equation 3, on the one or two 16-bit words that the value lies in.
fn replace(bytes: &mut [u8], l4: usize, at: usize, value: u16) {
    let first = at - (at - l4) % 2;
    let words = |bytes: &[u8]| -> [u16; 2] { [first, first + 2].map(|at| u16_at(bytes, at).unwrap_or(0)) };
    let old = words(bytes);
    put(bytes, at, value.to_be_bytes());
    let new = words(bytes);
    let mut sum = u32::from(!u16::from_be_bytes(array(bytes, l4 + CHECKSUM).unwrap_or_default()));
    for (old, new) in old.into_iter().zip(new) {
        sum += u32::from(!old) + u32::from(new);
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    put(bytes, l4 + CHECKSUM, (!(sum as u16)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warren_config::policy::Protocol;

    use super::*;
    use crate::packet::forge::{self, SYN, SYN_ACK};
    use crate::packet::{checksum, classify};

    fn syn(v4: bool, flags: u8, options: &[u8]) -> Vec<u8> {
        let (a, b) = if v4 { ("100.64.0.1", "100.64.0.2") } else { ("fd00::1", "fd00::2") };
        forge::tcp_with(forge::tuple(Protocol::Tcp, a, 4000, b, 80), flags, 1000, 0, options, &[])
    }

    fn announced(packet: &[u8]) -> Option<u16> {
        let read = classify(packet).unwrap();
        find(packet, read.l4 + FIXED, read.payload).map(|at| u16_at(packet, at).unwrap())
    }

    fn holds(packet: &[u8]) -> bool {
        let read = classify(packet).unwrap();
        checksum::transport_holds(packet, read.is_v4(), checksum::TCP, &packet[read.l4..])
    }

    #[test]
    fn a_larger_announcement_is_lowered_and_a_smaller_one_stays() {
        for (v4, flags) in [(true, SYN), (true, SYN_ACK), (false, SYN), (false, SYN_ACK)] {
            let most = if v4 { 1300 - 40 } else { 1300 - 60 };
            for (mss, want) in [(8960u16, most), (most, most), (536, 536)] {
                let [high, low] = mss.to_be_bytes();
                let mut packet = syn(v4, flags, &[MSS, 4, high, low]);
                let read = classify(&packet).unwrap();
                assert_eq!(clamp(&mut packet, &read, 1300), mss > most);
                assert_eq!(announced(&packet), Some(want));
                assert!(holds(&packet));
            }
        }
    }

    #[test]
    fn only_a_syn_announces() {
        let mut packet = syn(true, forge::ACK, &[MSS, 4, 0x23, 0]);
        let read = classify(&packet).unwrap();
        assert!(!clamp(&mut packet, &read, 1300));
    }

    proptest! {
        /// Whatever the options are: never a panic, a right checksum stays right, and nothing but the value changes.
        #[test]
        fn any_options_leave_a_whole_packet(
            v4: bool,
            words in prop::collection::vec(prop_oneof![Just(MSS), Just(4u8), Just(NOP), Just(3u8), any::<u8>()], 0..40),
            limit in 0usize..2000,
        ) {
            let mut options = words;
            options.resize(options.len().next_multiple_of(4), NOP);
            let mut packet = syn(v4, SYN, &options);
            let (before, read) = (packet.clone(), classify(&packet).unwrap());
            let changed = clamp(&mut packet, &read, limit);
            prop_assert!(holds(&packet));
            prop_assert_eq!(changed, before != packet);
            let differ = before.iter().zip(&packet).enumerate().filter(|(_, (a, b))| a != b);
            let value = find(&before, read.l4 + FIXED, read.payload);
            for (at, _) in differ {
                let in_value = value.is_some_and(|value| (value..value + 2).contains(&at));
                prop_assert!(in_value || (read.l4 + CHECKSUM..read.l4 + CHECKSUM + 2).contains(&at));
            }
            if let Some(mss) = announced(&packet) {
                prop_assert!(usize::from(mss) <= limit.saturating_sub(read.l4 + FIXED) || !changed);
            }
        }
    }
}

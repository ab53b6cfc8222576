//! The Internet checksum (RFC 1071).
//!
//! Sums are kept in the machine's byte order and folded at the end: the one's complement sum does not care (RFC 1071
//! section 2 B). Wide lanes that cannot overflow, added without a check, let the compiler vectorise (with the checks of the
//! release profile it does not); a slow judge in the tests adds byte by byte.

use super::bytes::array;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;

/// 32-bit words summed side by side.
const LANES: usize = 8;

/// `init` plus the words of `bytes`, unfolded. It cannot overflow: 2^32 words of 32 bits would have to be added.
pub fn sum(bytes: &[u8], init: u64) -> u64 {
    let mut lanes = [0u64; LANES];
    let (blocks, rest) = bytes.as_chunks::<{ 4 * LANES }>();
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u32::from_ne_bytes(*word).into());
        }
    }
    lanes.iter().fold(sum_rest(rest, init), |total, lane| total.wrapping_add(*lane))
}

/// The same for less than a block.
fn sum_rest(bytes: &[u8], init: u64) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let total = words.iter().fold(init, |total, word| total.wrapping_add(u32::from_ne_bytes(*word).into()));
    let (pairs, last) = rest.as_chunks::<2>();
    let total = pairs.iter().fold(total, |total, pair| total.wrapping_add(u16::from_ne_bytes(*pair).into()));
    match last {
        [odd] => total.wrapping_add(u16::from_ne_bytes([*odd, 0]).into()),
        _ => total,
    }
}

/// The 16-bit one's complement sum, in the machine's byte order.
pub fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The bytes of a checksum field over everything in `sum`.
pub fn finish(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1) of the packet that begins with `ip`.
pub fn pseudo(ip: &[u8], v4: bool, number: u8, len: usize) -> u64 {
    let addresses = if v4 { ip.get(12..20) } else { ip.get(8..40) };
    let [l0, l1, l2, l3] = (len as u32).to_be_bytes();
    let tail = [0, number, l0, l1, l2, l3];
    sum(&tail, sum(addresses.unwrap_or_default(), 0))
}

/// The checksum of transport bytes whose own checksum field is zero. UDP's zero means "none", so it becomes ffff.
pub fn transport(ip: &[u8], v4: bool, number: u8, segment: &[u8]) -> [u8; 2] {
    let init = if number == ICMP { 0 } else { pseudo(ip, v4, number, segment.len()) };
    match finish(sum(segment, init)) {
        [0, 0] if number == UDP => [0xff, 0xff],
        field => field,
    }
}

/// True if the transport bytes, with their checksum field, sum up.
pub fn transport_holds(ip: &[u8], v4: bool, number: u8, segment: &[u8]) -> bool {
    let init = if number == ICMP { 0 } else { pseudo(ip, v4, number, segment.len()) };
    fold(sum(segment, init)) == 0xffff
}

/// True if a 20-byte IPv4 header sums up.
pub fn ipv4_header_holds(bytes: &[u8]) -> bool {
    array::<20>(bytes, 0).is_ok_and(|header| fold(sum(&header, 0)) == 0xffff)
}

/// Writes the header checksum of the 20-byte IPv4 header at the start of `bytes`.
pub fn set_ipv4_header(bytes: &mut [u8]) {
    super::bytes::put(bytes, 10, [0, 0]);
    if let Ok(header) = array::<20>(bytes, 0) {
        super::bytes::put(bytes, 10, finish(sum(&header, 0)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 word by word, big-endian, carry at once.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn fast_and_slow_checksums_agree(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(finish(sum(&bytes, 0)), slow(&bytes).to_be_bytes());
        }

        #[test]
        fn a_sum_may_be_built_from_even_parts(bytes in prop::collection::vec(any::<u8>(), 64..2000), cut in 0usize..32) {
            let (a, b) = bytes.split_at(cut * 2);
            prop_assert_eq!(fold(sum(b, sum(a, 0))), fold(sum(&bytes, 0)));
        }
    }

    #[test]
    fn the_largest_packet_of_ones_sums_up() {
        assert_eq!(finish(sum(&[0xff; 65535], 0)), slow(&[0xff; 65535]).to_be_bytes());
    }

    #[test]
    fn the_example_of_rfc_1071_holds() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes, 0)).to_ne_bytes(), 0xddf2u16.to_be_bytes());
    }
}

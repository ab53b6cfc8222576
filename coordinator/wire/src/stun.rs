//! Binding of STUN (RFC 8489): a host asks from its WireGuard socket which address and port others see it at, and a
//! coordinator answers on the port of its control channel.
//!
//! Two messages are all that is needed, so they are read and written here; a library judges them in tests. No attribute
//! changes what is answered. Nobody is told anything about anybody else, and an answer is never larger than its question:
//! a question is padded, and one that is too short gets none, so forged sources gain nothing.
//!
//! On a WireGuard socket the two cannot be mixed up: WireGuard's second byte is 0, an answer's is 1 (RFC 8489 section 5).

mod proof;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use warren_config::time::UnixTime;

pub use proof::{LIFE_MINUTES, PROOF, PlaceKey, Proof};

const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const SOFTWARE: u16 = 0x8022;
/// Our own: a [`Proof`] of the place that is given.
const PLACE_PROOF: u16 = 0xfc57;
/// Attributes from here on may be ignored by who does not know them (RFC 8489 section 14).
const OPTIONAL: u16 = 0x8000;
const HEADER: usize = 20;
/// Pads a question to the size of the longest answer.
const NAME: &[u8; 44] = b"warren-node (padded to what is answered)....";

/// Bytes of a question, and of the longest answer.
pub const QUESTION: usize = HEADER + 4 + NAME.len();
/// Bytes of the longest answer without a proof: who asks with fewer gets none.
const PLAIN: usize = HEADER + 4 + 20;
/// The longest message that is read; more fits no path.
const MAX_MESSAGE: usize = 1280;

/// Ties an answer to its question; unguessable, so that only who saw the question can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionId(pub [u8; 12]);

/// Is this for a reader of STUN? Neither QUIC (first bits `01` or `11`) nor WireGuard looks like it.
pub fn is_stun(datagram: &[u8]) -> bool {
    let (Some(first), Some(cookie)) = (datagram.first(), datagram.get(4..8)) else { return false };
    *first < 4 && cookie == COOKIE
}

/// What to ask.
pub fn question(id: TransactionId) -> [u8; QUESTION] {
    let mut bytes = [0; QUESTION];
    let head = header(REQUEST, QUESTION - HEADER, id);
    let attribute = [SOFTWARE.to_be_bytes(), (NAME.len() as u16).to_be_bytes()].concat();
    for (to, from) in bytes.iter_mut().zip(head.iter().chain(&attribute).chain(NAME)) {
        *to = *from;
    }
    bytes
}

/// The id of a question that may be answered.
pub fn read_question(datagram: &[u8]) -> Option<TransactionId> {
    if datagram.len() < PLAIN {
        return None;
    }
    let (kind, id, attributes) = read(datagram)?;
    let understood = attributes.iter().all(|(kind, _)| *kind >= OPTIONAL);
    (kind == REQUEST && understood).then_some(id)
}

/// The answer to a question that came from `seen`, if it is to get one. With `key`, and if the question is long enough for it,
/// the answer proves that its reader receives there.
pub fn reply(datagram: &[u8], seen: SocketAddr, key: Option<(&PlaceKey, UnixTime)>) -> Option<Vec<u8>> {
    let id = read_question(datagram)?;
    let seen = SocketAddr::new(seen.ip().to_canonical(), seen.port());
    let proof = key.filter(|_| datagram.len() >= QUESTION).map(|(key, now)| key.prove(seen, now));
    let mut bytes = answer(id, seen);
    let Some(Proof(proof)) = proof else { return Some(bytes) };
    bytes.extend(PLACE_PROOF.to_be_bytes());
    bytes.extend((PROOF as u16).to_be_bytes());
    bytes.extend(proof);
    let length = (bytes.len() - HEADER) as u16;
    bytes.iter_mut().skip(2).zip(length.to_be_bytes()).for_each(|(to, from)| *to = from);
    Some(bytes)
}

/// The answer to who is seen at `seen`, without a proof.
pub fn answer(id: TransactionId, seen: SocketAddr) -> Vec<u8> {
    let (family, address) = match seen.ip().to_canonical() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let [high, low] = (seen.port() ^ 0x2112).to_be_bytes();
    let mut value = vec![0, family, high, low];
    value.extend(address.iter().zip(mask(id)).map(|(byte, mask)| byte ^ mask));
    let mut bytes = header(SUCCESS, 4 + value.len(), id).to_vec();
    bytes.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes
}

/// Which question this answers, and the address it gives.
pub fn read_answer(datagram: &[u8]) -> Option<(TransactionId, SocketAddr)> {
    let (kind, id, attributes) = read(datagram)?;
    let (_, value) = attributes.iter().find(|(kind, _)| *kind == XOR_MAPPED_ADDRESS)?;
    (kind == SUCCESS).then(|| read_address(value, id)).flatten().map(|address| (id, address))
}

/// The proof that an answer carries.
pub fn read_proof(datagram: &[u8]) -> Option<Proof> {
    let (kind, _, attributes) = read(datagram)?;
    let (_, value) = attributes.iter().find(|(kind, _)| *kind == PLACE_PROOF)?;
    (kind == SUCCESS).then(|| Proof::from_slice(value)).flatten()
}

fn header(kind: u16, length: usize, id: TransactionId) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let length = (length as u16).to_be_bytes();
    let parts = kind.to_be_bytes().into_iter().chain(length).chain(COOKIE).chain(id.0);
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    bytes
}

/// RFC 8489 section 14.2: the cookie, and for IPv6 the id behind it.
fn mask(id: TransactionId) -> impl Iterator<Item = u8> {
    COOKIE.into_iter().chain(id.0)
}

fn read_address(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let (head, address) = value.split_first_chunk::<4>()?;
    let [_, family, high, low] = *head;
    let port = u16::from_be_bytes([high, low]) ^ 0x2112;
    let plain: Vec<u8> = address.iter().zip(mask(id)).map(|(byte, mask)| byte ^ mask).collect();
    let ip: IpAddr = match (family, address.len()) {
        (1, 4) => Ipv4Addr::from(<[u8; 4]>::try_from(plain).ok()?).into(),
        (2, 16) => Ipv6Addr::from(<[u8; 16]>::try_from(plain).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

type Attributes<'a> = Vec<(u16, &'a [u8])>;

/// Type, id and attributes of a whole message and nothing behind it.
fn read(datagram: &[u8]) -> Option<(u16, TransactionId, Attributes<'_>)> {
    if !is_stun(datagram) || datagram.len() > MAX_MESSAGE {
        return None;
    }
    let (head, body) = datagram.split_first_chunk::<HEADER>()?;
    let [k0, k1, l0, l1, _, _, _, _, id @ ..] = *head;
    let whole = usize::from(u16::from_be_bytes([l0, l1])) == body.len() && body.len().is_multiple_of(4);
    let attributes = whole.then(|| read_attributes(body)).flatten()?;
    Some((u16::from_be_bytes([k0, k1]), TransactionId(id), attributes))
}

fn read_attributes(mut body: &[u8]) -> Option<Attributes<'_>> {
    let mut attributes = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<4>() {
        let [k0, k1, l0, l1] = *head;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        attributes.push((u16::from_be_bytes([k0, k1]), rest.get(..length)?));
        body = rest.get(length.next_multiple_of(4)..)?;
    }
    body.is_empty().then_some(attributes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: TransactionId = TransactionId(*b"twelve bytes");

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// RFC 5769 sections 2.2 and 2.3, the attributes this reader looks at.
    #[test]
    fn the_vectors_of_the_standard_are_read() {
        let id = TransactionId([0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);
        let v4 = [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(read_address(&v4, id), Some(at("192.0.2.1:32853")));
        let v6 = [
            0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5,
            0xbe, 0xd2, 0xb9, 0xd9,
        ];
        assert_eq!(read_address(&v6, id), Some(at("[2001:db8:1234:5678:11:2233:4455:6677]:32853")));
    }

    #[test]
    fn an_answer_says_where_the_question_came_from_and_is_never_larger() {
        for seen in ["203.0.113.9:40000", "[2001:db8::1]:1", "255.255.255.255:65535"] {
            let question = question(ID);
            assert_eq!(read_question(&question), Some(ID));
            let answer = answer(ID, at(seen));
            assert_eq!(read_answer(&answer), Some((ID, at(seen))));
            assert!(answer.len() <= question.len() && is_stun(&answer) && is_stun(&question));
        }
        assert_eq!(read_answer(&answer(ID, at("[::ffff:192.0.2.1]:7"))), Some((ID, at("192.0.2.1:7"))));
    }

    #[test]
    fn an_answer_proves_its_place_if_the_question_left_room_for_it() {
        let (key, now) = (PlaceKey::new([3; 16]), UnixTime(1_800_000_000));
        for seen in ["203.0.113.9:40000", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:7"] {
            let question = question(ID);
            let told = reply(&question, at(seen), Some((&key, now))).unwrap();
            let (id, place) = read_answer(&told).unwrap();
            assert!(id == ID && told.len() <= question.len(), "never larger than what was asked");
            assert!(key.holds(&read_proof(&told).unwrap(), place, now));
            let plain = reply(&question, at(seen), None).unwrap();
            assert_eq!((read_answer(&plain), read_proof(&plain)), (Some((ID, place)), None));
        }
        // Of others, with as much room as an address needs.
        let mut short = header(REQUEST, PLAIN - HEADER, ID).to_vec();
        short.extend(SOFTWARE.to_be_bytes().into_iter().chain([0, 20]).chain([b'x'; 20]));
        let told = reply(&short, at("[2001:db8::1]:1"), Some((&key, now))).unwrap();
        assert!(read_proof(&told).is_none() && told.len() <= short.len());
        assert_eq!(reply(&short[..PLAIN - 1], at("192.0.2.1:1"), None), None);
    }

    /// Whoever forges a source must not get more sent there than he sends.
    #[test]
    fn a_question_smaller_than_its_answer_gets_none() {
        let bare = header(REQUEST, 0, ID);
        assert!(is_stun(&bare));
        assert_eq!(read_question(&bare), None);
    }

    #[test]
    fn what_must_be_understood_and_is_not_gets_no_answer() {
        let mut unknown = question(ID);
        unknown[HEADER] = 0x00; // SOFTWARE becomes 0x0022
        assert_eq!(read_question(&unknown), None);
        assert_eq!(read_question(&answer(ID, at("192.0.2.1:1"))), None);
        assert_eq!(read_answer(&question(ID)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_question(&bytes), read_answer(&bytes), read_proof(&bytes));
        }

        /// Nothing that was cut, lengthened or changed outside the padding is the same question.
        #[test]
        fn a_changed_message_says_nothing_else(at in 0..QUESTION, bit in 0..8u8, cut in 0..QUESTION) {
            let mut changed = question(ID);
            changed[at] ^= 1 << bit;
            prop_assert!(read_question(&changed).is_none_or(|id| (id == ID) != (8..HEADER).contains(&at)));
            prop_assert_eq!(read_question(&question(ID)[..cut]), None);
            prop_assert_eq!(read_question(&[&question(ID)[..], &[0]].concat()), None);
        }
    }
}

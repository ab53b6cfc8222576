//! Doors: whole datagrams of a UDP port, carried in another way where UDP does not pass.
//!
//! A door belongs to one UDP port (the coordinator's, or a relay's) and knows nothing of what it carries: what comes out
//! of it at that port is QUIC, STUN or frames, with every limit and proof that holds there.
//!
//! | | carried in | one datagram |
//! |---|---|---|
//! | WebSocket (RFC 6455) over TLS 1.3 on TCP | a binary message | is one message |
//! | QUIC datagrams (RFC 9221) | a QUIC datagram | is one, or two halves ([`halves`]) if it does not fit |

mod halves;
mod place;

pub use halves::{Broken, HALF_LIFE, HEAD, Joiner, MAX_HALVES, MAX_HALVES_BYTES, split};
pub use place::{Carriage, DoorAt, DoorPlace, DoorPlaces, MAX_DOORS};

/// The port that networks without UDP let through.
pub const PORT: u16 = 443;
/// ALPN (RFC 7301) of a door over TLS: it is what it says, and what is let through.
pub const TLS_ALPN: &[u8] = b"http/1.1";
/// ALPN of a door over QUIC; its number is the version of the halves.
pub const QUIC_ALPN: &[u8] = b"warren-door/1";
/// `Sec-WebSocket-Protocol` (RFC 6455 section 11.3.4); a server that does not speak it is no door.
pub const PROTOCOL: &str = "warren-door-1";
/// Where the WebSocket is.
pub const PATH: &str = "/door";
/// The largest datagram a door carries: what jumbo frames of Ethernet do.
pub const MAX_DATAGRAM: usize = 9216;

//! `struct virtio_net_hdr` in front of every frame of a TUN with `IFF_VNET_HDR` (virtio 1.2, section 5.1.6), 10 bytes
//! in the machine's byte order.

use super::DropReason;

pub const VNET_LEN: usize = 10;
pub const NEEDS_CSUM: u8 = 1;
const GSO_ECN: u8 = 0x80;

/// What the frame is, beyond one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gso {
    None,
    TcpV4 {
        size: u16,
    },
    TcpV6 {
        size: u16,
    },
    /// `UDP_L4`: equal datagrams, the last may be shorter.
    Udp {
        size: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vnet {
    pub gso: Gso,
    /// Where the checksum begins and where it goes, if it is still to be completed.
    pub checksum: Option<(u16, u16)>,
    /// The kernel's hint; never trusted.
    pub header_len: u16,
    /// A CWR flag may be on the first segment.
    pub ecn: bool,
}

impl Vnet {
    pub const PLAIN: Vnet = Vnet { gso: Gso::None, checksum: None, header_len: 0, ecn: false };

    /// Reads the header; the rest of the slice is the frame.
    pub fn read(bytes: &[u8]) -> Result<Vnet, DropReason> {
        let head = bytes.first_chunk::<VNET_LEN>().ok_or(DropReason::VnetHeader)?;
        let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1] = *head;
        let size = u16::from_ne_bytes([g0, g1]);
        let gso = match kind & !GSO_ECN {
            0 => Gso::None,
            1 => Gso::TcpV4 { size },
            4 => Gso::TcpV6 { size },
            5 => Gso::Udp { size },
            _ => return Err(DropReason::VnetHeader),
        };
        let place = (u16::from_ne_bytes([s0, s1]), u16::from_ne_bytes([o0, o1]));
        let checksum = (flags & NEEDS_CSUM != 0).then_some(place);
        Ok(Vnet { gso, checksum, header_len: u16::from_ne_bytes([h0, h1]), ecn: kind & GSO_ECN != 0 })
    }

    pub fn write(&self) -> [u8; VNET_LEN] {
        let (kind, size) = match self.gso {
            Gso::None => (0, 0),
            Gso::TcpV4 { size } => (1, size),
            Gso::TcpV6 { size } => (4, size),
            Gso::Udp { size } => (5, size),
        };
        let (start, offset) = self.checksum.unwrap_or((0, 0));
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [g0, g1] = size.to_ne_bytes();
        let [s0, s1] = start.to_ne_bytes();
        let [o0, o1] = offset.to_ne_bytes();
        let flags = if self.checksum.is_some() { NEEDS_CSUM } else { 0 };
        let ecn = if self.ecn { GSO_ECN } else { 0 };
        [flags, kind | ecn, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}

//! The four WireGuard messages, told apart by type and length (WireGuard paper, section 5.4). No state, no key.

/// What a datagram claims to be. Lengths and the three reserved bytes are checked, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 1, exactly 148 bytes.
    Initiation,
    /// Type 2, exactly 92 bytes.
    Response { receiver: u32 },
    /// Type 3, exactly 64 bytes.
    Cookie { receiver: u32 },
    /// Type 4, at least 32 bytes.
    Data { receiver: u32 },
}

pub const INITIATION_LEN: usize = 148;
pub const RESPONSE_LEN: usize = 92;
pub const COOKIE_LEN: usize = 64;
pub const DATA_MIN: usize = 32;

/// Reject-After-Messages: no counter from here on is used or believed (WireGuard paper, section 6.1).
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// Is this a data message whose counter is over the limit?
pub fn is_spent(datagram: &[u8]) -> bool {
    let counter = datagram.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    matches!(Message::parse(datagram), Some(Message::Data { .. }))
        && counter.is_none_or(|counter| counter >= REJECT_AFTER_MESSAGES)
}

impl Message {
    /// `None` for everything that is not a WireGuard message.
    pub fn parse(datagram: &[u8]) -> Option<Message> {
        let kind = word(datagram, 0)?;
        match (kind, datagram.len()) {
            (1, INITIATION_LEN) => Some(Message::Initiation),
            (2, RESPONSE_LEN) => Some(Message::Response { receiver: word(datagram, 8)? }),
            (3, COOKIE_LEN) => Some(Message::Cookie { receiver: word(datagram, 4)? }),
            (4, DATA_MIN..) => Some(Message::Data { receiver: word(datagram, 4)? }),
            _ => None,
        }
    }

    pub fn is_data(self) -> bool {
        matches!(self, Message::Data { .. })
    }

    /// Is this data for the lane that `receiver`, an index of it, names?
    pub fn is_of_lane(self, receiver: u32) -> bool {
        matches!(self, Message::Data { receiver: other } if other >> 8 == receiver >> 8)
    }

    /// The 24 bits of the receiver index that name a lane.
    pub fn lane_index(self) -> Option<u32> {
        match self {
            Message::Initiation => None,
            Message::Response { receiver } | Message::Cookie { receiver } | Message::Data { receiver } => {
                Some(receiver >> 8)
            }
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_length_or_reserved_bytes_are_no_message() {
        for (kind, len) in [(1u8, 148usize), (2, 92), (3, 64)] {
            let mut bytes = vec![0u8; len];
            bytes[0] = kind;
            assert!(Message::parse(&bytes).is_some());
            assert!(Message::parse(&bytes[..len - 1]).is_none());
            bytes.push(0);
            assert!(Message::parse(&bytes).is_none());
            bytes.pop();
            bytes[2] = 1;
            assert!(Message::parse(&bytes).is_none());
        }
        assert!(Message::parse(&[4, 0, 0, 0]).is_none());
        let mut data = vec![0u8; 32];
        data[0] = 4;
        data[4..8].copy_from_slice(&0x0102_0304u32.to_le_bytes());
        assert_eq!(Message::parse(&data).and_then(Message::lane_index), Some(0x01_0203));
    }
}

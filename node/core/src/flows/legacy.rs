//! What an agent that stops in order leaves to the next one, as it lies on the disk.
//!
//! ```text
//! "warren flows\0"  version u32 BE  body (protobuf)  SHA-256 over all before
//! ```
//!
//! The checksum finds accidents. What cannot be read is refused whole: then the account says that it was lost.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use warren_wire::flow::{Ended, FlowReport};

use super::{KEPT_RECORDS, KEPT_REPORTS};

const MAGIC: &[u8] = b"warren flows\0";
pub const VERSION: u32 = 1;
const CHECKSUM: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegacyError {
    #[error("it begins otherwise than such a file")]
    NotOurs,
    #[error("it has version {found}, this program knows {VERSION}: a newer warren-node wrote it")]
    Newer { found: u32 },
    #[error("it is damaged or cut off ({bytes} bytes read)")]
    Damaged { bytes: usize },
}

/// Reports that no acknowledgement came for, oldest first, and what every start had judged of whose end nobody may know.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Legacy {
    #[prost(message, repeated, tag = "1")]
    pub ended: Vec<Ended>,
    #[prost(message, repeated, tag = "2")]
    pub reports: Vec<FlowReport>,
}

impl Legacy {
    pub fn records(&self) -> u64 {
        self.reports.iter().map(|report| report.records.len() as u64).sum()
    }

    /// Without the oldest reports of which there are too many. That they are missing is known from what was judged.
    pub(super) fn bounded(mut self) -> Legacy {
        let (mut records, mut from) = (0, self.reports.len());
        for (at, report) in self.reports.iter().enumerate().rev().take(KEPT_REPORTS) {
            records += report.records.len();
            if records > KEPT_RECORDS {
                break;
            }
            from = at;
        }
        self.reports.drain(..from);
        self
    }

    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAGIC.len() + 4 + self.encoded_len() + CHECKSUM);
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        out.extend(self.encode_to_vec());
        let checksum = Sha256::digest(&out);
        out.extend(checksum);
        out
    }

    pub fn read(bytes: &[u8]) -> Result<Legacy, LegacyError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(LegacyError::NotOurs)?;
        let damaged = LegacyError::Damaged { bytes: bytes.len() };
        let (version, _) = rest.split_first_chunk::<4>().ok_or(damaged.clone())?;
        match u32::from_be_bytes(*version) {
            VERSION => {}
            found => return Err(LegacyError::Newer { found }),
        }
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(damaged.clone())?;
        let body = content.get(MAGIC.len() + 4..).ok_or(damaged.clone())?;
        if Sha256::digest(content).as_slice() != checksum {
            return Err(damaged);
        }
        Legacy::decode(body).map_err(|_| damaged)
    }
}

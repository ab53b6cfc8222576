//! Names that were asked on a node: said only where the signed policy asks for them (`[dns] report = "names"`).

use serde::{Deserialize, Serialize};

/// Names of one report at most.
pub const MAX_NAMES: usize = 256;
/// Longest name in its presentation form: 255 bytes (RFC 1035 section 2.3.4), each perhaps written as `\ddd`.
pub const MAX_NAME_BYTES: usize = 1020;

/// Whose a name is, and so who was asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[repr(i32)]
pub enum NameClass {
    Unknown = 0,
    /// In the zone, or a reverse name of the network.
    Overlay = 1,
    /// With a meaning of its own (RFC 6761).
    Special = 2,
    /// Of a suffix with upstreams of its own.
    Split = 3,
    /// Of everybody else.
    Forwarded = 4,
    /// Not asked anywhere: no upstream is set.
    Elsewhere = 5,
}

/// How often one name was asked since the last report.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AskedName {
    /// Lower case, without the final dot; what is not graphic ASCII as `\ddd`.
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(enumeration = "NameClass", tag = "2")]
    pub class: i32,
    #[prost(uint64, tag = "3")]
    pub asked: u64,
    /// Of these, refused or failed.
    #[prost(uint64, tag = "4")]
    pub unanswered: u64,
}

/// Since the last report; the most asked names first.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NamesReport {
    #[prost(message, repeated, tag = "1")]
    pub names: Vec<AskedName>,
    /// Questions for names that found no room.
    #[prost(uint64, tag = "2")]
    pub others: u64,
}

impl NamesReport {
    /// What is wrong with it, if anything is: no honest node says it, and nobody could print it.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.names.len() > MAX_NAMES {
            return Err("too many names");
        }
        self.names.iter().try_for_each(AskedName::check)
    }
}

impl AskedName {
    fn check(&self) -> Result<(), &'static str> {
        if self.name.len() > MAX_NAME_BYTES {
            return Err("a name is over 1020 bytes");
        }
        if !self.name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a name has characters that must be written as numbers");
        }
        if matches!(NameClass::try_from(self.class), Err(_) | Ok(NameClass::Unknown)) {
            return Err("a name is of no class");
        }
        if self.asked == 0 || self.unanswered > self.asked {
            return Err("a name was left unanswered more often than it was asked");
        }
        Ok(())
    }
}

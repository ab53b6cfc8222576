//! Signed statements inside JSON: the exact protobuf bytes in base64, so that no signature is ever re-encoded away.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

pub fn serialize<M: prost::Message, S: Serializer>(message: &M, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(message.encode_to_vec()))
}

pub fn deserialize<'de, M, D>(deserializer: D) -> Result<M, D::Error>
where
    M: prost::Message + Default,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD.decode(&text).map_err(D::Error::custom)?;
    M::decode(bytes.as_slice()).map_err(D::Error::custom)
}

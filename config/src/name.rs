//! Names: `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, at most 63 bytes (a DNS label, RFC 1035 section 2.3.1).

use serde::{Deserialize, Serialize};

/// A valid name of a tag, group, service, node, grant, test or invariant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` is not a name: use 1 to 63 of a-z, 0-9 and `-`, beginning and ending with a letter or digit"
)]
pub struct InvalidName {
    pub value: String,
}

impl Name {
    /// Would it be one? For those who ask very often: nothing is copied.
    pub fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        let inner = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        let ends = bytes.first() != Some(&b'-') && bytes.last() != Some(&b'-');
        inner && ends && (1..=63).contains(&bytes.len())
    }

    pub fn parse(text: &str) -> Result<Name, InvalidName> {
        if Name::is_valid(text) {
            return Ok(Name(text.to_owned()));
        }
        Err(InvalidName { value: text.chars().take(80).collect::<String>().escape_debug().to_string() })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Name, InvalidName> {
        Name::parse(text)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Name, InvalidName> {
        Name::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

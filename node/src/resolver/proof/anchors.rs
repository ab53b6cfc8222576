//! Which keys are believed without a proof: those of the root, and those of an operator's file.

use std::path::Path;
use std::sync::Arc;

use hickory_proto::dnssec::{PublicKeyBuf, TrustAnchors, Verifier};
use hickory_proto::rr::{LowerName, Name};
use hickory_proto::serialize::txt::trust_anchor::{Entry, Parser};

/// No file of keys is larger.
const LONGEST: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    #[error("{path} with DNSSEC keys cannot be read: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error(
        "{path} is no file of DNSSEC keys ({why}): write DNSKEY records, one a line, e.g. `corp.example. IN DNSKEY 257 3 13 …`"
    )]
    BadFile { path: String, why: String },
}

/// Names and keys.
#[derive(Clone)]
pub struct Anchors {
    keys: Arc<TrustAnchors>,
    own: Vec<Name>,
}

impl Anchors {
    /// The root's public keys, and those in `file`. With a key for the root itself the file replaces the public ones: a
    /// network of its own.
    pub fn read(file: Option<&Path>) -> Result<Anchors, AnchorError> {
        let Some(path) = file else {
            return Ok(Anchors { keys: Arc::new(TrustAnchors::default()), own: Vec::new() });
        };
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| AnchorError::Unreadable { path: shown.clone(), source })?;
        Anchors::parse(&text).map_err(|why| AnchorError::BadFile { path: shown, why })
    }

    fn parse(text: &str) -> Result<Anchors, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        // The parser takes a record only at the end of its line.
        let entries = Parser::new(format!("{text}\n")).parse().map_err(|e| e.to_string())?;
        let (mut named, mut own) = (Vec::new(), Vec::new());
        for entry in entries {
            // The library may learn other kinds: a key is what we need.
            let Entry::DNSKEY(record) = entry else { continue };
            let name = record.name().to_lowercase();
            let key = record.data().key().map_err(|e| format!("the key of {name}: {e}"))?;
            let key = PublicKeyBuf::new(key.public_bytes().to_vec(), record.data().algorithm());
            named.push((LowerName::from(&name), key));
            own.push(name);
        }
        if own.is_empty() {
            return Err("there is no key in it".to_owned());
        }
        let mut keys = match own.iter().any(Name::is_root) {
            true => TrustAnchors::empty(),
            false => TrustAnchors::default(),
        };
        for (name, key) in named {
            // A key that is written twice is believed once.
            let _ = keys.insert_with_name(&key, name);
        }
        Ok(Anchors { keys: Arc::new(keys), own })
    }

    pub(super) fn keys(&self) -> Arc<TrustAnchors> {
        Arc::clone(&self.keys)
    }

    /// Can names of this suffix be proven? Those that have upstreams of their own do not exist for the public root, so
    /// only a key of the operator's counts: at the suffix, above it (but the root) or below it.
    pub fn cover(&self, suffix: &str) -> bool {
        let Ok(suffix) = Name::from_ascii(format!("{suffix}.")) else { return false };
        let joined = |own: &Name| own.zone_of(&suffix) || suffix.zone_of(own);
        self.own.iter().any(|own| own.is_root() || joined(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";

    #[test]
    fn keys_are_added_to_the_root_s_and_a_root_of_one_s_own_replaces_it() {
        let public = Anchors::read(None).unwrap();
        assert_eq!((public.keys.len(), public.cover("corp.example")), (2, false));
        let own =
            Anchors::parse(&format!("; keys of the office\nCorp.Example. 3600 IN DNSKEY {KEY}")).unwrap();
        assert_eq!(own.keys.len(), 2, "the root's are still believed");
        for (suffix, covered) in
            [("corp.example", true), ("db.corp.example", true), ("example", true), ("corpx.example", false)]
        {
            assert_eq!(own.cover(suffix), covered, "{suffix}");
        }
        let root = Anchors::parse(&format!(". IN DNSKEY {KEY}\n")).unwrap();
        assert_eq!((root.keys.len(), root.cover("anything.lab")), (1, true));
    }

    #[test]
    fn a_file_without_a_key_is_an_error_that_says_what_to_write() {
        for bad in [
            "",
            "; nothing\n",
            "corp.example. IN A 192.0.2.1\n",
            "corp.example. IN DNSKEY 257 3 13 !\n",
            "rubbish",
        ] {
            assert!(Anchors::parse(bad).is_err(), "{bad:?}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Anchors::read(Some(file.path())).err().unwrap().to_string();
        assert!(error.contains("no key in it") && error.contains("DNSKEY"), "{error}");
        assert!(Anchors::read(Some(Path::new("/nowhere/keys"))).is_err());
    }
}

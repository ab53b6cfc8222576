//! A device without an agent: one statement of the authority instead of token, identity and proofs of keys.

use warren_config::name::Name;
use warren_config::policy::Subject;
use warren_config::time::UnixTime;

use super::terms::{addresses, parse_tags};
use super::{Member, Network, Record, Trust, TrustError, external_id, same_node};
use crate::id::WgKey;
use crate::possession;
use crate::signed::{Signed, Statement as _};
use crate::statement::External;

const WHAT: &str = External::NAME;

impl Trust {
    pub(super) fn external(
        &self,
        network: &Network,
        record: &Record,
        signed: &Signed,
    ) -> Result<Member, TrustError> {
        let external: External = self.by_authority(signed)?;
        let invalid = |why: &str| TrustError::Invalid { what: WHAT, why: why.into() };
        // One record is one kind of node: parts of the other kind would be believed by nobody.
        if record.delegation.is_some() || record.admission.is_some() || record.keys.is_some() {
            return Err(invalid("its record has parts of a node with an agent"));
        }
        let key = WgKey::from_slice(&external.key).ok_or_else(|| invalid("its key is not 32 bytes"))?;
        if !possession::is_usable(&key) {
            return Err(invalid("its key is not a usable X25519 key"));
        }
        let id = external_id(&self.network, &key);
        same_node(WHAT, id, &external.node)?;
        let malformed = |why: String| TrustError::Malformed { what: WHAT, node: id.to_string(), why };
        let name = Name::parse(&external.name).map_err(|e| malformed(e.to_string()))?;
        let mut subject = Subject { name, tags: parse_tags(&external.tags).map_err(malformed)? };
        let (v4, v6) = addresses(network, id, WHAT, &external.v4, &external.v6)?;
        let mut amendment_serial = 0;
        if let Some(signed) = &record.amendment {
            (amendment_serial, subject) = self.amendment(id, signed)?;
        }
        let enrolled = UnixTime(external.enrolled);
        Ok(Member {
            id,
            identity: None,
            subject,
            v4,
            v6,
            lanes: vec![key],
            key_serial: 0,
            amendment_serial,
            enrolled,
        })
    }
}

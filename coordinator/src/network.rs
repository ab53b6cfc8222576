//! What is fixed about the network this state belongs to, read from the first entry of the log.

use serde::{Deserialize, Serialize};
use warren_coordinator_core::change::{Change, Entry};
use warren_wire::id::{IdentityKey, NetworkId};
use warren_wire::signed::Signed;
use warren_wire::statement::Charter;

/// Enough to sign for this network and to make tokens for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetworkInfo {
    pub network: NetworkId,
    pub name: String,
    pub authorities: Vec<IdentityKey>,
    /// The online key: who answers at the addresses.
    pub coordinator: IdentityKey,
    pub advertise: Vec<String>,
    pub listen: String,
    pub v4_range: String,
    pub v6_prefix: String,
    /// Seconds.
    pub freshness: u64,
}

/// The founding as it stands in the log.
pub struct Founding {
    pub charter: Charter,
    pub authorities: Vec<IdentityKey>,
    pub freshness: u64,
}

impl Founding {
    /// `None` if the log does not begin with a founding whose charter an authority it names has signed.
    pub fn of(first: Option<&Entry>) -> Option<Founding> {
        let changes = &first?.body.changes;
        changes.iter().find_map(|change| match change {
            Change::NetworkFounded { charter, authorities, freshness } => {
                Founding::read(charter, authorities, *freshness)
            }
            _ => None,
        })
    }

    fn read(charter: &Signed, authorities: &[IdentityKey], freshness: u64) -> Option<Founding> {
        let charter: Charter = charter.open_by_any(authorities).ok()?;
        Some(Founding { charter, authorities: authorities.to_vec(), freshness })
    }

    pub fn info(
        &self,
        coordinator: IdentityKey,
        advertise: Vec<String>,
        listen: String,
    ) -> Option<NetworkInfo> {
        Some(NetworkInfo {
            network: NetworkId::from_slice(&self.charter.network)?,
            name: self.charter.name.clone(),
            authorities: self.authorities.clone(),
            coordinator,
            advertise,
            listen,
            v4_range: self.charter.v4_range.clone(),
            v6_prefix: self.charter.v6_prefix.clone(),
            freshness: self.freshness,
        })
    }
}

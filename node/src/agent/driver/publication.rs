//! What the network says is carried out: at the machine, for packets, for names.

use warren_node_core::control::Publication;
use warren_node_core::host::Plan;

use super::{Driver, coordinator_keys};
use crate::error::Error;
use crate::service;

impl Driver {
    /// Machine first, then packets, then names; only then it is enforced.
    pub(super) async fn publish(&mut self, publication: &Publication) -> Result<(), Error> {
        self.follow_charter(publication).await?;
        self.forget_unfiled_keys();
        let shared = &self.parts.shared;
        let published = shared.plane.publish(&publication.assembly, shared.clock.now());
        published.frames.iter().for_each(|frame| shared.write_plain(frame));
        self.follow_subnets(publication).await;
        for conflict in &published.conflicts {
            tracing::error!("two members claim the same: {conflict}; nobody gets it");
        }
        self.parts.resolver.publish(&publication.names, &publication.settings);
        let assembly = &publication.assembly;
        tracing::info!(
            revision = assembly.revision,
            generation = assembly.generation,
            peers = assembly.peers.len(),
            cut_flows = published.cut,
            "enforced"
        );
        self.parts.control.handle_published(assembly.epoch, assembly.revision, assembly.generation);
        if !self.ready && publication.cut.is_none() {
            self.ready = true;
            service::ready(&format!("{} peers, generation {}", assembly.peers.len(), assembly.generation));
        }
        Ok(())
    }

    /// A new charter or other addresses of this node: the machine follows, guards never missing.
    async fn follow_charter(&mut self, publication: &Publication) -> Result<(), Error> {
        let (network, me) = (&publication.assembly.network, &publication.assembly.me);
        let plan = Plan::new(self.parts.plan.interface.clone(), self.parts.plan.mtu, network, me)
            .with_bridges(&self.parts.plan.bridges);
        self.connector.set_servers(coordinator_keys(&self.parts.kept, &network.coordinators));
        let steps = self.parts.plan.change_to(&plan);
        if steps.is_empty() {
            return Ok(());
        }
        self.parts.host.carry_out(&steps).await?;
        self.parts.plan = plan;
        self.serve_names();
        Ok(())
    }

    /// A disk that is full must not stop enforcement; it is said, and tried again with the next view.
    pub(super) fn store(&mut self, view: &[u8]) {
        if let Err(e) = self.parts.state.store_view(view) {
            tracing::error!("the view is enforced but could not be kept for the next start: {e}");
        }
    }
}

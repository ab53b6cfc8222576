//! Stamps that peers compare, and the keys they belong to.

use super::Driver;
use crate::agent::rotation;
use crate::clock::boot;
use crate::error::Error;

impl Driver {
    pub(super) fn save_stamps(&mut self) {
        let shared = &self.parts.shared;
        let sent = shared.plane.greatest_sent() / 1_000_000;
        let greatest = sent.max(shared.clock.greatest_host_ms());
        let kept = self.parts.state.store_stamp(greatest);
        if let Err(e) = kept {
            tracing::warn!("the greatest handshake stamp cannot be kept: {e}");
        }
        self.save_received();
    }

    pub(super) fn save_received(&mut self) {
        let stamps = self.parts.shared.plane.stamps();
        if self.received == stamps {
            return;
        }
        match self.parts.state.store_stamps(&stamps) {
            Ok(()) => self.received = stamps,
            Err(e) => tracing::warn!("received handshake stamps cannot be kept: {e}"),
        }
    }

    /// Peers refuse handshakes with older stamps: a clock that went back needs new keys.
    pub(super) fn look_at_clock(&mut self) -> Result<(), Error> {
        let Err(behind_ms) = self.parts.shared.clock.check_host() else { return Ok(()) };
        tracing::warn!(behind_ms, "the host's clock went back");
        let parts = &mut self.parts;
        let keys = rotation::rotate(
            &parts.state,
            &mut parts.control,
            &parts.kept.identity,
            &parts.kept.network.id,
            &parts.keys,
            parts.options.workers,
            boot(),
        )?;
        parts.shared.plane.replace_engine(rotation::engine(&keys));
        if let Some(publication) = parts.control.publication() {
            let published = parts.shared.plane.publish(&publication.assembly, parts.shared.clock.now());
            published.frames.iter().for_each(|frame| parts.shared.write_plain(frame));
        }
        parts.keys = keys;
        parts.shared.clock.forget_greatest();
        self.save_stamps();
        Ok(())
    }

    /// A disk that is full must not stop enforcement: then the keys are forgotten with a later view.
    pub(super) fn forget_unfiled_keys(&mut self) {
        let parts = &mut self.parts;
        let Some(fewer) = rotation::forget_unfiled(&parts.control, &parts.keys) else { return };
        match parts.state.store_wg_keys(&fewer) {
            Ok(()) => {
                parts.shared.plane.replace_engine(rotation::engine(&fewer));
                parts.keys = fewer;
            }
            Err(e) => tracing::warn!("a WireGuard key that no file names any more is kept: {e}"),
        }
    }
}

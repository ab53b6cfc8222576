//! The interface and the guards, which other programs may remove.

use super::Driver;
use crate::error::Error;
use crate::host::Change;
use crate::worker::StopReason;

impl Driver {
    pub(super) async fn look_at_interface(&mut self) -> Result<(), Error> {
        let (name, mtu) = (&self.parts.options.interface, self.parts.plan.mtu);
        let now = self.parts.host.netlink().device(name).await?;
        match self.device.as_ref().and_then(|ours| ours.change(now.as_ref(), mtu)) {
            None => Ok(()),
            Some(Change::Altered) => {
                tracing::warn!("somebody changed the interface {name}: putting it right");
                Ok(self.parts.host.carry_out(&self.parts.plan.up()).await?)
            }
            Some(Change::Gone | Change::Replaced) => {
                let text = format!(
                    "the interface {name} was deleted, renamed or moved away; overlay traffic stays blocked by the \
                     unreachable routes: start the agent again (the service manager does)"
                );
                self.parts.shared.stop.set(StopReason::Failed(text));
                Ok(())
            }
        }
    }

    pub(super) async fn look_at_guards(&mut self) -> Result<(), Error> {
        if !self.parts.host.is_guarded(&self.parts.plan).await? {
            tracing::warn!(
                "the strong-host table was removed (another program flushed all rules?): putting it back"
            );
            return Ok(self.parts.host.carry_out(&self.parts.plan.up()).await?);
        }
        for range in &self.parts.plan.ranges {
            if range.addr().is_ipv6() && self.parts.host.no_ipv6() {
                continue;
            }
            if !self.parts.host.netlink().has_unreachable(*range).await? {
                tracing::warn!("the unreachable route for {range} was removed: putting it back");
                return Ok(self.parts.host.carry_out(&self.parts.plan.up()).await?);
            }
        }
        Ok(())
    }
}

//! Doing to this machine what [`warren_node_core::host`] planned: guards first in and last out.
//!
//! Every step is idempotent, so that a start after a crash simply does all of them again.

mod error;
mod monitor;
mod netlink;
mod nft;
mod subnets;
mod switches;

use warren_node_core::host::{Plan, Planned, Step};

use crate::tun::{Tun, TunError};
pub use error::HostError;
pub use monitor::{Change, Device, watch_addresses};
pub use netlink::{LocalAddress, Netlink};
pub use nft::{
    asked, everything as all_rules, has_table, load as load_rules, packets, program as nft_program,
};
pub use subnets::{Subnets, WantedSubnets};

/// Carries out host plans. Holds the TUN that a plan created until the packet workers take it.
pub struct Host {
    netlink: Netlink,
    tun: Option<Tun>,
    /// Queues that a TUN is made with.
    workers: usize,
    no_ipv6: bool,
}

impl Host {
    /// Must be called inside the control runtime.
    pub fn open(workers: usize) -> Result<Host, HostError> {
        Ok(Host { netlink: Netlink::open()?, tun: None, workers, no_ipv6: false })
    }

    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// The device that [`Step::CreateTun`] made.
    pub fn take_tun(&mut self) -> Option<Tun> {
        self.tun.take()
    }

    /// Is the strong-host table of `plan` still there?
    pub async fn is_guarded(&self, plan: &Plan) -> Result<bool, HostError> {
        nft::has_table(&plan.guard_table()).await
    }

    /// True after a step for IPv6 was left out because this host has none.
    pub fn no_ipv6(&self) -> bool {
        self.no_ipv6
    }

    /// All steps in order; the first that fails ends it. What was done stays: the guards come first.
    pub async fn carry_out(&mut self, steps: &[Planned]) -> Result<(), HostError> {
        for planned in steps {
            tracing::debug!(step = ?planned.step, why = planned.why, "host");
            self.step(&planned.step).await?;
        }
        Ok(())
    }

    /// All steps in order, whatever fails; the failures are returned. For taking down.
    pub async fn carry_out_all(&mut self, steps: &[Planned]) -> Vec<HostError> {
        let mut errors = Vec::new();
        for planned in steps {
            if let Err(e) = self.step(&planned.step).await {
                errors.push(e);
            }
        }
        errors
    }

    async fn step(&mut self, step: &Step) -> Result<(), HostError> {
        match self.try_step(step).await {
            Err(HostError::Netlink { errno, .. }) if concerns_ipv6(step) && ipv6_is_off(errno) => {
                if !self.no_ipv6 {
                    tracing::warn!("IPv6 is switched off on this host: the overlay is IPv4 only here");
                }
                self.no_ipv6 = true;
                Ok(())
            }
            other => other,
        }
    }

    async fn try_step(&mut self, step: &Step) -> Result<(), HostError> {
        let net = &self.netlink;
        match step {
            Step::AddUnreachable { range, metric } => net.add_unreachable(*range, *metric).await,
            Step::RemoveUnreachable { range, metric } => net.remove_unreachable(*range, *metric).await,
            Step::InstallGuard { ruleset } | Step::RemoveGuard { ruleset } => nft::load(ruleset).await,
            Step::CreateTun { interface, mtu } => self.create_tun(interface.as_str(), *mtu).await,
            Step::DeleteTun { interface } => net.delete_link(interface.as_str()).await,
            Step::LinkUp { interface } => net.link_up(interface.as_str()).await,
            Step::AddAddress { interface, address } => net.add_address(interface.as_str(), *address).await,
            Step::RemoveAddress { interface, address } => {
                net.remove_address(interface.as_str(), *address).await
            }
            Step::AddRoute { interface, range, source, metric } => {
                net.add_route(interface.as_str(), *range, *source, *metric).await
            }
            Step::RemoveRoute { interface, range, metric } => {
                net.remove_route(interface.as_str(), *range, *metric).await
            }
        }
    }

    /// Adopts the device if the agent does not hold it yet; otherwise only its MTU is put right.
    async fn create_tun(&mut self, name: &str, mtu: u16) -> Result<(), HostError> {
        if self.tun.is_none() && !self.netlink.is_ours(name) {
            self.tun = Some(self.open_tun(name, mtu).await?);
            self.netlink.remember(name);
        }
        self.netlink.set_mtu(name, mtu).await
    }
}

impl Host {
    /// A device that an agent with other packet workers left is made anew; the guards stay meanwhile.
    async fn open_tun(&self, name: &str, mtu: u16) -> Result<Tun, HostError> {
        match Tun::open(name, mtu, self.workers) {
            Err(TunError::Shape { .. }) => {
                self.netlink.delete_link(name).await?;
                Ok(Tun::open(name, mtu, self.workers)?)
            }
            other => Ok(other?),
        }
    }
}

fn concerns_ipv6(step: &Step) -> bool {
    match step {
        Step::AddUnreachable { range, .. }
        | Step::RemoveUnreachable { range, .. }
        | Step::AddRoute { range, .. }
        | Step::RemoveRoute { range, .. } => range.addr().is_ipv6(),
        Step::AddAddress { address, .. } | Step::RemoveAddress { address, .. } => address.is_ipv6(),
        _ => false,
    }
}

/// Believed only if the host itself says so: an error must not pass for "no IPv6".
fn ipv6_is_off(errno: i32) -> bool {
    use rustix::io::Errno;
    let fits =
        [Errno::ACCESS, Errno::PERM, Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::INVAL, Errno::NETDOWN];
    let switch = |path| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    let missing = !std::path::Path::new("/proc/sys/net/ipv6").exists();
    let off = missing
        || switch("/proc/sys/net/ipv6/conf/all/disable_ipv6")
        || switch("/proc/sys/net/ipv6/conf/default/disable_ipv6");
    off && fits.iter().any(|e| e.raw_os_error() == errno)
}

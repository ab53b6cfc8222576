//! Bringing an agent up, letting it run, and taking it down in the right order.

use std::sync::Arc;

use warren_node_core::control::{Config, Control};
use warren_node_core::dataplane::{DataPlane, Settings};
use warren_node_core::flows::Legacy;
use warren_node_core::ledger::Ledger;
use warren_node_core::mapping::Mappings;
use warren_node_core::session::boring::BoringEngine;

use super::driver::{Driver, Parts};
use super::flowfile::FlowFile;
use super::ledgerfile::LedgerFile;
use super::membership::{Kept, members_plan};
use super::{AGENT, Options, rotation, underlay};
use crate::clock::{Clock, boot, host_wall_ms};
use crate::error::Error;
use crate::host::{Host, Subnets};
use crate::hostdns::{EarMeans, HostDns};
use crate::resolver::Resolver;
use crate::service;
use crate::socket;
use crate::state::{StateDir, WgKeys};
use crate::udp::Sockets;
use crate::worker::{self, Aside, Counters, Pulse, Shared, Sleepers, Stop, StopReason};
use crate::workload::{Helper, Workloads};

/// Runs until a signal, a command or a failure. Must be called inside the control runtime.
pub async fn run(options: Options, state: StateDir, kept: Kept, helper: Option<Helper>) -> Result<(), Error> {
    let clock = Arc::new(Clock::new(state.stamp()?));
    let mut boot_id = [0; 8];
    getrandom::fill(&mut boot_id).map_err(Error::Random)?;
    let boot_id = u64::from_ne_bytes(boot_id);
    let mut control = new_control(&options, &kept, boot_id)?;
    control.handle_started(state.view()?.as_deref(), host_wall_ms(), boot());
    let resolver = Resolver::new(Arc::clone(&clock), options.names.own()?);
    let keys = current_keys(&state, &mut control, &kept, options.workers, &clock)?;
    // Everything that can be wrong with the outside is found before the machine is changed.
    let sockets = Sockets::open(options.port, options.workers)?;
    let directory = options.run.join(&options.interface);
    let flows = open_run_directory(&options.run)
        .and_then(|()| FlowFile::new(&directory))
        .map_err(Error::io(format!("make the run directory {}", directory.display())))?;

    let mut host = Host::open(options.workers)?;
    let mtu = options.mtu.unwrap_or_else(|| underlay::tunnel_mtu(&kept.trust.coordinators));
    let plan = members_plan(&kept, &options.interface, mtu)?.with_bridges(&options.names.bridges);
    let mut host_dns =
        HostDns::new(options.names.host, options.names.guard, plan.interface.clone(), plan.bridges.clone());
    host.carry_out(&plan.up()).await?;
    let tun =
        host.take_tun().ok_or_else(|| Error::Failed("the host plan makes no TUN interface".to_owned()))?;
    let offload = tun.offload();
    tracing::info!(interface = tun.name(), port = sockets.port(), ?offload, "the overlay interface is there");
    let settings = Settings { mtu: mtu.into(), tso: offload.tso, uso: offload.uso, workers: options.workers };
    let legacy = read_legacy(&state);
    let ledger = LedgerFile::open(&directory, boot_id, legacy.as_ref().map_or(&[][..], |left| &left.ended));
    control.handle_ended_starts(ledger.ended.clone());
    let left = legacy.is_some();
    control.handle_legacy(legacy.map(|left| left.reports).unwrap_or_default());
    let plane = new_plane(&state, &keys, settings, ledger.ledger.clone(), &clock)?;
    let workloads = helper.map_or_else(|| Ok(Workloads::none()), Workloads::of);
    let workloads = workloads.map_err(Error::io("start the threads that ask about workloads"))?;
    if let Some(listener) = workloads.listener() {
        plane.tell_openings_to(listener);
    }
    let shared = Arc::new(Shared {
        tun,
        sockets,
        plane,
        clock,
        stop: Stop::new().map_err(Error::io("make the stop event"))?,
        pulse: Pulse::default(),
        counters: Counters::default(),
        aside: Aside::new().map_err(Error::io("make the queue for handshakes"))?,
        sleepers: Sleepers::default(),
        mappings: parking_lot::Mutex::new(Mappings::new([random()?, random()?])),
        outlook: parking_lot::Mutex::default(),
        workers: options.workers,
    });
    let tells = Arc::clone(&shared);
    host_dns.hear_by(EarMeans {
        asker: workloads.asker(),
        ranges: plan.ranges.clone(),
        tell: Arc::new(move |frame| tells.write_plain(frame)),
    });

    let subnets = Subnets::new(&options.run);
    let parts = Parts {
        options,
        state,
        kept,
        keys,
        control,
        host,
        subnets,
        plan,
        shared: Arc::clone(&shared),
        resolver,
        host_dns,
        flows,
        ledger,
        legacy: left,
        workloads,
    };
    let mut driver = Driver::new(parts);
    driver.begin().await?;
    let threads = worker::start(&shared, settings).map_err(Error::io("start the packet workers"))?;
    let result = live(&mut driver).await;
    service::stopping();
    if result.is_err() {
        shared.stop.set(StopReason::Asked);
    }
    for thread in threads {
        let _ = thread.join();
    }
    driver.end().await;
    result?;
    match shared.stop.reason() {
        Some(StopReason::Failed(text)) => Err(Error::Failed(text.clone())),
        _ => Ok(()),
    }
}

async fn live(driver: &mut Driver) -> Result<(), Error> {
    let path = driver.options().socket.clone();
    let (_server, sender, requests) =
        socket::serve(&path).map_err(Error::io(format!("listen on the local socket {}", path.display())))?;
    let mut scraped = Vec::new();
    for place in driver.options().metrics.clone() {
        let doing = format!("listen for scrapers on {place} (--metrics)");
        let requests = sender.clone();
        let tell = move || socket::metrics(requests.clone());
        scraped.push(warren_scrape::serve(place, tell).await.map_err(Error::io(doing))?);
    }
    driver.run(requests).await
}

fn new_control(options: &Options, kept: &Kept, boot: u64) -> Result<Control, Error> {
    Ok(Control::new(Config {
        trust: kept.trust.trust(),
        charter: kept.charter.clone(),
        record: kept.record.clone(),
        coordinators: kept.trust.coordinators.len(),
        agent: AGENT.to_owned(),
        boot,
        hold: options.hold,
    })?)
}

/// The stored keys; new ones if the host's clock is behind what it has shown; announced again if a rotation was cut short;
/// more if there are more packet workers than before.
fn current_keys(
    state: &StateDir,
    control: &mut Control,
    kept: &Kept,
    workers: usize,
    clock: &Clock,
) -> Result<WgKeys, Error> {
    let (network, now) = (&kept.network.id, boot());
    if clock.check_host().is_err() {
        let new = rotation::rotate(state, control, &kept.identity, network, &kept.keys, workers, now)?;
        clock.forget_greatest();
        state.store_stamp(host_wall_ms())?;
        return Ok(new);
    }
    if kept.keys.serial != kept.me.key_serial {
        rotation::announce(state, control, &kept.identity, network, &kept.keys, now)?;
    }
    rotation::widen(state, control, &kept.identity, network, &kept.keys, workers, now)
}

/// What an agent that stopped in order could not report. A damaged file is said, and counts as lost.
fn read_legacy(state: &StateDir) -> Option<Legacy> {
    let said = |why: String| {
        tracing::warn!("what the last start left to be reported cannot be read: {why}; it counts as lost");
    };
    match state.legacy().map(|bytes| bytes.map(|bytes| Legacy::read(&bytes))) {
        Ok(Some(Ok(legacy))) => Some(legacy),
        Ok(Some(Err(e))) => {
            said(e.to_string());
            // Forgotten with the next report.
            Some(Legacy::default())
        }
        Ok(None) => None,
        Err(e) => {
            said(e.to_string());
            None
        }
    }
}

fn new_plane(
    state: &StateDir,
    keys: &WgKeys,
    settings: Settings,
    ledger: Ledger,
    clock: &Clock,
) -> Result<DataPlane<BoringEngine>, Error> {
    let plane = DataPlane::with_ledger(rotation::engine(keys), settings, ledger, random()?, clock.now());
    plane.restore_stamps(&state.stamps()?);
    Ok(plane)
}

fn random() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Error::Random)?;
    Ok(seed)
}

/// Others may look for the socket in it; what else is there is private.
fn open_run_directory(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

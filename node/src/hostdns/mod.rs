//! Making this host's programs ask this node, and giving everything back.
//!
//! With systemd-resolved: per link, the zone as a routing domain. Else, only if it is wished, `/etc/resolv.conf`
//! ([`file`]). Whatever was changed is given back on a stop, by `warren-node dns restore`, and by a small process that
//! waits for the agent's end however it comes ([`watchdog`]). Nobody loses a name on the way there and back: programs are sent
//! here before the guard stands, and elsewhere when it is gone. Where this node answers for all names, the leak guard
//! keeps everybody else from asking in clear.

mod ear;
mod file;
mod resolved;
mod watchdog;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};
use warren_node_core::host::leak::account::Account;
use warren_node_core::host::leak::programs::Programs;
use warren_node_core::host::leak::{Heard, Refused};
use warren_node_core::host::{InterfaceName, leak};
use warren_wire::flow::FlowRecord;

use ear::Ear;
pub use ear::Means as EarMeans;
pub use file::File;
pub use watchdog::wait_for_end;

use crate::host::{HostError, asked, has_table, load_rules, packets};

/// The guard is looked at every so many tellings, and at the next one if something is left to report.
const LOOK_EVERY: u64 = 4;
/// systemd-resolved forgets with a restart: it is told again every so many tellings (one a second).
const TELL_AGAIN: u64 = 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The zone by systemd-resolved where that runs; else nothing is touched.
    #[default]
    Auto,
    /// Nothing is touched.
    Off,
    /// By systemd-resolved: all names if upstreams are set, else the zone.
    Resolved,
    /// By rewriting /etc/resolv.conf: all names if upstreams are set, else the zone first.
    #[value(name = "resolv.conf")]
    ResolvConf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Guard {
    /// On where this node answers for all names of the host.
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Debug, thiserror::Error)]
pub enum HostDnsError {
    #[error("cannot {what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "{0} is a mount point of its own (a container's?) and cannot be replaced: set the name server there to this node's \
         address, and run with --dns-host off"
    )]
    Mounted(PathBuf),
    #[error(
        "{0} was written by warren-node, but what was there before is lost: write your name servers into it again"
    )]
    NoBackup(PathBuf),
    #[error(
        "`resolvectl` is not installed or systemd-resolved does not run: use --dns-host resolv.conf or off"
    )]
    NoResolved,
    #[error("resolvectl {what}: {why}")]
    Resolved { what: String, why: String },
    #[error(
        "systemd-resolved takes nothing from this agent's user ({why}): install `polkitd` and the rule 50-warren-node.rules (the \
         Debian package of the agent brings the rule; by hand it belongs into /etc/polkit-1/rules.d), or run with --dns-host off"
    )]
    Denied { why: String },
    #[error(transparent)]
    Guard(#[from] HostError),
}

/// What the host is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub servers: Vec<IpAddr>,
    pub zone: String,
    /// Do we answer for all names?
    pub everything: bool,
}

/// What was changed on this host, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    Nothing,
    Resolved,
    File,
}

pub struct HostDns {
    mode: Mode,
    guard: Guard,
    interface: InterfaceName,
    /// Of containers.
    bridges: Vec<InterfaceName>,
    file: File,
    told: Option<Wanted>,
    watchdog: Option<std::process::Child>,
    error: Option<String>,
    /// Packets the guard refused; `None` before it stands.
    refused: Option<u64>,
    account: Account,
    /// Refusals of whom nobody was told, that wait to be reported.
    waiting: Vec<Refused>,
    /// Hears whose packets are refused, while the guard stands.
    ear: Option<Ear>,
    means_of_ear: Option<EarMeans>,
    programs: Programs,
    looks: u64,
    tells: u64,
    /// systemd-resolved said no, in these words, and is asked again at this telling: each time it is written to the journal.
    denied: Option<(u64, String)>,
}

impl HostDns {
    pub fn new(mode: Mode, guard: Guard, interface: InterfaceName, bridges: Vec<InterfaceName>) -> HostDns {
        HostDns {
            mode,
            guard,
            interface,
            bridges,
            file: File::system(),
            told: None,
            watchdog: None,
            error: None,
            refused: None,
            account: Account::default(),
            waiting: Vec::new(),
            ear: None,
            means_of_ear: None,
            programs: Programs::default(),
            looks: 0,
            tells: 0,
            denied: None,
        }
    }

    /// From now on, what the guard refuses is known by its program.
    pub fn hear_by(&mut self, means: EarMeans) {
        self.means_of_ear = Some(means);
    }

    fn means(&self) -> Means {
        match self.mode {
            Mode::Off => Means::Nothing,
            Mode::Auto if !resolved::runs() => Means::Nothing,
            Mode::Auto | Mode::Resolved => Means::Resolved,
            Mode::ResolvConf => Means::File,
        }
    }

    /// Does this node answer for all names of the host?
    fn owns_all(&self, wanted: &Wanted) -> bool {
        wanted.everything && matches!(self.mode, Mode::Resolved | Mode::ResolvConf)
    }

    fn wants_guard(&self, wanted: &Wanted) -> bool {
        match self.guard {
            Guard::Auto => self.owns_all(wanted),
            Guard::On => wanted.everything,
            Guard::Off => false,
        }
    }

    /// Tells the host, and tells it again where somebody changed it meanwhile. Called again and again.
    pub async fn tell(&mut self, wanted: &Wanted) {
        match self.try_tell(wanted).await {
            Ok(()) => self.error = None,
            Err(e) => {
                let text = e.to_string();
                if self.error.as_ref() != Some(&text) {
                    tracing::error!("{text}");
                }
                self.error = Some(text);
            }
        }
    }

    async fn try_tell(&mut self, wanted: &Wanted) -> Result<(), HostDnsError> {
        self.tells += 1;
        let means = self.means();
        let guard = self.wants_guard(wanted);
        if (means != Means::Nothing || guard) && self.watchdog.is_none() {
            // Before anything is changed, so that nothing stays changed.
            self.watchdog = Some(watchdog::start(self.interface.as_str())?);
        }
        if !guard && self.refused.is_some() {
            load_rules(&leak::removal(&self.interface)).await?;
            (self.refused, self.ear) = (None, None);
        }
        let told = self.tell_programs(means, wanted).await;
        // Then only: whoever was still sent elsewhere has asked there, and gets his answer. Programs that could not be sent
        // here are let out where nobody wished otherwise; a guard that was wished, or that stands, depends on nothing.
        if guard && (told.is_ok() || self.guard == Guard::On || self.refused.is_some()) {
            let guarded = self.put_guard().await;
            return told.and(guarded);
        }
        told
    }

    async fn tell_programs(&mut self, means: Means, wanted: &Wanted) -> Result<(), HostDnsError> {
        match means {
            Means::Nothing => {}
            Means::File => self.file.tell(&wanted.servers, wanted.everything)?,
            Means::Resolved
                if self.told.as_ref() == Some(wanted) && !self.tells.is_multiple_of(TELL_AGAIN) => {}
            Means::Resolved => self.tell_resolved(wanted).await?,
        }
        self.told = Some(wanted.clone());
        Ok(())
    }

    async fn tell_resolved(&mut self, wanted: &Wanted) -> Result<(), HostDnsError> {
        if let Some((again, why)) = &self.denied
            && self.tells < *again
        {
            return Err(HostDnsError::Denied { why: why.clone() });
        }
        let all = self.owns_all(wanted);
        let told = resolved::tell(self.interface.as_str(), &wanted.servers, &wanted.zone, all).await;
        self.denied = match &told {
            Err(HostDnsError::Denied { why }) => Some((self.tells + TELL_AGAIN, why.clone())),
            _ => None,
        };
        told
    }

    /// Put back when another program flushed it; what it refused is read on the way. The first time it replaces what an
    /// agent before this one left, which speaks to nobody.
    async fn put_guard(&mut self) -> Result<(), HostDnsError> {
        self.looks += 1;
        let due = self.looks.is_multiple_of(LOOK_EVERY) || self.account.owes();
        let Some(before) = self.refused else { return self.load_guard().await };
        if !due {
            return Ok(());
        }
        let Some(refused) = packets(&leak::table(&self.interface), leak::COUNTER).await? else {
            return self.load_guard().await;
        };
        if refused > before || self.account.owes() {
            self.look_whom().await?;
        }
        if refused > before {
            tracing::warn!(refused, "programs on this host asked DNS servers in clear and were refused");
        }
        self.refused = Some(refused);
        Ok(())
    }

    /// With an ear, if there can be one: a kernel without a packet log refuses all the same, and nobody is named.
    async fn load_guard(&mut self) -> Result<(), HostDnsError> {
        if self.ear.is_none()
            && let Some(means) = self.means_of_ear.clone()
        {
            self.ear = Ear::open(means).inspect_err(|e| warn_deaf(e)).ok();
        }
        let rules = |group| leak::ruleset(&self.interface, &self.bridges, group);
        let with_ear = match &self.ear {
            Some(ear) => Some(load_rules(&rules(Some(ear.group))).await),
            None => None,
        };
        match with_ear {
            Some(Ok(())) => {}
            Some(Err(HostError::Nft(why))) => {
                warn_deaf(&why);
                (self.ear, self.means_of_ear) = (None, None);
                load_rules(&leak::ruleset(&self.interface, &self.bridges, None)).await?;
            }
            Some(Err(e)) => return Err(e.into()),
            None => load_rules(&rules(None)).await?,
        }
        self.refused = Some(0);
        self.account.begin();
        Ok(())
    }

    /// Who was asked since the last look.
    async fn look_whom(&mut self) -> Result<(), HostDnsError> {
        for set in leak::ASKED {
            let counted = asked(&leak::table(&self.interface), set).await?;
            self.waiting.extend(self.account.handle_counted(counted));
        }
        Ok(())
    }

    /// What the guard refused since it was last asked, as far as it is known of whom.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        let heard: Vec<Heard> = self.ear.iter().flat_map(Ear::heard).collect();
        heard.iter().for_each(|heard| self.account.handle_tried(&heard.tried));
        heard
    }

    /// Whose they were, as far as that was found.
    pub fn handle_named(&mut self, records: &[FlowRecord]) {
        records.iter().for_each(|record| self.programs.handle_record(record));
    }

    /// And the rest of it.
    pub fn take_refusals(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.waiting)
    }

    /// For `status` and `doctor`.
    pub fn status(&self) -> Value {
        let means = match self.means() {
            Means::Nothing => "untouched",
            Means::Resolved => "resolved",
            Means::File => "resolv.conf",
        };
        let told = self.told.as_ref();
        json!({
            "host": means,
            "servers": told.map(|t| &t.servers),
            "everything": told.is_some_and(|t| self.owns_all(t)),
            "guarded": self.refused.is_some(),
            "refused": self.refused,
            "programs": self.programs.most().iter().map(|(program, tries)| json!({ "program": program, "tries": tries })).collect::<Vec<_>>(),
            "bridges": self.bridges.iter().map(InterfaceName::as_str).collect::<Vec<_>>(),
            "error": self.error,
        })
    }

    /// Takes back what was told. True: until now programs were sent here, and some are still on their way.
    pub async fn give_back(&mut self) -> bool {
        let sent_here = self.told.is_some() && self.means() != Means::Nothing;
        // What waits for our end was started before anything was changed.
        if self.told.is_some() || self.watchdog.is_some() {
            for e in restore(&self.interface).await {
                tracing::error!("{e}");
            }
        }
        (self.told, self.refused, self.ear) = (None, None, None);
        if let Some(mut watchdog) = self.watchdog.take() {
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        }
        sent_here
    }
}

fn warn_deaf(why: &dyn std::fmt::Display) {
    tracing::warn!("programs that ask DNS servers in clear are refused, but not known by name: {why}");
}

/// Puts back whatever an agent changed, whether it runs or not; nothing to put back is no error.
pub async fn restore(interface: &InterfaceName) -> Vec<HostDnsError> {
    let mut errors = Vec::new();
    // Opened before programs are sent elsewhere: nobody is refused between the two.
    match has_table(&leak::table(interface)).await {
        Ok(false) => {}
        Ok(true) => errors.extend(load_rules(&leak::removal(interface)).await.err().map(HostDnsError::from)),
        Err(HostError::NoNft) => {}
        Err(e) => errors.push(e.into()),
    }
    if let Err(e) = File::system().restore() {
        errors.push(e);
    }
    if resolved::runs()
        && let Err(e) = resolved::forget(interface.as_str()).await
    {
        errors.push(e);
    }
    errors
}

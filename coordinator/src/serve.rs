//! The service: state, owner, control channel, API, flow history, put together and taken apart again.
//!
//! It never opens the authority's file and has no way to be told where it is.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use warren_coordinator_core::Coordinator;
use warren_coordinator_core::relays::HERE;
use warren_coordinator_core::state::State;
use warren_coordinator_core::store::Store;
use warren_wire::frame::RelayAt;
use warren_wire::id::RelayId;

use crate::account::Accounts;
use crate::api::caller::{Caller, Doorkeeper};
use crate::api::metrics::Requests;
use crate::api::web::certificate::{Certificate, CertificateError};
use crate::api::web::door::WebDoor;
use crate::api::web::listen;
use crate::api::{self, App};
use crate::channel::{ChannelError, Limits, Listener};
use crate::door::{Callers, Doors, Words};
use crate::events::Hub;
use crate::files::FileError;
use crate::keyring::KeyRing;
use crate::network::Founding;
use crate::otlp::{self, OtlpError};
use crate::owner::{self, Beside, OwnerError};
use crate::relay::{Carrier, Desk, Threads};
use crate::state_dir::{Settings, StateDir, StateError};
use crate::store::OpenStoreError;
use crate::store::history::{self, History};
use crate::store::log::LogStore;
use crate::stun::{Stun, place_key};
use crate::{clock, tls};

pub const DEFAULT_SOCKET: &str = "/run/warren/coordinator.sock";

#[derive(Clone, Debug)]
pub struct Options {
    pub state: PathBuf,
    pub socket: PathBuf,
    /// Instead of the address in the settings.
    pub listen: Option<SocketAddr>,
    /// Instead of the API's address in the settings; `Some(None)`: only the local socket.
    pub api: Option<Option<SocketAddr>>,
    /// Written (JSON: `listen`, `api`, `socket`, `pid`) when everything listens, removed at the end.
    pub ready_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{0}")]
    Open(#[from] warren_coordinator_core::OpenError),
    #[error("the log does not begin with the founding of a network: run `warren init`, or restore a backup")]
    NoFounding,
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(
        "another coordinator answers at {socket}: stop it first, or choose another socket with `--socket PATH`"
    )]
    SocketInUse { socket: PathBuf },
    #[error(
        "the socket {socket} cannot be made: {why}; choose a place this user may write with `--socket PATH`"
    )]
    Socket { socket: PathBuf, why: String },
    #[error(
        "the API cannot listen on {listen}: {why}; choose another address with `api.listen` in settings.json or `--api ADDR:PORT`, or `--api off`"
    )]
    Web { listen: SocketAddr, why: String },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the service cannot start: {what}: {error}")]
    Start { what: &'static str, error: std::io::Error },
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error("the coordinator's owner thread ended without a word: see the log above")]
    OwnerGone,
}

/// Everything that was read from the disk before anything listens.
struct Loaded {
    state: StateDir,
    settings: Settings,
    store: LogStore,
    coordinator: Coordinator,
    founding: Founding,
    seed: zeroize::Zeroizing<[u8; 32]>,
    _lock: crate::state_dir::Lock,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(options: &Options) -> Result<(), ServeError> {
    harden();
    let loaded = load(&options.state)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ServeError::Start { what: "runtime", error })?;
    let result = runtime.block_on(serve(options, loaded));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

/// No core dump holds a key; no file is born readable by others.
fn harden() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "core dumps of this process cannot be forbidden");
    }
}

/// Seconds. A clock that went back further keeps tokens alive too long, and nodes refuse what is signed before what they
/// have seen.
const TOLERANCE: u64 = 60;

fn load(dir: &Path) -> Result<Loaded, ServeError> {
    let state = StateDir::at(dir);
    let settings = state.open()?;
    let lock = state.lock()?;
    remove_leftovers(&state);
    let missing = |path: PathBuf| StateError::Damaged { path, why: "it is missing".into() };
    let mut store = LogStore::open(&state.log()).map_err(|error| match error {
        OpenStoreError::File(FileError::Missing { path }) => missing(path),
        other => StateError::Store(other),
    })?;
    let (folded, founding) = replay(&mut store)?;
    let newest = store
        .read(folded.head().revision.saturating_sub(1), 1)
        .map_err(StateError::Log)?
        .first()
        .map(|entry| entry.body.at);
    if let Some(newest) = newest.filter(|newest| newest.since(clock::now()) > TOLERANCE) {
        tracing::error!(
            "this host's clock ({}) is behind the newest change in the log ({newest}): tokens live too long and nodes refuse new freshness; set the clock (NTP)",
            clock::now()
        );
    }
    let seed = state.read_online_key().map_err(|error| match error {
        StateError::File(FileError::Missing { path }) => missing(path),
        other => other,
    })?;
    let coordinator = Coordinator::new(folded, SigningKey::from_bytes(&seed), clock::now())?;
    let founding = founding.ok_or(ServeError::NoFounding)?;
    Ok(Loaded { state, settings, store, coordinator, founding, seed, _lock: lock })
}

/// Folds the log, checking its chain.
pub(crate) fn replay(store: &mut LogStore) -> Result<(State, Option<Founding>), StateError> {
    let mut state = State::default();
    let mut founding = None;
    loop {
        let entries = store.read(state.head().revision, 1000)?;
        if entries.is_empty() {
            return Ok((state, founding));
        }
        if founding.is_none() {
            founding = Founding::of(entries.first());
        }
        for entry in &entries {
            state.apply(entry)?;
        }
    }
}

/// A backup that was being made when the service was killed.
fn remove_leftovers(state: &StateDir) {
    let Ok(entries) = std::fs::read_dir(state.path()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("backup-") && name.contains(".tmp") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

async fn serve(options: &Options, loaded: Loaded) -> Result<(), ServeError> {
    let Loaded { state, settings, store, mut coordinator, founding, seed, _lock } = loaded;
    let start = |what| move |error| ServeError::Start { what, error };
    let mut term = signal(SignalKind::terminate()).map_err(start("signals"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(start("signals"))?;

    let relays = if settings.relay.enabled { settings.relay.threads } else { 0 };
    let ports = Listener::ports(options.listen.unwrap_or(settings.listen), relays)?;
    let (relay, desk) = relay(&settings, &seed, &ports.control)?.unzip();
    let callers = Callers::default();
    let stun = Stun::default();
    stun.prove_with(place_key(&seed));
    coordinator.prove_places_with(place_key(&seed));
    let beside = (stun, relay.clone());
    let answering = (ports.control, ports.mouths);
    let listener = Listener::on(answering, &seed, Limits::default(), beside, callers.clone())?;
    let listener = Arc::new(listener);
    let listen = listener.local_addr().map_err(start("control channel"))?;
    let socket = bind_socket(&options.socket, &settings.group)?;
    let web = Web::bind(options, &settings, &state).await?;
    let doors = Doors::open(&settings.doors, &Words::SETTINGS, listen, &seed, callers);
    offer_relay(&mut coordinator, &seed, relay.is_some(), &doors)?;
    tokio::spawn(crate::memory::give_back());
    let (flow_rows, flow_inbox) = std::sync::mpsc::sync_channel(256);
    let history = History {
        flows: state.flows(),
        edges: state.edges(),
        keep_flows: settings.history.flows,
        keep_edges: settings.history.edges,
        failed: Arc::default(),
        unlisted: Arc::default(),
    };
    let (failed, unlisted) = (history.failed.clone(), history.unlisted.clone());
    match history.accounts() {
        Ok(accounts) => coordinator.restore_accounts(accounts),
        Err(error) => tracing::error!(%error, "what nodes reported before is not known"),
    }
    let keys = KeyRing::default();
    let boot = clock::secret::<8>().map_err(|e| start("random numbers")(std::io::Error::other(e)))?;
    let hub = Hub::new(u64::from_be_bytes(*boot));
    let network = founding
        .info(tls::public_of(&seed), settings.advertise.clone(), listen.to_string())
        .ok_or(ServeError::NoFounding)?;
    let export = settings.otlp.as_ref().map(|otlp| otlp::start(otlp, &network.name)).transpose()?;
    let beside = Beside {
        flows: flow_rows,
        hub: hub.clone(),
        keys: keys.clone(),
        export: export.clone(),
        relay: desk,
    };
    let threads = relay.clone().map(|carrier| Threads::start(carrier, ports.relay)).transpose();
    let threads = threads.map_err(start("relay"))?;

    let (events, event_inbox) = mpsc::channel(owner::EVENTS);
    let (stop_owner, stop) = oneshot::channel();
    let (handle, mut ended) = owner::start(coordinator, store, beside, event_inbox, stop);
    let written = handle.clone();
    let writer = std::thread::Builder::new()
        .name("flow-history".into())
        .spawn(move || {
            let done = |reports| written.tell(move |owner| owner.flows_written(reports));
            history::write_all(&history, &flow_inbox, done);
        })
        .map_err(start("flow history"))?;
    let name = network.name.clone();
    let me = rustix::process::geteuid().as_raw();
    let door = Doorkeeper::new(me, Some(settings.group.clone()), Accounts::of_host);
    let page = web.as_ref().map(Web::address);
    let secure = web.as_ref().is_some_and(|web| web.certificate.is_some());
    let hosts = web.as_ref().map(|web| web.hosts.clone()).unwrap_or_default();
    let app = App {
        owner: handle,
        network,
        state,
        door,
        web: WebDoor::new(keys, hosts, secure),
        hub,
        map: settings.map,
        keep: settings.history.edges,
        page: page.clone(),
        failed,
        unlisted,
        requests: Requests::default(),
        started: clock::now(),
        export,
        relay,
        doors: Some(doors.clone()),
    };
    let watcher = tokio::spawn(api::stream::watch(app.clone()));
    let (stop_web, web_stopped) = watch::channel(false);
    let web = web.map(|web| tokio::spawn(web.serve(app.clone(), web_stopped)));
    let router = api::router(app);
    let (stop_api, api_stopped) = oneshot::channel::<()>();
    let api = axum::serve(socket, router.into_make_service_with_connect_info::<Caller>())
        .with_graceful_shutdown(async move { drop(api_stopped.await) });
    let api = tokio::spawn(async move { api.await });
    let channel = tokio::spawn(listener.clone().run(events));

    ready(options, listen, page.as_deref()).map_err(start("ready file"))?;
    tracing::info!(%listen, page = page.as_deref().unwrap_or("off"), socket = %options.socket.display(), network = %crate::text::plain(&name, 64), "coordinator ready");
    let result = tokio::select! {
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
        outcome = &mut ended => match outcome {
            Ok(outcome) => outcome.map_err(ServeError::Owner),
            Err(_) => Err(ServeError::OwnerGone),
        },
    };

    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    let _ = stop_web.send(true);
    watcher.abort();
    if let Some(web) = web {
        let _ = tokio::time::timeout(Duration::from_secs(3), web).await;
    }
    let _ = stop_api.send(());
    let _ = tokio::time::timeout(Duration::from_secs(3), api).await;
    let _ = std::fs::remove_file(&options.socket);
    doors.close();
    listener.close().await;
    channel.abort();
    let _ = stop_owner.send(());
    if result.is_ok() {
        let _ = tokio::time::timeout(Duration::from_secs(5), ended).await;
    }
    let _ = tokio::task::spawn_blocking(move || {
        if let Some(threads) = threads {
            threads.stop();
        }
        writer.join()
    })
    .await;
    if let Some(path) = &options.ready_file {
        let _ = std::fs::remove_file(path);
    }
    tracing::info!("stopped");
    result
}

/// A relay on the control channel's port, unless the settings say no.
fn relay(
    settings: &Settings,
    online: &[u8; 32],
    control: &UdpSocket,
) -> Result<Option<(Carrier, Desk)>, ServeError> {
    if !settings.relay.enabled {
        return Ok(None);
    }
    let start = |what| move |error| ServeError::Start { what, error };
    let (carrier, asked) = Carrier::new(&settings.relay);
    let socket = control.try_clone().map_err(start("relay"))?;
    let desk = Desk::new(RelayId::of(&tls::public_of(online)), carrier.clone(), asked, socket);
    Ok(Some((carrier, desk)))
}

/// What nodes are told of it, with its doors.
fn offer_relay(
    coordinator: &mut Coordinator,
    online: &[u8; 32],
    here: bool,
    doors: &Doors,
) -> Result<(), ServeError> {
    let seed = clock::secret::<32>();
    let seed =
        seed.map_err(|e| ServeError::Start { what: "random numbers", error: std::io::Error::other(e) })?;
    let told = Some(doors.told().to_vec());
    let relay = RelayAt { doors: told, ..RelayAt::new(tls::public_of(online), HERE, Vec::new()) };
    coordinator.offer_relay(seed, here.then_some(relay));
    Ok(())
}

/// The API on the network, before it serves.
struct Web {
    socket: TcpListener,
    listen: SocketAddr,
    hosts: Vec<String>,
    certificate: Option<Certificate>,
}

impl Web {
    /// `None` if it is switched off.
    async fn bind(
        options: &Options,
        settings: &Settings,
        state: &StateDir,
    ) -> Result<Option<Web>, ServeError> {
        let Some(asked) = options.api.unwrap_or(settings.api.listen) else { return Ok(None) };
        let failed = |why: std::io::Error| ServeError::Web { listen: asked, why: why.to_string() };
        let socket = TcpListener::bind(asked).await.map_err(failed)?;
        let listen = socket.local_addr().map_err(failed)?;
        let hosts = settings.api.all_hosts(listen, &settings.advertise);
        let certificate = settings.api.certificate(listen, state.path(), &hosts)?;
        if let Some(certificate) = &certificate {
            tracing::info!(sha256 = certificate.fingerprint, "certificate of the API");
        }
        Ok(Some(Web { socket, listen, hosts, certificate }))
    }

    /// Where a browser finds it.
    fn address(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let port = self.listen.port();
        match self.listen.ip() {
            ip if ip.is_unspecified() => {
                // The first name that is not this host's own loopback.
                let host = self.hosts.get(3).map_or("localhost", String::as_str);
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                format!("{scheme}://{host}:{port}")
            }
            _ => format!("{scheme}://{}", self.listen),
        }
    }

    async fn serve(self, app: App, stop: watch::Receiver<bool>) {
        let tls = self.certificate.map(|certificate| certificate.acceptor);
        listen::serve(self.socket, tls, api::web::router(app), stop).await;
    }
}

fn ready(options: &Options, listen: SocketAddr, page: Option<&str>) -> std::io::Result<()> {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let Some(path) = &options.ready_file else { return Ok(()) };
    let text = serde_json::json!({ "listen": listen, "api": page, "socket": options.socket, "pid": std::process::id() });
    let part = path.with_extension("part");
    std::fs::write(&part, format!("{text}\n"))?;
    std::fs::rename(&part, path)
}

/// The socket is born 0700 (umask) and opened to its group only once it belongs to that group.
fn bind_socket(path: &Path, group: &str) -> Result<tokio::net::UnixListener, ServeError> {
    let failed = |why: String| ServeError::Socket { socket: path.to_owned(), why };
    let io = |error: std::io::Error| failed(error.to_string());
    make_socket_dir(path).map_err(io)?;
    remove_stale(path)?;
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(io)?;
    match Accounts::of_host().group_id(group).map(|gid| give_to_group(path, gid)) {
        Some(Ok(())) => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(io)?;
        }
        Some(Err(error)) => {
            tracing::warn!(%error, group, "the socket cannot be given to its group: only its owner and root may use it");
        }
        None => {}
    }
    listener.set_nonblocking(true).map_err(io)?;
    tokio::net::UnixListener::from_std(listener).map_err(io)
}

/// Nothing to do, and no right needed, if the service runs in that group already.
fn give_to_group(path: &Path, gid: u32) -> std::io::Result<()> {
    match std::fs::metadata(path)?.gid() == gid {
        true => Ok(()),
        false => std::os::unix::fs::chown(path, None, Some(gid)),
    }
}

fn make_socket_dir(path: &Path) -> std::io::Result<()> {
    let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) else {
        return Ok(());
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o755))
}

/// Removes a socket nobody listens on any more, and nothing else.
fn remove_stale(path: &Path) -> Result<(), ServeError> {
    let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
    let socket = path.to_owned();
    if !meta.file_type().is_socket() {
        return Err(ServeError::Socket { socket, why: "there is something else at this path".into() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|error| ServeError::Socket {
                socket,
                why: format!("a stale socket cannot be removed: {error}"),
            }),
        _ => Err(ServeError::SocketInUse { socket }),
    }
}

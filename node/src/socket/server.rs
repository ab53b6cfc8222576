//! The agent's end of the local socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use warren_scrape::listen;

use super::{MAX_REQUEST, Reply, Request};

/// Callers served at the same time: those who may ask everything, and all others together, who can thus not keep root out.
const CALLERS: usize = 32;
const OTHERS: usize = 8;
/// A caller that says nothing is dropped.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(5);

/// A request that waits for the control loop.
pub struct Waiting {
    pub request: Request,
    pub reply: oneshot::Sender<Reply>,
}

/// Removes the socket file when dropped.
pub struct Server {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens on `path`; a socket that an earlier agent left is replaced, anything else there is an error.
pub fn serve(path: &Path) -> io::Result<(Server, mpsc::Sender<Waiting>, mpsc::Receiver<Waiting>)> {
    // Everybody may knock; who may ask what is decided by the caller's credentials.
    let listener = listen(path, 0o666)?;
    let (sender, receiver) = mpsc::channel(CALLERS);
    let task = tokio::spawn(accept(listener, sender.clone()));
    Ok((Server { path: path.to_owned(), task }, sender, receiver))
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Waiting>) {
    let (trusted, others) = (Arc::new(Semaphore::new(CALLERS)), Arc::new(Semaphore::new(OTHERS)));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let caller = caller(&stream);
                let (slots, patience) = match caller {
                    Caller::Trusted => (&trusted, PATIENCE),
                    Caller::Other(_) => (&others, PATIENCE_WITH_OTHERS),
                };
                // No room: the connection is dropped, the caller sees its end and may come again.
                let Ok(slot) = Arc::clone(slots).try_acquire_owned() else { continue };
                let requests = requests.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(patience, converse(stream, caller, requests)).await;
                    drop(slot);
                });
            }
            // Out of descriptors: wait until some caller is gone.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy)]
enum Caller {
    Trusted,
    Other(Option<u32>),
}

fn caller(stream: &UnixStream) -> Caller {
    match stream.peer_cred().ok().map(|cred| cred.uid()) {
        Some(uid) if uid == 0 || uid == rustix::process::geteuid().as_raw() => Caller::Trusted,
        uid => Caller::Other(uid),
    }
}

async fn converse(stream: UnixStream, caller: Caller, requests: mpsc::Sender<Waiting>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(MAX_REQUEST as u64));
    let mut line = String::new();
    while lines.read_line(&mut line).await? > 0 {
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => match caller {
                Caller::Other(uid) if !request.is_public() => Reply::Bad(only_status(uid)),
                _ => hand_over(&requests, request).await,
            },
            Err(e) => Reply::Bad(format!("the request cannot be read: {e}")),
        };
        let mut text = serde_json::to_vec(&reply).unwrap_or_default();
        text.push(b'\n');
        write.write_all(&text).await?;
        line.clear();
        lines.get_mut().set_limit(MAX_REQUEST as u64);
    }
    Ok(())
}

fn only_status(uid: Option<u32>) -> String {
    let who = uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}"));
    format!("{who} may only ask for the status: ask as root or as the agent's user")
}

/// What scrapers are told; `None` while the agent stops.
pub async fn metrics(requests: mpsc::Sender<Waiting>) -> Option<String> {
    match hand_over(&requests, Request::Metrics).await {
        Reply::Ok(serde_json::Value::String(text)) => Some(text),
        _ => None,
    }
}

async fn hand_over(requests: &mpsc::Sender<Waiting>, request: Request) -> Reply {
    let stops = || Reply::Bad("the agent is stopping".to_owned());
    let (reply, answer) = oneshot::channel();
    match requests.send(Waiting { request, reply }).await {
        Ok(()) => answer.await.unwrap_or_else(|_| stops()),
        Err(_) => stops(),
    }
}

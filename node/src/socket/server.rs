//! The agent's end of the local socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{MAX_REQUEST, Reply, Request};

/// Callers served at the same time.
const CALLERS: usize = 32;
/// A caller that says nothing is dropped.
const PATIENCE: Duration = Duration::from_secs(30);

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
pub fn serve(path: &Path) -> io::Result<(Server, mpsc::Receiver<Waiting>)> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else has this name")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(path)?;
    // Everybody may knock; who may ask what is decided by the caller's credentials.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    let (sender, receiver) = mpsc::channel(CALLERS);
    let task = tokio::spawn(accept(listener, sender));
    Ok((Server { path: path.to_owned(), task }, receiver))
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Waiting>) {
    let slots = Arc::new(Semaphore::new(CALLERS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(PATIENCE, converse(stream, requests)).await;
                    drop(slot);
                });
            }
            // Out of descriptors: wait until some caller is gone.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: UnixStream, requests: mpsc::Sender<Waiting>) -> io::Result<()> {
    let caller = stream.peer_cred()?.uid();
    let trusted = caller == 0 || caller == rustix::process::geteuid().as_raw();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(MAX_REQUEST as u64));
    let mut line = String::new();
    while lines.read_line(&mut line).await? > 0 {
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) if trusted || request.is_public() => hand_over(&requests, request).await,
            Ok(_) => Reply::Bad(format!(
                "uid {caller} may only ask for the status: ask as root or as the agent's user"
            )),
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

async fn hand_over(requests: &mpsc::Sender<Waiting>, request: Request) -> Reply {
    let stops = || Reply::Bad("the agent is stopping".to_owned());
    let (reply, answer) = oneshot::channel();
    match requests.send(Waiting { request, reply }).await {
        Ok(()) => answer.await.unwrap_or_else(|_| stops()),
        Err(_) => stops(),
    }
}

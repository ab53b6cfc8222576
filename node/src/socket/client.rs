//! The command's end of the local socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{MAX_LINE, Reply, Request};
use crate::error::Error;

const PATIENCE: Duration = Duration::from_secs(10);

/// One request, one answer. Blocks for at most ten seconds.
pub fn ask(path: &Path, request: &Request) -> Result<Reply, Error> {
    let no_agent = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NoAgent(path.to_owned()),
        _ => Error::io(format!("ask the agent at {}", path.display()))(e),
    };
    let mut stream = UnixStream::connect(path).map_err(no_agent)?;
    let line = talk(&mut stream, request).map_err(no_agent)?;
    if line.is_empty() {
        return Err(Error::NoAgent(path.to_owned()));
    }
    serde_json::from_str(&line).map_err(|e| {
        Error::Failed(format!("the agent's answer cannot be read ({e}): is it of the same version?"))
    })
}

fn talk(stream: &mut UnixStream, request: &Request) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    stream.write_all(&text)?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE as u64)).read_line(&mut line)?;
    Ok(line)
}

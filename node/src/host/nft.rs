//! Loading rulesets with `nft -f -`: one transaction, all or nothing.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::error::HostError;

/// Where Debian and others put it; the PATH of a service need not have `sbin`.
const PLACES: [&str; 3] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];

/// The program, if it is installed.
pub fn program() -> Option<&'static str> {
    PLACES.into_iter().find(|path| std::path::Path::new(path).exists())
}

pub async fn load(ruleset: &str) -> Result<(), HostError> {
    let failed = |what| move |source| HostError::Io { what, source };
    let mut child = command(&["-f", "-"])?
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("run nft"))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that ended early says why on its error output.
        let _ = input.write_all(ruleset.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(failed("wait for nft"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    match text.contains("Operation not permitted") {
        true => Err(HostError::NotAllowed { what: "load the guard rules".to_owned() }),
        false => Err(HostError::Nft(text.trim().chars().take(2000).collect())),
    }
}

/// Is this table of family `inet` there? Other programs flush all rules when they load theirs.
pub async fn has_table(name: &str) -> Result<bool, HostError> {
    let failed = |source| HostError::Io { what: "run nft", source };
    let output = command(&["list", "table", "inet", name])?.output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(true);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    match text.contains("No such file or directory") {
        true => Ok(false),
        false => Err(HostError::Nft(text.trim().chars().take(2000).collect())),
    }
}

/// Packets of a named counter of a table of family `inet`; `None` if there is no such table.
pub async fn packets(table: &str, counter: &str) -> Result<Option<u64>, HostError> {
    let failed = |source| HostError::Io { what: "run nft", source };
    let output =
        command(&["-j", "list", "counter", "inet", table, counter])?.output().await.map_err(failed)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return match text.contains("No such file or directory") {
            true => Ok(None),
            false => Err(HostError::Nft(text.trim().chars().take(2000).collect())),
        };
    }
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let objects = listed["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(objects.iter().find_map(|object| object["counter"]["packets"].as_u64()))
}

/// A clean environment: nothing of the agent's reaches the child.
fn command(args: &[&str]) -> Result<Command, HostError> {
    let mut command = Command::new(program().ok_or(HostError::NoNft)?);
    command.args(args).env_clear().kill_on_drop(true);
    Ok(command)
}

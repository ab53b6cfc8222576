//! Loading rulesets with `nft -f -`: one transaction, all or nothing.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use warren_node_core::host::leak::Refused;

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
    let Some(objects) = list(&["counter", "inet", table, counter]).await? else { return Ok(None) };
    Ok(objects.iter().find_map(|object| object["counter"]["packets"].as_u64()))
}

/// What a set of `address . protocol . port` with counters holds; nothing if there is no such set.
pub async fn asked(table: &str, set: &str) -> Result<Vec<Refused>, HostError> {
    let objects = list(&["set", "inet", table, set]).await?.unwrap_or_default();
    let elements = objects.iter().filter_map(|object| object["set"]["elem"].as_array());
    Ok(elements.flatten().filter_map(element).collect())
}

fn element(element: &Value) -> Option<Refused> {
    let element = &element["elem"];
    let value = element["val"]["concat"].as_array()?;
    let protocol = match value.get(1)?.as_str()? {
        "tcp" => 6,
        "udp" => 17,
        _ => return None,
    };
    Some(Refused {
        server: value.first()?.as_str()?.parse().ok()?,
        protocol,
        port: value.get(2)?.as_u64()?.try_into().ok()?,
        packets: element["counter"]["packets"].as_u64()?,
        bytes: element["counter"]["bytes"].as_u64()?,
    })
}

/// Every table, chain and rule of this host.
pub async fn everything() -> Result<Vec<Value>, HostError> {
    Ok(list(&["ruleset"]).await?.unwrap_or_default())
}

/// The objects of a listing; `None` if there is nothing of that name.
async fn list(what: &[&str]) -> Result<Option<Vec<Value>>, HostError> {
    let failed = |source| HostError::Io { what: "run nft", source };
    let output = command(&[&["-j", "list"], what].concat())?.output().await.map_err(failed)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return match text.contains("No such file or directory") {
            true => Ok(None),
            false => Err(HostError::Nft(text.trim().chars().take(2000).collect())),
        };
    }
    let mut listed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(Some(listed["nftables"].as_array_mut().map(std::mem::take).unwrap_or_default()))
}

/// A clean environment: nothing of the agent's reaches the child.
fn command(args: &[&str]) -> Result<Command, HostError> {
    let mut command = Command::new(program().ok_or(HostError::NoNft)?);
    command.args(args).env_clear().kill_on_drop(true);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_a_set_are_read_as_nft_writes_them_and_others_are_passed_over() {
        let listed = r#"[{"elem":{"val":{"concat":["192.0.2.53","udp",53]},"timeout":3600,"expires":3599,"counter":{"packets":3,"bytes":180}}},
            {"elem":{"val":{"concat":["2001:db8::53","tcp",53]},"counter":{"packets":1,"bytes":80}}},
            {"elem":{"val":{"concat":["192.0.2.53","sctp",53]},"counter":{"packets":1,"bytes":80}}}, {"elem":{}}, 7]"#;
        let listed: Vec<Value> = serde_json::from_str(listed).unwrap();
        let found: Vec<_> = listed
            .iter()
            .filter_map(element)
            .map(|r| (r.server.to_string(), r.protocol, r.port, r.packets, r.bytes))
            .collect();
        assert_eq!(
            found,
            [("192.0.2.53".to_owned(), 17, 53, 3, 180), ("2001:db8::53".to_owned(), 6, 53, 1, 80)]
        );
    }
}

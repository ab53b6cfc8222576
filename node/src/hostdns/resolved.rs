//! systemd-resolved, told by its own program `resolvectl`, which speaks D-Bus; per link, so that it forgets with the link.

use std::net::IpAddr;
use std::path::Path;

use tokio::process::Command;

use super::HostDnsError;

const PLACES: [&str; 2] = ["/usr/bin/resolvectl", "/bin/resolvectl"];
const RUNS: &str = "/run/systemd/resolve/io.systemd.Resolve";

fn program() -> Option<&'static str> {
    PLACES.into_iter().find(|path| Path::new(path).exists())
}

pub fn runs() -> bool {
    program().is_some() && Path::new(RUNS).exists()
}

/// The zone is a routing domain (`~`): names under it come here, and no search domain is added. With `all`, every name.
pub async fn tell(link: &str, servers: &[IpAddr], zone: &str, all: bool) -> Result<(), HostDnsError> {
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let mut dns = vec!["dns", link];
    dns.extend(servers.iter().map(String::as_str));
    let routing = format!("~{zone}");
    let mut domains = vec!["domain", link, &routing];
    if all {
        domains.push("~.");
    }
    call(&dns).await?;
    call(&domains).await?;
    call(&["default-route", link, if all { "yes" } else { "no" }]).await?;
    // Overlay names are not signed, and are asked over no wire; others are encrypted by us.
    call(&["dnssec", link, "no"]).await?;
    call(&["dnsovertls", link, "no"]).await?;
    call(&["llmnr", link, "no"]).await?;
    call(&["mdns", link, "no"]).await
}

/// A link that is gone took its settings with it.
pub async fn forget(link: &str) -> Result<(), HostDnsError> {
    if !Path::new("/sys/class/net").join(link).exists() {
        return Ok(());
    }
    call(&["revert", link]).await
}

async fn call(args: &[&str]) -> Result<(), HostDnsError> {
    let failed = |why: String| HostDnsError::Resolved { what: args.join(" "), why };
    let program = program().filter(|_| runs()).ok_or(HostDnsError::NoResolved)?;
    let mut command = Command::new(program);
    let output = command
        .args(args)
        .env_clear()
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let why: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(500).collect();
    Err(if is_denial(&why) { HostDnsError::Denied { why } } else { failed(why) })
}

/// In the words of systemd-resolved where polkit says no, asks for a password, or does not run.
fn is_denial(why: &str) -> bool {
    let why = why.to_ascii_lowercase();
    ["authentication required", "access denied", "permission denied", "not authorized"]
        .iter()
        .any(|words| why.contains(words))
}

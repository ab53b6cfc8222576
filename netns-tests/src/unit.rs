//! The agent as its shipped unit runs it.

use std::path::Path;

/// The agent's user, who has no name on this machine itself.
pub const AGENT: u32 = 992;

/// Shell commands for a mount namespace with an `/etc` of its own: that user has a name there, and may open the TUN device, as udev
/// lets everybody.
pub fn prepare() -> String {
    format!(
        "echo 'warren-node:x:{AGENT}:{AGENT}::/:/usr/sbin/nologin' >>/etc/passwd\n\
         echo 'warren-node:x:{AGENT}:' >>/etc/group\n\
         mount -t tmpfs none /dev/net\nmknod -m 666 /dev/net/tun c 10 200\n"
    )
}

/// The words that make a program what the unit makes of it: its user, its capabilities and `more`, its umask.
pub fn words(more: &[&str]) -> Vec<String> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("node/systemd/warren-node.service");
    let unit = std::fs::read_to_string(file).unwrap();
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap();
    let caps = value("AmbientCapabilities").to_lowercase();
    let caps = caps.split(' ').chain(more.iter().copied());
    let caps: Vec<String> = caps.map(|cap| format!("+{}", cap.strip_prefix("cap_").unwrap())).collect();
    let caps = format!("-all,{}", caps.join(","));
    let (user, umask) = (value("User"), format!("umask {}; exec \"$@\"", value("UMask")));
    let words = [
        "setpriv",
        "--reuid",
        user,
        "--regid",
        user,
        "--clear-groups",
        "--inh-caps",
        &caps,
        "--ambient-caps",
        &caps,
        "--bounding-set",
        &caps,
        "--no-new-privs",
        "sh",
        "-c",
        &umask,
        "sh",
    ];
    words.map(str::to_owned).to_vec()
}

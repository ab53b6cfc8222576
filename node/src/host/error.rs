//! What the machine can refuse, and what to do.

use std::io;

use crate::tun::TunError;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Tun(#[from] TunError),
    #[error("not allowed to {what}: run as root, or give the agent CAP_NET_ADMIN (the systemd unit does)")]
    NotAllowed { what: String },
    #[error("cannot {what}: {text}")]
    Netlink { what: String, errno: i32, text: String },
    #[error("no interface {name}: it was deleted or moved away; start the agent again")]
    NoInterface { name: String },
    #[error("the program `nft` is missing, so the guard rules cannot be loaded: run `apt install nftables`")]
    NoNft,
    #[error("nft refused the guard rules: {0}")]
    Nft(String),
    #[error("cannot {what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

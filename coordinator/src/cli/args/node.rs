//! `node`: nodes, and devices that run no agent.

use std::net::SocketAddr;

use clap::{Args, Subcommand};
use warren_config::name::Name;
use warren_wire::id::WgKey;

use super::{AuthorityArg, name, tag};

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    List {
        /// Also nodes that were revoked.
        #[arg(long)]
        revoked: bool,
    },
    Show {
        /// Name, id or overlay address.
        node: String,
    },
    /// Change the tags of a node: the given ones replace all, or --add and --remove some.
    Tag(NodeTagArgs),
    Rename {
        #[command(flatten)]
        authority: AuthorityArg,
        node: String,
        #[arg(value_parser = name)]
        new_name: Name,
    },
    /// Admit a device that runs no agent (phone, appliance) under the WireGuard key it has, and print its `wg-quick` file.
    AddExternal(AddExternalArgs),
    /// Issue a new `wg-quick` file for such a device and print it; the last one is out of date from then on.
    ExternalFile {
        #[command(flatten)]
        authority: AuthorityArg,
        /// Name, id or overlay address.
        node: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Put a node out of the network, for ever.
    Revoke {
        #[command(flatten)]
        authority: AuthorityArg,
        node: String,
        /// For the audit, and for whoever reads it later.
        #[arg(long, default_value = "")]
        why: String,
    },
}

#[derive(Debug, Args)]
pub struct AddExternalArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// The device's WireGuard public key (`wg pubkey`). Its private key stays on the device.
    #[arg(long, value_name = "KEY", value_parser = wg_key)]
    pub public_key: WgKey,
    /// A tag the device will wear; may be given more than once.
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub tags: Vec<Name>,
    /// Its name; `external-` and the beginning of its id if none is given.
    #[arg(long, value_parser = name)]
    pub name: Option<Name>,
    /// Where nodes may begin a handshake with it, if it has a fixed address; without it the device must begin.
    #[arg(long, value_name = "ADDR:PORT")]
    pub endpoint: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Where nodes may begin a handshake with it from now on, instead of where they did.
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "no_endpoint")]
    pub endpoint: Option<SocketAddr>,
    /// It has no fixed address (any more): the device must begin.
    #[arg(long)]
    pub no_endpoint: bool,
}

#[derive(Debug, Args)]
pub struct NodeTagArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    pub node: String,
    /// All tags from now on.
    #[arg(value_parser = tag, conflicts_with_all = ["add", "remove", "none"])]
    pub tags: Vec<Name>,
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub add: Vec<Name>,
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub remove: Vec<Name>,
    /// Take all tags away.
    #[arg(long, conflicts_with_all = ["add", "remove"])]
    pub none: bool,
}

fn wg_key(text: &str) -> Result<WgKey, String> {
    let key: WgKey = text
        .parse()
        .map_err(|_| "write the 44 characters that `wg pubkey` prints (never the private key)".to_owned())?;
    match warren_wire::possession::is_usable(&key) {
        true => Ok(key),
        false => Err("no private key has this public key: copy what `wg pubkey` prints".to_owned()),
    }
}

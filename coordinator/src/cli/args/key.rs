//! `key`: keys of the HTTP API.

use clap::{Subcommand, ValueEnum};
use warren_coordinator_core::access::Scope;

use super::super::duration::Seconds;

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key. It is printed once.
    Create {
        /// Who or what will use it.
        name: String,
        /// What it may do: look; send what the authority signed; or everything.
        #[arg(long, value_enum, default_value = "read")]
        scope: KeyScope,
        /// How long it is good for; without, until it is revoked.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<Seconds>,
    },
    /// All keys, and when they were used.
    List,
    /// End a key now.
    Revoke {
        /// Its id, or its name.
        key: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyScope {
    Read,
    Operate,
    Admin,
}

impl From<KeyScope> for Scope {
    fn from(scope: KeyScope) -> Scope {
        match scope {
            KeyScope::Read => Scope::Read,
            KeyScope::Operate => Scope::Operate,
            KeyScope::Admin => Scope::Admin,
        }
    }
}

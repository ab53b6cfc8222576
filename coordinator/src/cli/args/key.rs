//! `key`: keys of the HTTP API; `session`: sessions of the page.

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

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Who is signed in on the page, and links of `warren ui` that were not opened yet.
    List,
    /// End sessions and unopened links now.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    End {
        /// Its id; or whose they are, as `local:NAME` or `key:NAME`.
        #[arg(group = "which")]
        session: Option<String>,
        /// All there are.
        #[arg(long, group = "which")]
        all: bool,
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

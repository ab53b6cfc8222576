//! `token`: enrolment tokens.

use clap::{Args, Subcommand};
use warren_config::name::Name;
use warren_wire::id::IdentityKey;
use warren_wire::trust::{MAX_LEASE, MIN_LEASE};

use super::super::duration::Seconds;
use super::{AuthorityArg, host_port, name, tag};

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token. It is shown once, on standard output, and stored nowhere.
    Create(TokenCreateArgs),
    List,
    /// Make a token unusable.
    Revoke {
        /// The token's key, as `token list` shows it (or its first characters, if only one begins so).
        token: String,
    },
}

#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// A tag its node will wear; may be given more than once.
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub tags: Vec<Name>,
    /// The one name its node will have.
    #[arg(long, conflicts_with = "name_prefix", value_parser = name)]
    pub name: Option<Name>,
    /// What its nodes' names must begin with.
    #[arg(long, value_name = "PREFIX")]
    pub name_prefix: Option<String>,
    /// How many nodes may enrol with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub uses: u32,
    /// How long it is good for.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub ttl: Seconds,
    /// Its nodes are taken out, and their names are free again, when they have been away for so long (10s to 90d). Without it they
    /// stay until they are revoked.
    #[arg(long, value_name = "DURATION", value_parser = lease)]
    pub lease: Option<Seconds>,
    /// Address the node uses to reach the coordinator, instead of the advertised ones; may be given more than once.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub coordinator: Vec<String>,
}

fn lease(text: &str) -> Result<Seconds, String> {
    let lease: Seconds = text.parse()?;
    match (MIN_LEASE..=MAX_LEASE).contains(&lease.0) {
        true => Ok(lease),
        false => Err(format!("a lease is {} to {}", Seconds(MIN_LEASE), Seconds(MAX_LEASE))),
    }
}

/// A key as typed: whole, or its beginning.
pub fn pick_token(typed: &str, known: &[IdentityKey]) -> Result<IdentityKey, String> {
    let hits: Vec<_> = known.iter().filter(|key| key.to_string().starts_with(typed)).collect();
    match hits.as_slice() {
        [one] => Ok(**one),
        [] => {
            Err(format!("no token begins with `{}`: see `warren token list`", crate::text::plain(typed, 60)))
        }
        more => Err(format!(
            "{} tokens begin with `{}`: type more of it",
            more.len(),
            crate::text::plain(typed, 60)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_picked_by_its_beginning_if_only_one_begins_so() {
        let keys = [IdentityKey([0; 32]), IdentityKey([1; 32])];
        assert_eq!(pick_token(&keys[1].to_string(), &keys), Ok(keys[1]));
        assert_eq!(pick_token("AQ", &keys), Ok(keys[1]));
        assert!(pick_token("A", &keys).unwrap_err().contains("2 tokens"));
        assert!(pick_token("zz", &keys).unwrap_err().contains("token list"));
    }
}

//! `policy`: who may open a connection to which service.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use warren_wire::id::Generation;

use super::super::duration::Seconds;
use super::AuthorityArg;

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy without a coordinator: faults, warnings, its own tests, its invariants.
    Check {
        /// A policy file, or a directory of `*.toml` files.
        path: PathBuf,
        /// Write SARIF 2.1.0 to standard output, for code review.
        #[arg(long, conflicts_with = "json")]
        sarif: bool,
    },
    /// Prove every invariant over every node that could ever be enrolled, or show what breaks it.
    Prove {
        /// A policy file, or a directory of `*.toml` files; without it the policy in force, with the tags that are worn.
        path: Option<PathBuf>,
    },
    /// Run the policy's own tests.
    Test {
        /// A policy file, or a directory of `*.toml` files; without it the policy in force, with the nodes there are.
        path: Option<PathBuf>,
    },
    /// Lay policy files out anew, the one way: comments, order and meaning stay.
    Fmt {
        /// A policy file, or a directory of `*.toml` files.
        path: PathBuf,
        /// Write nothing; exit 1 if a file has another layout.
        #[arg(long)]
        check: bool,
    },
    /// Print the JSON Schema of a policy file, for editors that complete and check (taplo).
    Schema,
    /// Who gains and loses what: PATH against the policy in force, or PATH (old) against NEW without a coordinator.
    Diff {
        /// A policy file, or a directory of `*.toml` files.
        path: PathBuf,
        new: Option<PathBuf>,
    },
    /// What applying PATH would do, for its reviewer: who gains and loses what, and which flows that were seen it would cut.
    ///
    /// Changes nothing. Exit codes: 0 it could be applied and cuts nothing that was seen; 1 it would cut flows, or would be
    /// refused; 2 usage or unreadable; 3 the coordinator cannot be reached.
    Plan {
        /// A policy file, or a directory of `*.toml` files.
        path: PathBuf,
        /// How far back to look for flows. What is stored may reach less far: the answer says so.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Sign a policy and put it in force.
    Apply(ApplyArgs),
    /// Every generation that was applied.
    History,
    /// Apply an older generation's text as a new generation.
    Rollback(RollbackArgs),
    /// Show the policy in force, or an older generation.
    Show { generation: Option<Generation> },
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    /// A policy file, or a directory of `*.toml` files.
    pub path: PathBuf,
    /// Show what would change; change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub how: ApplyHow,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    pub authority: AuthorityArg,
    pub generation: Generation,
    #[command(flatten)]
    pub how: ApplyHow,
}

#[derive(Debug, Args)]
pub struct ApplyHow {
    /// Refuse if another generation than this is in force.
    #[arg(long, value_name = "GENERATION")]
    pub expect: Option<Generation>,
    /// The policy may be in `observe` mode: everything passes and is only recorded.
    #[arg(long)]
    pub allow_observe: bool,
    /// Return only when every node that is online enforces it; the others are listed.
    #[arg(long, value_enum)]
    pub wait: Option<Wait>,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "wait")]
    pub timeout: Seconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wait {
    Enforced,
}

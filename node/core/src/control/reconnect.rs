//! When to try the coordinator again: exponential back-off with full jitter, capped; addresses in turn.

/// Shortest and longest wait between two tries.
pub const FIRST_MS: u64 = 500;
pub const CAP_MS: u64 = 30_000;

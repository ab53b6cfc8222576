//! The shape of a policy file as a JSON Schema, for editors that complete and check while one types.
//!
//! A schema knows keys, kinds and spellings; that names exist, ids are used once and ranges run forwards only the
//! resolver knows.

/// JSON Schema, draft 2020-12.
pub const SCHEMA: &str = include_str!("schema.json");

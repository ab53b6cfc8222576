//! The policy as written: TOML with every value's span.

//! What the attack programs in `netns-tests/attacks/` share. Each program is one attack, runs alone against any target
//! that is given by address, and ends with one line that begins with `verdict:`. Exit code 0: the target held; 1: it did
//! not; 2: the attack could not be made.
//!
//! - [`args`]: `--name value`, and nothing else.
//! - [`verdict`]: the last line.
//! - [`forge`]: UDP from any source address, by a raw socket.
//! - [`knock`]: WireGuard initiations that anybody can make who knows the target's public key.
//! - [`inner`], [`inner6`]: packets for the inside of a tunnel. [`rogue`]: an enrolled peer that sends whatever it likes.
//! - [`pace`]: so many a second.
//!
//! They know Warren only from outside: no code of the target is used to attack it.

pub mod args;
pub mod forge;
pub mod inner;
pub mod inner6;
pub mod knock;
pub mod pace;
pub mod rogue;
pub mod verdict;

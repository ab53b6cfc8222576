//! The one place that talks to the kernel without a safe wrapper: what the packet path needs of sockets and no
//! maintained crate gives whole. Everything here takes and gives safe types; each `unsafe` block has its reason.
//!
//! - [`datagram`] one batch of datagrams in, one batch out: `UDP_GRO`, `UDP_SEGMENT`, per-call non-blocking;
//! - [`batch`] datagrams of many senders in one call;
//! - [`option`] socket options without a safe setter;
//! - [`memory`] how much the allocator keeps;
//! - [`map`] memory that outlives the process;
//! - [`interrupt`] waking a thread that sleeps in a system call;
//! - [`steer`] which socket of a `SO_REUSEPORT` group gets a datagram.
#![allow(unsafe_code, reason = "system calls with pointers; the only crate of the workspace that may")]

pub mod batch;
pub mod datagram;
pub mod interrupt;
pub mod map;
pub mod memory;
pub mod option;
pub mod steer;

use std::io;

/// The result of a system call that says -1 for "see errno".
fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! Laws of the packet path, each run over real WireGuard sessions and over the stand-in.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod awake;
mod changes;
mod devices;
mod honest;
mod mtu;
mod nats;
mod places;
mod random;
mod relays;
mod replay;
mod rogue;
mod strangers;
mod subnets;
mod thieves;
mod threads;
mod traffic;
mod words;
mod world;

/// One test function, two engines.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod real {
            $(#[test] fn $name() { super::$name::<warren_node_core::session::boring::BoringEngine>() })*
        }
        mod standin {
            $(#[test] fn $name() { super::$name::<warren_node_core::session::standin::StandinEngine>() })*
        }
    };
}
pub(crate) use both;

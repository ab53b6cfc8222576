pub mod clock;
pub mod dns;
pub mod host;
pub mod link;
pub mod state;
pub mod tun;
pub mod udp;
pub mod worker;

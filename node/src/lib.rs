pub mod clock;
pub mod state;
pub mod tun;
pub mod udp;
pub mod worker;

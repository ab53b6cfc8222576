//! The client's end of a control channel, with or without a door under it: a node's, and a relay's.

use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};
use warren_wire::frame::{FIRST_ROUND_TRIP, MAX_FRAME};

/// Silence after which a channel is lost; the keep-alive keeps NAT mappings open meanwhile.
const IDLE: Duration = Duration::from_secs(12);
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// One stream, which the client opens; the coordinator opens nothing.
pub fn control_channel() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .initial_rtt(FIRST_ROUND_TRIP)
        // Where fragments are let through, looking for the largest packet finds any.
        .mtu_discovery_config(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(u32::try_from(4 * MAX_FRAME).unwrap_or(u32::MAX)));
    config
}

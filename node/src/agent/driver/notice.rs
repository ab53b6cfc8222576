//! What control has to say to whoever reads the log.

use warren_node_core::control::{Notice, Severity};

pub fn say(notice: &Notice) {
    match notice.severity {
        Severity::Info => tracing::info!(id = notice.id, "{}", notice.message),
        Severity::Warning => tracing::warn!(id = notice.id, "{}", notice.message),
        Severity::Alarm => tracing::error!(id = notice.id, "{}", notice.message),
    }
}

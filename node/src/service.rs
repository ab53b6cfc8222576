//! What the service manager is told (`sd_notify`(3)). Without one, nothing happens.

use sd_notify::NotifyState;

/// The first view is enforced: services that need the overlay may start.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Call only while every packet worker shows signs of life.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

fn send(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

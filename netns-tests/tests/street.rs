//! The instruments themselves: an eavesdropper that could not hear would prove nothing.

use warren_netns_tests::capture::{Capture, Kind};
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::LIMIT;

const MARKER: &str = "MARKER-7f3a9c-in-clear";

#[test]
fn the_eavesdropper_hears_clear_text() {
    let street = Street::new(&["a", "b"], Underlay::Both);
    let capture = Capture::start(&street, "clear");
    let (a, b) = (street.host("a"), street.host("b"));
    let say = format!("for i in 1 2 3; do printf '{MARKER}' >/dev/udp/{}/4444; done", b.v4);
    a.run(&["bash", "-c", &say]);
    let seen = capture.finish();
    assert_eq!(seen.dropped, 0);
    assert!(seen.containing(MARKER.as_bytes()) >= 1, "{} frames", seen.frames.len());
    assert!(seen.udp_with_port(4444) >= 1);
    assert!(seen.strange(&[51820]).iter().any(|k| matches!(k, Kind::Udp(_, 4444))));
}

#[test]
fn a_host_that_is_unplugged_is_not_reached() {
    let street = Street::new(&["a", "b"], Underlay::Both);
    let (a, b) = (street.host("a"), street.host("b"));
    let ping = |to: &str| a.run(&["ping", "-c", "1", "-W", "1", to]).status.success();
    // A bridge takes up a link when the kernel's worker gets to it, and a lost question for a neighbour is asked again after a second.
    until("both families reach it", LIMIT, || ping(&b.v4) && ping(&b.v6));
    street.unplug("b");
    assert!(!ping(&b.v4));
    street.plug("b");
    until("it is reached again", LIMIT, || ping(&b.v4));
}

#[test]
fn a_street_leaves_nothing_behind() {
    let street = Street::new(&["a"], Underlay::V4);
    let namespace = street.host("a").namespace;
    let daemon = street.host("a").daemon("sleeper", &["sleep", "600"]);
    let pid = daemon.pid();
    drop(street);
    let names = warren_netns_tests::process::run(None, &["ip", "netns", "list"], &[]).ok();
    assert!(!names.contains(&namespace), "{names}");
    drop(daemon);
    assert!(!std::path::Path::new(&format!("/proc/{pid}/fd/0")).exists());
}

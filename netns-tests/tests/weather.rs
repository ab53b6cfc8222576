//! Over a bad link: the link is as bad as it was said to be, and what goes through the tunnel arrives whole.

use warren_netns_tests::pair::Pair;
use warren_netns_tests::street::{Street, Underlay};
use warren_netns_tests::wait::until;
use warren_netns_tests::warren::LIMIT;
use warren_netns_tests::weather::{Storm, Weather};

const PROGRAM: &str = env!("CARGO_BIN_EXE_weather");

/// Of the last line of `ping -q`: received, and the smallest and the mean round trip in milliseconds.
fn pings(text: &str) -> (u32, f64, f64) {
    let received = text.split(", ").find_map(|part| part.strip_suffix(" received")).map(str::to_owned);
    let times =
        text.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = ")).unwrap_or_default();
    let mut times = times.split('/').map(|ms| ms.parse().unwrap_or(f64::NAN));
    let mut next = || times.next().unwrap_or(f64::NAN);
    (received.and_then(|n| n.parse().ok()).unwrap_or(0), next(), next())
}

#[test]
fn a_bad_link_is_as_bad_as_it_was_said_to_be() {
    let street = Street::new(&["a", "b"], Underlay::Both);
    let (a, b) = (street.host("a"), street.host("b"));
    let ping = |to: &str| a.run(&["ping", "-q", "-i", "0.005", "-c", "200", "-W", "1", to]).text();
    let both = ["delay=15000", "delay=15000,loss=200000"].map(|text| text.parse().unwrap());
    let storm = Storm::over(&street, "b", PROGRAM, both.into(), 11);
    // A bridge takes up a link when the kernel's worker gets to it.
    let answers = |to: &str| a.run(&["ping", "-c", "1", "-W", "1", to]).status.success();
    for to in [&b.v4, &b.v6] {
        until("the link carries", LIMIT, || answers(to));
        let text = ping(to);
        let (received, least, _) = pings(&text);
        // Of 200 come back 160, give or take 28 (five deviations).
        assert!((132..=188).contains(&received), "{text}");
        assert!((30.0..=60.0).contains(&least), "{text}");
    }
    drop(storm);
    let _clear = Storm::over(&street, "b", PROGRAM, Default::default(), 12);
    until("the link carries again", LIMIT, || answers(&b.v4));
    let text = ping(&b.v4);
    assert_eq!(pings(&text).0, 200, "{text}");
}

/// Nothing of this is a reason to give other bytes, to stall, or to lose the session.
#[test]
fn bulk_arrives_whole_through_loss_delay_duplicates_and_disorder() {
    let pair = Pair::on(Underlay::V4);
    let text = "delay=4000,jitter=2000,loss=2000,duplicate=5000,reorder=5000,rate=200000000";
    let bad: Weather = text.parse().unwrap();
    let _storm = Storm::over(&pair.street, "b", PROGRAM, (bad, bad), 5);
    pair.assert_bulk_completes(text);
    assert!(pair.count("wg-duplicate") > 0, "what came twice was taken for new, or nothing did");
    assert_eq!(pair.count("wg-not-authentic"), 0, "nobody forges here");
}

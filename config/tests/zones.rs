//! A zone is answered by the node alone: it must not hide names of the public DNS that belong to others.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use warren_config::resolve::{Source, resolve};

fn fault(zone: &str) -> Option<String> {
    let text = format!("version = 1\n[dns]\nzone = \"{zone}\"\n");
    let sources = [Source { file: "policy.toml".into(), text }];
    let faults = resolve(&sources).err()?;
    Some(format!("{}: {}", faults.findings[0].id, faults.findings[0].message))
}

#[test]
fn a_zone_hides_no_names_that_others_hold() {
    for (zone, why) in [
        ("com", "a whole top-level domain"),
        ("internal", "a whole top-level domain"),
        ("co.uk", "others register"),
        ("sch.uk", "others register"),
        // By a wildcard of the list.
        ("anything.ck", "others register"),
        ("github.io", "others register"),
        ("s3.amazonaws.com", "others register"),
        ("home.local", "local link"),
        ("my.onion", "a meaning of their own"),
        ("10.in-addr.arpa", "a meaning of their own"),
    ] {
        let said = fault(zone).unwrap_or_default();
        assert!(said.starts_with("zone-hides-public-names") && said.contains(why), "{zone}: {said}");
    }
    for zone in [
        "prod.internal",
        "shop.example.com",
        "example.co.uk",
        "me.github.io",
        "home.arpa",
        "vpn.home.arpa",
        // An exception of the list.
        "www.ck",
    ] {
        assert_eq!(fault(zone), None, "{zone}");
    }
}

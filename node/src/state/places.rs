//! Where coordinators that are known by name answered last: a restart must not depend on names, which may be the very thing
//! that is broken.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Names, and places of each, that are kept.
const NAMES: usize = 16;
pub const EACH: usize = 4;
/// A DNS name and a port.
const LONGEST: usize = 260;

/// By `name:port`; the best first.
pub type Places = BTreeMap<String, Vec<SocketAddr>>;

/// What a file says, as far as it can be: it is a help, and nothing else is lost with it.
pub fn sane(read: Places) -> Places {
    let one = |(name, places): (String, Vec<SocketAddr>)| {
        let (host, port) = name.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let good =
            |at: &SocketAddr| at.port() == port && !at.ip().is_unspecified() && !at.ip().is_multicast();
        let places: Vec<SocketAddr> = places.into_iter().filter(good).take(EACH).collect();
        (!host.is_empty() && name.len() <= LONGEST && !places.is_empty()).then(|| (name.clone(), places))
    };
    read.into_iter().filter_map(one).take(NAMES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_coordinators_place_is_read_back_and_not_more_than_a_handful() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("address");
        let mut all = Places::from([
            (
                "coord.example:7946".to_owned(),
                vec![at("0.0.0.0:7946"), at("192.0.2.1:7946"), at("192.0.2.1:22")],
            ),
            ("no-port".to_owned(), vec![at("192.0.2.1:7946")]),
            (":7946".to_owned(), vec![at("192.0.2.1:7946")]),
            ("many.example:1".to_owned(), vec![at("[2001:db8::1]:1"); 50]),
            (format!("{}:1", "a".repeat(300)), vec![at("192.0.2.1:1")]),
        ]);
        let good = sane(all.clone());
        assert_eq!(good.keys().collect::<Vec<_>>(), ["coord.example:7946", "many.example:1"]);
        assert_eq!(good["coord.example:7946"], [at("192.0.2.1:7946")]);
        assert_eq!(good["many.example:1"].len(), EACH);
        all.extend((0..100).map(|n| (format!("c{n}.example:1"), vec![at("192.0.2.1:1")])));
        assert_eq!(sane(all).len(), NAMES);
    }
}

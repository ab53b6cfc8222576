//! Where scrapers may ask: on this host, and nowhere else.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where scrapers may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address of loopback, and a port.
    Port(SocketAddr),
    Socket(PathBuf),
}

impl Place {
    /// `127.0.0.1:9586`, or `unix:/PATH`.
    pub fn parse(text: &str) -> Result<Place, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Place::Socket(path.into())),
                false => {
                    Err("behind `unix:` stands a path from the root: write `unix:/run/warren/metrics.sock`"
                        .to_owned())
                }
            };
        }
        match text.parse::<SocketAddr>() {
            Ok(at) if at.ip().is_loopback() => Ok(Place::Port(at)),
            Ok(_) => Err("it is not a loopback address: write one of 127.0.0.0/8, or ::1".to_owned()),
            Err(_) => Err(
                "it is no address with a port and no socket: write for example 127.0.0.1:9586, or unix:/run/warren/metrics.sock"
                    .to_owned(),
            ),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Port(at) => at.fmt(f),
            Place::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_on_this_host_or_none() {
        let place = |text| Place::parse(text).map(|place| place.to_string());
        for text in ["127.0.0.1:9586", "[::1]:9586", "unix:/run/warren-node/metrics.sock"] {
            assert_eq!(place(text), Ok(text.to_owned()));
        }
        for (text, why) in [
            ("0.0.0.0:9586", "loopback"),
            ("127.0.0.1", "with a port"),
            ("unix:metrics.sock", "from the root"),
            ("", "write for example"),
        ] {
            assert!(place(text).unwrap_err().contains(why), "{text}");
        }
    }
}

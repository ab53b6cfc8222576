//! A bad link, made by a program instead of the kernel: loss, delay, jitter, duplication, reordering and a rate, all drawn
//! from a seed, so that the same frames meet the same fate.
//!
//! ```text
//!   host: up0 === pN --- br-pN --- tap wi-pN === the program `weather` === tap wo-pN --- br0 --- everybody else
//! ```
//!
//! [`mod@line`] decides (pure, time as an argument); `netns-tests/weather/main.rs` only moves frames between the two taps.

pub mod line;

use std::fmt;
use std::str::FromStr;

use crate::process::{Daemon, run};
use crate::street::Street;
use crate::wait::until;
use crate::warren::LIMIT;

/// How bad it is, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Every frame is at least so late, in microseconds.
    pub delay: u64,
    /// ... and up to so much later.
    pub jitter: u64,
    /// Of a million frames so many are lost, come twice, or overtake those before them.
    pub loss: u32,
    pub duplicate: u32,
    pub reorder: u32,
    /// Bits a second; 0: as fast as it goes. A queue of a quarter of a second stands in front of it.
    pub rate: u64,
}

/// A host's link with weather on it, as long as this value lives.
#[derive(Debug)]
pub struct Storm {
    _program: Daemon,
}

impl Storm {
    /// `program` is the test's own `weather`; `towards` is what comes to `host`, `away` what it sends.
    pub fn over(
        street: &Street,
        host: &str,
        program: &str,
        (towards, away): (Weather, Weather),
        seed: u64,
    ) -> Storm {
        let (net, host) = (street.net(), street.host(host));
        let [bridge, near, far] = ["br-", "wi-", "wo-"].map(|kind| format!("{kind}{}", host.port));
        let (towards, away, seed) = (towards.to_string(), away.to_string(), seed.to_string());
        let ready = host.path("weather.ready");
        let _ = std::fs::remove_file(&ready);
        let words = [
            program,
            "--in",
            &near,
            "--out",
            &far,
            "--towards",
            &towards,
            "--away",
            &away,
            "--seed",
            &seed,
            "--ready",
            &ready,
        ];
        let log = host.dir.join("weather.log");
        let daemon = Daemon::start(Some(&net), &words, &[], &log);
        until("the bad link is there", LIMIT, || std::path::Path::new(&ready).exists());
        let ip = |words: &[&str]| run(Some(&net), &[&["ip", "link"][..], words].concat(), &[]);
        // The second storm over a host finds its bridge.
        ip(&["add", &bridge, "type", "bridge", "mcast_snooping", "0"]);
        ip(&["set", &bridge, "up"]).ok();
        for (link, master) in [(&near, bridge.as_str()), (&far, "br0"), (&host.port, &bridge)] {
            ip(&["set", link, "master", master, "up"]).ok();
        }
        Storm { _program: daemon }
    }
}

/// As an argument: `delay=20000,jitter=0,loss=10000,duplicate=0,reorder=0,rate=0`; what is left out is 0.
impl FromStr for Weather {
    type Err = String;
    fn from_str(text: &str) -> Result<Weather, String> {
        let mut weather = Weather::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(format!("`{part}` is not KEY=NUMBER"))?;
            let number: u64 = value.parse().map_err(|e| format!("{key} `{value}`: {e}"))?;
            let of_million = || match number {
                0..=1_000_000 => Ok(number as u32),
                _ => Err(format!("{key} is of a million: {number} is more")),
            };
            match key {
                "delay" => weather.delay = number,
                "jitter" => weather.jitter = number,
                "loss" => weather.loss = of_million()?,
                "duplicate" => weather.duplicate = of_million()?,
                "reorder" => weather.reorder = of_million()?,
                "rate" => weather.rate = number,
                _ => return Err(format!("`{key}` is none of delay, jitter, loss, duplicate, reorder, rate")),
            }
        }
        Ok(weather)
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weather { delay, jitter, loss, duplicate, reorder, rate } = self;
        write!(
            f,
            "delay={delay},jitter={jitter},loss={loss},duplicate={duplicate},reorder={reorder},rate={rate}"
        )
    }
}

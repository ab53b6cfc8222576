//! Mappings without end that have not been taken back. Gateways that grant no others (UPnP's error 725) forget them only when they are
//! told so, or never: an agent that was killed could not, and its host may have left meanwhile. So they are written down before
//! they are asked for, and given back the next time that very gateway is there.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::upnp::description::{Kind, Service};
use super::upnp::http::Response;
use super::upnp::place::Place;
use super::upnp::soap::Action;
use super::upnp::{self, Ask, Fault};
use crate::clock::Mono;

/// More than that are not remembered; the oldest go first.
const MOST: usize = 8;
/// The gateway is given so long.
const ANSWER_MS: u64 = 6_000;
/// NoSuchEntryInArray: it has none (WANIPConnection:1 section 2.4.17).
const NO_SUCH: u16 = 714;

/// What is owed to a gateway, as it lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owed {
    gateway: Ipv4Addr,
    outside: u16,
    kind: Kind,
    /// Where its service is called.
    control: String,
}

impl Owed {
    pub(super) fn of(gateway: Ipv4Addr, service: &Service, outside: u16) -> Owed {
        let control = format!("http://{}{}", service.control.at(gateway), service.control.path());
        Owed { gateway, outside, kind: service.kind, control }
    }

    /// `None` for a place that is not at the gateway itself: the file is no way to ask others.
    fn take_back(&self) -> Option<Ask> {
        let control = Place::absolute(&self.control, self.gateway).ok()?;
        Some(upnp::delete(&Service { kind: self.kind, control }, self.outside, self.gateway))
    }

    fn is_settled_by(&self, response: Result<Response, Fault>) -> bool {
        let answer = response.and_then(|response| Action::Delete { outside: self.outside }.read(&response));
        matches!(answer, Ok(_) | Err(Fault::Refused(NO_SUCH)))
    }
}

/// All of them. Each is tried once while its gateway is there, one at a time.
#[derive(Debug, Default)]
pub(super) struct Debts {
    owed: Vec<Owed>,
    tried: Vec<Owed>,
    /// The answer to this one is waited for until then.
    out: Option<(Owed, Mono)>,
}

impl Debts {
    pub fn of(owed: Vec<Owed>) -> Debts {
        let mut debts = Debts::default();
        owed.into_iter().for_each(|owed| debts.owe(owed));
        debts
    }

    pub fn all(&self) -> &[Owed] {
        &self.owed
    }

    pub fn owe(&mut self, owed: Owed) {
        self.forget(&owed);
        if self.owed.len() >= MOST {
            self.owed.remove(0);
        }
        self.owed.push(owed);
    }

    /// It is in use again, or given back.
    pub fn forget(&mut self, owed: &Owed) {
        self.owed.retain(|other| other != owed);
        self.tried.retain(|other| other != owed);
    }

    /// This host has come to another gateway, or back.
    pub fn move_on(&mut self) {
        self.tried.clear();
        self.out = None;
    }

    /// Is an answer waited for?
    pub fn is_asking(&mut self, now: Mono) -> bool {
        if self.out.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.out = None;
        }
        self.out.is_some()
    }

    /// The next one to give back to this gateway.
    pub fn poll(&mut self, gateway: Ipv4Addr, now: Mono) -> Option<Ask> {
        let due = |owed: &&Owed| owed.gateway == gateway && !self.tried.contains(owed);
        let owed = self.owed.iter().find(due)?.clone();
        self.ask(owed, now)
    }

    pub fn ask(&mut self, owed: Owed, now: Mono) -> Option<Ask> {
        self.tried.push(owed.clone());
        let ask = owed.take_back();
        if ask.is_some() {
            self.out = Some((owed, now.plus_millis(ANSWER_MS)));
        }
        ask
    }

    /// What came of the one that is out; false if none is.
    pub fn handle_response(&mut self, response: &Result<Response, Fault>) -> bool {
        let Some((owed, _)) = self.out.take() else { return false };
        if owed.is_settled_by(response.clone()) {
            self.forget(&owed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(outside: u16, host: &str) -> Owed {
        let control = format!("http://{host}:5000/ctl");
        Owed { gateway: Ipv4Addr::new(192, 168, 1, 1), outside, kind: Kind::Ip1, control }
    }

    #[test]
    fn only_the_gateway_itself_is_asked_and_few_are_remembered() {
        let (now, gateway) = (Mono::from_millis(1), Ipv4Addr::new(192, 168, 1, 1));
        let mut debts = Debts::of(vec![owed(1, "192.168.1.9")]);
        assert_eq!(debts.poll(gateway, now), None, "the file is no way to ask others");
        let mut debts = Debts::of((1..20).map(|outside| owed(outside, "192.168.1.1")).collect());
        assert_eq!((debts.all().len(), debts.all()[0].outside), (MOST, 12));
        assert!(debts.poll(gateway, now).is_some() && debts.is_asking(now));
        // Refused is not gone, and nothing to be given back is.
        let fault = |code: u16| {
            let body = format!("<s:Body><errorCode>{code}</errorCode></s:Body>").into_bytes();
            Ok(Response { status: 500, body })
        };
        assert!(debts.handle_response(&fault(606)) && debts.all().len() == MOST);
        assert!(debts.poll(gateway, now).is_some() && debts.handle_response(&fault(NO_SUCH)));
        assert_eq!((debts.all().len(), debts.handle_response(&fault(NO_SUCH))), (MOST - 1, false));
    }
}

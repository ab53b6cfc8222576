//! UPnP's Internet Gateway Device, versions 1 and 2: one round of questions from "is there one?" to a mapping.
//!
//! ```text
//!   search ──LOCATION──▶ describe ──services──▶ address of the first ──▶ map a port ──▶ mapping
//!                                               (of the next, if none)   (another port, if taken)
//! ```
//!
//! A renewal is a whole new round: so a gateway that was switched off and on, and now serves at another port, is found again.
//! Only the gateway's own address is heard and asked ([`Place`] can name no other). One question is out at a time, each has its time, and so has the round.

pub mod description;
mod fault;
pub mod http;
pub mod place;
pub mod soap;
pub mod ssdp;
pub mod xml;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use super::{Gateway, LIFETIME};
use crate::clock::Mono;
use description::{Kind, Service};
pub use fault::Fault;
use http::Response;
use place::Place;
use soap::{Action, Done};

/// Who is asked when, and how long an answer is waited for after that. The group is heard on this link alone.
const SEARCHES: [(bool, bool, u64); 3] = [(true, false, 1_000), (false, true, 1_500), (true, true, 2_000)];
/// One exchange, and all of them.
const EXCHANGE_MS: u64 = 6_000;
const ROUND_MS: u64 = 40_000;
/// So many ports are asked for before all count as taken.
const PORTS: u32 = 4;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Search { to: SocketAddrV4, bytes: Vec<u8> },
    Exchange { at: SocketAddrV4, request: Vec<u8> },
}

/// What was granted, and by what it is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub service: Service,
    pub outside: SocketAddrV4,
    /// It has no lease: only who asked for it takes it away.
    pub endless: bool,
}

#[derive(Debug)]
enum Step {
    Search {
        rounds: usize,
    },
    Describe {
        at: Place,
    },
    /// The last service is asked; the others are left.
    Address {
        services: Vec<Service>,
    },
    Map(Try),
    Over(Result<Mapping, Fault>),
}

#[derive(Clone, Debug)]
struct Try {
    service: Service,
    address: Ipv4Addr,
    any: bool,
    outside: u16,
    lease: u32,
    ports: u32,
}

#[derive(Debug)]
pub struct Round {
    gateway: Gateway,
    port: u16,
    /// Taken one after the other when a port is taken.
    others: [u16; PORTS as usize],
    wanted: u16,
    step: Step,
    asks: VecDeque<Ask>,
    /// When what is out has had its time.
    next: Mono,
    until: Mono,
    /// What was wrong with answers that were not believed.
    doubt: Option<Fault>,
    /// A mapping without end that was asked for, and perhaps made.
    loose: Option<(Service, u16)>,
}

impl Round {
    /// For `port` of this host, if it may be as `wanted` outside.
    pub fn new(gateway: Gateway, port: u16, wanted: u16, others: [u16; PORTS as usize], now: Mono) -> Round {
        Round {
            gateway,
            port,
            others,
            wanted,
            step: Step::Search { rounds: 0 },
            asks: VecDeque::new(),
            next: now,
            until: now.plus_millis(ROUND_MS),
            doubt: None,
            loose: None,
        }
    }

    pub fn poll(&mut self, now: Mono) -> Option<Ask> {
        if self.until <= now {
            self.fail(Fault::Silent);
        }
        if self.asks.is_empty() && self.next <= now {
            self.handle_timeout(now);
        }
        self.asks.pop_front()
    }

    /// How it ended, once.
    pub fn ended(&self) -> Option<&Result<Mapping, Fault>> {
        match &self.step {
            Step::Over(end) => Some(end),
            _ => None,
        }
    }

    /// Datagrams are waited for.
    pub fn is_searching(&self) -> bool {
        matches!(self.step, Step::Search { .. })
    }

    /// A mapping that may have been made, though nothing was heard of it.
    pub fn perhaps(&self) -> Option<(&Service, u16)> {
        match &self.step {
            Step::Map(made) => Some((&made.service, made.outside)),
            _ => None,
        }
    }

    /// The same of one without end, also after the round.
    pub fn loose(&self) -> Option<(&Service, u16)> {
        self.loose.as_ref().map(|(service, outside)| (service, *outside))
    }

    fn handle_timeout(&mut self, now: Mono) {
        match self.step {
            Step::Search { rounds } => match SEARCHES.get(rounds) {
                None => self.fail(self.doubt.unwrap_or(Fault::Nobody)),
                Some(&(gateway, group, wait)) => {
                    let whom = [gateway.then_some(self.gateway.at), group.then_some(ssdp::GROUP)];
                    for (to, version) in whom.into_iter().flatten().flat_map(|to| [(to, 2), (to, 1)]) {
                        let (to, bytes) = ssdp::question(to, version);
                        self.asks.push_back(Ask::Search { to, bytes });
                    }
                    self.step = Step::Search { rounds: rounds + 1 };
                    self.next = now.plus_millis(wait);
                }
            },
            Step::Over(_) => {}
            _ => self.fail(Fault::Silent),
        }
    }

    /// A datagram to the socket that asked. What is not from the gateway is not read.
    pub fn handle_found(&mut self, from: SocketAddr, bytes: &[u8], now: Mono) {
        if !self.is_searching() || from.ip() != self.gateway.at {
            return;
        }
        match ssdp::read(bytes, self.gateway.at) {
            None => {}
            Some(Err(fault)) => self.doubt = Some(fault),
            Some(Ok(at)) => {
                let request = http::get(&at, self.gateway.at);
                self.exchange(&at.clone(), request, Step::Describe { at }, now);
            }
        }
    }

    /// What the exchange gave that is out.
    pub fn handle_response(&mut self, response: Result<Response, Fault>, now: Mono) {
        let result = match std::mem::replace(&mut self.step, Step::Over(Err(Fault::Silent))) {
            Step::Describe { at } => self.take_description(&at, response, now),
            Step::Address { services } => self.take_address(services, response, now),
            Step::Map(tried) => self.take_mapping(tried, response, now),
            other => {
                self.step = other;
                Ok(())
            }
        };
        if let Err(fault) = result {
            self.asks.clear();
            self.step = Step::Over(Err(fault));
        }
    }

    fn take_description(&mut self, at: &Place, got: Result<Response, Fault>, now: Mono) -> Result<(), Fault> {
        let body = got.and_then(|got| if got.status == 200 { Ok(got.body) } else { Err(Fault::Status) })?;
        let mut services = description::services(&body, at, self.gateway.at)?;
        services.reverse();
        self.ask_address(services, now)
    }

    fn ask_address(&mut self, services: Vec<Service>, now: Mono) -> Result<(), Fault> {
        let service = services.last().ok_or(Fault::NoAddress)?.clone();
        self.call(&service, Action::Address, Step::Address { services }, now);
        Ok(())
    }

    fn take_address(
        &mut self,
        mut services: Vec<Service>,
        got: Result<Response, Fault>,
        now: Mono,
    ) -> Result<(), Fault> {
        let address = got.and_then(|got| Action::Address.read(&got)).map(|done| done.address);
        let Some(service) = services.pop() else { return Err(Fault::NoAddress) };
        match address {
            Ok(Some(address)) if !address.is_unspecified() => {
                let any = service.kind == Kind::Ip2;
                let outside = self.wanted;
                self.ask_mapping(Try { service, address, any, outside, lease: LIFETIME, ports: 1 }, now);
                Ok(())
            }
            // A line that is not connected; perhaps the next one is.
            Ok(_) | Err(Fault::Refused(_)) => self.ask_address(services, now),
            Err(fault) => Err(fault),
        }
    }

    fn ask_mapping(&mut self, made: Try, now: Mono) {
        let Try { any, outside, lease, .. } = made;
        self.loose = (lease == 0).then(|| (made.service.clone(), outside));
        let action = Action::Add { any, outside, client: self.gateway.local, port: self.port, lease };
        self.call(&made.service.clone(), action, Step::Map(made), now);
    }

    fn take_mapping(&mut self, tried: Try, got: Result<Response, Fault>, now: Mono) -> Result<(), Fault> {
        let Try { any, outside, lease, .. } = tried;
        let action = Action::Add { any, outside, client: self.gateway.local, port: self.port, lease };
        match got.and_then(|got| action.read(&got)) {
            Ok(done) => self.end(tried, done),
            Err(Fault::Refused(code)) => {
                self.loose = None;
                let again = self.again(tried, code).ok_or(Fault::Refused(code))?;
                self.ask_mapping(again, now);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    fn end(&mut self, tried: Try, done: Done) -> Result<(), Fault> {
        // Only who was asked for any port says which one it is.
        let port = if tried.any { done.outside } else { Some(tried.outside) };
        let port = port.filter(|port| *port != 0).ok_or(Fault::NoAnswer)?;
        let outside = SocketAddrV4::new(tried.address, port);
        self.loose = None;
        let endless = tried.lease == 0;
        self.step = Step::Over(Ok(Mapping { service: tried.service, outside, endless }));
        Ok(())
    }

    /// What is asked for after a refusal; `None` if that is to be believed.
    fn again(&self, tried: Try, code: u16) -> Option<Try> {
        match code {
            // No such action, or not implemented.
            401 | 602 if tried.any => Some(Try { any: false, ..tried }),
            // Only leases without end: version 1 may have no others. The agent takes it back when it stops.
            725 if tried.service.kind != Kind::Ip2 && tried.lease > 0 => Some(Try { lease: 0, ..tried }),
            // Only the same port on both sides.
            724 if tried.outside != self.port => Some(Try { outside: self.port, ports: PORTS, ..tried }),
            // Taken; some say only that it failed.
            718 | 501 if tried.ports < PORTS => {
                let outside = *self.others.get(tried.ports as usize)?;
                Some(Try { outside, ports: tried.ports + 1, ..tried })
            }
            _ => None,
        }
    }

    fn call(&mut self, service: &Service, action: Action, step: Step, now: Mono) {
        let request = request(service, action, self.gateway.at);
        self.exchange(&service.control, request, step, now);
    }

    fn exchange(&mut self, place: &Place, request: Vec<u8>, step: Step, now: Mono) {
        self.asks.clear();
        self.asks.push_back(Ask::Exchange { at: place.at(self.gateway.at), request });
        self.step = step;
        self.next = now.plus_millis(EXCHANGE_MS);
    }

    fn fail(&mut self, fault: Fault) {
        if self.ended().is_none() {
            self.asks.clear();
            self.step = Step::Over(Err(fault));
        }
    }
}

fn request(service: &Service, action: Action, gateway: Ipv4Addr) -> Vec<u8> {
    let (header, body) = action.call(service.kind);
    http::post(&service.control, gateway, &header, &body)
}

/// Takes a mapping back.
pub fn delete(service: &Service, outside: u16, gateway: Ipv4Addr) -> Ask {
    let request = request(service, Action::Delete { outside }, gateway);
    Ask::Exchange { at: service.control.at(gateway), request }
}

#[cfg(test)]
mod tests;

//! A public internet in the small: routers with NATs, hosts behind them or without, regions of the world with ways of their own
//! between them. All from one seed.
//!
//! Every network behind a router has the same addresses, as at home: 192.168.1.0/24. So what is a neighbour's address here is a
//! stranger's, or nobody's, elsewhere.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::clock::MS;
use crate::link::Weather;
use crate::nat::{Address, AddressAndPort, End, EndpointIndependent, Kind, Nat, can_meet};
use crate::random::Random;
use crate::world::PORT;

pub const REGIONS: u8 = 5;
/// Makes of NAT that are met: every mapping with every filter, short lives, and one that hairpins.
pub const MAKES: [Kind; 9] = [
    Kind::new(EndpointIndependent, EndpointIndependent).hairpinning(),
    Kind::new(EndpointIndependent, Address),
    Kind::new(EndpointIndependent, AddressAndPort),
    Kind::new(EndpointIndependent, AddressAndPort).living(30),
    Kind::new(Address, EndpointIndependent),
    Kind::new(Address, AddressAndPort),
    Kind::new(AddressAndPort, EndpointIndependent),
    Kind::new(AddressAndPort, Address),
    Kind::new(AddressAndPort, AddressAndPort).living(60),
];

/// Where a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Public,
    Behind(usize),
}

#[derive(Clone, Debug, Default)]
pub struct Internet {
    pub routers: Vec<Nat>,
    homes: Vec<Home>,
    regions: Vec<u8>,
    /// Hosts by public address, and by router and inner address.
    public: BTreeMap<SocketAddr, usize>,
    inner: BTreeMap<(usize, SocketAddr), usize>,
    outside: BTreeMap<IpAddr, usize>,
    moves: u32,
}

impl Internet {
    /// A router for every three hosts behind one, of all makes.
    pub fn new(nodes: usize, random: &mut Random) -> Internet {
        let mut net = Internet::default();
        for number in 0..nodes.div_ceil(4).max(1) {
            let outside = IpAddr::V4(Ipv4Addr::new(198, 19, (number / 200) as u8, (number % 200) as u8 + 1));
            let kind = MAKES[random.below(MAKES.len() as u64) as usize];
            net.outside.insert(outside, number);
            net.routers.push(Nat::new(kind, outside, random.draw() % 50_000));
        }
        net
    }

    /// A way between two regions: further is longer, the way back is another, and some lose a little.
    pub fn climate(from: u8, to: u8, random: &mut Random) -> Weather {
        let far = u64::from(from.abs_diff(to));
        let latency = (4 + 22 * far) * MS + random.below(15 * MS);
        Weather { latency, jitter: 2 * MS, loss: random.below(15), duplication: 2, reordering: 3 }
    }

    /// A new host, or a host that has moved: one in four has a public address. Returns its underlay address and its region.
    pub fn house(&mut self, node: usize, random: &mut Random) -> (SocketAddr, u8) {
        self.leave(node);
        let home = match random.chance(250) {
            true => Home::Public,
            false => Home::Behind(random.below(self.routers.len() as u64) as usize),
        };
        // All behind one router are in one place.
        let region = match home {
            Home::Public => random.below(REGIONS.into()) as u8,
            Home::Behind(router) => Internet::region_of_router(router),
        };
        let address = self.free_address(node, home);
        if self.homes.len() <= node {
            self.homes.resize(node + 1, Home::Public);
            self.regions.resize(node + 1, 0);
        }
        self.homes[node] = home;
        self.regions[node] = region;
        match home {
            Home::Public => self.public.insert(address, node),
            Home::Behind(router) => self.inner.insert((router, address), node),
        };
        (address, region)
    }

    pub fn region_of_router(router: usize) -> u8 {
        (router % usize::from(REGIONS)) as u8
    }

    fn leave(&mut self, node: usize) {
        self.public.retain(|_, host| *host != node);
        self.inner.retain(|_, host| *host != node);
    }

    fn free_address(&mut self, node: usize, home: Home) -> SocketAddr {
        let ip = match home {
            Home::Public => {
                self.moves += 1;
                Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 64, 0)) + self.moves)
            }
            Home::Behind(router) => {
                let taken = |last: &u8| self.inner.contains_key(&(router, inner(*last)));
                let last = (2..=254).find(|last| !taken(last)).unwrap_or(node as u8);
                return inner(last);
            }
        };
        SocketAddr::new(ip.into(), PORT)
    }

    pub fn home(&self, node: usize) -> Home {
        self.homes[node]
    }
    pub fn region(&self, node: usize) -> u8 {
        self.regions[node]
    }

    /// A neighbour at this address in the same network.
    pub fn neighbour(&self, node: usize, to: SocketAddr) -> Option<usize> {
        let Some(Home::Behind(router)) = self.homes.get(node).copied() else { return None };
        self.inner.get(&(router, to)).copied()
    }

    /// As whom a host is seen by `to`.
    pub fn outbound(&mut self, node: usize, from: SocketAddr, to: SocketAddr, now: u64) -> SocketAddr {
        match self.homes[node] {
            Home::Public => from,
            Home::Behind(router) => self.routers[router].outbound(from, to, now),
        }
    }

    /// The region in which a public address is; `None`: nobody has it.
    pub fn place_of(&self, to: SocketAddr) -> Option<Target> {
        if let Some(node) = self.public.get(&to) {
            return Some(Target::Host(*node));
        }
        self.outside.get(&to.ip()).map(|router| Target::Router(*router))
    }

    /// Whom a router gives a datagram to.
    pub fn inbound(&mut self, router: usize, from: SocketAddr, port: u16, now: u64) -> Option<usize> {
        let inner = self.routers[router].inbound(from, port, now)?;
        self.inner.get(&(router, inner)).copied()
    }

    fn end(&self, node: usize) -> End {
        match self.homes[node] {
            Home::Public => None,
            Home::Behind(router) => Some(self.routers[router].kind),
        }
    }

    /// Is there a direct way between the two at all?
    pub fn can_meet(&self, a: usize, b: usize) -> bool {
        let (home, other) = (self.homes[a], self.homes[b]);
        home == other && home != Home::Public || can_meet(self.end(a), self.end(b))
    }

    /// For whoever must find out.
    pub fn describe(&self, node: usize) -> String {
        let home = match self.homes[node] {
            Home::Public => "public".to_owned(),
            Home::Behind(router) => format!("behind router {router} {:?}", self.routers[router].kind),
        };
        format!("{home}, region {}", self.regions[node])
    }
}

/// Where a datagram on the public internet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Host(usize),
    Router(usize),
}

fn inner(last: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(192, 168, 1, last).into(), PORT)
}

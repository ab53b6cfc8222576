//! An eavesdropper on the underlay: every frame, none dropped, and a detector that is itself tested.

use std::path::PathBuf;
use std::time::Duration;

use crate::process::{Daemon, run};
use crate::street::{Host, Street};
use crate::wait::eventually;
use crate::warren::COORDINATOR_PORT;

/// A running capture of the whole underlay.
#[derive(Debug)]
pub struct Capture {
    daemon: Daemon,
    file: PathBuf,
    namespace: String,
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    pub frames: Vec<Vec<u8>>,
    /// Frames the kernel could not hand over: must be 0, or the capture proves nothing.
    pub dropped: u64,
}

impl Capture {
    pub fn start(street: &Street, name: &str) -> Capture {
        let file = street.dir().join(format!("{name}.pcap"));
        let log = street.dir().join(format!("{name}.log"));
        let path = file.to_string_lossy().into_owned();
        let args = [
            "tcpdump",
            "-i",
            "br0",
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-B",
            "131072",
            "-Z",
            "root",
            "-w",
            &path,
        ];
        let daemon = Daemon::start(Some(&street.net()), &args, &[], &log);
        eventually("tcpdump listens", Duration::from_secs(10), || {
            daemon.output().contains("listening on").then_some(())
        });
        Capture { daemon, file, namespace: street.net() }
    }

    /// Sends a mark over the underlay itself and waits until the file holds it: everything before is captured too.
    pub fn finish(self) -> Seen {
        let mark = format!("capture-ends-{}", self.daemon.pid());
        eventually("the capture holds its own end mark", Duration::from_secs(10), || {
            let send = format!("printf '{mark}' | timeout 1 bash -c 'cat >/dev/udp/10.91.255.254/9'");
            run(Some(&self.namespace), &["ip", "addr", "replace", "10.91.255.253/16", "dev", "br0"], &[])
                .ok();
            run(
                Some(&self.namespace),
                &["ip", "neigh", "replace", "10.91.255.254", "lladdr", "02:00:00:00:00:fe", "dev", "br0"],
                &[],
            )
            .ok();
            run(Some(&self.namespace), &["bash", "-c", &send], &[]);
            contains(&std::fs::read(&self.file).unwrap_or_default(), mark.as_bytes()).then_some(())
        });
        self.daemon.signal("INT");
        let summary = eventually("tcpdump says what it dropped", Duration::from_secs(10), || {
            let text = self.daemon.output();
            text.contains("dropped by kernel").then_some(text)
        });
        let bytes = std::fs::read(&self.file).unwrap();
        let frames = frames(&bytes).into_iter().filter(|f| !contains(f, mark.as_bytes())).collect();
        Seen { frames, dropped: dropped(&summary) }
    }
}

fn dropped(summary: &str) -> u64 {
    let line = summary.lines().find(|l| l.contains("dropped by kernel")).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)
}

/// The frames of a little-endian pcap file (libpcap file format 2.4).
fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = file.get(24..).unwrap_or_default();
    let mut frames = Vec::new();
    while rest.len() >= 16 {
        let length = u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        frames.push(frame.to_vec());
        rest = &rest[16 + length..];
    }
    frames
}

pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

/// Transport and ports of one frame, as far as an eavesdropper cares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Arp,
    /// ICMPv6: neighbour discovery of the underlay.
    Icmp6,
    Udp(u16, u16),
    Other(String),
}

pub fn kind(frame: &[u8]) -> Kind {
    let ports = |at: usize| {
        let word =
            |i: usize| frame.get(i..i + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).unwrap_or_default();
        Kind::Udp(word(at), word(at + 2))
    };
    match (frame.get(12..14), frame.get(23), frame.get(20)) {
        (Some([0x08, 0x06]), ..) => Kind::Arp,
        (Some([0x08, 0x00]), Some(17), _) => ports(14 + usize::from(frame[14] & 15) * 4),
        (Some([0x08, 0x00]), Some(1), _) => {
            let icmp = frame.get(14 + usize::from(frame[14] & 15) * 4..).unwrap_or_default();
            Kind::Other(format!("ICMP {:02x?}", icmp.get(..36).unwrap_or(icmp)))
        }
        (Some([0x08, 0x00]), Some(proto), _) => Kind::Other(format!("IPv4 protocol {proto}")),
        (Some([0x86, 0xdd]), _, Some(17)) => ports(54),
        (Some([0x86, 0xdd]), _, Some(58)) => Kind::Icmp6,
        // MLD reports carry a hop-by-hop header in front of ICMPv6 (RFC 3810).
        (Some([0x86, 0xdd]), _, Some(0)) if frame.get(54) == Some(&58) => Kind::Icmp6,
        (Some([0x86, 0xdd]), _, Some(next)) => Kind::Other(format!("IPv6 next header {next}")),
        (ether, ..) => Kind::Other(format!("ethertype {ether:02x?}")),
    }
}

/// Ports of a UDP or TCP frame.
fn ports(frame: &[u8]) -> Option<(u16, u16)> {
    let transport = |protocol: u8| matches!(protocol, 6 | 17);
    let at = match (frame.get(12..14)?, *frame.get(23)?, *frame.get(20)?) {
        ([0x08, 0x00], protocol, _) if transport(protocol) => 14 + usize::from(frame[14] & 15) * 4,
        ([0x86, 0xdd], _, protocol) if transport(protocol) => 54,
        _ => return None,
    };
    let word = |i: usize| frame.get(i..i + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    Some((word(at)?, word(at + 2)?))
}

/// Where doors are by default, over TCP and UDP.
const DOOR: u16 = 443;

/// A try to reach the coordinator where UDP does not: TCP or UDP to port 443, TCP to its own port. What passes there is TLS or QUIC.
fn is_door(frame: &[u8]) -> bool {
    let door = |port: u16| port == DOOR || port == COORDINATOR_PORT;
    ports(frame).is_some_and(|(from, to)| door(from) || door(to))
}

impl Seen {
    pub fn containing(&self, needle: &[u8]) -> usize {
        self.frames.iter().filter(|f| contains(f, needle)).count()
    }
    pub fn udp_with_port(&self, port: u16) -> usize {
        self.frames.iter().filter(|f| matches!(kind(f), Kind::Udp(a, b) if a == port || b == port)).count()
    }
    /// As [`Seen::strange`], without what a host's own kernel answers to a datagram with one of `ports`, or a door's, at an end that
    /// came while nobody listened (an agent or a coordinator was killed): ICMP "port unreachable" to whoever sent it, quoting
    /// that datagram as it was on the underlay. Such a quotation of anything else is strange.
    pub fn strange_but_refusals(&self, ports: &[u16]) -> Vec<Kind> {
        let refusal = |f: &[u8]| {
            let quoted = f.get(42..70).unwrap_or_default();
            let ports_of = quoted.get(20..24).unwrap_or_default().chunks(2);
            let known = ports_of
                .map(|b| u16::from_be_bytes([b[0], b[1]]))
                .any(|port| ports.contains(&port) || port == DOOR);
            // Back the way it came: both ends are the underlay's.
            let turned = (quoted.get(12..16), quoted.get(16..20)) == (f.get(30..34), f.get(26..30));
            turned
                && f.get(12..14) == Some(&[0x08, 0x00])
                && f.get(23) == Some(&1)
                && f.get(34..36) == Some(&[3, 3])
                && quoted.get(9) == Some(&17)
                && known
        };
        let frames = self.frames.iter().filter(|f| !refusal(f)).cloned().collect();
        Seen { frames, dropped: self.dropped }.strange(ports)
    }
    /// Frames of DNS in clear, over UDP and TCP: port 53, multicast DNS, LLMNR.
    pub fn clear_dns(&self) -> usize {
        let clear = |port: u16| matches!(port, 53 | 5353 | 5355);
        self.frames.iter().filter_map(|f| ports(f)).filter(|(from, to)| clear(*from) || clear(*to)).count()
    }
    /// UDP and TCP frames with one of `ports` at an end.
    pub fn with_ports(&self, of: &[u16]) -> usize {
        let ends = self.frames.iter().filter_map(|f| ports(f));
        ends.filter(|(from, to)| of.contains(from) || of.contains(to)).count()
    }
    /// Frames that are neither neighbour discovery nor UDP with one of `ports` at an end.
    pub fn strange(&self, ports: &[u16]) -> Vec<Kind> {
        let known = |k: &Kind| match k {
            Kind::Arp | Kind::Icmp6 => true,
            Kind::Udp(a, b) => ports.contains(a) || ports.contains(b),
            Kind::Other(_) => false,
        };
        let others = self.frames.iter().filter(|f| !is_door(f));
        others.map(|f| kind(f)).filter(|k| !known(k)).collect()
    }
}

/// Everything that passes one interface of one host, for a short time.
#[derive(Debug)]
pub struct Tap {
    daemon: Daemon,
    file: PathBuf,
    host: Host,
    interface: String,
}

/// A frame of a protocol for experiments (IEEE 802, local experimental ethertype), to nobody; it ends with the given words. What has
/// no such frames is given the bytes as they are, and they are no packet.
const END: &str = "import socket,sys
s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); s.bind((sys.argv[1],0))
s.send(b'\\2\\0\\0\\0\\0\\xfe\\2\\0\\0\\0\\0\\xfd\\x88\\xb5'+bytes(46)+sys.argv[2].encode())";

impl Tap {
    pub fn start(host: &Host, interface: &str) -> Tap {
        let file = host.dir.join(format!("tap-{interface}.pcap"));
        let path = file.to_string_lossy().into_owned();
        let args = [
            "tcpdump",
            "-i",
            interface,
            "-n",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-B",
            "65536",
            "-Z",
            "root",
            "-w",
            &path,
        ];
        let daemon = host.daemon(&format!("tap-{interface}"), &args);
        eventually("the tap listens", Duration::from_secs(10), || {
            daemon.output().contains("listening on").then_some(())
        });
        Tap { daemon, file, host: host.clone(), interface: interface.to_owned() }
    }

    /// The packets, none missing. What tcpdump has not read yet when it is told to end is lost: so a mark is sent over the interface
    /// itself, and waited for.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        let mark = format!("tap-ends-{}", self.daemon.pid());
        let is_mark = |frame: &Vec<u8>| frame.ends_with(mark.as_bytes());
        eventually("the tap holds its own end mark", Duration::from_secs(10), || {
            self.host.run(&["python3", "-c", END, &self.interface, &mark]).ok();
            frames(&std::fs::read(&self.file).unwrap_or_default()).iter().any(is_mark).then_some(())
        });
        self.daemon.signal("INT");
        eventually("tcpdump has written all", Duration::from_secs(10), || self.daemon.finished());
        assert_eq!(dropped(&self.daemon.output()), 0, "a tap with holes proves nothing");
        frames(&std::fs::read(&self.file).unwrap()).into_iter().filter(|frame| !is_mark(frame)).collect()
    }
}

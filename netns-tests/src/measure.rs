//! What is counted at a target while it is attacked: datagrams that a friend sends through its tunnel, and its memory.

use std::path::Path;
use std::time::Duration;

use crate::process::Daemon;
use crate::street::Host;
use crate::wait::eventually;

/// A service that sends every UDP datagram back, for `attack` programs and [`Pings`] alike.
const ECHO: &str = "import socket,sys
s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_V6ONLY,0)
s.bind(('::',int(sys.argv[1]))); print('ready',flush=True)
while True:
    d,a=s.recvfrom(65536); s.sendto(d,a)";

/// Numbered datagrams, `rate` a second, until it is told to stop (SIGTERM): prints how many went and how many came back,
/// each counted once, and the longest silence.
const PINGS: &str = "import socket,sys,time,signal,select
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.connect((sys.argv[1],int(sys.argv[2]))); s.setblocking(False)
stop=[]; signal.signal(signal.SIGTERM,lambda *a: stop.append(1))
step=1/float(sys.argv[3]); n=0; seen=set(); last=start=time.monotonic(); gap=0.0
def hear(t):
    global last,gap
    if select.select([s],[],[],max(0,t))[0]:
        try:
            while True:
                seen.add(s.recv(2048)); now=time.monotonic(); gap=max(gap,now-last); last=now
        except OSError: pass
print('ready',flush=True)
while not stop:
    due=start+n*step
    hear(due-time.monotonic())
    if time.monotonic()>=due:
        try: s.send(b'ping %d'%n)
        except OSError: pass
        n+=1
end=time.monotonic()+2
while time.monotonic()<end and len(seen)<n: hear(0.05)
print('sent',n,'back',len(seen),'gap_ms',int(gap*1000),flush=True)";

#[must_use]
pub fn echo_service(host: &Host, port: u16) -> Daemon {
    ready(host.daemon(&format!("echo-{port}"), &["python3", "-c", ECHO, &port.to_string()]))
}

fn ready(daemon: Daemon) -> Daemon {
    eventually("the program is ready", Duration::from_secs(10), || {
        daemon.output().contains("ready").then_some(())
    });
    daemon
}

/// A friend's steady traffic.
#[derive(Debug)]
pub struct Pings(Daemon);

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct Returned {
    pub sent: u64,
    pub back: u64,
    pub gap_ms: u64,
}

impl Returned {
    pub fn loss_percent(&self) -> f64 {
        100.0 * (self.sent - self.back) as f64 / self.sent.max(1) as f64
    }
}

impl Pings {
    pub fn start(host: &Host, to: &str, port: u16, rate: u32) -> Pings {
        let name = format!("pings-{}-{port}", to.replace(['.', ':'], "-"));
        let args = ["python3", "-c", PINGS, to, &port.to_string(), &rate.to_string()];
        Pings(ready(host.daemon(&name, &args)))
    }

    pub fn stop(mut self) -> Returned {
        self.0.signal("TERM");
        eventually("the pings end", Duration::from_secs(10), || self.0.finished());
        let text = self.0.output();
        let line = text.lines().rev().find(|l| l.starts_with("sent ")).unwrap_or_default().to_owned();
        let number = |word: &str| {
            let mut words = line.split_whitespace().skip_while(|w| *w != word).skip(1);
            words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no `{word}` in {text}"))
        };
        Returned { sent: number("sent"), back: number("back"), gap_ms: number("gap_ms") }
    }
}

/// Resident memory of a process in KiB.
pub fn memory_kib(pid: u64) -> u64 {
    let status =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("process {pid} is gone"))
}

/// A number from the environment: how long a test runs where there is time.
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// The smallest value that `percent` of all do not exceed.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

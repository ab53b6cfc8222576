"""The tests by name, and what each gives."""

import time

import crowd
import grants
import iperf
import latency
import steady

SETTLE = 2


def idle(contestant, seconds):
    """Memory before any bulk traffic, and CPU while nothing happens."""
    time.sleep(SETTLE)
    before = contestant.cpu_seconds()
    time.sleep(seconds)
    used = contestant.cpu_seconds() - before
    ends = max(1, len(contestant.daemons))
    return {
        "cpu_pct": 100 * used / seconds / ends,
        "rss_mib": max((d.rss_mib() for d in contestant.daemons), default=0.0),
        "threads": max((d.threads() for d in contestant.daemons), default=0),
    }


def without_offloads(measure):
    def measured(contestant, seconds):
        contestant.street.offloads(False)
        try:
            return measure(contestant, seconds)
        finally:
            contestant.street.offloads(True)

    return measured


def tcp1(c, s):
    return iperf.tcp(c, s)


#: name → (what is measured, function of contestant and seconds, the values shown: key and unit)
MEASURES = {
    "idle": ("nothing happens", idle, [("rss_mib", "idle RSS MiB"), ("cpu_pct", "idle CPU %")]),
    "tcp1": ("TCP, 1 stream", tcp1, [("gbps", "Gbit/s"), ("cpu_s_per_gb", "tunnel CPU-s/GB")]),
    "tcp4": (
        "TCP, 4 streams", lambda c, s: iperf.tcp(c, s, streams=4),
        [("gbps", "Gbit/s"), ("cpu_s_per_gb", "tunnel CPU-s/GB")],
    ),
    "tcp1R": ("TCP, 1 stream, reverse", lambda c, s: iperf.tcp(c, s, reverse=True), [("gbps", "Gbit/s")]),
    "bidir": (
        "TCP both ways, sum", lambda c, s: iperf.tcp(c, s, both=True),
        [("gbps", "Gbit/s"), ("cpu_s_per_gb", "tunnel CPU-s/GB")],
    ),
    "udp64": (
        "UDP 64 bytes, overload", lambda c, s: iperf.udp(c, s, 64),
        [("kpps", "kpps delivered"), ("cpu_us_per_packet", "tunnel CPU µs/packet")],
    ),
    "udp1200": ("UDP 1200 bytes, overload", lambda c, s: iperf.udp(c, s, 1200), [("kpps", "kpps delivered")]),
    "udp64max": ("UDP 64 bytes, < 0.1 % loss", lambda c, s: steady.highest(c, 64), [("kpps", "kpps")]),
    "udp1200max": ("UDP 1200 bytes, < 0.1 % loss", lambda c, s: steady.highest(c, 1200), [("kpps", "kpps")]),
    "rr": (
        "TCP request/response", latency.exchange,
        [("p50", "p50 µs"), ("p99", "p99 µs"), ("p999", "p99.9 µs")],
    ),
    "rr1cpu": (
        "the same, all on one CPU", latency.exchange_on_one_cpu,
        [("p50", "p50 µs"), ("p99", "p99 µs"), ("p999", "p99.9 µs")],
    ),
    "connect": ("new TCP connections", latency.connections, [("p50", "p50 µs")]),
    "first": ("first packet to first reply", lambda c, s: latency.first(c), [("ms", "ms")]),
    "tcp1-nooffload": (
        "TCP, 1 stream, no segmentation on the wire", without_offloads(tcp1),
        [("gbps", "Gbit/s"), ("cpu_s_per_gb", "tunnel CPU-s/GB")],
    ),
    "handshakes": (
        "handshakes answered, 500 peers knock", crowd.knocking,
        [("per_s", "per s"), ("cpu_us", "CPU µs each")],
    ),
    "peers": (
        "silent peers", crowd.silent,
        [(f"{key}_{n}", f"{what}, {n} peers") for key, what in (("rss", "RSS MiB"), ("cpu", "CPU %")) for n in crowd.COUNTS],
    ),
    "grants": (
        "grants between the two nodes", grants.measure,
        [
            (f"{key}_{n}", f"{what}, {n} grants")
            for key, what in grants.SHOWN for n in grants.COUNTS
        ],
    ),
}

#: Measured in the first round only: long, and steady.
ONCE = {"peers", "grants"}
#: Need the helper that makes many peers and datagrams.
CROWDED = {"handshakes", "peers", "udp64max", "udp1200max"}
QUICK = ["idle", "tcp1", "tcp4", "bidir", "udp64", "rr"]
#: Peak memory is looked at after each of these.
TRAFFIC = {"tcp1", "tcp4", "tcp1R", "bidir", "udp64", "udp1200", "udp64max", "udp1200max"}

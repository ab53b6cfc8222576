"""What many grants between the two nodes cost: the same traffic under policies of growing size. Warren only."""

import statistics

import iperf
import latency
from process import NotApplicable
from warren import Warren, policy

COUNTS = (2, 10, 10_000)
SHOWN = (
    ("gbps", "Gbit/s"), ("cpu_s_per_gb", "tunnel CPU-s/GB"), ("connect", "connect p50 µs"),
    ("rss", "RSS MiB"),
)
ROUNDS = 3


def measure(contestant, seconds):
    """Interleaved, three rounds: medians; of the memory the least, because what a node once used it may keep."""
    if not isinstance(contestant, Warren):
        raise NotApplicable()
    twin, seen = contestant.twin(), {}
    try:
        twin.up()
        for _ in range(ROUNDS):
            for count in COUNTS:
                twin.apply(policy(count))
                twin.reach()
                one(twin, count, seconds, seen)
    finally:
        twin.down()
    return {key: min(v) if key.startswith("rss") else statistics.median(v) for key, v in seen.items()}


def one(twin, count, seconds, seen):
    tcp = iperf.tcp(twin, seconds)
    values = {
        "gbps": tcp["gbps"], "cpu_s_per_gb": tcp["cpu_s_per_gb"],
        "connect": latency.connections(twin, 1)["p50"], "rss": max(d.rss_mib() for d in twin.daemons),
    }
    for key, value in values.items():
        seen.setdefault(f"{key}_{count}", []).append(value)

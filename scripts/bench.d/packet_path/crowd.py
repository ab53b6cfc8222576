"""Many peers: what they cost in memory and CPU while they are silent, and how fast they may shake hands.

The crowd is made by `netns-tests/examples/crowd`: keys without processes; for Warren members enrolled over QUIC at the
contestant's own coordinator. Each measurement has a contestant of its own (a twin), so that no other test meets the crowd.
"""

import json
import pathlib
import time

from process import run
from street import A, B

COUNTS = (1, 500, 10_000)
KNOCKING = 500
SETTLE = 5


class Crowd:
    """The helper program, and the files of keys it made."""

    program = None

    def __init__(self, street):
        self.street, self.size = street, 0
        self.file = street.path("crowd")

    def keys(self, count):
        """The public keys of a crowd of `count` strangers."""
        self.grow(count, lambda more: run([self.program, "keys", more, self.file], timeout=120))
        return [line.split()[1] for line in pathlib.Path(self.file).read_text().splitlines()]

    def members(self, count, token):
        """A crowd of `count` members; `token(uses)` gives a file with a token."""
        enrol = lambda more: run([self.program, "enrol", token(more), more, self.file], self.street.a, timeout=900)
        self.grow(count, enrol)

    def grow(self, count, make):
        if count > self.size:
            make(count - self.size)
            self.size = count


def silent(contestant, seconds):
    """Memory and idle CPU of A with 1, 500 and 10,000 peers, each after a fresh start."""
    values = {}
    for count in COUNTS:
        twin_with(contestant, count, lambda twin: values.update(rest(twin, count, seconds)))
    return values


def rest(twin, count, seconds):
    time.sleep(SETTLE)
    daemon = twin.daemons[0]
    before = daemon.cpu_seconds()
    time.sleep(max(seconds, 5))
    used = daemon.cpu_seconds() - before
    return {
        f"rss_{count}": daemon.rss_mib(), f"peak_{count}": daemon.peak_mib(), f"cpu_{count}": 100 * used / max(seconds, 5)
    }


def twin_with(contestant, count, measure):
    """A twin of `contestant` whose end A has `count` peers in all."""
    twin = contestant.twin()
    try:
        twin.up()
        twin.invite(count - 1)
        measure(twin)
    finally:
        twin.down()


def knocking(contestant, seconds):
    """Handshakes that A answers, with as many coming as it can take; what each costs it."""
    values = {}

    def measure(twin):
        # The crowd lives at B, each with an address of its own.
        run(["ip", "route", "add", "local", "10.66.0.0/16", "dev", "lo"], twin.street.b)
        run(["ip", "route", "add", "10.66.0.0/16", "via", B], twin.street.a)
        before = twin.daemons[0].cpu_seconds()
        said = json.loads(run(
            [Crowd.program, "handshakes", twin.crowd.file, twin.key_of_a(), f"{A}:51820", max(seconds, 3)],
            twin.street.b, timeout=seconds + 60,
        ))
        used = twin.daemons[0].cpu_seconds() - before
        values.update(said, cpu_us=used * 1e6 / max(1, said["done"]))

    twin_with(contestant, KNOCKING + 1, measure)
    return values


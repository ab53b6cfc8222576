"""Two real nodes at full rate both ways for a long time. Meanwhile WireGuard rekeys every two minutes, node B gets
another underlay address every minute, and another policy is applied every ten seconds. Every byte is checked.

It passes if no connection broke, no byte was wrong or missing, no stream stood still for over a second, no honest packet
was refused as not authentic (a counter outside the replay window is), every policy was enforced, and the nodes'
memory did not grow after the first fifth of the time."""

import argparse
import json
import pathlib
import signal
import sys
import time

import contestants
import street
from process import Daemon, Failed, run, wait_for
from warren import IPERF, Warren, policy

ROOT = pathlib.Path(__file__).resolve().parents[3]
STREAM = pathlib.Path(__file__).with_name("stream.py")
APPLY, ROAM, SAMPLE, REKEY = 10, 60, 10, 120
#: What a node's memory may grow by once it is warm.
GROWTH_MIB, GROWTH = 1.0, 0.05
#: Counters that stay as they are while all packets are honest and the underlay loses none.
REFUSED = ["wg-not-authentic", "wg-bad-mac1", "wg-old-initiation", "arena-full"]
SHOWN = [*REFUSED, "wg-unknown-index", "wg-handshake", "peer-roamed", "send-buffer-full", "no-session", "udp-lost", "tun-lost"]


class Soak:
    def __init__(self, warren, minutes):
        self.warren, self.seconds = warren, int(minutes * 60)
        self.streams, self.faults, self.memory = [], [], {"a": [], "b": []}
        self.applies, self.slowest, self.roams = 0, 0.0, 0
        self.begun = self.counted = None

    def run(self):
        self.warren.up()
        names = self.warren.street
        # An address that goes takes no other one of its network with it.
        run(["sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=1"], names.b)
        words = [sys.executable, "-B", STREAM]
        server = Daemon([*words, "serve", IPERF], names.b, names.path("stream-b.log"))
        wait_for("the server listens", lambda: server.listens(IPERF))
        self.begun, self.counted = time.monotonic(), {end: self.counters(end) for end in "ab"}
        for mode in ("push", "pull"):
            log = names.path(f"stream-{mode}.log")
            self.streams.append(
                Daemon([*words, mode, self.warren.b, IPERF, self.seconds], names.a, log)
            )
        logs = [server.log, *(s.log for s in self.streams)]
        try:
            self.disturb()
            wait_for("the streams end", lambda: not any(s.alive() for s in self.streams), limit=90)
        except Failed as e:
            self.fault(str(e))
        finally:
            server.kill()
        return self.verdict(logs)

    def disturb(self):
        """One thing after the other, each at its time, until the time is over."""
        due = {self.apply: APPLY, self.roam: ROAM, self.sample: 0}
        every = {self.apply: APPLY, self.roam: ROAM, self.sample: SAMPLE}
        while self.age() < self.seconds:
            action = min(due, key=due.get)
            time.sleep(max(0.0, min(due[action], self.seconds) - self.age()))
            if self.age() >= self.seconds:
                return
            due[action] = max(due[action] + every[action], self.age())
            try:
                action()
            except Failed as e:
                self.fault(f"{action.__name__}: {e}")
            for end, daemon in zip("ab", self.warren.daemons):
                if not daemon.alive():
                    raise Failed(f"node {end} died:\n{daemon.tail()}")

    def age(self):
        return time.monotonic() - self.begun

    def fault(self, text):
        print(f"{self.age():7.1f} s  FAULT {text}", flush=True)
        self.faults.append(text)

    def apply(self):
        """Between 3 and 12 grants, so that each differs from the one before."""
        started = time.monotonic()
        self.warren.apply(policy(3 + self.applies % 10))
        self.applies += 1
        self.slowest = max(self.slowest, time.monotonic() - started)

    def roam(self):
        self.roams += 1
        namespace, number = self.warren.street.b, self.roams
        address = lambda n: f"10.77.{n // 250 + 1}.{n % 250 + 1}/16" if n else f"{street.B}/16"
        run(["ip", "addr", "add", address(number), "dev", "up0"], namespace)
        run(["ip", "addr", "del", address(number - 1), "dev", "up0"], namespace)
        print(f"{self.age():7.1f} s  node B is at {address(number)} (at {time.monotonic():.3f})", flush=True)

    def sample(self):
        for end, daemon in zip("ab", self.warren.daemons):
            self.memory[end].append((self.age(), daemon.rss_mib()))

    def counters(self, end):
        return json.loads(self.warren.node(end, "--json", "counters"))["counters"]

    def verdict(self, logs):
        events = sorted((e for log in logs for e in read(log)), key=lambda e: e["at"])
        moved = {end: self.moved(end) for end in "ab"}
        for event in events:
            if event["event"] in ("stall", "corrupt", "reset", "short"):
                self.fault(f"{event['event']} at {event['at'] - self.begun:.1f} s: {json.dumps(event)}")
        done = {e["stream"]: e["bytes"] for e in events if e["event"] == "received"}
        for name in ("a to b", "b to a"):
            if name not in done:
                self.fault(f"the stream {name} did not end as it should")
        for end in "ab":
            refused = {n: moved[end].get(n, 0) for n in REFUSED if moved[end].get(n, 0)}
            if refused:
                self.fault(f"node {end} refused honest packets: {refused}")
            self.judge_memory(end)
        rekeys = int(self.seconds // REKEY)
        if min(moved[end].get("wg-handshake", 0) for end in "ab") < rekeys:
            self.fault(f"fewer than {rekeys} handshakes: nothing was rekeyed")
        return {
            "minutes": self.seconds / 60, "gbit_per_s": {n: b * 8 / 1e9 / self.seconds for n, b in done.items()},
            "bytes": done, "stalls": [e for e in events if e["event"] == "stall"],
            "resets": sum(e["event"] == "reset" for e in events), "applies": self.applies,
            "slowest_apply_s": self.slowest, "roams": self.roams, "counters": moved,
            "memory_mib": self.memory, "faults": self.faults,
        }

    def moved(self, end):
        try:
            now = self.counters(end)
        except (Failed, ValueError) as e:
            self.fault(f"node {end} does not tell its counters: {e}")
            return {}
        return {n: v - self.counted[end].get(n, 0) for n, v in now.items() if v != self.counted[end].get(n, 0)}

    def judge_memory(self, end):
        warm = [m for age, m in self.memory[end] if age <= self.seconds / 5]
        later = [m for age, m in self.memory[end] if age > self.seconds * 4 / 5]
        if warm and later and max(later) > max(warm) * (1 + GROWTH) + GROWTH_MIB:
            self.fault(f"memory of node {end} grew from {max(warm):.1f} to {max(later):.1f} MiB")


def read(log):
    lines = pathlib.Path(log).read_text(errors="replace").splitlines()
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            print(f"{log}: {line}", file=sys.stderr)


def report(result):
    """For people."""
    print(f"\n{result['minutes']:g} minutes: {result['applies']} policies (slowest {result['slowest_apply_s']:.1f} s), {result['roams']} moves")
    for name, total in result["bytes"].items():
        print(f"  {name}: {total / 1e9:.1f} GB checked, {result['gbit_per_s'][name]:.2f} Gbit/s")
    print(f"  resets {result['resets']}, stalls over 1 s {len(result['stalls'])}")
    for end in "ab":
        memory = [f"{m:.1f}" for _, m in result["memory_mib"][end]]
        step = max(1, len(memory) // 12)
        print(f"  memory of node {end} (MiB): {' '.join(memory[::step])}")
        moved = result["counters"][end]
        print(f"  counters of node {end}: " + ", ".join(f"{n} {moved.get(n, 0)}" for n in SHOWN))
    print("FAILED" if result["faults"] else "PASSED")
    for fault in result["faults"]:
        print(f"  {fault}")


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="how long (30)")
    parser.add_argument("--workers", type=int, metavar="N", help="packet workers of each node")
    parser.add_argument("--programs", metavar="DIR", help="another build of Warren; nothing is built then")
    parser.add_argument("--json", metavar="FILE", help="where the numbers go (target/bench/soak.json)")
    return parser.parse_args()


def stop(*_):
    sys.exit(130)


def main():
    args = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    street.sweep()
    warren = Warren("soak", args.programs or contestants.warren(ROOT, True))
    warren.flags = ["--workers", str(args.workers)] if args.workers else []
    try:
        result = Soak(warren, args.minutes).run()
    except Failed as e:
        sys.exit(str(e))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        warren.down()
    out = pathlib.Path(args.json or ROOT / "target/bench/soak.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1))
    report(result)
    sys.exit(1 if result["faults"] else 0)


if __name__ == "__main__":
    main()

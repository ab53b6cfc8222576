"""`scripts/bench relay`: run inside a network namespace of its own, with nothing but lo."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CARRY = "target/soak/examples/carry"
CARRIER_CORE, LOAD_CORE = "0", "1"
#: Where what carries listens, where the load comes from, and where it comes out.
LISTEN, FROM, TO = "127.0.0.1:7946", "127.0.0.2", "127.0.0.3:9000"
TICKS = os.sysconf("SC_CLK_TCK")

COTURN = [
    "turnserver", "-n", "--no-auth", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-tcp-relay", "--allow-loopback-peers",
    "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", "7946", "--log-file", "stdout", "--relay-threads", "1",
]  # fmt: skip
CARRIERS = {
    "warren": ("relay", [CARRY, "relay", LISTEN]),
    "forwarder": ("plain", [CARRY, "forward", LISTEN, TO]),
    "coturn": ("turn", COTURN),
}


class Carrier:
    """One of those that carry, on a core of its own."""

    def __init__(self, name, directory):
        self.by, args = CARRIERS[name]
        self.log = Path(directory) / f"{name}.log"
        out = open(self.log, "wb")
        self.process = subprocess.Popen(["taskset", "-c", CARRIER_CORE, *args], stdout=out, stderr=out, cwd=os.getcwd())
        for _ in range(400):
            if self.listens():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        sys.exit(f"{name} did not start:\n{self.log.read_text(errors='replace')}")

    @staticmethod
    def listens():
        return bool(subprocess.run(["ss", "-Hlnu", "sport = :7946"], capture_output=True, text=True).stdout.strip())

    def cpu(self):
        """Seconds of processor time, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self):
        self.process.kill()
        self.process.wait()


def load(carrier, size, secs):
    args = ["taskset", "-c", LOAD_CORE, CARRY, "load", carrier.by, LISTEN, "--from", FROM, "--to", TO]
    before = carrier.cpu()
    done = subprocess.run([*args, "--size", str(size), "--seconds", str(secs)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the load failed: {done.stdout}{done.stderr}")
    result = json.loads(done.stdout)
    result["cpu_us"] = (carrier.cpu() - before) * 1e6 / max(result["frames"], 1)
    return result


def measure(rounds, sizes, secs):
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds):
            order = list(CARRIERS)
            order = order[number % len(order) :] + order[: number % len(order)]
            for name in order:
                carrier = Carrier(name, directory)
                try:
                    for size in sizes:
                        results.setdefault((size, name), []).append(load(carrier, size, secs))
                finally:
                    carrier.stop()
    return results


def table(results, sizes):
    yield "| bytes | | Gbit/s | packets/s | CPU µs a packet | beside the forwarder | lost | window |"
    yield "|---|---|---|---|---|---|---|---|"
    for size in sizes:
        middle = lambda name, key: statistics.median(r[key] for r in results[size, name])
        for name in CARRIERS:
            rate, base = middle(name, "frames_per_second"), middle("forwarder", "frames_per_second")
            windows = "/".join(sorted({str(r["window"]) for r in results[size, name]}, key=int))
            yield (
                f"| {size} | {name} | {middle(name, 'gbit_per_second'):.2f} | {rate:,.0f} | {middle(name, 'cpu_us'):.2f} "
                f"| {rate / base:.2f} | {middle(name, 'lost'):,.0f} | {windows} |"
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=float, default=6)
    parser.add_argument("--sizes", default="96,512,1420")
    parser.add_argument("--json")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    begun = os.getloadavg()[0]
    results = measure(given.rounds, sizes, given.secs)
    text = "\n".join([f"Relay, {given.rounds} rounds, load {begun:.2f} before", "", *table(results, sizes)])
    Path("target/bench").mkdir(parents=True, exist_ok=True)
    Path("target/bench/relay.md").write_text(text + "\n")
    print(text)
    if given.json:
        rows = [{"size": size, "carrier": name, "runs": runs} for (size, name), runs in results.items()]
        Path(given.json).write_text(json.dumps(rows, indent=1))


main()

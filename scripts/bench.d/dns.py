"""`scripts/bench dns`: run inside a network namespace of its own, with nothing but lo."""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path("target/soak/examples")
SERVICES = 1000
CACHED = 1000
CERTIFIED = "dns.test"
SERVER_CORE, CLIENT_CORE = "0", "1"


def start(args, ready, log):
    out = open(log, "wb")
    process = subprocess.Popen(["taskset", "-c", SERVER_CORE, *args], stdout=out, stderr=out)
    for _ in range(400):
        if ready(log):
            return process
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    sys.exit(f"{args[0]} did not start:\n{Path(log).read_text(errors='replace')}")


def listens(port):
    def ready(_):
        found = subprocess.run(["ss", "-Hlntu", f"sport = :{port}"], capture_output=True, text=True).stdout
        return bool(found.strip())

    return ready


def dnsperf(port, file, secs, *more):
    """Answers a second, lost questions, and what it printed."""
    args = ["taskset", "-c", CLIENT_CORE, "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(file), "-l", str(secs)]
    done = subprocess.run([*args, *more], capture_output=True, text=True)
    rate = re.search(r"Queries per second:\s+([\d.]+)", done.stdout)
    lost = re.search(r"Queries lost:\s+(\d+)", done.stdout)
    if rate is None or lost is None:
        sys.exit(f"dnsperf failed: {done.stdout}{done.stderr}")
    return float(rate[1]), int(lost[1]), done.stdout


def codes(output):
    found = re.search(r"Response codes:\s+(.*)", output)
    return found[1] if found else "-"


def latencies(port, file, count, rate):
    """Of each question, in milliseconds, at a rate that no server here is troubled by."""
    args = ["taskset", "-c", CLIENT_CORE, "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(file), "-n", "1"]
    done = subprocess.run([*args, "-v", "-Q", str(rate), "-q", "100"], capture_output=True, text=True)
    found = [float(m) * 1000 for m in re.findall(r"^> \S+ \S+ \S+ ([\d.]+)", done.stdout, re.M)]
    if len(found) < count * 0.95:
        sys.exit(f"{len(found)} of {count} questions were answered: {done.stdout[-2000:]}{done.stderr}")
    found.sort()
    return found


def quantile(values, part):
    return values[min(len(values) - 1, int(len(values) * part))]


def unbound(place, port, lines):
    config = place / f"unbound-{port}.conf"
    config.write_text(
        f"""server:
  interface: 127.0.0.1@{port}
  num-threads: 1
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{place}"
  pidfile: ""
  use-syslog: no
  logfile: "{place}/unbound-{port}.log"
  module-config: "iterator"
  do-not-query-localhost: no
  prefetch: yes
  msg-cache-size: 64m
  rrset-cache-size: 64m
{lines}
remote-control:
  control-enable: no
"""
    )
    return start(["unbound", "-d", "-c", str(config)], listens(port), place / f"unbound-{port}.out")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--secs", type=int, default=4)
    parser.add_argument("--json")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="warren-bench-dns-"))
    running = []
    try:
        results = measure(place, options, running)
    finally:
        for process in running:
            process.kill()
            process.wait()
        subprocess.run(["rm", "-rf", str(place)])
    show(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))


def measure(place, options, running):
    own, cached = place / "own.txt", place / "cached.txt"
    own.write_text("".join(f"s{i}.bench.internal A\n" for i in range(SERVICES)))
    cached.write_text("".join(f"c{i}.example A\n" for i in range(CACHED)))
    ca, certificate, key = (place / name for name in ("ca.pem", "server.pem", "server.key"))
    subprocess.run([BIN / "dns-upstream", "tls", "127.0.0.1:0", CERTIFIED, "honest", ca, certificate, key], check=True)
    # One stock server is everybody's upstream: in clear at 5300, over TLS and HTTPS beside it. QUIC is the tests' own.
    running.append(
        unbound(
            place,
            5300,
            f"""  interface: 127.0.0.1@8530
  interface: 127.0.0.1@4430
  tls-service-pem: {certificate}
  tls-service-key: {key}
  tls-port: 8530
  https-port: 4430
  local-zone: example. redirect
  local-data: "example. 3600 A 203.0.113.7"
""",
        )
    )
    quic_ca = place / "quic-ca.pem"
    quic = [BIN / "dns-upstream", "quic", "127.0.0.1:8531", CERTIFIED, "honest", quic_ca]
    running.append(start([str(q) for q in quic], listens(8531), place / "quic.log"))
    both = place / "both.pem"
    both.write_text(ca.read_text() + quic_ca.read_text())
    zone = '  local-zone: "bench.internal." static\n'
    data = "".join(f'  local-data: "s{i}.bench.internal. 5 A 100.64.0.1"\n' for i in range(SERVICES))
    clear = 'forward-zone:\n  name: "."\n  forward-addr: 127.0.0.1@5300\n'
    running.append(unbound(place, 5310, zone + data + clear))
    ours = {
        "DoT": (5320, "tls://127.0.0.1:8530"),
        "DoH": (5321, "https://127.0.0.1:4430"),
        "DoQ": (5322, "quic://127.0.0.1:8531"),
    }
    for name, (port, upstream) in ours.items():
        args = [str(BIN / "dns-bench"), str(port), str(both), str(SERVICES), f"{upstream}#{CERTIFIED}"]
        running.append(start(args, listens(port), place / f"{name}.log"))
    return {
        "answers": answers(own, cached, options),
        "forwards": forwards(place, {"unbound, in clear": 5310, **{f"warren, {n}": p for n, (p, _) in ours.items()}}),
    }


def answers(own, cached, options):
    """Medians over rounds in which the two take turns."""
    rows = {}
    for kind, file in (("overlay names", own), ("cached names", cached)):
        rates, tails = {"warren": [], "unbound": []}, {"warren": [], "unbound": []}
        for who, port in (("warren", 5320), ("unbound", 5310)):
            dnsperf(port, file, 1)  # warm
        for _ in range(options.rounds):
            for who, port in (("warren", 5320), ("unbound", 5310)):
                rate, lost, output = dnsperf(port, file, options.secs)
                if lost or "NOERROR" not in codes(output):
                    print(f"# {kind}, {who}: {lost} lost, {codes(output)}", file=sys.stderr)
                rates[who].append(rate)
                tails[who].append(quantile(latencies(port, file, SERVICES, 5000), 0.99))
        rows[kind] = {
            who: {"per second": statistics.median(rates[who]), "p99 ms": statistics.median(tails[who])} for who in rates
        }
    return rows


def forwards(place, servers):
    """Names asked for the first time, over a connection that is warm."""
    rows = {}
    for number, (who, port) in enumerate(servers.items()):
        warm, file = place / f"warm{number}.txt", place / f"new{number}.txt"
        warm.write_text("".join(f"w{number}-{i}.example A\n" for i in range(100)))
        file.write_text("".join(f"n{number}-{i}.example A\n" for i in range(2000)))
        latencies(port, warm, 100, 200)
        found = latencies(port, file, 2000, 500)
        rows[who] = {"median ms": quantile(found, 0.5), "p99 ms": quantile(found, 0.99)}
    return rows


def show(results):
    print(f"{'':16} {'warren/s':>10} {'unbound/s':>10} {'ratio':>6} {'warren p99':>12} {'unbound p99':>12}")
    for kind, row in results["answers"].items():
        ours, theirs = row["warren"], row["unbound"]
        print(
            f"{kind:16} {ours['per second']:10.0f} {theirs['per second']:10.0f} {ours['per second'] / theirs['per second']:6.2f}"
            f" {ours['p99 ms']:9.3f} ms {theirs['p99 ms']:9.3f} ms"
        )
    print()
    plain = results["forwards"]["unbound, in clear"]
    print(f"{'forwarded':20} {'median':>10} {'p99':>10} {'added to plain':>16}")
    for who, row in results["forwards"].items():
        added = row["median ms"] - plain["median ms"]
        print(f"{who:20} {row['median ms']:7.3f} ms {row['p99 ms']:7.3f} ms {added:+13.3f} ms")


main()

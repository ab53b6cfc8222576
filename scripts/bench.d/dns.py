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
# Names of one length, so that one system call asks for many.
FIRST, NAMES = 100, 900
OWN, CACHED = ("s", ".bench.internal"), ("c", ".example")
# Questions under way at any time, and from how many ports.
WINDOW, SOCKETS = 256, 8
SERVERS = (("warren", 5320), ("unbound", 5310))
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


def load(port, kind, secs, window, sockets):
    """One run of our own load program, which never sleeps and costs less than any server."""
    prefix, suffix = kind
    words = [BIN / "dns-load", port, secs, window, sockets, prefix, FIRST, NAMES, suffix]
    args = ["taskset", "-c", CLIENT_CORE, *map(str, words)]
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"dns-load failed: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


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
  so-rcvbuf: 4m
  so-sndbuf: 4m
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
        "load": Path("/proc/loadavg").read_text().split()[0],
        "answers": answers(options),
        "forwards": forwards(place, {"unbound, in clear": 5310, **{f"warren, {n}": p for n, (p, _) in ours.items()}}),
    }


def warm(port, kind):
    """Few at a time, until every name is known and no failure is remembered."""
    for _ in range(30):
        run = load(port, kind, 1, 8, 1)
        if not run["lost"] and not run["bad"]:
            return
    sys.exit(f"the server at {port} does not know all names of {kind}: {run}")


def answers(options):
    """Medians over rounds in which the two take turns, and of the ratios within each round."""
    rows = {}
    for what, kind in (("overlay names", OWN), ("cached names", CACHED)):
        full, lone = {"warren": [], "unbound": []}, {"warren": [], "unbound": []}
        for who, port in SERVERS:
            warm(port, kind)
        for number in range(options.rounds):
            # Who began the last round is second in this one.
            for who, port in SERVERS if number % 2 == 0 else reversed(SERVERS):
                full[who].append(load(port, kind, options.secs, WINDOW, SOCKETS))
                lone[who].append(load(port, kind, options.secs / 2, 1, 1))
                for run in (full[who][-1], lone[who][-1]):
                    if run["lost"] or run["bad"]:
                        print(f"# {what}, {who}: {run}", file=sys.stderr)

        def median(runs, name):
            return statistics.median(run[name] for run in runs)

        def ratio(runs, name):
            pairs = zip(runs["warren"], runs["unbound"])
            return statistics.median(ours[name] / theirs[name] for ours, theirs in pairs)

        rows[what] = {
            who: {
                "per second": median(full[who], "per second"),
                "p50 ms": median(full[who], "p50 ms"),
                "p99 ms": median(full[who], "p99 ms"),
                "one at a time p50 ms": median(lone[who], "p50 ms"),
                "one at a time p99 ms": median(lone[who], "p99 ms"),
            }
            for who, _ in SERVERS
        }
        rows[what]["ratio"] = {
            "per second": ratio(full, "per second"),
            "p50 ms": ratio(full, "p50 ms"),
            "p99 ms": ratio(full, "p99 ms"),
            "one at a time p50 ms": ratio(lone, "p50 ms"),
            "one at a time p99 ms": ratio(lone, "p99 ms"),
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
    print(f"load of the machine at the start: {results['load']}")
    print(f"{'':37} {'warren':>10} {'unbound':>10} {'ratio':>6}")
    for kind, row in results["answers"].items():
        for name, ratio in row["ratio"].items():
            digits = 0 if name == "per second" else 4
            ours, theirs = row["warren"][name], row["unbound"][name]
            print(f"{kind + ', ' + name:37} {ours:10.{digits}f} {theirs:10.{digits}f} {ratio:6.2f}")
    print()
    plain = results["forwards"]["unbound, in clear"]
    print(f"{'forwarded':20} {'median':>10} {'p99':>10} {'added to plain':>16}")
    for who, row in results["forwards"].items():
        added = row["median ms"] - plain["median ms"]
        print(f"{who:20} {row['median ms']:7.3f} ms {row['p99 ms']:7.3f} ms {added:+13.3f} ms")


main()

"""Throughput with iperf3. The first second of a TCP test is left out of the rate, but not out of the bytes that the CPU
seconds are divided by."""

import json

from process import Daemon, Failed, run, wait_for
from warren import IPERF

WARM_UP = 1
GB = 1e9


def serve(contestant):
    """A server for one test, which ends with it."""
    server = Daemon(["iperf3", "-s", "-1", "-J", "-p", IPERF], contestant.street.b, contestant.street.path("iperf.log"))
    wait_for("iperf3 listens", lambda: server.listens(IPERF))
    return server


def ask(contestant, seconds, *words):
    """One test from A; the whole report with the server's half in it."""
    server = serve(contestant)
    try:
        text = run(
            ["iperf3", "-c", contestant.b, "-p", IPERF, "-J", "-t", seconds, "--get-server-output", *words],
            contestant.street.a, timeout=seconds + 20, check=False,
        )
        report = json.loads(text or "{}")
    except ValueError as e:
        raise Failed(f"iperf3 printed no report: {text[:200]}") from e
    finally:
        server.stop(2)
    if "error" in report or "end" not in report:
        raise Failed(f"iperf3: {report.get('error', 'no report')}")
    return report


def rate(intervals, key):
    """Gbit/s over the intervals after the warm-up."""
    sums = [i[key] for i in intervals if key in i and i[key]["start"] >= WARM_UP - 0.1 and i[key]["seconds"] > 0.5]
    seconds = sum(s["seconds"] for s in sums)
    if not seconds:
        raise Failed("iperf3 reported no whole second")
    return sum(s["bytes"] for s in sums) * 8 / seconds / GB


def tcp(contestant, seconds, streams=1, reverse=False, both=False):
    """What arrives, in Gbit/s; and the CPU seconds of the tunnel for a GB."""
    words = ["-P", streams] + (["-R"] if reverse else []) + (["--bidir"] if both else [])
    before = contestant.cpu_seconds()
    report = ask(contestant, seconds + WARM_UP, *words)
    used = contestant.cpu_seconds() - before
    server = report.get("server_output_json", {}).get("intervals", [])
    end = report["end"]
    moved = end["sum_received"]["bytes"]
    if both:
        # Each receiver counts: the server forward, the client backward.
        gbps = rate(server, "sum") + rate(report["intervals"], "sum_bidir_reverse")
        moved += end["sum_received_bidir_reverse"]["bytes"]
    else:
        gbps = rate(report["intervals"] if reverse else server, "sum")
    if moved < 1e6:
        raise Failed("almost nothing arrived")
    return {"gbps": gbps, "cpu_s_per_gb": used / (moved / GB), "retransmits": end["sum_sent"].get("retransmits", 0)}


def udp(contestant, seconds, size, rate_bps=0):
    """Datagrams per second that arrive (thousands), and what was offered. Rate 0 is overload."""
    before = contestant.cpu_seconds()
    report = ask(contestant, seconds, "-u", "-b", int(rate_bps), "-l", size)
    used = contestant.cpu_seconds() - before
    end = report["end"]
    sent = end["streams"][0]["udp"]
    # The client's summary speaks of what it sent; the server knows what came.
    there = report.get("server_output_json", {}).get("end", {}).get("sum") or end["sum"]
    packets, lost = sent["packets"], there["lost_packets"]
    arrived = max(0, there["packets"] - lost)
    if not packets:
        raise Failed("iperf3 sent nothing")
    return {
        "kpps": arrived / sent["seconds"] / 1e3,
        "offered_kpps": packets / sent["seconds"] / 1e3,
        "loss_pct": 100 * (1 - min(1, arrived / packets)),
        "cpu_us_per_packet": used * 1e6 / max(1, arrived),
    }

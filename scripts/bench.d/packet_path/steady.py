"""The highest rate of datagrams that goes through: sent steadily, received into a buffer that never overflows, so that
what is missing was lost on the way."""

import json
import subprocess

from crowd import Crowd
from process import Daemon, Failed, run, wait_for
from warren import IPERF

SECONDS = 1
STEPS = 9
MOST_LOST = 0.1


def highest(contestant, size):
    """By halving between nothing and what the sender can do, in thousands a second."""
    low, high, best = 0.0, attempt(contestant, size, 0)["offered_kpps"], None
    for _ in range(STEPS):
        middle = (low + high) / 2
        seen = holds(contestant, size, middle)
        if seen:
            low, best = middle, seen
        else:
            high = middle
    if best is None:
        raise Failed(f"no rate above {high:.1f} kpps had less than {MOST_LOST} % loss")
    return {"kpps": best["kpps"], "loss_pct": best["loss_pct"]}


def holds(contestant, size, kpps):
    """Does the rate go through for a second? One mishap of the machine is forgiven."""
    for _ in range(2):
        seen = attempt(contestant, size, kpps)
        if seen["loss_pct"] < MOST_LOST:
            return seen
    return None


def attempt(contestant, size, kpps):
    street, to = contestant.street, f"{contestant.b}:{IPERF}"
    receiver = Daemon([Crowd.program, "receive", to], street.b, street.path("receive.log"))
    try:
        wait_for("the receiver is there", lambda: receiver.has_udp(IPERF))
        sent = json.loads(run([Crowd.program, "send", to, size, int(kpps * 1e3), SECONDS], street.a))
        receiver.child.wait(15)
    except subprocess.TimeoutExpired as e:
        raise Failed("the receiver did not end") from e
    finally:
        receiver.kill()
    arrived = json.loads(receiver.log.read_text().splitlines()[-1])["received"]
    if not sent["sent"]:
        raise Failed("nothing was sent")
    return {
        "kpps": arrived / sent["seconds"] / 1e3, "offered_kpps": sent["sent"] / sent["seconds"] / 1e3,
        "loss_pct": 100 * (1 - arrived / sent["sent"]),
    }

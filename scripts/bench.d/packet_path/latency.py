"""Round trips over a tunnel: request and response, new connections, the first packet after a start."""

import json
import os
import re
import sys

from process import Daemon, Failed, run, wait_for
from warren import PINGPONG

SCRIPT = os.path.join(os.path.dirname(__file__), "pingpong.py")


def converse(contestant, verb, seconds, *words, cpu=None):
    """Runs the client at A against a server at B; both on `cpu` if given."""
    street = contestant.street
    server = Daemon([sys.executable, SCRIPT, "serve", contestant.b, PINGPONG], street.b, street.path("pingpong.log"), cpu=cpu)
    try:
        wait_for("the server listens", lambda: server.listens(PINGPONG))
        return json.loads(run(
            [sys.executable, SCRIPT, verb, contestant.b, PINGPONG, seconds, *words], street.a, timeout=seconds + 30, cpu=cpu
        ))
    finally:
        server.kill()


def exchange(contestant, seconds):
    """64 bytes there and back."""
    return converse(contestant, "ask", seconds, 64)


def exchange_on_one_cpu(contestant, seconds):
    """The same with tunnel, client and server on one CPU: no CPU has to be woken."""
    everywhere = os.sched_getaffinity(0)
    cpu = min(everywhere)
    for daemon in contestant.daemons:
        daemon.pin({cpu})
    try:
        return converse(contestant, "ask", seconds, 64, cpu=cpu)
    finally:
        for daemon in contestant.daemons:
            daemon.pin(everywhere)


def connections(contestant, seconds):
    """New TCP connections, one after the other: the first packet of a flow is the expensive one."""
    return converse(contestant, "connect", seconds)


def first(contestant):
    """Both ends begin anew; one echo request, from its sending to its answer, in milliseconds."""
    contestant.end()
    contestant.begin()
    text = run(["ping", "-n", "-c1", "-W10", contestant.b], contestant.street.a, check=False)
    match = re.search(r"time=([\d.]+) ms", text)
    if not match:
        raise Failed("the first echo request was not answered within 10 s")
    return {"ms": float(match[1])}

"""Warren: a coordinator on host A, a node on each host, a policy that grants exactly what is measured.

Filter and flow records are on, as always. The coordinator is not counted among the tunnel processes.
"""

import json
import os
import pathlib
import time

from contestant import Contestant
from crowd import Crowd
from process import Daemon, run, wait_for
from street import A

IPERF, PINGPONG = 5201, 5300

# Short names: a policy of 10,000 grants must stay below the coordinator's limit of 1 MiB.
POLICY = """
version = 1
[group.bench]
members = ["bench@example.com"]
[tag.c]
owners = ["group:bench"]
[tag.s]
owners = ["group:bench"]
[tag.crowd]
owners = ["group:bench"]
[service.measured]
on = ["tag:s"]
listen = ["tcp/{iperf}", "udp/{iperf}", "tcp/{pingpong}"]
[service.ping]
on = ["tag:s"]
listen = ["icmp/echo"]
[service.called]
on = ["tag:c"]
listen = ["tcp/{pingpong}"]
[[grant]]
id = "measure"
from = ["tag:c"]
to = ["service:measured"]
[[grant]]
id = "ping"
from = ["tag:c"]
to = ["service:ping"]
"""
# Everybody of the crowd may open a port at A, so that A knows them all.
CROWD = """
[[grant]]
id = "crowd-calls"
from = ["tag:crowd"]
to = ["service:called"]
"""


def policy(grants=2, crowd=False):
    """`grants` in all between the two nodes: those that are used, and others on ports of their own."""
    text = POLICY.format(iperf=IPERF, pingpong=PINGPONG) + (CROWD if crowd else "")
    for number in range(grants - 2):
        text += (
            f'[service.x{number:x}]\non=["tag:s"]\nlisten=["tcp/{10000 + number}"]\n'
            f'[[grant]]\nid="{number:x}"\nfrom=["tag:c"]\nto=["service:x{number:x}"]\n'
        )
    return text


class Warren(Contestant):
    def __init__(self, name, programs):
        super().__init__(name)
        self.programs = programs
        self.coordinator = self.crowd = None
        self.policy = policy()
        #: Further words for both nodes.
        self.flags = []
        #: What the coordinator has, and the number it gave to it.
        self.applied, self.generation = None, 0

    def program(self, name):
        return os.path.join(self.programs, name)

    def begin(self):
        if self.coordinator is None or not self.coordinator.alive():
            self.serve()
        for end in "ab":
            self.start(end)
        for end in "ab":
            wait_for(f"node {end} is enrolled", lambda: (self.status(end) or {}).get("v4"))
        self.a, self.b = (self.status(end)["v4"] for end in "ab")
        self.apply(self.policy)

    def serve(self):
        fresh = not pathlib.Path(self.street.path("state")).exists()
        if fresh:
            address = f"{A}:7946"
            self.warren("init", "--name", "bench", "--listen", address, "--advertise", address)
        self.coordinator = Daemon(
            [self.program("warren"), "serve"], self.street.a, self.street.path("serve.log"), env=self.env()
        )
        wait_for("the coordinator answers", lambda: self.warren("status", check=False))

    def start(self, end):
        """One node; enrols it the first time."""
        token = pathlib.Path(self.street.path(f"token-{end}"))
        if not token.exists():
            made = self.warren("--json", "token", "create", "--tag", {"a": "c", "b": "s"}[end], "--name", f"node-{end}")
            token.touch(0o600)
            token.write_text(json.loads(made)["token"])
        self.daemons.insert("ab".index(end), Daemon(
            [self.program("warren-node"), "up", "--token-file", token, *self.flags], self.namespace(end),
            self.street.path(f"{end}.log"), env=self.node_env(end),
        ))

    def namespace(self, end):
        return self.street.a if end == "a" else self.street.b

    def env(self):
        path = self.street.path
        return {
            "WARREN_STATE": path("state"), "WARREN_AUTHORITY": path("authority.key"), "WARREN_SOCKET": path("warren.sock")
        }

    def node_env(self, end):
        path = self.street.path
        return {
            "WARREN_NODE_STATE": path(f"node-{end}"), "WARREN_NODE_SOCKET": path(f"node-{end}.sock"),
            "WARREN_NODE_RUN": path(f"run-{end}"),
        }

    def warren(self, *words, check=True, timeout=60):
        return run([self.program("warren"), *words], self.street.a, env=self.env(), check=check, timeout=timeout)

    def node(self, end, *words, check=True):
        return run(
            [self.program("warren-node"), *words], self.namespace(end), env=self.node_env(end), check=check
        )

    def status(self, end):
        try:
            return json.loads(self.node(end, "--json", "status", check=False))
        except ValueError:
            return None

    def apply(self, text):
        """Returns when both nodes enforce it; the crowd has no process that could."""
        if text != self.applied:
            file = self.street.path("policy.toml")
            pathlib.Path(file).write_text(text)
            self.generation = json.loads(self.warren("--json", "policy", "apply", file, timeout=180))["generation"]
            self.applied = text
        enforced = lambda end: (self.status(end) or {}).get("enforced_generation") == self.generation
        wait_for(f"generation {self.generation} is enforced at both ends", lambda: enforced("a") and enforced("b"), limit=120)

    def twin(self):
        return Warren(f"{self.name}-twin", self.programs)

    def invite(self, count):
        """`count` members that may call A; then both nodes start afresh."""
        self.crowd = self.crowd or Crowd(self.street)
        self.policy = policy(crowd=True)
        self.apply(self.policy)
        if count:
            self.crowd.members(count, self.token)
        self.end()
        self.start_up()
        known = lambda: (self.status("a") or {}).get("peers") == count + 1
        wait_for(f"A knows its {count + 1} peers", known, limit=60)

    def token(self, uses):
        """A file with a token for `uses` of the crowd."""
        made = self.warren("--json", "token", "create", "--tag", "crowd", "--uses", uses)
        file = pathlib.Path(self.street.path("token-crowd"))
        file.touch(0o600)
        file.write_text(json.loads(made)["token"])
        return file

    def key_of_a(self):
        return json.loads(self.warren("--json", "node", "show", "node-a"))["wireguard"][0]

    def end(self):
        super().end()
        if self.coordinator:
            self.coordinator.stop()
            self.coordinator = None

    def tails(self):
        return super().tails() + (f"\n--- serve\n{self.coordinator.tail()}" if self.coordinator else "")

    def about(self):
        version = run([self.program("warren-node"), "--version"]).strip()
        built = time.strftime("%Y-%m-%d %H:%M", time.localtime(os.path.getmtime(self.program("warren-node"))))
        return f"{version} ({os.path.relpath(self.programs)}, built {built})"

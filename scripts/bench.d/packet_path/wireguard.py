"""Any user-space WireGuard that makes its interface itself and is configured with `wg`."""

import os
import pathlib

from contestant import Contestant
from crowd import Crowd
from process import Daemon, run, wait_for
from street import A, B, TUNNEL_MTU

PORT = 51820
DROP = b"disable-drop-privileges"
SOCKETS = pathlib.Path("/var/run/wireguard")


class WireGuard(Contestant):
    a, b = "10.78.0.1", "10.78.0.2"

    def __init__(self, name, program, number):
        super().__init__(name)
        self.program, self.number = program, number
        # Public keys of peers of A that are silent.
        self.others, self.crowd = [], None
        # The control sockets of all namespaces lie in one directory.
        self.interfaces = [f"wb{os.getpid() % 10000}n{number}{end}" for end in "ab"]
        self.keys = [keypair() for _ in "ab"]

    def begin(self):
        for end in (0, 1):
            self.start(end)

    def start(self, end):
        """One end: process, keys, addresses."""
        namespace, interface = (self.street.a, self.street.b)[end], self.interfaces[end]
        daemon = Daemon(
            [self.program, *self.flags(), interface], namespace, self.street.path(f"{'ab'[end]}.log"),
            env={"LOG_LEVEL": "error", "WG_LOG_LEVEL": "error"},
        )
        self.daemons.insert(end, daemon)
        socket = SOCKETS / f"{interface}.sock"
        wait_for(f"{self.name} makes {socket}", lambda: socket.exists() or not daemon.alive())
        self.configure(end, self.configuration(end, self.others if end == 0 else ()))
        run(["ip", "link", "set", interface, "mtu", TUNNEL_MTU, "up"], namespace)
        run(["ip", "addr", "replace", f"{(self.a, self.b)[end]}/24", "dev", interface], namespace)

    def knows(self, word):
        return word in pathlib.Path(self.program).read_bytes()

    def flags(self):
        """boringtun and its child lower their privileges unless told not to; they alone know that word."""
        return ["-f", *(["--disable-drop-privileges", "-v", "error"] if self.knows(DROP) else [])]

    def configuration(self, end, peers=()):
        """`peers`: public keys of more peers that are never heard of."""
        other = 1 - end
        text = (
            f"[Interface]\nPrivateKey = {self.keys[end][0]}\nListenPort = {PORT}\n"
            f"[Peer]\nPublicKey = {self.keys[other][1]}\nEndpoint = {(A, B)[other]}:{PORT}\n"
            f"AllowedIPs = {(self.a, self.b)[other]}/32\n"
        )
        for number, key in enumerate(peers):
            text += f"[Peer]\nPublicKey = {key}\nAllowedIPs = 10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}/32\n"
        return text

    def configure(self, end, text):
        file = self.street.path(f"{'ab'[end]}.conf")
        pathlib.Path(file).write_text(text)
        run(["wg", "setconf", self.interfaces[end], file], (self.street.a, self.street.b)[end])

    def twin(self):
        return WireGuard(f"{self.name}-twin", self.program, self.number + 50)

    def invite(self, count):
        self.crowd = self.crowd or Crowd(self.street)
        self.others = self.crowd.keys(count)[:count] if count else []
        self.end()
        self.start_up()

    def key_of_a(self):
        return self.keys[0][1]

    def end(self):
        super().end()
        for interface in self.interfaces:
            (SOCKETS / f"{interface}.sock").unlink(missing_ok=True)

    def about(self):
        """Asks only those for their version that are known to take the question for one."""
        known = self.knows(DROP) or self.knows(b"golang.zx2c4.com/wireguard")
        version = run([self.program, "--version"], check=False).split("\n")[0] if known else ""
        return f"{version} ({os.path.relpath(self.program)})".strip()


def keypair():
    private = run(["wg", "genkey"]).strip()
    return private, run(["wg", "pubkey"], stdin=private).strip()

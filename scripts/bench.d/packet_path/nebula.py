"""Debian's Nebula as it comes (AES-GCM, one routine), with a firewall that lets everything through."""

import pathlib

from contestant import Contestant
from process import Daemon, run, wait_for
from street import A, B, TUNNEL_MTU


class Nebula(Contestant):
    a, b = "10.79.0.1", "10.79.0.2"

    def begin(self):
        path = self.street.path
        if not pathlib.Path(path("ca.crt")).exists():
            run(["nebula-cert", "ca", "-name", "bench", "-out-crt", path("ca.crt"), "-out-key", path("ca.key")])
        for end, namespace in (("a", self.street.a), ("b", self.street.b)):
            self.write(end)
            daemon = Daemon(["nebula", "-config", path(f"{end}.yml")], namespace, path(f"{end}.log"))
            self.daemons.append(daemon)
            address = self.a if end == "a" else self.b
            wait_for(f"nebula has {address}", lambda: not daemon.alive() or daemon.has_address(address))

    def write(self, end):
        path = self.street.path
        mine, other, there = (self.a, self.b, B) if end == "a" else (self.b, self.a, A)
        if not pathlib.Path(path(f"{end}.crt")).exists():
            run([
                "nebula-cert", "sign", "-name", end, "-ip", f"{mine}/24", "-ca-crt", path("ca.crt"), "-ca-key",
                path("ca.key"), "-out-crt", path(f"{end}.crt"), "-out-key", path(f"{end}.key"),
            ])
        any_traffic = "[{port: any, proto: any, host: any}]"
        pathlib.Path(path(f"{end}.yml")).write_text(f"""
pki: {{ca: {path('ca.crt')}, cert: {path(end + '.crt')}, key: {path(end + '.key')}}}
static_host_map: {{"{other}": ["{there}:4242"]}}
lighthouse: {{am_lighthouse: {str(end == 'b').lower()}, hosts: {f'["{self.b}"]' if end == 'a' else '[]'}}}
listen: {{host: 0.0.0.0, port: 4242}}
tun: {{dev: neb0, mtu: {TUNNEL_MTU}}}
logging: {{level: error}}
firewall: {{outbound: {any_traffic}, inbound: {any_traffic}}}
""")

    def about(self):
        return run(["nebula", "-version"], check=False).strip()

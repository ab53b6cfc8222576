"""Two hosts and the wire between them, as two namespaces and a veth pair; removed again whatever happens.

    PREFIX-PID-NAME-a  up0 10.77.0.1/16 ---- 10.77.0.2/16 up0  PREFIX-PID-NAME-b
"""

import os
import pathlib
import shutil
import tempfile

from process import run

PREFIX = "warren-bench"
A, B = "10.77.0.1", "10.77.0.2"
MTU, TUNNEL_MTU = 1500, 1420
OFFLOADS = ["tso", "gso", "tx-udp-segmentation"]


class Street:
    def __init__(self, name):
        self.name = name
        mine = f"{PREFIX}-{os.getpid()}-"
        self.a, self.b = (f"{mine}{name}-{end}" for end in "ab")
        self.dir = tempfile.mkdtemp(prefix=mine)
        try:
            self.lay()
        except BaseException:
            self.down()
            raise

    def lay(self):
        run(["ip", "netns", "add", self.a])
        run(["ip", "netns", "add", self.b])
        run(["ip", "-n", self.a, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", self.b])
        for namespace, address in ((self.a, A), (self.b, B)):
            run(["ip", "-n", namespace, "addr", "add", f"{address}/16", "dev", "up0"])
            run(["ip", "-n", namespace, "link", "set", "up0", "up", "mtu", MTU])
            run(["ip", "-n", namespace, "link", "set", "lo", "up"])

    def path(self, file):
        return os.path.join(self.dir, file)

    def offloads(self, on):
        """A network card with or without segmentation; the receiver may merge in both cases."""
        words = [w for o in OFFLOADS for w in (o, "on" if on else "off")]
        for namespace in (self.a, self.b):
            run(["ethtool", "-K", "up0", *words, "gro", "on"], namespace)

    def down(self):
        for namespace in (self.a, self.b):
            remove(namespace)
        shutil.rmtree(self.dir, ignore_errors=True)


def remove(namespace):
    """Ends what lives in a namespace of ours, and the namespace."""
    for pid in run(["ip", "netns", "pids", namespace], check=False).split():
        run(["kill", "-9", pid], check=False)
    run(["ip", "netns", "del", namespace], check=False)


def sweep():
    """Removes what a killed run left behind: namespaces and files whose maker is gone."""
    for line in run(["ip", "netns", "list"], check=False).splitlines():
        if line.split() and orphan(line.split()[0]):
            remove(line.split()[0])
    for directory in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if orphan(directory.name):
            shutil.rmtree(directory, ignore_errors=True)


def orphan(name):
    maker = name.removeprefix(f"{PREFIX}-").partition("-")[0]
    return name.startswith(f"{PREFIX}-") and maker.isdigit() and not os.path.exists(f"/proc/{maker}")

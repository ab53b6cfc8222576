"""Commands and daemons inside a namespace, and what the kernel counts about a process.

A daemon dies with this program whatever happens to it (`setpriv --pdeathsig`), and `ip netns exec` becomes the program
itself, so that the process id is the daemon's own.
"""

import os
import pathlib
import re
import signal
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """Something under measurement did not work: the value is missing, the run goes on."""


def within(namespace, args, cpu=None):
    """The command line that runs `args` in `namespace`, on one CPU if `cpu` is given."""
    pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    return inside + pinned + [str(a) for a in args]


def run(args, namespace=None, timeout=60, check=True, env=None, stdin=None, cpu=None):
    """Runs to the end and gives what it printed; `Failed` tells what went wrong."""
    args = within(namespace, args, cpu)
    try:
        done = subprocess.run(
            args, text=True, capture_output=True, timeout=timeout, input=stdin, env={**os.environ, **(env or {})}
        )
    except subprocess.TimeoutExpired as e:
        raise Failed(f"`{' '.join(args)}` did not end within {timeout} s") from e
    if check and done.returncode != 0:
        raise Failed(f"`{' '.join(args)}` failed ({done.returncode}): {(done.stderr + done.stdout).strip()[-600:]}")
    return done.stdout


class NotApplicable(Exception):
    """A contestant has no such thing: nothing is missing, nothing failed."""


class Daemon:
    """A program that stays until it is stopped; its output goes to a file."""

    def __init__(self, args, namespace, log, env=None, cpu=None):
        self.log = pathlib.Path(log)
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL"] + within(namespace, args, cpu),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(env or {})},
            )

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def stop(self, limit=10):
        """Asks, then insists."""
        if self.alive():
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(limit)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()

    def kill(self):
        self.child.kill()
        self.child.wait()

    def tail(self):
        return self.log.read_text(errors="replace")[-800:]

    # --- what the kernel counts

    def cpu_seconds(self):
        """utime and stime of all its threads, those that ended included."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _status(self, key):
        match = re.search(rf"^{key}:\s+(\d+)", pathlib.Path(f"/proc/{self.pid}/status").read_text(), re.M)
        return int(match[1]) if match else 0

    def rss_mib(self):
        return self._status("VmRSS") / 1024

    def peak_mib(self):
        return self._status("VmHWM") / 1024

    def threads(self):
        return self._status("Threads")

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def pin(self, cpus):
        """All its threads may run on `cpus` only; threads it makes later inherit that from theirs."""
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            try:
                os.sched_setaffinity(int(thread), cpus)
            except ProcessLookupError:
                pass  # it ended meanwhile

    def listens(self, port):
        """Does anybody in its namespace listen on TCP `port`?"""
        for family in ("tcp", "tcp6"):
            for line in self._net(family).splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    return True
        return False

    def has_udp(self, port):
        """Is UDP `port` bound in its namespace?"""
        lines = self._net("udp").splitlines()[1:] + self._net("udp6").splitlines()[1:]
        return any(int(line.split()[1].rpartition(":")[2], 16) == port for line in lines)

    def has_address(self, address):
        """Has an interface in its namespace the IPv4 `address`?"""
        return address in self._net("fib_trie")

    def _net(self, file):
        return pathlib.Path(f"/proc/{self.pid}/net/{file}").read_text()


def wait_for(what, probe, limit=20, step=0.02):
    """Polls until `probe` gives something true."""
    end = time.monotonic() + limit
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"not within {limit} s: {what}")
        time.sleep(step)

"""The machine: its facts, and who else worked on it meanwhile."""

import os
import pathlib
import platform
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def facts(root):
    """What somebody must know to compare numbers."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    field = lambda name: next((l.partition(":")[2].strip() for l in cpu.splitlines() if l.startswith(name)), "?")
    memory = pathlib.Path("/proc/meminfo").read_text().split()[1]
    git = lambda *a: subprocess.run(["git", "-C", root, *a], text=True, capture_output=True).stdout.strip()
    return {
        "cpu": f"{field('model name')} (family {field('cpu family')}, model {field('model')})",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory) / 2**20, 1),
        "hypervisor": "hypervisor" in field("flags").split(),
        "kernel": platform.release(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "commit": git("rev-parse", "--short=12", "HEAD") + (" (changed)" if git("status", "--porcelain") else ""),
        "packages": packages(),
    }


def packages():
    wanted = ["iperf3", "wireguard-tools", "wireguard-go", "nebula"]
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${Version}\n", *wanted], text=True, capture_output=True
    )
    return dict(line.split(" ", 1) for line in asked.stdout.splitlines())


class Load:
    """CPU seconds of everybody else, from the counters of the processes themselves.

    A process that ends hands its time to the parent that waits for it, so the sum over all foreign processes, children's
    time included, grows by exactly what they used. Kernel threads work for us as well as for others and are left out.
    """

    def __init__(self):
        self.at, self.foreign, self.steal, self.busy = time.monotonic(), *self._read()

    def since(self):
        """(seconds, foreign CPU seconds, stolen CPU seconds, busy CPU seconds of the whole machine)"""
        foreign, steal, busy = self._read()
        return (
            time.monotonic() - self.at,
            max(0.0, foreign - self.foreign),
            max(0.0, steal - self.steal),
            busy - self.busy,
        )

    @staticmethod
    def _read():
        parents, used = {}, {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            parents[int(pid)] = int(fields[1])
            used[int(pid)] = sum(map(int, fields[11:15]))
        ours, kernel = os.getpid(), 2

        def belongs(pid):
            while pid in parents:
                if pid in (ours, kernel):
                    return True
                pid = parents[pid]
            return False

        foreign = sum(time for pid, time in used.items() if not belongs(pid))
        cpu = list(map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
        busy = cpu[0] + cpu[1] + cpu[2] + cpu[5] + cpu[6]
        return foreign / TICKS, cpu[7] / TICKS, busy / TICKS

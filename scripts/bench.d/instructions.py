"""Instructions per packet of the pure parts, counted by callgrind.

Counts are the same on a loaded machine, so that two commits can be compared where times could not. They are not
times: an instruction can take no time or a cache miss. The cipher has a way of its own for each kind of CPU: tables
compare on CPUs with AVX2.

Each operation runs in two processes, N and 2 N times; the difference is what N of them cost. Compared with a committed
table (--compare) every operation that got dearer by more than the tolerance is named, and the exit code is 1."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASELINE = pathlib.Path(__file__).with_name("instructions.baseline")
TIMES = 40


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench instructions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compare", nargs="?", const=str(BASELINE), metavar="FILE", help="with a table of before")
    parser.add_argument("--tolerance", type=float, default=3.0, metavar="PERCENT", help="what is still the same (3)")
    parser.add_argument("--save", nargs="?", const=str(BASELINE), metavar="FILE", help="writes the table to compare with")
    args = parser.parse_args()
    if args.save and args.compare:
        parser.error("--save writes a table, --compare reads one: not both")
    return args


def build():
    """The program of the operations, optimised as the shipped ones are."""
    command = ["cargo", "bench", "--locked", "-p", "warren-node-core", "--bench", "instructions", "--no-run"]
    done = subprocess.run([*command, "--message-format=json"], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit("the operations could not be built")
    built = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = [m["executable"] for m in built if m.get("executable") and m["target"]["name"] == "instructions"]
    return programs[-1]


def count(program, name, size, batch, times):
    """Instructions of the whole process."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, name, size, batch, str(times)],
        text=True, capture_output=True, env={**os.environ, "LC_ALL": "C"},
    )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"{name} {size} {batch} under valgrind failed ({done.returncode}):\n{done.stderr[-800:]}")
    return int(found[1])


def cost(program, operation):
    """Instructions of one call of the operation."""
    name, size, batch = operation
    once, twice = (count(program, name, size, batch, n) for n in (TIMES, 2 * TIMES))
    return (twice - once) / TIMES


def measure(program):
    """(name, size, batch) → instructions per packet"""
    listed = subprocess.run([program, "list"], text=True, capture_output=True, check=True).stdout
    operations = [tuple(line.split()) for line in listed.splitlines()]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        calls = dict(zip(operations, pool.map(lambda o: cost(program, o), operations)))
    # What is opened had to be sealed.
    for (name, size, batch), value in calls.items():
        if name == "open":
            calls[name, size, batch] = value - calls["seal", size, batch]
    # The judge takes one packet at a time, whatever the number of flows.
    packets = lambda name, batch: 1 if name == "judge" else int(batch)
    return {(name, size, batch): value / packets(name, batch) for (name, size, batch), value in calls.items()}


def read(file):
    try:
        lines = pathlib.Path(file).read_text().splitlines()
    except OSError as e:
        sys.exit(f"{file} cannot be read ({e.strerror}): write it with --save")
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    if any(len(row) != 4 for row in rows):
        sys.exit(f"{file} is not a table of NAME SIZE BATCH INSTRUCTIONS")
    return {tuple(row[:3]): float(row[3]) for row in rows}


def show(seen, before, tolerance):
    """Prints the table; gives the operations that got dearer or are not known in the table of before."""
    dearer = []
    print(f"{'operation':10} {'bytes':>5} {'batch':>5} {'instructions/packet':>20}" + ("  before   change" if before else ""))
    for key, value in seen.items():
        line = f"{key[0]:10} {key[1]:>5} {key[2]:>5} {value:>20.0f}"
        if before is not None:
            then = before.get(key)
            change = 100 * (value / then - 1) if then else float("inf")
            mark = " dearer" if change > tolerance else " cheaper: --save it" if change < -tolerance else ""
            line += f" {then or 0:>7.0f} {change:>+7.1f} %{mark}"
            if change > tolerance:
                dearer.append(key)
        print(line)
    return dearer


def shares(seen):
    """What filter and flow records cost of one batch of one flow, of the instructions outside the kernel. `split` contains
    reading the packet once, which a tunnel without a filter would need too: it must know where to cut. On the way in every
    packet is read; that is counted to the filter, though merging needs most of it."""
    print("\nfilter and flow records, of a batch of one flow (instructions outside the kernel)")
    for size, batch in (("1420", "44"), ("64", "44"), ("64", "1")):
        judge, packets = seen["judge", "64", "64"], int(batch)
        part = lambda *names: packets * sum(seen[name, size, batch] for name in names)
        out = judge / (judge + part("split", "seal"))
        read = packets * seen["classify", size, "1"]
        back = (judge + read) / (judge + read + part("open", "merge"))
        print(f"{batch:>3} packets of {size:>4} bytes: {100 * out:4.1f} % out, {100 * back:4.1f} % in")


def main():
    args = arguments()
    before = read(args.compare) if args.compare else None
    seen = measure(build())
    dearer = show(seen, before, args.tolerance)
    shares(seen)
    if args.save:
        head = "# Instructions per packet: operation, bytes, batch (judge: flows), count. Made by scripts/bench instructions --save\n"
        rows = (f"{' '.join(key)} {value:.0f}\n" for key, value in seen.items())
        pathlib.Path(args.save).write_text(head + "".join(rows))
    gone = [key for key in before or {} if key not in seen]
    for key in gone:
        print(f"no longer measured: {' '.join(key)}", file=sys.stderr)
    if dearer:
        print(f"{len(dearer)} operation(s) got dearer by more than {args.tolerance} %", file=sys.stderr)
    if dearer or gone:
        sys.exit(1)


if __name__ == "__main__":
    main()

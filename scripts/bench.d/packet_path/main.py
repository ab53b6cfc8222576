"""The packet path of Warren and its rivals between two network namespaces, interleaved: every round runs each test for
every contestant, one after the other. Results: a table here, JSON and Markdown in target/bench/."""

import argparse
import fcntl
import os
import pathlib
import resource
import signal
import sys

import contestants
import machine
import report
import street
from crowd import Crowd
from measures import CROWDED, MEASURES, QUICK
from process import Failed
from runner import Runner

ROOT = pathlib.Path(__file__).resolve().parents[3]
LOCK = "/run/warren-bench.lock"


def arguments():
    names = "\n".join(f"  {name:15} {what}" for name, (what, _, _) in MEASURES.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench packet-path", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"tests:\n{names}\n\ncontestants: {', '.join(contestants.DEFAULT)}, and each --rival and --warren",
    )
    words = lambda text: [w for w in text.split(",") if w]
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often everything is measured (3)")
    parser.add_argument("--secs", type=int, default=3, metavar="S", help="seconds of each test (3)")
    parser.add_argument("--tests", type=words, metavar="A,B", help="only these tests")
    parser.add_argument("--peers", type=words, metavar="A,B", help="only these contestants")
    parser.add_argument(
        "--rival", action="append", default=[], metavar="NAME=PATH",
        help="a program that `wg` can configure; takes the place of a contestant of the same name; may be repeated",
    )
    parser.add_argument(
        "--warren", action="append", default=[], metavar="NAME=DIR",
        help="another build of Warren, by the directory with its two programs; may be repeated",
    )
    parser.add_argument("--json", metavar="FILE", help="where the numbers go (target/bench/packet-path.json; .md beside it)")
    parser.add_argument("--quick", action="store_true", help=f"one round, only {','.join(QUICK)}")
    parser.add_argument("--no-build", action="store_true", help="measure target/release as it is")
    args = parser.parse_args()
    if args.quick:
        args.rounds = 1
    args.tests = args.tests or (QUICK if args.quick else list(MEASURES))
    for test in args.tests:
        if test not in MEASURES:
            parser.error(f"there is no test `{test}`; there are: {', '.join(MEASURES)}")
    if args.rounds < 1 or args.secs < 1:
        parser.error("--rounds and --secs begin at 1")
    return args


def locked():
    """One run at a time on a machine: two would measure each other."""
    lock = open(LOCK, "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another scripts/bench packet-path runs on this machine: wait for it")
    return lock


def take_down(contestant):
    """One that does not go must not keep the others."""
    try:
        contestant.down()
    except (Failed, OSError) as e:
        print(f"{contestant.name} could not be taken down: {e}", file=sys.stderr)


def stop(*_):
    sys.exit(130)


def main():
    args = arguments()
    lock = locked()
    # boringtun opens a socket for each peer it has heard of.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    street.sweep()
    out = pathlib.Path(args.json) if args.json else ROOT / "target/bench/packet-path.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        field = contestants.field(ROOT, args, build=not args.no_build)
        Crowd.program = contestants.crowd(ROOT, build=not args.no_build) if CROWDED & set(args.tests) else None
    except Failed as e:
        sys.exit(str(e))
    result = report.Report(machine.facts(str(ROOT)), {c.name: c.about() for c in field}, vars(args))
    print(result.heading(), flush=True)
    runner = Runner(field, args, result, lambda: result.write(out))
    try:
        runner.run()
    finally:
        # A second signal must not leave a namespace behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for contestant in field:
            take_down(contestant)
        lock.close()
    print(result.markdown())
    print(f"\nwritten to {os.path.relpath(out)} and {os.path.relpath(out.with_suffix('.md'))}")
    sys.exit(1 if result.failures() else 0)


if __name__ == "__main__":
    main()

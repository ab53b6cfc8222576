"""Rounds: for each test every contestant in turn, so that what changes on the machine changes for all."""

import sys
import time

from machine import Load
from measures import MEASURES, ONCE, TRAFFIC
from process import Failed, NotApplicable

#: Foreign CPU seconds, of one second of test, from which a value is marked.
FOREIGN = 0.03


class Runner:
    def __init__(self, field, args, report, written):
        self.field, self.args, self.report, self.written = field, args, report, written

    def run(self):
        for contestant in list(self.field):
            try:
                contestant.up()
            except Failed as e:
                self.report.failure(0, "start", contestant.name, str(e))
                print(f"{contestant.name} did not start and is left out: {e}", file=sys.stderr)
                contestant.down()
                self.field.remove(contestant)
        for number in range(1, self.args.rounds + 1):
            for test in self.args.tests:
                if test in ONCE and number > 1:
                    continue
                for contestant in self.field:
                    self.one(number, test, contestant)
                self.written()

    def one(self, number, test, contestant):
        _, measure, shown = MEASURES[test]
        print(f"round {number}/{self.args.rounds} {test:15} {contestant.name:20} ", end="", flush=True)
        try:
            contestant.ready()
            for daemon in contestant.daemons:
                daemon.forget_peak()
            load = Load()
            values = measure(contestant, self.args.secs)
            seconds, foreign, steal, busy = load.since()
        except NotApplicable:
            print("–", flush=True)
            return
        except Failed as e:
            self.report.failure(number, test, contestant.name, str(e))
            print(f"FAILED: {e}", flush=True)
            time.sleep(1)
            return
        if test in TRAFFIC:
            values["peak_mib"] = max((d.peak_mib() for d in contestant.daemons), default=0.0)
        values |= {"seconds": seconds, "foreign_cpu_s": foreign, "steal_cpu_s": steal, "busy_cpu_s": busy}
        marked = (foreign + steal) / seconds > FOREIGN
        self.report.value(number, test, contestant.name, values, marked)
        said = "  ".join(f"{values[key]:.2f} {unit}" for key, unit in shown)
        print(said + (f"  † foreign load {foreign + steal:.2f} CPU-s in {seconds:.1f} s" if marked else ""), flush=True)

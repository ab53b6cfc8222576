"""What was measured, as JSON, and as tables for people: medians with the lowest and highest, ratios within a round."""

import json
import statistics

from measures import MEASURES

SUBJECT = "warren"
NOTHING = "–"
#: Stands for every test in place of one.
ALL = "*"


class Report:
    def __init__(self, facts, contestants, options):
        self.data = {"facts": facts, "contestants": contestants, "options": options, "values": [], "failures": []}

    def value(self, number, test, contestant, values, marked):
        self.data["values"].append(
            {"round": number, "test": test, "contestant": contestant, "marked": marked, **values}
        )

    def failure(self, number, test, contestant, why):
        self.data["failures"].append({"round": number, "test": test, "contestant": contestant, "why": why})

    def failures(self):
        return self.data["failures"]

    def series(self, test, contestant, key):
        """round → (value, marked); over all tests the greatest."""
        series = {}
        for v in self.data["values"]:
            if v["contestant"] == contestant and key in v and test in (v["test"], ALL):
                before = series.get(v["round"], (v[key], False))
                series[v["round"]] = (max(before[0], v[key]), before[1] or v["marked"])
        return series

    def heading(self):
        f = self.data["facts"]
        virtual = ", a virtual machine" if f["hypervisor"] else ""
        return (
            f"{f['cpu']}, {f['cores']} cores, {f['memory_gib']} GiB{virtual}; Linux {f['kernel']}; {f['date']}; checkout {f['commit']}; "
            + ", ".join(f"{name} {version}" for name, version in f["packages"].items())
        )

    # --- tables

    def rows(self):
        """Every shown value of every test that ran, the peak memory last."""
        ran = [t for t in MEASURES if any(v["test"] == t for v in self.data["values"])]
        for test in ran:
            for key, unit in MEASURES[test][2]:
                yield f"{test}: {unit}", test, key
        if any("peak_mib" in v for v in self.data["values"]):
            yield "peak RSS MiB, all traffic tests", ALL, "peak_mib"

    def names(self):
        return [n for n in self.data["contestants"] if any(v["contestant"] == n for v in self.data["values"])]

    def markdown(self):
        names = self.names()
        lines = ["# Packet path", "", self.heading(), ""]
        lines += [f"- {name}: {about}" for name, about in self.data["contestants"].items()]
        o = self.data["options"]
        lines += [
            "", f"{o['rounds']} round(s), {o['secs']} s a test; median (lowest–highest). † others used more than 3 % of a CPU "
            "during at least one of these measurements.", "",
            *table(["", *names], ([label, *(self.cell(t, n, k) for n in names)] for label, t, k in self.rows())),
        ]
        rivals = [n for n in names if n not in (SUBJECT, "raw")]
        if SUBJECT in names and rivals:
            lines += [
                "", f"Ratio of {SUBJECT} to each rival within the same round, median (lowest–highest):", "",
                *table(["", *rivals], self.ratios(rivals)),
            ]
        if self.data["failures"]:
            lines += ["", "Failed:", ""]
            lines += [f"- round {f['round']} {f['test']} {f['contestant']}: {f['why']}" for f in self.data["failures"]]
        return "\n".join(lines)

    def ratios(self, rivals):
        rows = ([label, *(self.ratio(t, n, k) for n in rivals)] for label, t, k in self.rows())
        return [row for row in rows if set(row[1:]) != {NOTHING}]

    def cell(self, test, name, key):
        series = self.series(test, name, key)
        return spread([v for v, _ in series.values()], any(m for _, m in series.values()))

    def ratio(self, test, name, key):
        mine, theirs = self.series(test, SUBJECT, key), self.series(test, name, key)
        pairs = [(mine[r], theirs[r]) for r in mine if r in theirs and theirs[r][0] > 0]
        return spread([a[0] / b[0] for a, b in pairs], any(a[1] or b[1] for a, b in pairs))

    def write(self, path):
        path.write_text(json.dumps(self.data, indent=1) + "\n")
        path.with_suffix(".md").write_text(self.markdown() + "\n")


def spread(values, marked):
    if not values:
        return NOTHING
    middle = number(statistics.median(values))
    sides = f" ({number(min(values))}–{number(max(values))})" if len(values) > 1 else ""
    return middle + sides + (" †" if marked else "")


def number(value):
    """Three digits that mean something."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head, rows):
    rows = [[str(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    line = lambda row: "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |"
    return [line(head), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)]

import { expect, test } from "vitest";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { blocks, lineDiff, pieces } from "../policy-text";

const POLICY = `version = 1

[group.shop]
members = ["a"]

# Why this is.
[[grant]]
id   = "web-reads"   # a comment
from = ["tag:web"]
why  = """
[[grant]]
id = "not-a-grant"
"""

# Of the next one.
[[grant]]
id = 'second'
to = ["service:x"]
`;

test("a grant is found with its line, its comments, and without what only looks like one", () => {
  const grants = blocks("p.toml", POLICY).filter((b) => b.kind === "grant");
  expect(grants.map((g) => [g.name, g.line, g.first, g.last])).toEqual([
    ["web-reads", 7, 6, 13],
    ["second", 16, 15, 18],
  ]);
  expect(grants[0]!.text.startsWith("# Why this is.\n[[grant]]")).toBe(true);
});

test("every grant of the example policies is found at the line where it stands", () => {
  const root = join(import.meta.dirname, "../../../../config/examples");
  const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".toml"));
  let seen = 0;
  for (const file of files) {
    const text = readFileSync(join(root, file), "utf8");
    const lines = text.split("\n");
    const grants = blocks(file, text).filter((b) => b.kind === "grant");
    expect(grants.length).toBe(lines.filter((l) => /^\s*\[\[\s*grant\s*\]\]/.test(l)).length);
    for (const g of grants) {
      expect(lines[g.line - 1]).toMatch(/\[\[\s*grant/);
      expect(g.text).toContain(g.name);
      seen += 1;
    }
  }
  expect(seen).toBeGreaterThan(10);
});

test("colouring loses no character", () => {
  for (const line of [
    ...POLICY.split("\n"),
    "until = 2027-01-31T00:00:00Z # soon",
    'a = ["x\\"y", \'z\'',
    "[tag.web]  # here",
    "'unclosed",
    "ünï = 1",
  ]) {
    expect(
      pieces(line)
        .map((p) => p.text)
        .join(""),
    ).toBe(line);
  }
});

test("a difference of texts gives back both", () => {
  const a = "one\ntwo\nthree\nfour\nfive";
  const b = "one\n2\nthree\nfive\nsix";
  const diff = lineDiff(a, b);
  expect(
    diff
      .filter((c) => c.as !== "new")
      .map((c) => c.text)
      .join("\n"),
  ).toBe(a);
  expect(
    diff
      .filter((c) => c.as !== "gone")
      .map((c) => c.text)
      .join("\n"),
  ).toBe(b);
  expect(diff.filter((c) => c.as === "same").map((c) => [c.before, c.after])).toEqual([
    [1, 1],
    [3, 3],
    [5, 4],
  ]);
  expect(lineDiff(a, a).every((c) => c.as === "same")).toBe(true);
});

import { describe, expect, test } from "vitest";
import { noFlows } from "../drawer/no-flows";

const list = (more: object) => ({ rows: [], next: null, searched_to: null, kept_since: null, ...more });

describe("an edge without flows", () => {
  test("says that none is kept only where all that is kept was searched", () => {
    expect(noFlows(list({ next: "0.9.3", searched_to: 1_790_000_000 }))).toMatch(/received since 2026.*not looked for/);
    expect(noFlows(list({ next: "0.9.3" }))).toMatch(/not looked for/);
    expect(noFlows(list({ kept_since: 1_790_000_000 }))).toMatch(/No record is kept: what is kept begins 2026/);
    expect(noFlows(list({}))).toBe("No record is kept.");
  });
});

import { describe, expect, test } from "vitest";
import { reach } from "../frame/reach";

describe("the slider of time", () => {
  test("reaches no further back than anything is kept", () => {
    const now = 1_790_000_000;
    expect(reach(300, now, null)).toBe(6 * 3600);
    expect(reach(300, now, now - 30 * 86400)).toBe(6 * 3600);
    expect(reach(86400, now, now - 2 * 86400)).toBe(2 * 86400);
    expect(reach(86400, now, now - 60)).toBe(3600);
  });
});

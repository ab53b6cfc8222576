import { describe, expect, test } from "vitest";
import { ago, bytes, count, csvCell, micros, moment, plural, port, span, spanMs, utc, visible } from "../format";

const plain = (text: string) => text.replaceAll("\u202f", " ");

describe("numbers", () => {
  test("bytes keep three digits and never say 1000 of a unit", () => {
    const said = ([0, 1, 999, 1000, 1234, 99_950, 999_499, 999_500, 1_000_000, 123_456_789, 5e15] as const).map((n) =>
      plain(bytes(n)),
    );
    expect(said).toEqual([
      "0 B",
      "1 B",
      "999 B",
      "1.00 kB",
      "1.23 kB",
      "100 kB",
      "999 kB",
      "1.00 MB",
      "1.00 MB",
      "123 MB",
      "5.00 PB",
    ]);
  });
  test("counts are exact", () => {
    expect(plain(count(0))).toBe("0");
    expect(plain(count(1234567))).toBe("1 234 567");
  });
  test("microseconds are said in the unit one would say", () => {
    expect([400, 18_400, 2_300_000].map((n) => plain(micros(n)))).toEqual(["400 µs", "18.4 ms", "2.30 s"]);
  });
  test("ports are as a policy writes them", () => {
    expect([port(6, 443), port(17, 53), port(1, 0), port(58, 0), port(132, 7)]).toEqual([
      "tcp/443",
      "udp/53",
      "icmp/echo",
      "icmp/echo",
      "proto/132",
    ]);
  });
  test("ports that are not told apart are words", () => {
    expect([port(6, 0), port(17, 0)]).toEqual(["other tcp ports", "other udp ports"]);
  });
  test("one is one", () => {
    expect([plural(1, "try", "tries"), plural(2, "try", "tries"), plural(0, "node")]).toEqual([
      "try",
      "tries",
      "nodes",
    ]);
  });
});

describe("times", () => {
  test("a span has at most two units", () => {
    expect(
      [0, 59, 60, 3599, 3600, 3 * 3600 + 120, 86400 * 2 + 3600 * 5, 86400 * 40].map((n) => plain(span(n))),
    ).toEqual(["0 s", "59 s", "1 min", "59 min", "1 h", "3 h 2 min", "2 d 5 h", "40 d"]);
  });
  test("ago and ahead, and two clocks that differ by a breath", () => {
    expect([ago(100, 100), ago(102, 100), ago(90, 100), ago(160, 100)].map(plain)).toEqual([
      "now",
      "now",
      "10 s ago",
      "in 1 min",
    ]);
  });
  test("the day is said when it is another one", () => {
    const now = Date.UTC(2026, 10, 28, 18, 0, 0) / 1000;
    expect(moment(now - 60, now)).toBe("17:59:00");
    expect(moment(now - 86400, now)).toBe("11-27 18:00");
    expect(utc(now)).toBe("2026-11-28 18:00:00 UTC");
  });
  test("a time beyond the calendar is still shown", () => expect(utc(1e18)).toBe("@1000000000000000000"));
  test("milliseconds", () =>
    expect([0, 999, 1500, 61_000].map((n) => plain(spanMs(n)))).toEqual(["0 ms", "999 ms", "1.5 s", "1 min"]));
});

describe("hostile text", () => {
  test("what reorders or hides text is shown as its number", () =>
    expect(visible("a\u202eb\u200bc\u0000")).toBe("a⟨U+202E⟩b⟨U+200B⟩c⟨U+0000⟩"));
  test("other text is left alone", () => expect(visible("<b>Grüße</b> 東京")).toBe("<b>Grüße</b> 東京"));
  test("no cell of an export is a formula", () => {
    expect(["=1+1", "+x", "-x", "@x", "a,b", 'a"b', "plain"].map(csvCell)).toEqual([
      "'=1+1",
      "'+x",
      "'-x",
      "'@x",
      '"a,b"',
      '"a""b"',
      "plain",
    ]);
    expect(csvCell(-5)).toBe("-5");
    expect(csvCell(null)).toBe("");
  });
});

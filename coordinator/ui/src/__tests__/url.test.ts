import { expect, test } from "vitest";
import { FILTERS, GROUPINGS, HOME, PAGES, type Place, format, parse, toPage, WINDOWS } from "../state/url";

const again = (place: Place): Place => {
  const [path, search = ""] = format(place).split("?");
  return parse(path!, search);
};

/** Small seeded randomness. */
function random(seed: number) {
  let a = seed;
  return () => {
    a = (a * 1664525 + 1013904223) % 4294967296;
    return a / 4294967296;
  };
}

test("what was seen is seen again from its address", () => {
  const rng = random(5);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
  const texts = [
    "",
    "web-1",
    "tag:a & tag:b",
    "<img src=x onerror=1>",
    "ü \u202e &=#%+?/",
    "edge:0f",
    "node:x,y.z",
    "1.2",
    "a b",
  ];
  for (let i = 0; i < 2000; i++) {
    const filters = Object.fromEntries(FILTERS.flatMap((f) => (rng() < 0.3 ? [[f, pick(texts.slice(1))]] : [])));
    const place: Place = {
      page: pick(PAGES),
      at: rng() < 0.5 ? null : 1 + Math.floor(rng() * 2e9),
      window: pick(WINDOWS),
      q: pick(texts),
      group: pick(GROUPINGS),
      view: pick(["map", "table"]),
      sel: pick(texts) || null,
      levels: Object.fromEntries(texts.slice(1).flatMap((t) => (rng() < 0.3 ? [[t, pick([0, 1, 2] as const)]] : []))),
      filters,
      generation: rng() < 0.5 ? null : 1 + Math.floor(rng() * 900),
      line: rng() < 0.5 ? null : 1 + Math.floor(rng() * 900),
    };
    expect(again(place)).toEqual(place);
  }
});

test("the plain view has the plain address", () => expect(format(HOME)).toBe("/map"));

test("what cannot be read is left out", () => {
  expect(
    parse("/nonsense/x", "?at=-3&window=9999999999&group=moon&view=x&open=7.a&open=2&line=0&generation=1e9"),
  ).toEqual(HOME);
});

test("another page keeps the time and nothing else", () => {
  const place = { ...HOME, at: 100, window: 900, sel: "node:a", q: "x", filters: { verdict: "deny" } };
  expect(toPage(place, "flows")).toEqual({ ...HOME, page: "flows", at: 100, window: 900 });
});

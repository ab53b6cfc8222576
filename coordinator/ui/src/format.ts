// Numbers and times as words. Pure: the same value gives the same text, and `now` is an argument.

/** What the page says where the API says nothing. */
export const UNKNOWN = "not known";

/** Thin space between digits and unit. */
const GAP = "\u202f";

function three(value: number): string {
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return value.toFixed(digits);
}

function scaled(value: number, step: number, units: readonly string[]): string {
  let rest = value;
  let unit = 0;
  // 999.5 would be written as 1000 of the smaller unit.
  while (rest >= step - 0.5 && unit < units.length - 1) {
    rest /= step;
    unit += 1;
  }
  return `${unit === 0 ? String(Math.round(rest)) : three(rest)}${GAP}${units[unit]}`;
}

/** Decimal units, as network people count: 1.24 MB. */
export function bytes(value: number): string {
  return scaled(value, 1000, ["B", "kB", "MB", "GB", "TB", "PB", "EB"]);
}

/** Exact, in groups of three. */
export function count(value: number): string {
  const [whole, rest] = String(value).split(".");
  const grouped = (whole ?? "").replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  return rest ? `${grouped}.${rest}` : grouped;
}

/** Microseconds as the reader would say them. */
export function micros(value: number): string {
  return value < 1000
    ? `${Math.round(value)}${GAP}µs`
    : value < 1e6
      ? `${three(value / 1000)}${GAP}ms`
      : `${three(value / 1e6)}${GAP}s`;
}

const STEPS: readonly [number, string][] = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** A length of time in its two greatest units: `4 min`, `2 h 5 min`, `9 d`. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole === 0) return `0${GAP}s`;
  const at = STEPS.findIndex(([size]) => whole >= size);
  const [size, unit] = STEPS[at]!;
  const first = Math.floor(whole / size);
  const next = STEPS[at + 1];
  const second = next && first < 10 && unit !== "min" ? Math.floor((whole % size) / next[0]) : 0;
  const head = `${first}${GAP}${unit}`;
  return next && second > 0 ? `${head} ${second}${GAP}${next[1]}` : head;
}

export function spanMs(ms: number): string {
  return ms < 1000
    ? `${Math.max(0, Math.round(ms))}${GAP}ms`
    : ms < 10_000
      ? `${(ms / 1000).toFixed(1)}${GAP}s`
      : span(ms / 1000);
}

/** `3 s ago`, `in 2 h`, `now`. */
export function ago(at: number, now: number): string {
  const d = Math.round(now - at);
  // Two clocks never agree to the second.
  if (d < 1 && d > -4) return "now";
  return d > 0 ? `${span(d)} ago` : `in ${span(-d)}`;
}

const two = (n: number) => String(n).padStart(2, "0");

/** `2026-11-28 18:09:44 UTC`. */
export function utc(seconds: number): string {
  const t = new Date(seconds * 1000);
  if (Number.isNaN(t.getTime())) return `@${seconds}`;
  return `${t.getUTCFullYear()}-${two(t.getUTCMonth() + 1)}-${two(t.getUTCDate())} ${clock(seconds)} UTC`;
}

/** `18:09:44`. */
export function clock(seconds: number): string {
  const t = new Date(seconds * 1000);
  return `${two(t.getUTCHours())}:${two(t.getUTCMinutes())}:${two(t.getUTCSeconds())}`;
}

/** The clock on the day of `now`, else the date too. */
export function moment(seconds: number, now: number): string {
  const sameDay = Math.floor(seconds / 86400) === Math.floor(now / 86400);
  return sameDay ? clock(seconds) : `${utc(seconds).slice(5, 16)}`;
}

const PROTOCOLS: Record<number, string> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6" };

export function protocol(number: number): string {
  return PROTOCOLS[number] ?? `proto/${number}`;
}

/** `tcp/8443`, `icmp/echo`, `proto/132`. Port 0 are several put together: refused attempts at more ports than are told apart. */
export function port(number: number, at: number): string {
  if (number === 1 || number === 58) return "icmp/echo";
  if (number !== 6 && number !== 17) return protocol(number);
  return at === 0 ? `other ${protocol(number)} ports` : `${protocol(number)}/${at}`;
}

/** Characters that reorder or hide text stand as their numbers; all others as they are. */
export function visible(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]/g,
    (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

/** `1 node`, `3 nodes`. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return n === 1 ? one : many;
}

/** A cell of CSV that no spreadsheet takes for a formula. */
export function csvCell(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

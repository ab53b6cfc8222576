// Everything that is seen has an address: page, time, filter, selection. Parsing never fails; what cannot be read is left out.

export const PAGES = ["map", "flows", "policy", "nodes", "tokens", "alarms", "audit"] as const;
export type Page = (typeof PAGES)[number];
export const GROUPINGS = ["tag", "site", "node"] as const;
export type Grouping = (typeof GROUPINGS)[number];
/** 0: one box; 1: its services; 2: its nodes with their services. */
export type Level = 0 | 1 | 2;
export const FILTERS = ["from", "to", "service", "verdict", "grant"] as const;
export type Filters = Partial<Record<(typeof FILTERS)[number], string>>;

export interface Place {
  page: Page;
  /** Seconds since 1970; null: live. */
  at: number | null;
  /** Seconds before `at` that count. */
  window: number;
  q: string;
  group: Grouping;
  view: "map" | "table";
  /** What the drawer shows: `edge:ID`, `node:ID`, `service:NAME`, `group:KEY`, … */
  sel: string | null;
  /** Boxes that are not as large as the rest. */
  levels: Record<string, Level>;
  filters: Filters;
  generation: number | null;
  line: number | null;
}

export const WINDOWS = [60, 300, 900, 3600, 21600, 86400] as const;
export const DEFAULT_WINDOW = 300;

export const HOME: Place = {
  page: "map",
  at: null,
  window: DEFAULT_WINDOW,
  q: "",
  group: "tag",
  view: "map",
  sel: null,
  levels: {},
  filters: {},
  generation: null,
  line: null,
};

function whole(text: string | null, min: number, max: number): number | null {
  if (text === null || !/^\d{1,12}$/.test(text)) return null;
  const n = Number(text);
  return n >= min && n <= max ? n : null;
}

function oneOf<T extends string>(list: readonly T[], text: string | null): T | null {
  return (list as readonly string[]).includes(text ?? "") ? (text as T) : null;
}

export function parse(path: string, search: string): Place {
  const q = new URLSearchParams(search);
  const filters: Filters = {};
  for (const name of FILTERS) {
    const value = q.get(name);
    if (value) filters[name] = value;
  }
  return {
    page: oneOf(PAGES, path.split("/")[1] ?? "") ?? HOME.page,
    at: whole(q.get("at"), 1, 253402300799),
    window: whole(q.get("window"), 1, 2678400) ?? DEFAULT_WINDOW,
    q: q.get("q") ?? "",
    group: oneOf(GROUPINGS, q.get("group")) ?? HOME.group,
    view: q.get("view") === "table" ? "table" : "map",
    sel: q.get("sel") || null,
    levels: parseLevels(q.getAll("open")),
    filters,
    generation: whole(q.get("generation"), 1, Number.MAX_SAFE_INTEGER),
    line: whole(q.get("line"), 1, 1_000_000),
  };
}

/** `open=2.KEY`, once a box. */
function parseLevels(values: string[]): Record<string, Level> {
  const levels: Record<string, Level> = {};
  for (const value of values) {
    const found = /^([012])\.(.+)$/s.exec(value);
    if (found) levels[found[2]!] = Number(found[1]) as Level;
  }
  return levels;
}

export function format(place: Place): string {
  const q = new URLSearchParams();
  if (place.at !== null) q.set("at", String(place.at));
  if (place.window !== DEFAULT_WINDOW) q.set("window", String(place.window));
  if (place.group !== HOME.group) q.set("group", place.group);
  if (place.view !== HOME.view) q.set("view", place.view);
  if (place.q) q.set("q", place.q);
  for (const name of FILTERS) {
    const value = place.filters[name];
    if (value) q.set(name, value);
  }
  if (place.generation !== null) q.set("generation", String(place.generation));
  if (place.line !== null) q.set("line", String(place.line));
  for (const key of Object.keys(place.levels).sort()) q.append("open", `${place.levels[key]}.${key}`);
  if (place.sel) q.set("sel", place.sel);
  const text = q.toString();
  return `/${place.page}${text ? `?${text}` : ""}`;
}

/** To another page: time stays, what belongs to the page before does not. */
export function toPage(place: Place, page: Page): Place {
  return { ...HOME, page, at: place.at, window: place.window, group: place.group };
}

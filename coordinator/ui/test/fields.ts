// What a `data-field` says, read from the API itself: the judge of the page's numbers.
//
//   SOURCE[?QUERY][[IDS]].PATH   e.g. map.edges[0f,1e].bytes_out, status.enforcement.behind.length, policy/usage?within=60[GRANT].flows
//
// Several ids, and several fields joined by `+`, are added up; of times the first or last counts. Times are in seconds.

type Json = unknown;
const at = (value: Json, key: string): Json =>
  value === null || value === undefined ? undefined : (value as Record<string, Json>)[key];

export interface Question {
  /** Path below /v1, with query. */
  source: string;
  read: (document: Json) => number | null | undefined;
}

/** Where each list is asked, and what identifies its rows. */
const LISTS: Record<string, { path: string; list: (d: Json) => Json; id: (row: Json) => string }> = {
  "map.edges": { path: "/map", list: (d) => at(d, "edges"), id: (r) => String(at(r, "id")) },
  "map.nodes": { path: "/map", list: (d) => at(d, "nodes"), id: (r) => String(at(r, "id")) },
  "status.alarms": {
    path: "/status",
    list: (d) => at(d, "alarms"),
    id: (r) => `${String(at(r, "kind"))}/${String(at(r, "subject"))}`,
  },
  nodes: { path: "/nodes?revoked=true", list: (d) => d, id: (r) => String(at(r, "id")) },
  tokens: { path: "/tokens", list: (d) => d, id: (r) => String(at(r, "token")) },
  keys: { path: "/keys", list: (d) => d, id: (r) => String(at(r, "id")) },
  flows: {
    path: "/flows",
    list: (d) => at(d, "rows"),
    id: (r) => `${String(at(r, "reporter"))}.${String(at(r, "boot"))}.${String(at(r, "flow"))}`,
  },
  paths: { path: "/paths", list: (d) => at(d, "paths"), id: (r) => String(at(r, "to")) },
  "policy/history": { path: "/policy/history", list: (d) => d, id: (r) => String(at(r, "generation")) },
  "policy/usage": {
    path: "/policy/usage?within=2592000",
    list: (d) => at(d, "grants"),
    id: (r) => String(at(r, "name")),
  },
  "policy/usage?within=60": {
    path: "/policy/usage?within=60",
    list: (d) => at(d, "grants"),
    id: (r) => String(at(r, "name")),
  },
  audit: { path: "/audit?limit=200", list: (d) => at(d, "rows"), id: (r) => String(at(r, "revision")) },
};
const PLAIN: Record<string, string> = {
  map: "/map",
  status: "/status",
  policy: "/policy",
  "policy/usage": "/policy/usage?within=2592000",
  "audit/verify": "/audit/verify",
};

const isTime = (field: string) => field.endsWith("_ms") || field === "first_seen" || field === "last_seen";

function walk(value: Json, path: string[]): Json {
  return path.reduce<Json>((v, key) => (key === "length" && Array.isArray(v) ? v.length : at(v, key)), value);
}

function numberOf(row: Json, path: string, list: string): number | null | undefined {
  const steps = path.split(".");
  const last = steps.pop()!;
  const parts = last.split("+").map((field) => {
    const value = walk(row, [...steps, field]);
    if (typeof value !== "number") return value as null | undefined;
    return isTime(field) && (list === "map.edges" || field.endsWith("_ms")) ? value / 1000 : value;
  });
  if (parts.some((p) => p === undefined)) return undefined;
  if (parts.some((p) => p === null)) return null;
  return (parts as number[]).reduce((a, b) => a + b, 0);
}

export function question(field: string): Question | null {
  const listed = /^([a-z/.]+?(?:\?[a-z0-9=&]+)?)\[(.*)\]\.([a-z0-9_.+]+)$/s.exec(field);
  if (listed) {
    const [, name, ids, path] = listed as unknown as [string, string, string, string];
    // A list may be asked with a question of its own.
    const [base = "", asked] = LISTS[name] ? [name] : name.split("?");
    const list = LISTS[base];
    if (!list) return null;
    return {
      source: asked ? `${list.path}?${asked}` : list.path,
      read: (d) => readList(list.list(d) as Json[], list.id, base, ids, path),
    };
  }
  const plain = /^([a-z/]+)\.([a-z0-9_.+]+)$/.exec(field);
  const source = plain && PLAIN[plain[1]!];
  if (!plain || !source) return null;
  return { source, read: (d) => numberOf(d, plain[2]!, plain[1]!) };
}

function readList(
  rows: Json[] | undefined,
  id: (row: Json) => string,
  name: string,
  ids: string,
  path: string,
): number | null | undefined {
  if (!Array.isArray(rows)) return undefined;
  const condition = /^(\w+)=(.*)$/.exec(ids);
  const exact = rows.filter((r) => id(r) === ids);
  const wanted = new Set(ids.split(","));
  const found =
    condition && !exact.length
      ? rows.filter((r) => String(at(r, condition[1]!)) === condition[2])
      : exact.length
        ? exact
        : rows.filter((r) => wanted.has(id(r)));
  if (path === "length") return found.length;
  // A sum over nothing is nothing; a row that is named must be there.
  if (!found.length) return ids === "" && !isTime(path) ? 0 : undefined;
  const values = found.map((r) => numberOf(r, path, name));
  if (values.some((v) => v === undefined)) return undefined;
  if (values.some((v) => v === null)) return null;
  const numbers = values as number[];
  if (path === "last_seen") return Math.max(...numbers);
  if (path === "first_seen") return Math.min(...numbers);
  return numbers.reduce((a, b) => a + b, 0);
}

// What the page knows now, and how it stays true: loaded once, then kept by events; a resync or a gap loads anew.
import {
  ApiError,
  address,
  get,
  onSignedOut,
  signIn as postSession,
  signOut as deleteSession,
  whoAmI,
} from "../api/client";
import type {
  Alarm,
  AuditRow,
  EdgeDelta,
  FlowMap,
  NodeRow,
  PolicyRow,
  PolicyText,
  Problem,
  Session,
  Status,
} from "../api/types";
import { add, begin, type LiveMap } from "../map/merge";
import { Store } from "./store";
import { type Place, format, parse } from "./url";

export const place = new Store<Place>(parse(location.pathname, location.search));
export const session = new Store<Session | null | "asking">("asking");
export const status = new Store<Status | null>(null);
export const nodes = new Store<NodeRow[] | null>(null);
export const policy = new Store<PolicyText | null>(null);
/** Grows when the policy or its history has changed. */
export const policySerial = new Store(0);
export const newAudit = new Store<AuditRow[]>([]);
/** What went wrong while loading each of them, until it goes right. */
export const trouble = {
  status: new Store<Problem | null>(null),
  nodes: new Store<Problem | null>(null),
  policy: new Store<Problem | null>(null),
};

export interface Connection {
  state: "connecting" | "live" | "lost";
  /** Browser time, seconds. */
  heard: number | null;
}
export const connection = new Store<Connection>({ state: "connecting", heard: null });

export interface MapState {
  /** What was asked: a time or live, and a window. */
  key: string;
  live: LiveMap | null;
  problem: Problem | null;
}
export const mapState = new Store<MapState>({ key: "", live: null, problem: null });

// --- time: the coordinator's clock, as far as it told us

let offset = 0;
const here = () => Date.now() / 1000;
export const clock = new Store(Math.floor(here()));
export const now = (): number => here() + offset;

function heardTime(at: number): void {
  // Whole seconds only: do not flutter by one.
  if (Math.abs(at - now()) > 2) offset = at - here();
}

// --- addresses

export function go(change: Partial<Place>, how: "push" | "replace" = "push"): void {
  const next = { ...place.get(), ...change };
  const text = format(next);
  if (text !== location.pathname + location.search)
    history[how === "push" ? "pushState" : "replaceState"](null, "", text);
  place.set(next);
}

export const href = (change: Partial<Place>): string => format({ ...place.get(), ...change });

export function visit(target: Place): void {
  history.pushState(null, "", format(target));
  place.set(target);
}

// --- loading

async function attempt<T>(what: keyof typeof trouble, work: Promise<T>, put: (value: T) => void): Promise<void> {
  try {
    put(await work);
    trouble[what].set(null);
  } catch (error) {
    if (error instanceof ApiError && !error.isUnauthenticated) trouble[what].set(error.problem);
  }
}

function takeStatus(value: Status): void {
  heardTime(value.now);
  const before = status.get();
  status.set(value);
  if (before && before.generation !== value.generation) void loadPolicy();
}

export const loadStatus = () => attempt("status", get<Status>("/status"), takeStatus);
export const loadNodes = () => attempt("nodes", get<NodeRow[]>("/nodes", { revoked: true }), (v) => nodes.set(v));

export async function loadPolicy(): Promise<void> {
  if (status.get()?.generation === 0) return policy.set(null);
  try {
    policy.set(await get<PolicyText>("/policy"));
    trouble.policy.set(null);
  } catch (error) {
    // No policy yet is an answer, not a failure.
    if (error instanceof ApiError && error.problem.status === 404) policy.set(null);
    else if (error instanceof ApiError && !error.isUnauthenticated) trouble.policy.set(error.problem);
  }
  policySerial.update((n) => n + 1);
}

const mapKey = (p: Place) => `${p.at ?? "live"} ${p.window}`;
let asking: AbortController | null = null;
/** Seconds that come while a map is under way. */
let waiting: { at: number; edges: EdgeDelta[] }[] = [];

export async function loadMap(): Promise<void> {
  const { at, window } = place.get();
  const key = mapKey(place.get());
  asking?.abort();
  const mine = (asking = new AbortController());
  waiting = [];
  try {
    const map = await get<FlowMap>("/map", { at, window }, mine.signal);
    loadedAt = here();
    let live = begin(map, Math.floor(now()) + 1);
    if (at === null) for (const second of waiting) live = add(live, second.at, second.edges);
    mapState.set({ key, live, problem: null });
  } catch (error) {
    if (mine.signal.aborted || !(error instanceof ApiError)) return;
    const before = mapState.get();
    mapState.set({ key, live: before.key === key ? before.live : null, problem: error.problem });
  } finally {
    if (asking === mine) asking = null;
  }
}

function takeSecond(at: number, edges: EdgeDelta[]): void {
  if (place.get().at !== null) return;
  if (asking) waiting.push({ at, edges });
  mapState.update((s) => (s.live ? { ...s, live: add(s.live, at, edges) } : s));
}

let again: ReturnType<typeof setTimeout> | null = null;

async function loadAll(): Promise<void> {
  await Promise.all([loadStatus().then(loadPolicy), loadNodes(), loadMap()]);
  // A coordinator that is only just starting answers in a while.
  if (isIn() && !status.get())
    again ??= setTimeout(() => {
      again = null;
      void loadAll();
    }, 3000);
}

// --- events

let stream: EventSource | null = null;
let retry: ReturnType<typeof setTimeout> | null = null;
let pause = 1000;

function listen(): void {
  stream?.close();
  const source = (stream = new EventSource(address("/events")));
  const on = <T>(name: string, take: (value: T) => void) =>
    source.addEventListener(name, (event) => {
      connection.set({ state: "live", heard: here() });
      try {
        take(JSON.parse((event as MessageEvent<string>).data) as T);
      } catch {
        // One event that cannot be read must not stop the others; a resync will come.
      }
    });
  source.onopen = () => {
    const lost = connection.get().state === "lost";
    connection.set({ state: "live", heard: here() });
    pause = 1000;
    if (lost) void loadAll();
  };
  source.onerror = () => {
    connection.update((c) => ({ ...c, state: "lost" }));
    if (source.readyState !== EventSource.CLOSED) return;
    // Closed for good by the browser: the session may have ended, or the coordinator restarts.
    retry = setTimeout(() => void whoAmI().then((who) => (who ? listen() : session.set(null)), listen), pause);
    pause = Math.min(15_000, pause * 2);
  };
  on<Status>("status", takeStatus);
  on<{ at: number; edges: EdgeDelta[] }>("edges", ({ at, edges }) => takeSecond(at, edges));
  on<{ nodes: NodeRow[] }>("nodes", ({ nodes: rows }) => {
    nodes.update((known) => mergeRows(known ?? [], rows));
    // Who is gone is not among the rows: the list is asked for as well, and the map's boxes with it.
    soon();
  });
  on<Alarm>("alarm", (alarm) =>
    status.update(
      (s) =>
        s && { ...s, alarms: [alarm, ...s.alarms.filter((a) => a.kind !== alarm.kind || a.subject !== alarm.subject)] },
    ),
  );
  on<AuditRow>("audit", (row) => newAudit.update((rows) => [row, ...rows].slice(0, 200)));
  on<PolicyRow>("policy", () => void loadPolicy());
  on<{ why: string }>("resync", () => void loadAll());
}

function mergeRows(known: NodeRow[], rows: NodeRow[]): NodeRow[] {
  const byId = new Map(known.map((n) => [n.id, n]));
  for (const row of rows) byId.set(row.id, row);
  return [...byId.values()];
}

let planned: ReturnType<typeof setTimeout> | null = null;
/** Several reasons within a moment cost one load. */
function soon(): void {
  planned ??= setTimeout(() => {
    planned = null;
    void loadNodes();
    void loadMap();
  }, 800);
}

/** The window moves on: what is older falls out at the next load. */
const REFRESH = 20;
let loadedAt = 0;

export function start(): void {
  onSignedOut(() => {
    stream?.close();
    session.set(null);
  });
  window.addEventListener("popstate", () => place.set(parse(location.pathname, location.search)));
  setInterval(() => clock.set(Math.floor(now())), 1000);
  let asked = mapKey(place.get());
  place.subscribe(() => {
    const key = mapKey(place.get());
    if (key === asked || !isIn()) return;
    asked = key;
    void loadMap();
  });
  setInterval(() => {
    const { at, window: length } = place.get();
    // A long window hardly moves, and costs more to ask.
    const isDue = here() - loadedAt >= Math.max(REFRESH, Math.min(300, length / 30)) - 1;
    if (isDue && isIn() && document.visibilityState === "visible" && at === null && connection.get().state === "live")
      void loadMap();
  }, REFRESH * 1000);
  session.subscribe(() => {
    if (!isIn()) return;
    void loadAll();
    listen();
  });
  void enter();
}

const isIn = () => {
  const who = session.get();
  return who !== null && who !== "asking";
};

/** A link carries its code behind `#`, which no server and no log ever sees; it is spent and wiped at once. */
async function enter(): Promise<void> {
  const code = /^#link=(.+)$/.exec(location.hash)?.[1];
  if (code) {
    history.replaceState(null, "", location.pathname + location.search);
    try {
      session.set(await postSession({ link: decodeURIComponent(code) }));
      return;
    } catch (error) {
      if (error instanceof ApiError) linkProblem.set(error.problem);
    }
  }
  try {
    session.set(await whoAmI());
  } catch (error) {
    if (error instanceof ApiError) linkProblem.set(error.problem);
    session.set(null);
  }
}

export const linkProblem = new Store<Problem | null>(null);

export async function signIn(key: string): Promise<Problem | null> {
  try {
    const who = await postSession({ key });
    linkProblem.set(null);
    session.set(who);
    return null;
  } catch (error) {
    if (error instanceof ApiError) return error.problem;
    throw error;
  }
}

export async function leave(): Promise<void> {
  stream?.close();
  if (retry) clearTimeout(retry);
  await deleteSession().catch(() => {});
  for (const store of [status, nodes, policy] as Store<unknown>[]) store.set(null);
  mapState.set({ key: "", live: null, problem: null });
  session.set(null);
}

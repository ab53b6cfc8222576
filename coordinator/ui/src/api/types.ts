// What the API says, as it says it. Times are seconds since 1970 where the name does not end in `_ms` or say otherwise.

export type UnixTime = number;
export type Verdict = "allow" | "deny" | "would-allow" | "would-deny";

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  hint?: string;
  findings?: Finding[];
}

export interface Session {
  name: string;
  scope: "read" | "operate" | "admin";
  ends: UnixTime | null;
  csrf: string;
}

export interface Behind {
  node: string;
  name: string;
  online: boolean;
  enforces: number | null;
  since: UnixTime;
}

export interface Status {
  network: string;
  name: string;
  epoch: number;
  revision: number;
  generation: number;
  observe: boolean;
  nodes: number;
  online: number;
  freshness: { life: number; signed_at: UnixTime; not_after: UnixTime; next: UnixTime };
  enforcement: {
    generation: number;
    enforced: number;
    of: number;
    by_generation: Record<string, number>;
    behind: Behind[];
    summary: string;
  };
  flows: { recorded: number; declared_lost: number; rejected: number; kept: number };
  alarms: Alarm[];
  now: UnixTime;
  version?: string;
  history_skipped?: number;
}

export interface Alarm {
  kind: string;
  subject: string;
  message: string;
  since: UnixTime;
  last: UnixTime;
  count: number;
}

export interface Progress {
  revision: number;
  generation: number;
  at: UnixTime;
}

export interface NodeRow {
  id: string;
  name: string;
  tags: string[];
  /** null: a device without an agent. */
  identity: string | null;
  v4: string | null;
  v6: string;
  wireguard: string[];
  enrolled: UnixTime;
  /** null: the authority itself admitted it. */
  token: string | null;
  external: object | null;
  key_serial: number;
  /** Since when its present WireGuard keys are in force; their possession was proven then. */
  keys_since: number;
  amendment_serial: number;
  revoked: UnixTime | null;
  online: boolean;
  since: UnixTime | null;
  seen_at: string | null;
  /** What its control channel goes by; null: it is not online. */
  transport: "udp" | "quic" | "websocket" | null;
  endpoints: string[];
  agent: string | null;
  sent: Progress | null;
  enforced: Progress | null;
  offers: string[];
  /** Services of hosts without an agent that it is a gateway to. */
  leads_to: string[];
  /** Names that lead to it: its own, then those of its services. */
  dns: string[];
  peers: number;
}

export interface MapNode {
  id: string;
  name: string;
  tags: string[];
  site: string | null;
  addresses: string[];
  /** null: not known of the past. */
  online: boolean | null;
  enforces: number | null;
  behind_since: UnixTime | null;
  revoked: UnixTime | null;
}

export interface MapService {
  name: string;
  ports: string[];
  /** Who offers it; with `addresses`, the gateways to them. */
  nodes: string[];
  /** Hosts without an agent, behind `nodes`; missing where the nodes offer it themselves. */
  addresses?: string[];
}

export interface End {
  node: string | null;
  name: string | null;
  address: string | null;
}

/** What names an edge. */
export interface EdgeKey {
  id: string;
  from: End;
  to: End;
  service: string | null;
  protocol: number;
  port: number;
  verdict: Verdict;
  grant: string | null;
  generation: number;
}

/** What is added up over time. */
export interface Sums {
  flows: number;
  tries: number;
  packets_out: number;
  bytes_out: number;
  packets_back: number;
  bytes_back: number;
}

export interface Edge extends EdgeKey, Sums {
  rtt_us: number | null;
  retransmissions: number | null;
  first_seen: number;
  last_seen: number;
  seen_by: ("from" | "to")[];
  mismatch: { from_bytes: number; to_bytes: number } | null;
}

export interface FlowMap {
  at: UnixTime;
  from: UnixTime;
  resolution: number;
  live: boolean;
  revision: number;
  generation: number;
  observe: boolean;
  /** What came before is not kept any more; the same as `from`: all is. */
  complete_from: UnixTime;
  complete_until: UnixTime;
  /** How far back one can ask; null: nothing was recorded yet. */
  recorded_since: UnixTime | null;
  /** Of all time; the first three in records, the fourth in packets. */
  lost: { declared: number; rejected: number; skipped: number; lost_at_end: number; untold_ends: number };
  /** Of a very large network the lightest edges are left out. */
  extent: { shown: number; total: number; limit: number; left_out: Sums };
  nodes: MapNode[];
  services: MapService[];
  edges: Edge[];
}

export interface EdgeHistory {
  resolution: number;
  from: UnixTime;
  until: UnixTime;
  complete_from: UnixTime;
  rows: { edge: Edge; at: UnixTime }[];
  next: string | null;
}

export interface FlowPoint {
  node: string | null;
  name: string | null;
  address: string;
  port: number;
}

/** A process on a host. An empty word: not known, or there is none. */
export interface Workload {
  process: string;
  executable: string;
  user: string;
  unit: string;
  container: string;
}

/** What the other node of a flow says of it. */
export interface OtherEnd {
  reporter: string;
  packets_out: number;
  bytes_out: number;
  packets_back: number;
  bytes_back: number;
  end: FlowEnd;
  workload: Workload | null;
}

/** A place a peer may be at, and the last answer from there. */
export interface PathPlaceRow {
  place: string;
  relayed: boolean;
  in_use: boolean;
  answered: UnixTime | null;
  round_trip_us: number | null;
}

/** The way one node's packets take to another. */
export interface PathRow {
  from: string;
  from_name: string | null;
  to: string;
  to_name: string | null;
  told: UnixTime;
  in_use: string | null;
  relayed: boolean | null;
  round_trip_us: number | null;
  why: string;
  text: string;
  places: PathPlaceRow[];
  moves: { at: UnixTime; from: string | null; to: string | null; reason: string }[];
}

export interface PathsView {
  paths: PathRow[];
  left_off: number;
}

export type FlowEnd = "open" | "closed" | "reset" | "idle" | "cut" | "refused" | "evicted";

export interface FlowRow {
  cursor: number;
  received: UnixTime;
  reporter: string;
  boot: number;
  flow: number;
  outbound: boolean;
  first: boolean;
  from: FlowPoint;
  to: FlowPoint;
  protocol: number;
  verdict: Verdict | "unknown";
  grant: string | null;
  service: string | null;
  generation: number;
  packets_out: number;
  bytes_out: number;
  packets_back: number;
  bytes_back: number;
  started_ms: number;
  last_ms: number;
  end: FlowEnd;
  count: number;
  /** Whose it is on the reporter's host; null: not known. */
  workload: Workload | null;
  rtt_us: number | null;
  retransmissions: number | null;
  path: "unknown" | "direct" | "relayed";
  other: OtherEnd | null;
  /** In words, where not both ends can be right. */
  mismatch: string | null;
}

/** A page of flows. */
export interface FlowList {
  rows: FlowRow[];
  /** Ask for `before` this to go on; null: that was all. */
  next: string | null;
  /** The search has only come so far back; null: it is at its end, or the page is full. */
  searched_to: UnixTime | null;
  /** When the oldest record that is kept was received. */
  kept_since: UnixTime | null;
}

export interface PolicyRow {
  generation: number;
  epoch: number;
  root: string;
  items: number;
  applied: UnixTime;
  by: string;
  files: string[];
  current: boolean;
}

export interface SourceText {
  file: string;
  text: string;
}

export interface PolicyText {
  generation: number;
  root: string;
  head: string;
  sources: SourceText[];
}

export interface PolicyUsage {
  generation: number;
  within: number;
  from: UnixTime;
  resolution: number;
  grants: { name: string; flows: number; bytes: number; last_seen: UnixTime | null }[];
  observed_since: UnixTime | null;
}

export interface Listen {
  protocol: "tcp" | "udp" | "icmp-echo" | { number: number };
  first: number;
  last: number;
}

export interface Finding {
  severity: "error" | "warning";
  id: string;
  message: string;
  file: string;
  line: number;
  column: number;
  hint: string | null;
}

export interface Tuple {
  from: string;
  to: string;
  listen: Listen;
  by: { service: string; grant: string }[];
}

export interface Proof {
  id: string;
  outcome: "proved" | "broken" | "undecided";
  message: string;
}

/** What one generation gives and takes compared with another. */
export interface PolicyDiff {
  from: number;
  to: number;
  diff: PolicyReview["diff"];
}

export interface PolicyReview {
  current: number;
  epoch: number;
  root: string;
  items: number;
  observe: boolean;
  warnings: Finding[];
  tests: { id: string; passed: boolean; message: string }[];
  proofs: Proof[];
  refused: { code: string; message: string; hint?: string } | null;
  diff: { gained: Tuple[]; lost: Tuple[]; note?: string };
}

export interface Passing {
  from: string;
  to: string;
  listen: Listen;
  service: string;
  grant: string;
}

export interface Answer {
  yes: boolean;
  passes: Passing[];
  fails: { from: string; to: string; listen: Listen | null; reason: string; nearest: string | null }[];
}

export interface Why {
  allowed: boolean;
  generation: number;
  from: string;
  to: string;
  observe: boolean;
  behind: string[];
  by: Passing | null;
  nearest: string | null;
  message: string;
}

export interface TokenRow {
  token: string;
  state: "usable" | "spent" | "expired" | "revoked" | "void";
  tags: string[];
  name: string | null;
  name_prefix: string | null;
  uses: number;
  used: number;
  not_after: UnixTime;
  lease: number | null;
  created: UnixTime;
  redeemed_by: string[];
}

export interface KeyRow {
  id: string;
  name: string;
  scope: Session["scope"];
  created: UnixTime;
  ends: UnixTime | null;
  revoked: UnixTime | null;
  last_used: UnixTime | null;
}

export interface AuditRow {
  revision: number;
  at: UnixTime;
  principal: string;
  what: string[];
  kinds: string[];
  hash: string;
}

export interface AuditPage {
  rows: AuditRow[];
  revision: number;
  hash: string;
}

export interface AuditVerified {
  revision: number;
  hash: string;
  at: UnixTime;
}

export interface EdgeDelta extends EdgeKey, Sums {
  first_seen?: number;
  last_seen?: number;
  rtt_us?: number | null;
  retransmissions?: number | null;
  seen_by?: ("from" | "to")[];
  mismatch?: Edge["mismatch"];
}

export interface Ever {
  yes: boolean;
  proof: boolean;
  generation: number;
}

import { useEffect, useMemo, useState } from "preact/hooks";
import { ApiError, get, post } from "../api/client";
import type { Alarm, AuditPage as Page, AuditRow, AuditVerified, KeyRow, NodeRow, Problem, Session, TokenRow } from "../api/types";
import { clock, go, mapState, newAudit, nodes, place, session, status } from "../state/live";
import { useStore } from "../state/store";
import { useResource } from "../state/resource";
import { Chip, Command, Empty, Fault, Loading, Name, Num, Tag, When } from "../ui/parts";
import { NodeState } from "../map/GroupBox";
import { Icon } from "../ui/icons";
import { Table, type Column } from "../ui/table";
import { plural } from "../format";

const selected = (sel: string | null, kind: string) => (sel?.startsWith(`${kind}:`) ? sel.slice(kind.length + 1) : null);

// --- nodes

export function NodesPage() {
  const rows = useStore(nodes);
  const sel = useStore(place, (p) => p.sel);
  const q = useStore(place, (p) => p.q).toLowerCase();
  const now = useStore(status);
  const map = useStore(mapState, (s) => s.live?.map.nodes ?? null);
  const [gone, setGone] = useState(false);
  const behind = useMemo(() => new Map(now?.enforcement.behind.map((b) => [b.node, b]) ?? []), [now]);
  const sites = useMemo(() => new Map(map?.map((n) => [n.id, n.site]) ?? []), [map]);
  const shown = useMemo(() => {
    const fits = (n: NodeRow) => !q || [n.name, n.id, n.v4, n.v6, ...n.tags, ...n.offers].join(" ").toLowerCase().includes(q);
    const rank = (n: NodeRow) => (n.revoked !== null ? 3 : behind.has(n.id) && n.online ? 0 : !n.online ? 1 : 2);
    return (rows ?? []).filter((n) => (gone || n.revoked === null) && fits(n)).sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name, "en", { numeric: true }));
  }, [rows, q, gone, behind]);
  const columns = useMemo((): Column<NodeRow>[] => {
    const f = (n: NodeRow, name: string) => `nodes[${n.id}].${name}`;
    return [
      { id: "state", head: "State", track: "92px", cell: (n) => <NodeState word node={{ online: n.online, revoked: n.revoked, behind_since: behind.get(n.id)?.since ?? null }} /> },
      { id: "name", head: "Name", track: "minmax(110px,1.3fr)", cell: (n) => <Name text={n.name} /> },
      { id: "tags", head: "Tags", track: "minmax(80px,1fr)", cell: (n) => (n.tags.length ? n.tags.map((t) => <Tag key={t} name={t} />) : <span class="soft">none</span>), spare: 1 },
      { id: "site", head: "Site", track: "92px", cell: (n) => <Name text={sites.get(n.id) ?? null} />, spare: 2 },
      { id: "address", head: "Address", track: "112px", cell: (n) => <span class="mono">{n.v4 ?? n.v6}</span>, spare: 1 },
      { id: "offers", head: "Offers", track: "minmax(90px,1fr)", cell: (n) => (n.offers.length ? <Name text={n.offers.join(", ")} /> : <span class="soft">nothing</span>), spare: 2 },
      { id: "gen", head: "Enforces", track: "96px", right: true, cell: (n) => (n.enforced ? <span>gen <Num field={f(n, "enforced.generation")} value={n.enforced.generation} /></span> : <span class="unknown">not known</span>) },
      { id: "peers", head: "Peers", track: "60px", right: true, cell: (n) => <Num field={f(n, "peers")} value={n.peers} />, spare: 2 },
      { id: "since", head: "Since", track: "104px", right: true, cell: (n) => (n.revoked !== null ? <When field={f(n, "revoked")} at={n.revoked} /> : <When field={f(n, "since")} at={n.since} />), spare: 1 },
    ];
  }, [behind, sites]);
  if (!rows) return <div class="page"><Loading /></div>;
  return (
    <div class="page flush">
      <div class="bar">
        <h1>Nodes</h1>
        {now ? <span class="soft"><Num field="status.online" value={now.online} /> of <Num field="status.nodes" value={now.nodes} /> online</span> : null}
        {q ? <Chip on onClick={() => go({ q: "" })}>“{q}” <Icon name="close" size={12} /></Chip> : null}
        <span class="grow" />
        {rows.some((n) => n.revoked !== null) ? <Chip on={gone} onClick={() => setGone(!gone)}>with revoked ones</Chip> : null}
      </div>
      <Table label="Nodes" rows={shown} columns={columns} keyOf={(n) => n.id} selected={selected(sel, "node")} onOpen={(n) => go({ sel: `node:${n.id}` })}
        empty={<Empty title={q ? "No node fits" : "No node is enrolled"}>{q ? null : <Command text="warren token create --name web-1 --tag web" />}</Empty>} />
    </div>
  );
}

// --- tokens and keys

export function TokensPage() {
  const sel = useStore(place, (p) => p.sel);
  const beat = useStore(clock, (c) => Math.floor(c / 30));
  const { data, problem, again } = useResource<TokenRow[]>("/tokens", {}, `${beat} ${sel}`);
  const [kept, keep] = useState<TokenRow[] | null>(null);
  useEffect(() => {
    if (data) keep(data);
  }, [data]);
  const who = useStore(session);
  const columns = useMemo((): Column<TokenRow>[] => {
    const f = (t: TokenRow, name: string) => `tokens[${t.token}].${name}`;
    return [
      { id: "state", head: "State", track: "92px", cell: (t) => <span class={`token-state ts-${t.state}`}>{t.state}</span> },
      { id: "for", head: "For", track: "minmax(110px,1.2fr)", cell: (t) => (t.name ? <Name text={t.name} /> : t.name_prefix ? <span><Name text={t.name_prefix} />…</span> : <span class="soft">any free name</span>) },
      { id: "tags", head: "Tags", track: "minmax(80px,1fr)", cell: (t) => (t.tags.length ? t.tags.map((x) => <Tag key={x} name={x} />) : <span class="soft">none</span>), spare: 1 },
      { id: "used", head: "Used", track: "84px", right: true, cell: (t) => <span><Num field={f(t, "used")} value={t.used} /> of <Num field={f(t, "uses")} value={t.uses} /></span> },
      { id: "made", head: "Made", track: "104px", right: true, cell: (t) => <When field={f(t, "created")} at={t.created} />, spare: 1 },
      { id: "ends", head: "Ends", track: "104px", right: true, cell: (t) => <When field={f(t, "not_after")} at={t.not_after} />, spare: 1 },
      { id: "key", head: "Key", track: "minmax(110px,1fr)", cell: (t) => <span class="mono soft">{t.token.slice(0, 12)}…</span>, spare: 2 },
    ];
  }, []);
  const rows = useMemo(() => [...(kept ?? [])].sort((a, b) => Number(b.state === "usable") - Number(a.state === "usable") || b.created - a.created), [kept]);
  return (
    <div class="page flush two-tables">
      <div class="bar"><h1>Enrolment tokens</h1><span class="soft">each admits a host, with the tags it names</span></div>
      {problem ? <Fault problem={problem} again={again} /> : null}
      {kept ? <Table label="Enrolment tokens" rows={rows} columns={columns} keyOf={(t) => t.token} selected={selected(sel, "token")} onOpen={(t) => go({ sel: `token:${t.token}` })} empty={<Empty title="No token was made yet"><Command text="warren token create --name web-1 --tag web" /></Empty>} /> : <Loading />}
      {who && who !== "asking" && who.scope === "admin" ? <Keys /> : <p class="soft padded">API keys are shown to a session of scope admin.</p>}
    </div>
  );
}

function Keys() {
  const [serial, setSerial] = useState(0);
  const { data, problem } = useResource<KeyRow[]>("/keys", {}, serial);
  const [kept, keep] = useState<KeyRow[] | null>(null);
  useEffect(() => {
    if (data) keep(data);
  }, [data]);
  const [making, setMaking] = useState(false);
  const [fault, setFault] = useState<Problem | null>(null);
  const now = useStore(clock, (c) => Math.floor(c / 30) * 30);
  const revoke = async (id: string) => {
    try {
      await post(`/keys/${encodeURIComponent(id)}/revoke`, {});
      setFault(null);
      setSerial((n) => n + 1);
    } catch (error) {
      if (error instanceof ApiError) setFault(error.problem);
    }
  };
  const state = (k: KeyRow) => (k.revoked !== null ? "revoked" : k.ends !== null && k.ends <= now ? "expired" : "usable");
  const columns: Column<KeyRow>[] = [
    { id: "state", head: "State", track: "92px", cell: (k) => <span class={`token-state ts-${state(k)}`}>{state(k)}</span> },
    { id: "name", head: "Name", track: "minmax(90px,1.2fr)", cell: (k) => <Name text={k.name} /> },
    { id: "scope", head: "Scope", track: "minmax(60px,1fr)", cell: (k) => k.scope },
    { id: "last", head: "Last used", track: "104px", right: true, cell: (k) => <When field={`keys[${k.id}].last_used`} at={k.last_used} none="never" />, spare: 1 },
    { id: "ends", head: "Ends", track: "104px", right: true, cell: (k) => <When field={`keys[${k.id}].ends`} at={k.ends} none="never" />, spare: 1 },
    { id: "id", head: "Id", track: "minmax(110px,0.8fr)", cell: (k) => <span class="mono soft">{k.id}</span>, spare: 2 },
    { id: "act", head: "", track: "76px", right: true, cell: (k) => (state(k) === "usable" ? <Sure word="Revoke" onSure={() => void revoke(k.id)} /> : null) },
  ];
  return (
    <>
      <div class="bar second"><h1>API keys</h1><span class="soft">for programs and for this page</span><span class="grow" /><button type="button" class="button" onClick={() => setMaking(!making)}><Icon name="plus" /> New key</button></div>
      {making ? <NewKey onDone={() => setSerial((n) => n + 1)} /> : null}
      {problem ?? fault ? <Fault problem={(problem ?? fault)!} /> : null}
      {kept ? <Table label="API keys" rows={kept} columns={columns} keyOf={(k) => k.id} empty={<Empty title="No key was made yet" />} /> : <Loading />}
    </>
  );
}

function Sure({ word, onSure }: { word: string; onSure: () => void }) {
  const [asked, ask] = useState(false);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => ask(false), 4000);
    return () => clearTimeout(timer);
  }, [asked]);
  return <button type="button" class={`button slim ${asked ? "danger" : ""}`} onClick={(e) => { e.stopPropagation(); asked ? onSure() : ask(true); }}>{asked ? "Sure?" : word}</button>;
}

const LIVES: readonly (readonly [string, number | null])[] = [["1 day", 86400], ["30 days", 2592000], ["1 year", 31536000], ["no end", null]];

function NewKey({ onDone }: { onDone: () => void }) {
  const [name, setName] = useState("");
  const [scope, setScope] = useState<Session["scope"]>("read");
  const [life, setLife] = useState("30 days");
  const [made, setMade] = useState<string | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const make = async () => {
    const seconds = LIVES.find(([word]) => word === life)?.[1] ?? null;
    try {
      const reply = await post<{ key: string; row: KeyRow }>("/keys", { name, scope, ends: seconds === null ? null : clock.get() + seconds });
      setMade(reply.key);
      setProblem(null);
      onDone();
    } catch (error) {
      if (error instanceof ApiError) setProblem(error.problem);
    }
  };
  return (
    <div class="new-key">
      {made ? (
        <div><p>This key is shown once. Keep it where secrets are kept.</p><Command text={made} /></div>
      ) : (
        <form onSubmit={(e) => { e.preventDefault(); void make(); }}>
          <label>Name <input value={name} onInput={(e) => setName(e.currentTarget.value)} required placeholder="grafana" spellcheck={false} /></label>
          <label>Scope <select value={scope} onChange={(e) => setScope(e.currentTarget.value as Session["scope"])}><option>read</option><option>operate</option><option>admin</option></select></label>
          <label>Lives <select value={life} onChange={(e) => setLife(e.currentTarget.value)}>{LIVES.map(([word]) => <option key={word}>{word}</option>)}</select></label>
          <button type="submit" class="button primary">Make it</button>
        </form>
      )}
      {problem ? <Fault problem={problem} /> : null}
    </div>
  );
}

// --- alarms

export function AlarmsPage() {
  const now = useStore(status);
  const sel = useStore(place, (p) => p.sel);
  const columns = useMemo((): Column<Alarm>[] => {
    const f = (a: Alarm, name: string) => `status.alarms[${a.kind}/${a.subject}].${name}`;
    return [
      { id: "kind", head: "Alarm", track: "minmax(120px,0.7fr)", cell: (a) => <span class="alarm-kind"><Icon name="alarms" /> {a.kind.replaceAll("-", " ")}</span> },
      { id: "subject", head: "About", track: "minmax(100px,0.7fr)", cell: (a) => <Name text={a.subject} /> },
      { id: "message", head: "What happened", track: "minmax(120px,2.4fr)", cell: (a) => <Name text={a.message} />, spare: 1 },
      { id: "count", head: "Times", track: "64px", right: true, cell: (a) => <Num field={f(a, "count")} value={a.count} />, spare: 1 },
      { id: "since", head: "Since", track: "104px", right: true, cell: (a) => <When field={f(a, "since")} at={a.since} />, spare: 2 },
      { id: "last", head: "Last", track: "104px", right: true, cell: (a) => <When field={f(a, "last")} at={a.last} /> },
    ];
  }, []);
  if (!now) return <div class="page"><Loading /></div>;
  const rows = [...now.alarms].sort((a, b) => b.last - a.last);
  return (
    <div class="page flush">
      <div class="bar"><h1>Alarms</h1><span class="soft"><Num field="status.alarms.length" value={rows.length} of={plural(rows.length, "alarm")} /></span></div>
      <Table label="Alarms" rows={rows} columns={columns} keyOf={(a) => `${a.kind}/${a.subject}`} selected={selected(sel, "alarm")} onOpen={(a) => go({ sel: `alarm:${a.kind}/${a.subject}` })} empty={<Empty title="No alarm"><p class="soft">All nodes that are online enforce the present policy, and nothing asks for you.</p></Empty>} />
    </div>
  );
}

// --- audit

export function AuditPage() {
  const sel = useStore(place, (p) => p.sel);
  const q = useStore(place, (p) => p.q).toLowerCase();
  const fresh = useStore(newAudit);
  const [rows, setRows] = useState<AuditRow[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [verified, setVerified] = useState<AuditVerified | "busy" | null>(null);
  const load = async (before: number | null) => {
    try {
      const limit = 200;
      const page = await get<Page>("/audit", before === null ? { limit } : { after: Math.max(0, before - 1 - limit), limit: Math.min(limit, before - 1) });
      setRows((known) => merge(before === null ? [] : (known ?? []), page.rows));
      setProblem(null);
    } catch (error) {
      if (error instanceof ApiError) setProblem(error.problem);
    }
  };
  useEffect(() => void load(null), []);
  useEffect(() => {
    if (fresh.length) setRows((known) => known && merge(known, fresh));
  }, [fresh]);
  const verify = async () => {
    setVerified("busy");
    try {
      setVerified(await get<AuditVerified>("/audit/verify"));
      setProblem(null);
    } catch (error) {
      setVerified(null);
      if (error instanceof ApiError) setProblem(error.problem);
    }
  };
  const shown = useMemo(() => (rows ?? []).filter((r) => !q || [r.principal, ...r.what, ...r.kinds].join(" ").toLowerCase().includes(q)), [rows, q]);
  const columns = useMemo((): Column<AuditRow>[] => {
    const f = (r: AuditRow, name: string) => `audit[${r.revision}].${name}`;
    return [
      { id: "revision", head: "Revision", track: "76px", right: true, cell: (r) => <Num field={f(r, "revision")} value={r.revision} /> },
      { id: "at", head: "When", track: "104px", cell: (r) => <When field={f(r, "at")} at={r.at} /> },
      { id: "who", head: "Who", track: "minmax(110px,0.8fr)", cell: (r) => <Name text={short(r.principal)} mono />, spare: 1 },
      { id: "kind", head: "Kind", track: "130px", cell: (r) => <span>{[...new Set(r.kinds)].join(", ").replaceAll("-", " ")}</span>, spare: 2 },
      { id: "what", head: "What", track: "minmax(140px,2.6fr)", cell: (r) => <Name text={r.what.join("; ")} /> },
      { id: "hash", head: "Hash", track: "92px", cell: (r) => <span class="mono soft">{r.hash.slice(0, 8)}</span>, spare: 2 },
    ];
  }, []);
  const first = rows?.at(-1)?.revision ?? 0;
  return (
    <div class="page flush">
      <div class="bar">
        <h1>Audit</h1>
        <span class="soft">each act carries the hash of the one before</span>
        <span class="grow" />
        {verified && verified !== "busy" ? <span class="verified"><Icon name="check" /> the chain holds up to revision <Num field="audit/verify.revision" value={verified.revision} /></span> : null}
        <button type="button" class="button" disabled={verified === "busy"} onClick={() => void verify()}>{verified === "busy" ? "Reading …" : "Verify the chain"}</button>
      </div>
      {problem ? <Fault problem={problem} /> : null}
      {rows ? <Table label="Audit log, newest first" rows={shown} columns={columns} keyOf={(r) => String(r.revision)} selected={selected(sel, "audit")} onOpen={(r) => go({ sel: `audit:${r.revision}` })} empty={<Empty title="Nothing fits" />} /> : <Loading />}
      {first > 1 ? <div class="more"><button type="button" class="button" onClick={() => void load(first)}>Older than revision {first}</button></div> : null}
    </div>
  );
}

function merge(known: AuditRow[], more: AuditRow[]): AuditRow[] {
  const byRevision = new Map([...known, ...more].map((r) => [r.revision, r]));
  return [...byRevision.values()].sort((a, b) => b.revision - a.revision);
}

/** A node id is long; its beginning tells it. */
const short = (principal: string) => principal.replace(/^(node:[0-9a-f]{8})[0-9a-f]{24}$/, "$1…");


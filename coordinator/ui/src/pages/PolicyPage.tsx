import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, post } from "../api/client";
import type { Answer, Ever, Listen, PolicyReview, PolicyRow, PolicyText, PolicyUsage, Problem, SourceText, Tuple } from "../api/types";
import { blocks, lineDiff, type Block } from "../policy-text";
import { go, mapState, nodes, place, policy, policySerial } from "../state/live";
import { useStore } from "../state/store";
import { useResource } from "../state/resource";
import { Command, Empty, Fault, Link as To, Loading, Num, When } from "../ui/parts";
import { Icon } from "../ui/icons";
import { tokens } from "../ui/toml";
import { plural, port as portWord } from "../format";

export function PolicyPage() {
  const generation = useStore(place, (p) => p.generation);
  const serial = useStore(policySerial);
  const current = useStore(policy);
  const { data: history, problem } = useResource<PolicyRow[]>("/policy/history", {}, serial);
  const isCurrent = generation === null || generation === current?.generation;
  if (!history) return <div class="page">{problem ? <Fault problem={problem} /> : <Loading />}</div>;
  if (!history.length) {
    return <div class="page"><Empty title="No policy was ever applied"><p>Everything is refused until there is one.</p><Command text="warren policy apply policy.toml" /></Empty></div>;
  }
  return (
    <div class="page flush policy">
      <div class="policy-main">
        {isCurrent ? (current ? <Current text={current} serial={serial} /> : <Loading />) : <Older generation={generation!} current={current} history={history} />}
      </div>
      <div class="policy-side">
        <CanBox />
        {isCurrent && current ? <Reviewed sources={current.sources} /> : null}
        <History history={history} shown={generation ?? current?.generation ?? 0} />
      </div>
    </div>
  );
}

// --- the text, and what each grant does now

function Current({ text, serial }: { text: PolicyText; serial: number }) {
  const [beat, setBeat] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setBeat((n) => n + 1), 10_000);
    return () => clearInterval(timer);
  }, []);
  const minute = useResource<PolicyUsage>("/policy/usage", { within: 60 }, `${serial} ${beat}`).data;
  const month = useResource<PolicyUsage>("/policy/usage", { within: 2592000 }, `${serial} ${Math.floor(beat / 6)}`).data;
  const last = useRef<[PolicyUsage | null, PolicyUsage | null]>([null, null]);
  // What was said stays until something newer is said.
  last.current = [minute ?? last.current[0], month ?? last.current[1]];
  const [m, y] = last.current;
  return (
    <>
      <div class="bar">
        <h1>Policy</h1>
        <span class="soft">generation <Num field="policy.generation" value={text.generation} /></span>
        <span class="grow" />
        <NeverUsed text={text} month={y} />
      </div>
      <div class="policy-text">
        {text.sources.map((source) => <SourceView key={source.file} source={source} minute={m} month={y} />)}
      </div>
    </>
  );
}

/** What nobody uses, one after the other. */
function NeverUsed({ text, month }: { text: PolicyText; month: PolicyUsage | null }) {
  const line = useStore(place, (p) => p.line);
  if (!month || month.observed_since === null) return <span class="soft small">use not known yet</span>;
  const unused = new Set(month.grants.filter((g) => g.last_seen === null).map((g) => g.name));
  const found = text.sources.flatMap((s) => blocks(s.file, s.text)).filter((b) => b.kind === "grant" && unused.has(b.name));
  if (!found.length) return <span class="soft small">every grant was used in 30 d</span>;
  const next = found.find((b) => b.line > (line ?? 0)) ?? found[0]!;
  return <button type="button" class="chip" onClick={() => go({ line: next.line, sel: null }, "replace")} title="Go to the next one">{found.length} never used <Icon name="down" size={12} /></button>;
}

function SourceView({ source, minute, month }: { source: SourceText; minute: PolicyUsage | null; month: PolicyUsage | null }) {
  const line = useStore(place, (p) => p.line);
  const sel = useStore(place, (p) => p.sel);
  const found = useMemo(() => blocks(source.file, source.text), [source]);
  const at = useMemo(() => new Map(found.filter((b) => b.kind === "grant").map((b) => [b.line, b])), [found]);
  const chosen = found.find((b) => sel === `grant:${b.name}` && b.kind === "grant");
  const target = useRef<HTMLDivElement>(null);
  useEffect(() => {
    target.current?.scrollIntoView({ block: "center" });
  }, [line, source.file]);
  const lines = source.text.split("\n");
  return (
    <section aria-label={source.file}>
      <div class="file-name mono">{source.file}</div>
      <div class="source">
        {lines.map((text, i) => {
          const no = i + 1;
          const grant = at.get(no);
          const lit = chosen && no >= chosen.line && no <= chosen.last;
          return (
            <div key={no} class={`src-line ${no === line ? "at-line" : ""} ${lit ? "lit" : ""}`} ref={no === line ? target : undefined}>
              <a class="src-no" href={`?line=${no}`} aria-label={`Line ${no}`} onClick={(e) => { e.preventDefault(); go({ line: no }, "replace"); }}>{no}</a>
              <code>{tokens(text)}</code>
              {grant ? <Use block={grant} minute={minute} month={month} /> : null}
            </div>
          );
        })}
      </div>
    </section>
  );
}

function Use({ block, minute, month }: { block: Block; minute: PolicyUsage | null; month: PolicyUsage | null }) {
  const now = minute?.grants.find((g) => g.name === block.name);
  const ever = month?.grants.find((g) => g.name === block.name);
  const f = (name: string) => `policy/usage[${block.name}].${name}`;
  if (!ever) return <span class="use soft">{month ? "not counted" : "…"}</span>;
  return (
    <a class={`use ${ever.last_seen === null ? "never" : now?.flows ? "busy" : ""}`} href={`?sel=grant:${block.name}`} onClick={(e) => { e.preventDefault(); go({ sel: `grant:${block.name}` }); }}>
      {ever.last_seen === null ? (
        <>{month?.observed_since ? <>never used since <When field="policy/usage.observed_since" at={month.observed_since} /></> : "use not known"}</>
      ) : (
        <>
          <i class="dot" aria-hidden="true" />
          {now?.flows ? <><Num field={`policy/usage?within=60[${block.name}].flows`} value={now.flows} of={`${plural(now.flows, "flow")} a minute`} /> · </> : null}
          <Num field={f("bytes")} value={ever.bytes} as="bytes" /> in 30 d · last <When field={f("last_seen")} at={ever.last_seen} />
        </>
      )}
    </a>
  );
}

// --- an older generation

function review(sources: SourceText[] | null): { data: PolicyReview | null; problem: Problem | null } {
  const [state, set] = useState<{ data: PolicyReview | null; problem: Problem | null }>({ data: null, problem: null });
  const key = sources && JSON.stringify(sources);
  useEffect(() => {
    if (!sources) return;
    const stop = new AbortController();
    post<PolicyReview>("/policy/review", { sources }, stop.signal).then(
      (data) => set({ data, problem: null }),
      (error: unknown) => {
        if (error instanceof ApiError) set({ data: null, problem: error.problem });
      },
    );
    return () => stop.abort();
  }, [key]);
  return state;
}

function Older({ generation, current, history }: { generation: number; current: PolicyText | null; history: PolicyRow[] }) {
  const { data, problem } = useResource<PolicyText>("/policy", { generation });
  const older = history.some((r) => r.generation === generation - 1) ? generation - 1 : null;
  const { data: previous } = useResource<PolicyText>(older === null ? null : "/policy", { generation: older });
  const { data: compared, problem: refused } = review(data?.sources ?? null);
  const changes = useMemo(() => (data && previous ? fileDiffs(previous.sources, data.sources) : null), [data, previous]);
  return (
    <>
      <div class="bar">
        <h1>Generation <span class="num">{generation}</span></h1>
        <span class="grow" />
        <To to={{ generation: null, line: null }} className="button">Back to the present one</To>
      </div>
      <div class="policy-text padded">
        {problem ? <Fault problem={problem} /> : null}
        <section class="part">
          <h3>If it were applied again{current ? `, instead of generation ${current.generation}` : ""}</h3>
          {refused ? <Fault problem={refused} /> : compared ? <DiffWords gained={compared.diff.gained} lost={compared.diff.lost} note={compared.diff.note} /> : <Loading />}
          <Command text={`warren policy rollback ${generation}`} />
        </section>
        <section class="part">
          <h3>{older === null ? "Its text" : `What it changed in the text of generation ${older}`}</h3>
          {changes?.length === 0 ? <p class="soft">Nothing: the text is the same.</p> : null}
          {changes?.map((c) => <TextDiff key={c.file} {...c} />)}
          {older === null && data ? data.sources.map((s) => <TextDiff key={s.file} file={s.file} before="" after={s.text} />) : null}
        </section>
      </div>
    </>
  );
}

function fileDiffs(before: readonly SourceText[], after: readonly SourceText[]) {
  const files = [...new Set([...before, ...after].map((s) => s.file))].sort();
  const of = (list: readonly SourceText[], file: string) => list.find((s) => s.file === file)?.text ?? "";
  return files.map((file) => ({ file, before: of(before, file), after: of(after, file) })).filter((d) => d.before !== d.after);
}

function TextDiff({ file, before, after }: { file: string; before: string; after: string }) {
  const changes = useMemo(() => lineDiff(before, after), [before, after]);
  const near = changes.map((_, i) => changes.slice(Math.max(0, i - 3), i + 4).some((c) => c.as !== "same"));
  return (
    <div class="text-diff">
      <div class="file-name mono">{file}</div>
      <div class="source">
        {changes.map((c, i) => {
          if (!near[i]) return near[i - 1] || i === 0 ? <div key={i} class="src-gap">⋯</div> : null;
          return (
            <div key={i} class={`src-line d-${c.as}`}>
              <span class="src-no">{c.after ?? c.before}</span>
              <span class="src-sign">{c.as === "new" ? "+" : c.as === "gone" ? "−" : " "}</span>
              <code>{tokens(c.text)}</code>
            </div>
          );
        })}
      </div>
    </div>
  );
}

export function listenWord(l: Listen): string {
  if (typeof l.protocol === "object") return portWord(l.protocol.number, 0);
  if (l.protocol === "icmp-echo") return "icmp/echo";
  return `${l.protocol}/${l.first}${l.last !== l.first ? `-${l.last}` : ""}`;
}

/** First in words: who gains what, who loses what. */
export function DiffWords({ gained, lost, note }: { gained: readonly Tuple[]; lost: readonly Tuple[]; note?: string | undefined }) {
  if (!gained.length && !lost.length) return <p>Nobody gains anything; nobody loses anything.</p>;
  const row = (t: Tuple, word: string) => (
    <li key={JSON.stringify([t.from, t.to, t.listen])}>
      <span class={word === "gains" ? "gain" : "lose"}>{word === "gains" ? "+" : "−"}</span>
      <span><span class="mono">{t.from}</span> {word} {[...new Set(t.by.map((b) => b.service))].join(", ") || "something"} <span class="mono soft">{listenWord(t.listen)}</span> at <span class="mono">{t.to}</span></span>
    </li>
  );
  return (
    <ul class="diff-words">
      {gained.slice(0, 60).map((t) => row(t, "gains"))}
      {!gained.length ? <li><span />Nobody gains anything.</li> : null}
      {lost.slice(0, 60).map((t) => row(t, "loses"))}
      {!lost.length ? <li><span />Nobody loses anything.</li> : null}
      {gained.length + lost.length > 120 ? <li class="soft"><span />and more; `warren policy diff` lists all of them</li> : null}
      {note ? <li class="soft"><span />{note}</li> : null}
    </ul>
  );
}

// --- invariants, tests, warnings

function Reviewed({ sources }: { sources: SourceText[] }) {
  const { data, problem } = review(sources);
  if (problem) return <section class="side-part"><h2>Proofs</h2><Fault problem={problem} /></section>;
  if (!data) return <section class="side-part"><h2>Proofs</h2><Loading /></section>;
  const word = { proved: "proven", broken: "broken", undecided: "not decided" } as const;
  return (
    <section class="side-part">
      <h2>Invariants and tests</h2>
      {!data.proofs.length && !data.tests.length ? <p class="soft">The policy states none.</p> : null}
      <ul class="proofs">
        {data.proofs.map((p) => (
          <li key={p.id} class={`p-${p.outcome}`} title={p.message}>
            <Icon name={p.outcome === "proved" ? "check" : p.outcome === "broken" ? "cross" : "dash"} />
            <span class="mono"><bdi>{p.id}</bdi></span><span class="soft">{word[p.outcome]}</span>
            {p.outcome === "proved" ? null : <p>{p.message}</p>}
          </li>
        ))}
        {data.tests.map((t) => (
          <li key={t.id} class={t.passed ? "p-proved" : "p-broken"} title={t.message}>
            <Icon name={t.passed ? "check" : "cross"} />
            <span class="mono"><bdi>{t.id}</bdi></span><span class="soft">{t.passed ? "passed" : "failed"}</span>
            {t.passed ? null : <p>{t.message}</p>}
          </li>
        ))}
        {data.warnings.map((w) => (
          <li key={`${w.file}:${w.line} ${w.id}`} class="p-undecided">
            <Icon name="dash" />
            <span><bdi>{w.message}</bdi></span>
            <To to={{ line: w.line }} className="link mono">{w.file}:{w.line}</To>
          </li>
        ))}
      </ul>
    </section>
  );
}

// --- history

function History({ history, shown }: { history: PolicyRow[]; shown: number }) {
  const rows = [...history].sort((a, b) => b.generation - a.generation);
  return (
    <section class="side-part">
      <h2>History</h2>
      <ul class="history">
        {rows.map((r) => (
          <li key={r.generation}>
            <To to={{ generation: r.current ? null : r.generation, line: null, sel: null }} className={`history-line ${r.generation === shown ? "shown" : ""}`}>
              <span class="num gen">{r.generation}</span>
              <span class="by"><bdi>{r.by}</bdi></span>
              <When field={`policy/history[${r.generation}].applied`} at={r.applied} />
              {r.current ? <span class="now">in force</span> : null}
            </To>
          </li>
        ))}
      </ul>
    </section>
  );
}

// --- may A open B?

function CanBox() {
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const [port, setPort] = useState("");
  const [asked, setAsked] = useState({ from: "", to: "", port: "" });
  const rows = useStore(nodes);
  const map = useStore(mapState, (s) => s.live?.map ?? null);
  useEffect(() => {
    const timer = setTimeout(() => setAsked({ from: from.trim(), to: to.trim(), port: port.trim() }), 180);
    return () => clearTimeout(timer);
  }, [from, to, port]);
  const ready = asked.from && asked.to;
  const { data, problem } = useResource<Answer>(ready ? "/can" : null, { from: asked.from, to: asked.to, port: asked.port || null });
  const ever = useResource<Ever>(ready && data ? "/ever" : null, { from: asked.from.includes(":") ? asked.from : `node:${asked.from}`, to: asked.to, port: asked.port || null });
  const tags = [...new Set(rows?.flatMap((n) => n.tags) ?? [])].sort();
  const names = rows?.filter((n) => n.revoked === null).map((n) => n.name).sort() ?? [];
  const services = map?.services.map((s) => s.name) ?? [];
  return (
    <section class="side-part can">
      <h2>Can …</h2>
      <form onSubmit={(e) => e.preventDefault()} role="search" aria-label="Can one open a connection to the other?">
        <label for="can-a">From</label>
        <input id="can-a" list="can-from" value={from} onInput={(e) => setFrom(e.currentTarget.value)} placeholder="tag:web, or a node" spellcheck={false} autoComplete="off" />
        <label for="can-b">To</label>
        <input id="can-b" list="can-to" value={to} onInput={(e) => setTo(e.currentTarget.value)} placeholder="a service, tag or node" spellcheck={false} autoComplete="off" />
        <label for="can-c">Port</label>
        <input id="can-c" class="can-port" value={port} onInput={(e) => setPort(e.currentTarget.value)} placeholder="any; or tcp/8443" spellcheck={false} autoComplete="off" />
        <datalist id="can-from">{tags.map((t) => <option key={t} value={`tag:${t}`} />)}{names.map((n) => <option key={n} value={n} />)}</datalist>
        <datalist id="can-to">{services.map((s) => <option key={s} value={s} />)}{tags.map((t) => <option key={t} value={`tag:${t}`} />)}{names.map((n) => <option key={n} value={n} />)}</datalist>
      </form>
      <div class="can-answer" role="status">
        {!ready ? <p class="soft">Answered as you type, by the policy in force.</p> : null}
        {ready && problem ? <p class="soft">{problem.detail}{problem.hint ? ` ${problem.hint}` : ""}</p> : null}
        {data ? <Said answer={data} /> : null}
        {ever.data ? <p class="soft small">{ever.data.yes ? "A node that could be enrolled may." : "Proven: no node that could ever be enrolled with this may."}</p> : null}
      </div>
    </section>
  );
}

function Said({ answer }: { answer: Answer }) {
  const pairs = (list: readonly { grant?: string; nearest?: string | null }[]) => [...new Set(list.map((x) => x.grant ?? x.nearest).filter((x): x is string => !!x))];
  const grants = pairs(answer.passes);
  const some = answer.passes.length > 0 && !answer.yes;
  return (
    <>
      <p class={answer.yes ? "yes" : "no"}><Icon name={answer.yes ? "check" : some ? "dash" : "cross"} /> {answer.yes ? "Yes" : some ? `Partly: ${answer.passes.length} of ${answer.passes.length + answer.fails.length} pairs` : "No"}</p>
      {grants.slice(0, 5).map((g) => <p key={g}>by <To to={{ sel: `grant:${g}` }}><span class="mono">{g}</span></To></p>)}
      {answer.fails.slice(0, 4).map((f, i) => (
        <p key={i} class="soft">{f.reason}{f.nearest ? <> · nearest: <To to={{ sel: `grant:${f.nearest}` }}><span class="mono">{f.nearest}</span></To></> : null}</p>
      ))}
      {answer.fails.length > 4 ? <p class="soft small">and {answer.fails.length - 4} more</p> : null}
    </>
  );
}

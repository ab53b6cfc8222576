import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { ApiError, address, get } from "../api/client";
import type { FlowList, FlowRow, Problem } from "../api/types";
import { VERDICT_WORDS } from "../map/graph";
import { connection, go, nodes, now, place } from "../state/live";
import { useStore } from "../state/store";
import type { Filters } from "../state/url";
import { Chip, Command, Empty, Fault, Loading, Name, Num, Port, VerdictMark } from "../ui/parts";
import { Whose } from "../drawer/Workloads";
import { Icon } from "../ui/icons";
import { Table, type Column } from "../ui/table";
import { clock, count, plural, port, spanMs, utc } from "../format";
import { ends, words } from "../workload";
import { Arriving, csv, flowCache, flowKey, isBehind, mergeFlows, MOST, oneEach, withOlder } from "./flows-data";

/** Rows that are asked for at once. */
const PAGE = 2000;

function NoFlows({ isFiltered, isLive }: { isFiltered: boolean; isLive: boolean }) {
  if (isFiltered)
    return (
      <Empty title="No flow fits">
        <p>Take away a filter or the search, or choose a longer time.</p>
        <button type="button" class="button" onClick={() => go({ filters: {}, q: "" })}>
          Show all
        </button>
      </Empty>
    );
  return (
    <Empty title={isLive ? "No flow yet" : "Nothing passed in this time"}>
      <p>
        {isLive ? "As soon as a node talks to another, it stands here. To try it, on a node:" : "Choose a longer time."}
      </p>
      {isLive ? <Command text="warren-node ping PEER" /> : null}
    </Empty>
  );
}

/** A host without an agent is called by its address, and who leads there stands behind it. */
function To({
  row: r,
  cell,
}: {
  row: FlowRow;
  cell: (name: keyof Filters, value: string | null, children: JSX.Element) => JSX.Element;
}) {
  const isHost = useStore(nodes, (rows) => isBehind(r.to, rows));
  const node = cell("to", r.to.name ?? r.to.address, <Name text={r.to.name ?? r.to.address} mono={!r.to.name} />);
  if (!isHost) return node;
  return (
    <>
      <Name text={r.to.address} mono />{" "}
      <span class="soft" title={`behind ${r.to.name ?? r.to.node}`}>
        {node}
      </span>
    </>
  );
}

export function FlowsPage() {
  const at = useStore(place, (p) => p.at);
  const window = useStore(place, (p) => p.window);
  const filters = useStore(place, (p) => p.filters);
  const sel = useStore(place, (p) => p.sel);
  const q = useStore(place, (p) => p.q);
  const [rows, setRows] = useState<FlowRow[]>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [held, setHeld] = useState<FlowRow[] | null>(null);
  const [skipped, setSkipped] = useState(0);
  const [asked, setAsked] = useState(0);
  const [isLoaded, setLoaded] = useState(false);
  /** Where older rows of this time begin that are not loaded; and how far a search for them has come. */
  const [next, setNext] = useState<string | null>(null);
  const [searched, setSearched] = useState<number | null>(null);
  const [isAsking, setAsking] = useState(false);
  const isCut = next !== null || rows.length >= MOST;
  // Back after a gap: what was missed is asked for.
  const link = useStore(connection, (l) => l.state);
  const was = useRef(link);
  useEffect(() => {
    if (was.current === "lost" && link === "live") setAsked((n) => n + 1);
    was.current = link;
  }, [link]);
  const holding = useRef(false);
  holding.current = held !== null;
  const asQuery = { ...filters };
  const key = JSON.stringify([at, window, filters, asked]);

  const question = useRef<{ since: number; stop: AbortSignal }>(null);
  /** The page of rows that begins at a place, or the first one. */
  const load = async (before: string | null, withEarly = (list: FlowRow[]) => list) => {
    const asked = question.current;
    if (!asked) return;
    setAsking(true);
    const path = at === null ? "/flows" : "/flows/history";
    try {
      const query = { ...asQuery, since: asked.since, until: at, limit: PAGE };
      let list = await get<FlowList>(path, { ...query, before }, asked.stop);
      // A search that takes long comes in several answers.
      while (!list.rows.length && list.next !== null) {
        setSearched(list.searched_to);
        list = await get<FlowList>(path, { ...query, before: list.next }, asked.stop);
      }
      const first = before === null ? withEarly(list.rows) : [];
      setRows((known) => (before === null ? first : withOlder(known, list.rows, at === null)));
      setNext(list.next);
      setSearched(list.searched_to);
      setProblem(null);
      setLoaded(true);
    } catch (error) {
      if (!asked.stop.aborted && error instanceof ApiError) setProblem(error.problem);
    }
    if (!asked.stop.aborted) setAsking(false);
  };

  useEffect(() => {
    const stop = new AbortController();
    const arriving = new Arriving();
    let source: EventSource | null = null;
    setHeld(null);
    setSkipped(0);
    const since = Math.floor((at ?? now()) - window);
    question.current = { since, stop: stop.signal };
    setNext(null);
    let isAsked = false;
    const first = () => {
      if (isAsked) return;
      isAsked = true;
      load(null, (list) => arriving.listed(list)).catch(() => {});
    };
    if (at !== null) first();
    else {
      source = new EventSource(address("/events", { flows: true, ...asQuery }));
      source.addEventListener("flows", (event) => {
        const said = JSON.parse((event as MessageEvent<string>).data) as { rows: FlowRow[]; skipped: number };
        if (!arriving.take(said.rows)) return;
        if (holding.current) setHeld((h) => mergeFlows(h ?? [], said.rows));
        else setRows((r) => mergeFlows(r, said.rows));
        if (said.skipped) setSkipped((n) => n + said.skipped);
      });
      source.addEventListener("resync", () => setAsked((n) => n + 1));
      // First the stream, then the list: so nothing comes between the two.
      source.addEventListener("open", first);
      source.addEventListener("error", first);
    }
    return () => {
      stop.abort();
      source?.close();
    };
  }, [key]);

  const shown = useMemo(() => {
    const wanted = q.toLowerCase().split(/\s+/).filter(Boolean);
    const once = oneEach(rows);
    if (!wanted.length) return once;
    return once.filter((r) => {
      const text = [
        r.from.name,
        r.from.address,
        r.to.name,
        r.to.address,
        r.service,
        r.grant,
        r.verdict,
        port(r.protocol, r.to.port),
        words(ends(r).from),
        words(ends(r).to),
      ]
        .join(" ")
        .toLowerCase();
      return wanted.every((w) => text.includes(w));
    });
  }, [rows, q]);

  useEffect(() => {
    // With what the other end says, where both have reported.
    flowCache.set(new Map([...rows, ...oneEach(rows)].map((r) => [flowKey(r), r])));
  }, [rows]);

  const cell = (name: keyof Filters, value: string | null, children: JSX.Element) =>
    value ? (
      <button
        type="button"
        class="cell-filter"
        tabIndex={-1}
        title={`Only ${name} ${value}`}
        onClick={(event) => {
          event.stopPropagation();
          go({ filters: { ...place.get().filters, [name]: value } });
        }}
      >
        {children}
      </button>
    ) : (
      children
    );

  const columns = useMemo((): Column<FlowRow>[] => {
    const f = (r: FlowRow, name: string) => `flows[${flowKey(r)}].${name}`;
    return [
      {
        id: "time",
        head: "Time",
        track: "74px",
        cell: (r) => (
          <time
            class="num"
            title={utc(r.last_ms / 1000)}
            data-field={f(r, "last_ms")}
            data-value={r.last_ms / 1000}
            data-form="clock"
          >
            {clock(r.last_ms / 1000)}
          </time>
        ),
      },
      {
        id: "from",
        head: "From",
        track: "minmax(96px,1.4fr)",
        cell: (r) => (
          <>
            {cell(
              "from",
              r.from.name ?? r.from.address,
              <Name text={r.from.name ?? r.from.address} mono={!r.from.name} />,
            )}
            <Whose workload={ends(r).from} />
          </>
        ),
      },
      {
        id: "arrow",
        head: "",
        track: "16px",
        cell: (r) => (
          <span class={`soft arrow v-${r.verdict}`} aria-hidden="true">
            →
          </span>
        ),
        spare: 1,
      },
      {
        id: "service",
        head: "Service",
        track: "minmax(90px,1fr)",
        cell: (r) =>
          r.service ? cell("service", r.service, <Name text={r.service} />) : <span class="soft">none</span>,
      },
      {
        id: "to",
        head: "On",
        track: "minmax(90px,1.4fr)",
        cell: (r) => (
          <>
            <To row={r} cell={cell} />
            <Whose workload={ends(r).to} />
          </>
        ),
        spare: 1,
      },
      {
        id: "port",
        head: "Port",
        track: "106px",
        cell: (r) => <Port protocol={r.protocol} at={r.to.port} />,
        spare: 2,
      },
      {
        id: "verdict",
        head: "Verdict",
        track: "98px",
        cell: (r) => cell("verdict", r.verdict, <VerdictMark verdict={r.verdict} />),
      },
      {
        id: "grant",
        head: "Decided by",
        track: "minmax(110px,1.4fr)",
        cell: (r) =>
          r.grant ? cell("grant", r.grant, <Name text={r.grant} mono />) : <span class="soft">no grant</span>,
        spare: 2,
      },
      {
        id: "bytes",
        head: "Sent",
        track: "72px",
        right: true,
        cell: (r) =>
          r.end === "refused" ? (
            <Num field={f(r, "count")} value={r.count} of={plural(r.count, "try", "tries")} />
          ) : (
            <Num field={f(r, "bytes_out")} value={r.bytes_out} as="bytes" />
          ),
        spare: 1,
      },
      {
        id: "back",
        head: "Back",
        track: "72px",
        right: true,
        cell: (r) =>
          r.end === "refused" ? (
            <span class="soft">–</span>
          ) : (
            <Num field={f(r, "bytes_back")} value={r.bytes_back} as="bytes" />
          ),
        spare: 1,
      },
      {
        id: "took",
        head: "Lasted",
        track: "60px",
        right: true,
        cell: (r) => (
          <span class="num">
            {r.end === "open" ? `${spanMs(r.last_ms - r.started_ms)}…` : spanMs(r.last_ms - r.started_ms)}
          </span>
        ),
        spare: 2,
      },
      {
        id: "path",
        head: "Path",
        track: "54px",
        cell: (r) =>
          r.path === "unknown" ? (
            <span class="soft">–</span>
          ) : (
            <span class={r.path === "relayed" ? "v-would-deny" : "soft"}>{r.path}</span>
          ),
        spare: 2,
      },
      { id: "end", head: "End", track: "58px", cell: (r) => <span class="soft">{r.end}</span>, spare: 2 },
    ];
  }, []);

  const hold = () => setHeld([]);
  const release = () => {
    setRows((r) => mergeFlows(r, held ?? []));
    setHeld(null);
  };
  const save = (text: string, type: string, name: string) => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const a = document.createElement("a");
    a.href = url;
    a.download = name;
    document.body.append(a);
    a.click();
    a.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  const stamp = utc(Math.floor(at ?? now()))
    .slice(0, 19)
    .replace(/[: ]/g, "-");
  return (
    <div class="page flush">
      <div class="bar">
        <h1>Flows</h1>
        <span
          class="soft num"
          title={isCut ? "There are older ones: load them, choose an earlier time, or filter" : undefined}
        >
          {isCut ? "the newest " : ""}
          {count(shown.length)} {plural(shown.length, "row")}
          {skipped ? `, ${count(skipped)} skipped because this browser is slow` : ""}
          {searched === null ? "" : `, searched back to ${utc(searched)}`}
        </span>
        {next !== null && (at !== null || rows.length < MOST) ? (
          <button type="button" class="button" disabled={isAsking} onClick={() => void load(next)}>
            <Icon name="down" /> Older
          </button>
        ) : null}
        {Object.entries(filters)
          .filter(([, v]) => v)
          .map(([name, value]) => (
            <Chip
              key={name}
              on
              onClick={() => go({ filters: { ...filters, [name]: undefined } })}
              title="Take this filter away"
            >
              <span class="soft">{name}</span> {name === "verdict" ? VERDICT_WORDS[value!] : <Name text={value} />}{" "}
              <Icon name="close" size={12} />
            </Chip>
          ))}
        {(["deny"] as const).map((v) =>
          filters.verdict ? null : (
            <Chip key={v} on={false} onClick={() => go({ filters: { ...filters, verdict: v } })}>
              only refused
            </Chip>
          ),
        )}
        <span class="grow" />
        {at === null ? (
          held === null ? (
            <button type="button" class="button" onClick={hold}>
              <Icon name="pause" /> Hold
            </button>
          ) : (
            <button type="button" class="button primary" onClick={release}>
              <Icon name="play" /> {count(held.length)} {plural(held.length, "row waits", "rows wait")}
            </button>
          )
        ) : null}
        <button type="button" class="button" onClick={() => save(csv(shown), "text/csv", `flows-${stamp}.csv`)}>
          <Icon name="export" /> CSV
        </button>
        <button
          type="button"
          class="button"
          onClick={() => save(JSON.stringify(shown, null, 1), "application/json", `flows-${stamp}.json`)}
        >
          <Icon name="export" /> JSON
        </button>
      </div>
      {problem ? <Fault problem={problem} again={() => setAsked((n) => n + 1)} /> : null}
      <Table
        label="Flows, newest first"
        rows={shown}
        columns={columns}
        keyOf={flowKey}
        selected={sel?.startsWith("flow:") ? sel.slice(5) : null}
        onOpen={(r) => go({ sel: `flow:${flowKey(r)}` })}
        rowClass={(r) => (r.verdict === "deny" ? "is-deny" : "")}
        empty={
          problem ? null : isLoaded ? (
            <NoFlows isFiltered={Object.values(filters).some(Boolean) || q !== ""} isLive={at === null} />
          ) : (
            <Loading />
          )
        }
      />
    </div>
  );
}

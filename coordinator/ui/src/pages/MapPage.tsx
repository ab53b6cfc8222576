import { useMemo } from "preact/hooks";
import type { Edge, FlowMap, Verdict } from "../api/types";
import { Scene } from "../map/Scene";
import { VERDICT_WORDS } from "../map/graph";
import { connection, go, loadMap, mapState, place, status } from "../state/live";
import { useStore } from "../state/store";
import type { Filters, Grouping } from "../state/url";
import { Choice, Command, Empty, Fault, Loading, Name, Num, Port, VerdictMark, When } from "../ui/parts";
import { Icon } from "../ui/icons";
import { Table, type Column } from "../ui/table";
import { EndLink } from "../drawer/edges";
import { edgeText, fitsText } from "../map/select";
import { bytes, count, plural, utc } from "../format";

const GROUPS: readonly (readonly [Grouping, string])[] = [
  ["tag", "Tags"],
  ["site", "Sites"],
  ["node", "Nodes"],
];

export function filtered(map: FlowMap, f: Filters): FlowMap {
  if (!Object.values(f).some(Boolean)) return map;
  const end = (wanted: string | undefined, e: Edge["from"]) =>
    !wanted || e.name === wanted || e.node === wanted || e.address === wanted;
  return {
    ...map,
    edges: map.edges.filter(
      (e) =>
        end(f.from, e.from) &&
        end(f.to, e.to) &&
        (!f.service || e.service === f.service) &&
        (!f.grant || e.grant === f.grant) &&
        (!f.verdict || e.verdict === f.verdict),
    ),
  };
}

export function MapPage() {
  const p = useStore(place);
  const { live, problem, key } = useStore(mapState);
  const now = useStore(status);
  const link = useStore(connection);
  const fresh = key === `${p.at ?? "live"} ${p.window}`;
  const map = useMemo(() => (live ? filtered(live.map, p.filters) : null), [live, p.filters]);
  const found = useMemo(() => (map && p.q ? map.edges.filter(searched(map, p.q)).length : 0), [map, p.q]);
  if (!live || !map)
    return problem ? (
      <div class="page">
        <Fault problem={problem} again={() => void loadMap()} />
      </div>
    ) : (
      <div class="page">
        <Loading />
      </div>
    );
  if (!live.map.nodes.length && !live.map.edges.length) return <FirstSteps />;
  const network = now?.network ?? "unknown";
  const moving = p.at === null && link.state === "live";
  return (
    <div class={`map-page ${fresh ? "" : "waiting"}`}>
      {problem ? <Fault problem={problem} again={() => void loadMap()} /> : null}
      {p.view === "table" ? (
        <EdgeTable map={map} />
      ) : now ? (
        <Scene
          network={network}
          live={live}
          map={map}
          by={p.group}
          levels={p.levels}
          sel={p.sel}
          q={p.q}
          moving={moving}
        />
      ) : (
        <Loading />
      )}
      <div class="map-bar">
        {p.view === "map" ? (
          <Choice label="Group by" value={p.group} of={GROUPS} onChange={(group) => go({ group, levels: {} })} />
        ) : null}
        <Choice
          label="View"
          value={p.view}
          of={[
            ["map", "Map"],
            ["table", "Table"],
          ]}
          onChange={(view) => go({ view })}
        />
        <VerdictFilter map={live.map} />
        {p.q ? (
          <button
            type="button"
            class="chip"
            aria-pressed="true"
            title="Take this search away"
            onClick={() => go({ q: "" })}
          >
            “{p.q}”{" "}
            <span class="soft num">
              {count(found)} {plural(found, "edge")}
            </span>{" "}
            <Icon name="close" size={12} />
          </button>
        ) : null}
        {(["from", "to", "service", "grant"] as const).map((f) =>
          p.filters[f] ? (
            <button
              type="button"
              key={f}
              class="chip"
              aria-pressed="true"
              onClick={() => go({ filters: { ...p.filters, [f]: undefined } })}
            >
              {f} {p.filters[f]} <Icon name="close" size={12} />
            </button>
          ) : null,
        )}
      </div>
      <Footer map={map} live={live.map} />
    </div>
  );
}

function searched(map: FlowMap, q: string): (e: Edge) => boolean {
  const tags = new Map(map.nodes.map((n) => [n.id, n.tags.join(" ")]));
  return (e) =>
    fitsText(
      q,
      edgeText(e, (id) => tags.get(id) ?? ""),
    );
}

function VerdictFilter({ map }: { map: FlowMap }) {
  const f = useStore(place, (p) => p.filters);
  const verdicts = ["allow", "deny", "would-deny", "would-allow"] as const;
  const counts = new Map<Verdict, number>();
  for (const e of map.edges) counts.set(e.verdict, (counts.get(e.verdict) ?? 0) + 1);
  return (
    <div class="verdicts" role="group" aria-label="Only this verdict">
      {verdicts
        .filter((v) => counts.get(v) || f.verdict === v)
        .map((v) => (
          <button
            type="button"
            key={v}
            class="chip"
            aria-pressed={f.verdict === v}
            title={`${VERDICT_WORDS[v]}: show only these`}
            onClick={() => go({ filters: { ...f, verdict: f.verdict === v ? undefined : v } })}
          >
            <VerdictMark verdict={v} />{" "}
            <span
              class="num soft"
              data-field={`map.edges[verdict=${v}].length`}
              data-value={counts.get(v) ?? 0}
              data-form="count"
            >
              {count(counts.get(v) ?? 0)}
            </span>
          </button>
        ))}
    </div>
  );
}

function Footer({ map, live }: { map: FlowMap; live: FlowMap }) {
  return (
    <footer class="map-foot" aria-live="off">
      <span>
        <Num field="map.edges.length" value={map.edges.length} of={plural(map.edges.length, "edge")} /> between{" "}
        <Num field="map.nodes.length" value={live.nodes.length} of={plural(live.nodes.length, "node")} />
      </span>
      <LeftOut extent={live.extent} />
      <span title={`each value is exact to ${live.resolution} s`}>
        {utc(live.from).slice(0, 19)} – {utc(live.at).slice(11)}
        {live.resolution > 1 ? ` in whole ${live.resolution === 60 ? "minutes" : "hours"}` : ""}
      </span>
      {live.complete_from > live.from ? (
        <span
          class="v-would-deny"
          title="What came before is not kept any more: history in settings.json says for how long"
        >
          {live.complete_from >= live.at ? "nothing of this time is kept: " : ""}
          kept since {utc(live.complete_from)}
        </span>
      ) : null}
      <Lost lost={live.lost} />
      <span class="legend">wider: more bytes · ◇ new in this time</span>
    </footer>
  );
}

/** What is on no map, of all time: which stretch it belonged to, nobody knows. */
function Lost({ lost: l }: { lost: FlowMap["lost"] }) {
  const records = l.declared + l.rejected + l.skipped;
  const title = `Of all time: ${count(l.declared)} records lost at nodes, ${count(l.rejected)} rejected, ${count(l.skipped)} not stored, ${count(l.lost_at_end)} packets at the ends of agents`;
  if (!records && !l.lost_at_end) return <span>no record lost</span>;
  return (
    <span class={records ? "v-would-deny" : ""} title={title}>
      {records ? (
        <Num field="map.lost.declared+rejected+skipped" value={records} of={plural(records, "record")} />
      ) : (
        <Num field="map.lost.lost_at_end" value={l.lost_at_end} of={plural(l.lost_at_end, "packet")} />
      )}{" "}
      lost in all
    </span>
  );
}

/** Of a very large network the lightest edges are not here; that is said, with how much they are and what to do. */
function LeftOut({ extent: e }: { extent: FlowMap["extent"] }) {
  const missing = e.total - e.shown;
  if (missing <= 0) return null;
  const { flows, tries, bytes_out, bytes_back } = e.left_out;
  const sums = `${count(flows)} ${plural(flows, "flow")}, ${bytes(bytes_out)} out, ${bytes(bytes_back)} back, ${count(tries)} refused`;
  return (
    <span
      class="v-would-deny left-out"
      title={`Not shown, the lightest edges: ${sums}. A shorter time has fewer; map.edges in settings.json is ${count(e.limit)}`}
    >
      <Num field="map.extent.shown" value={e.shown} /> of <Num field="map.extent.total" value={e.total} /> edges, the
      heaviest
    </span>
  );
}

function EdgeTable({ map }: { map: FlowMap }) {
  const sel = useStore(place, (p) => p.sel);
  const q = useStore(place, (p) => p.q);
  const rows = useMemo(() => {
    return map.edges
      .filter(searched(map, q))
      .sort(
        (a, b) =>
          Number(b.verdict === "deny") - Number(a.verdict === "deny") ||
          (a.verdict === "deny" ? b.tries - a.tries : b.bytes_out + b.bytes_back - a.bytes_out - a.bytes_back) ||
          (a.id < b.id ? -1 : 1),
      );
  }, [map, q]);
  const f = (e: Edge, name: string) => `map.edges[${e.id}].${name}`;
  const columns = useMemo(
    (): Column<Edge>[] => [
      { id: "verdict", head: "Verdict", track: "106px", cell: (e) => <VerdictMark verdict={e.verdict} /> },
      { id: "from", head: "From", track: "minmax(90px,1.2fr)", cell: (e) => <EndLink end={e.from} /> },
      { id: "to", head: "To", track: "minmax(90px,1.2fr)", cell: (e) => <EndLink end={e.to} /> },
      {
        id: "service",
        head: "Service",
        track: "minmax(80px,1fr)",
        cell: (e) => (e.service ? <Name text={e.service} /> : <span class="soft">none</span>),
        spare: 1,
      },
      {
        id: "port",
        head: "Port",
        track: "106px",
        cell: (e) => <Port protocol={e.protocol} at={e.port} />,
        spare: 2,
      },
      {
        id: "grant",
        head: "Grant",
        track: "minmax(90px,1.3fr)",
        cell: (e) => (e.grant ? <Name text={e.grant} mono /> : <span class="soft">none</span>),
        spare: 2,
      },
      {
        id: "sent",
        head: "Sent",
        track: "74px",
        right: true,
        cell: (e) =>
          isTry(e) ? <span class="soft">–</span> : <Num field={f(e, "bytes_out")} value={e.bytes_out} as="bytes" />,
        spare: 1,
      },
      {
        id: "back",
        head: "Back",
        track: "74px",
        right: true,
        cell: (e) =>
          isTry(e) ? <span class="soft">–</span> : <Num field={f(e, "bytes_back")} value={e.bytes_back} as="bytes" />,
        spare: 1,
      },
      {
        id: "flows",
        head: "Flows",
        track: "76px",
        right: true,
        cell: (e) =>
          isTry(e) ? (
            <Num field={f(e, "tries")} value={e.tries} of={plural(e.tries, "try", "tries")} />
          ) : (
            <Num field={f(e, "flows")} value={e.flows} />
          ),
        spare: 2,
      },
      {
        id: "rtt",
        head: "Round trip",
        track: "74px",
        right: true,
        cell: (e) =>
          isTry(e) ? <span class="soft">–</span> : <Num field={f(e, "rtt_us")} value={e.rtt_us} as="micros" />,
        spare: 2,
      },
      {
        id: "again",
        head: "Sent again",
        track: "74px",
        right: true,
        cell: (e) =>
          isTry(e) ? <span class="soft">–</span> : <Num field={f(e, "retransmissions")} value={e.retransmissions} />,
        spare: 2,
      },
      {
        id: "last",
        head: "Last seen",
        track: "100px",
        right: true,
        cell: (e) => <When field={f(e, "last_seen")} at={e.last_seen / 1000} />,
        spare: 1,
      },
    ],
    [],
  );
  return (
    <div class="edge-table">
      <Table
        label="Edges of the map"
        rows={rows}
        columns={columns}
        keyOf={(e) => e.id}
        selected={sel?.startsWith("edge:") ? sel.slice(5) : null}
        onOpen={(e) => go({ sel: `edge:${e.id}` })}
        empty={
          <Empty title="No edge fits">
            <p>Take away a filter, or choose a longer time.</p>
          </Empty>
        }
      />
    </div>
  );
}

/** Nothing passed: it was tried. */
const isTry = (e: Edge) => e.verdict === "deny" || e.verdict === "would-allow";

function FirstSteps() {
  const now = useStore(status);
  return (
    <div class="page first">
      <h1>Nothing is here yet</h1>
      <p class="soft">
        The network {now ? <strong>{now.name}</strong> : null} has no node. Three commands make the first picture.
      </p>
      <ol>
        <li>
          <h2>Say what is allowed</h2>
          <p class="soft">Without a policy everything is refused.</p>
          <Command text="warren policy apply policy.toml" />
        </li>
        <li>
          <h2>Make a token for a host</h2>
          <p class="soft">It admits one host, with the tags you give it.</p>
          <Command text="warren token create --name web-1 --tag web" />
        </li>
        <li>
          <h2>Enrol the host</h2>
          <p class="soft">Run this there; the file `token` holds what the last command printed.</p>
          <Command text="warren-node up --token-file token" />
        </li>
      </ol>
      <p class="soft small">This page fills itself as soon as the first node is there.</p>
    </div>
  );
}

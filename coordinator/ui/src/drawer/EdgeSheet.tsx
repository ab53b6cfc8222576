import type { Edge, EdgeHistory, FlowList, Why } from "../api/types";
import { isRefused, VERDICT_WORDS } from "../map/graph";
import { bytes, plural, port } from "../format";
import { useResource } from "../state/resource";
import { clock, nodes as nodeRows, place } from "../state/live";
import { useStore } from "../state/store";
import { Field, Link as To, Name, Num, Port, VerdictMark, When } from "../ui/parts";
import { Gone, Part, Sheet, type SheetData } from "./Drawer";
import { Spark } from "../ui/spark";
import { flowKey, oneEach } from "../pages/flows-data";
import { EndLink, endName } from "./edges";
import { EdgeWorkloads } from "./Workloads";
import { GrantText } from "./GrantText";
import { noFlows } from "./no-flows";

export function EdgeSheet({ value, live, text }: SheetData) {
  const edge = live?.byId.get(value);
  if (!edge)
    return (
      <Sheet kind="edge" title={<Name text={value} mono />}>
        <Gone what="Nothing passed here in the chosen time. Choose a longer one, or go back in time." />
      </Sheet>
    );
  return (
    <Sheet
      kind="edge"
      title={
        <>
          <Name text={endName(edge.from)} /> <span class="to">→</span> <Name text={edge.service ?? endName(edge.to)} />
        </>
      }
    >
      <EdgeBody edge={edge} text={text} from={live!.map.from} />
    </Sheet>
  );
}

function EdgeBody({ edge: e, text, from }: { edge: Edge; text: SheetData["text"]; from: number }) {
  const f = (name: string) => `map.edges[${e.id}].${name}`;
  const refused = isRefused(e.verdict) || e.verdict === "would-allow";
  const flows = useFlows(e);
  return (
    <>
      <div class="sheet-verdict">
        <VerdictMark verdict={e.verdict} />
        <Port protocol={e.protocol} at={e.port} />
        {e.first_seen >= from * 1000 ? <span class="new-mark">◇ new in this time</span> : null}
      </div>
      <dl class="fields">
        <Field name="From">
          <EndLink end={e.from} />
        </Field>
        <Field name="To">
          <EndLink end={e.to} />
          {e.service ? (
            <>
              {" "}
              ·{" "}
              <To to={{ sel: `service:${e.service}` }}>
                <Name text={e.service} />
              </To>
            </>
          ) : null}
        </Field>
        {refused ? (
          <Field name="Tries">
            <Num field={f("tries")} value={e.tries} />
          </Field>
        ) : (
          <>
            <Field name="Sent">
              <Num field={f("bytes_out")} value={e.bytes_out} as="bytes" />{" "}
              <span class="soft">
                in <Num field={f("packets_out")} value={e.packets_out} of="packets" />
              </span>
            </Field>
            <Field name="Back">
              <Num field={f("bytes_back")} value={e.bytes_back} as="bytes" />{" "}
              <span class="soft">
                in <Num field={f("packets_back")} value={e.packets_back} of="packets" />
              </span>
            </Field>
            <Field name="Flows">
              <Num field={f("flows")} value={e.flows} />
            </Field>
            <Field name="Round trip">
              <Num field={f("rtt_us")} value={e.rtt_us} as="micros" />
            </Field>
            <Field name="Retransmissions">
              <Num field={f("retransmissions")} value={e.retransmissions} />
            </Field>
          </>
        )}
        <Field name="First seen">
          <When field={f("first_seen")} at={e.first_seen / 1000} />
        </Field>
        <Field name="Last seen">
          <When field={f("last_seen")} at={e.last_seen / 1000} />
        </Field>
        <Field name="Seen by">
          {e.seen_by.length ? (
            e.seen_by.map((s) => (s === "from" ? "sender" : "receiver")).join(" and ")
          ) : (
            <span class="unknown">not known</span>
          )}
        </Field>
        {e.mismatch ? (
          <Field name="Mismatch">
            <span class="v-would-deny">
              the sender counts <Num field={f("mismatch.from_bytes")} value={e.mismatch.from_bytes} of="bytes" />, the
              receiver <Num field={f("mismatch.to_bytes")} value={e.mismatch.to_bytes} of="bytes" />
            </span>
          </Field>
        ) : null}
      </dl>
      <EdgeSpark edge={e} />
      <Decision edge={e} text={text} />
      <EdgeWorkloads rows={flows?.rows ?? null} from={endName(e.from)} to={endName(e.to)} />
      <FlowsBehind edge={e} flows={flows} />
    </>
  );
}

function filterOf(e: Edge) {
  return {
    from: e.from.node ?? e.from.address,
    to: e.to.node ?? e.to.address,
    service: e.service,
    verdict: e.verdict,
    grant: e.grant,
  };
}

function EdgeSpark({ edge }: { edge: Edge }) {
  const at = useStore(place, (p) => p.at);
  const window = useStore(place, (p) => p.window);
  // Live, a new picture each ten seconds is enough.
  const beat = useStore(clock, (c) => (at === null ? Math.floor(c / 10) * 10 : at));
  const since = beat - Math.max(window, 120);
  const { data } = useResource<EdgeHistory>("/edges", {
    ...filterOf(edge),
    since,
    until: beat,
    limit: 10000,
  });
  if (!data) return <div class="spark-room" />;
  const mine = data.rows.filter((r) => r.edge.id === edge.id);
  const refused = isRefused(edge.verdict) || edge.verdict === "would-allow";
  const points = mine.map((r) => ({ at: r.at, value: refused ? r.edge.tries : r.edge.bytes_out + r.edge.bytes_back }));
  const step = data.resolution;
  const per = step === 1 ? "a second" : step === 60 ? "a minute" : "an hour";
  return (
    <Spark
      points={points}
      from={data.from}
      to={data.until}
      step={step}
      label={refused ? `tries ${per}` : `bytes ${per}`}
      since={data.complete_from > data.from ? data.complete_from : null}
      format={refused ? String : bytes}
      refused={refused}
    />
  );
}

/** The grant as it is written; where nothing permits, the nearest miss. */
function Decision({ edge, text }: { edge: Edge; text: SheetData["text"] }) {
  if (edge.grant)
    return (
      <Part name={edge.verdict === "would-allow" ? "Would be allowed by" : "Allowed by"}>
        <GrantText grant={edge.grant} text={text} generation={edge.generation} />
      </Part>
    );
  return (
    <Part name={VERDICT_WORDS[edge.verdict] === "allowed" ? "Allowed" : "Why"}>
      <Nearest edge={edge} text={text} />
    </Part>
  );
}

function Nearest({ edge, text }: { edge: Edge; text: SheetData["text"] }) {
  const at = useStore(place, (p) => p.at);
  const gone = useStore(nodeRows, (rows) =>
    at === null
      ? (rows?.find((n) => n.revoked !== null && [edge.from.node, edge.to.node].includes(n.id)) ?? null)
      : null,
  );
  const known = useStore(nodeRows, (rows) => rows !== null);
  // Of a node that was revoked there is nothing to ask now; of the past, as it was then.
  const asked = edge.from.node && edge.to.node && !gone && (known || at !== null);
  const p = { ...(edge.service ? {} : { port: port(edge.protocol, edge.port) }), ...(at === null ? {} : { at }) };
  const { data, problem } = useResource<Why>(asked ? "/why" : null, {
    from: edge.from.node ?? "",
    to: edge.service ?? edge.to.node ?? "",
    ...p,
  });
  if (!edge.from.node || !edge.to.node)
    return <p class="soft">One end is no node of this network, so no grant can name it.</p>;
  if (gone)
    return (
      <p class="soft">
        <Name text={gone.name} /> was revoked: nothing permits it anything any more.
      </p>
    );
  if (problem) return <p class="soft">{problem.detail}</p>;
  if (!data) return <p class="soft">asking …</p>;
  return (
    <>
      <p>{data.message}</p>
      {data.nearest ? (
        <>
          <p class="soft small">The grant that comes nearest:</p>
          <GrantText grant={data.nearest} text={text} generation={data.generation} />
        </>
      ) : null}
    </>
  );
}

/** The records behind an edge; live, asked again every few seconds. */
function useFlows(edge: Edge) {
  const at = useStore(place, (p) => p.at);
  const beat = useStore(clock, (c) => (at === null ? Math.floor(c / 5) : 0));
  const grant = edge.verdict === "allow" ? edge.grant : null;
  const path = at === null ? "/flows" : "/flows/history";
  // Port 0 of an edge are many ports, or none.
  const wanted = { ...filterOf(edge), grant, protocol: edge.protocol, port: edge.port || null };
  return useResource<FlowList>(path, { ...wanted, until: at, limit: 200 }, beat).data;
}

function FlowsBehind({ edge, flows }: { edge: Edge; flows: FlowList | null }) {
  const rows = flows && oneEach(flows.rows).slice(0, 12);
  return (
    <Part
      name="Flows behind it"
      count={
        <To
          to={{
            page: "flows",
            filters: {
              ...(edge.from.name ? { from: edge.from.name } : {}),
              ...(edge.to.name ? { to: edge.to.name } : {}),
              verdict: edge.verdict,
              ...(edge.service ? { service: edge.service } : {}),
            },
            sel: null,
          }}
        >
          all
        </To>
      }
    >
      {rows === null ? <p class="soft">asking …</p> : null}
      {flows && rows?.length === 0 ? <p class="soft">{noFlows(flows)}</p> : null}
      <ul class="lines">
        {rows?.map((r) => (
          <li key={`${r.reporter} ${r.boot} ${r.flow} ${r.cursor}`}>
            <When field={`flows[${flowKey(r)}].last_ms`} at={r.last_ms / 1000} />
            <span class="mono soft">
              {r.from.port && r.to.port ? `${r.from.port}→${r.to.port}` : port(r.protocol, r.to.port)}
            </span>
            {r.end === "refused" ? (
              <Num field={`flows[${flowKey(r)}].count`} value={r.count} of={plural(r.count, "try", "tries")} />
            ) : (
              <Num field={`flows[${flowKey(r)}].bytes_out+bytes_back`} value={r.bytes_out + r.bytes_back} as="bytes" />
            )}
            <span class="soft">{r.end}</span>
          </li>
        ))}
      </ul>
    </Part>
  );
}

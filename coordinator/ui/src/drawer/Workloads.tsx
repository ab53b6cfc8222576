// Processes: whose traffic it is.
import type { ComponentChildren } from "preact";
import type { FlowList, FlowRow, NodeRow, Workload } from "../api/types";
import { plural } from "../format";
import { flowKey, oneEach } from "../pages/flows-data";
import { useResource } from "../state/resource";
import { clock, place } from "../state/live";
import { useStore } from "../state/store";
import { Command, Fault, Field, Link as To, Loading, Name, Num, When } from "../ui/parts";
import { atEnd, doings, type Doing, nameOf, placeOf, ways, type Way, words } from "../workload";
import { Part } from "./Drawer";

/** Beside a name in a table. */
export function Whose({ workload }: { workload: Workload | null }) {
  const name = workload && nameOf(workload);
  if (!name) return null;
  return (
    <span class="whose soft" title={words(workload) ?? undefined}>
      <Name text={name} />
    </span>
  );
}

/** Everything that is known of a process. */
export function WorkloadFields({ workload: w }: { workload: Workload | null }) {
  if (!w || !words(w)) return <NotKnown />;
  const rows: [string, string][] = [
    ["Process", w.process],
    ["Executable", w.executable],
    ["User", w.user],
    ["Unit", w.unit],
    ["Container", w.container],
  ];
  return (
    <dl class="fields workload">
      {rows
        .filter(([, text]) => text)
        .map(([name, text]) => (
          <Field key={name} name={name}>
            <Name text={text} mono={name === "Executable" || name === "Container"} />
          </Field>
        ))}
    </dl>
  );
}

const NotKnown = () => (
  <p class="unknown" title="A node tells the process where its helper for this runs, for TCP and UDP of its own host">
    not known
  </p>
);

/** `nginx (www-data)` and below it where it lives. */
function Line({ workload, children }: { workload: Workload; children?: ComponentChildren }) {
  const at = placeOf(workload);
  return (
    <li class="workload-line" title={workload.executable || undefined}>
      <span>
        <Name text={nameOf(workload)} /> {workload.user ? <span class="soft">({workload.user})</span> : null}
        {at ? (
          <div class="soft small">
            <Name text={at} />
          </div>
        ) : null}
      </span>
      {children}
    </li>
  );
}

/** At both ends of an edge, by the flows behind it. */
export function EdgeWorkloads({ rows, from, to }: { rows: readonly FlowRow[] | null; from: string; to: string }) {
  const once = rows && oneEach(rows);
  const list = (end: "from" | "to", name: string) => {
    const found = once ? atEnd(once, end) : [];
    return (
      <Part name={`${end === "from" ? "Opened by" : "Answered by"}, on ${name}`}>
        {!once ? (
          <p class="soft">asking …</p>
        ) : found.length ? (
          <ul>
            {found.slice(0, 8).map(({ workload, flows }) => (
              <Line key={words(workload)} workload={workload}>
                <span class="soft num">
                  {flows} of the last {once.length} {plural(once.length, "flow")}
                </span>
              </Line>
            ))}
          </ul>
        ) : (
          <NotKnown />
        )}
        {found.length > 8 ? <p class="soft small">and {found.length - 8} more</p> : null}
      </Part>
    );
  };
  return (
    <>
      {list("from", from)}
      {list("to", to)}
    </>
  );
}

/** What a node's own flows say of it: its processes, and how they travel. */
export function NodeFlows({ n }: { n: NodeRow }) {
  const at = useStore(place, (p) => p.at);
  const beat = useStore(clock, (c) => (at === null ? Math.floor(c / 10) : 0));
  const path = at === null ? "/flows" : "/flows/history";
  const out = useResource<FlowList>(path, { from: n.id, until: at, limit: 500 }, beat);
  const into = useResource<FlowList>(path, { to: n.id, until: at, limit: 500 }, beat);
  const problem = out.problem ?? into.problem;
  if (problem)
    return (
      <Part name="Workloads">
        <Fault problem={problem} again={() => (out.again(), into.again())} />
      </Part>
    );
  if (!out.data || !into.data)
    return (
      <Part name="Workloads">
        <Loading />
      </Part>
    );
  const rows = [...out.data.rows, ...into.data.rows];
  const found = doings(oneEach(rows), n.id);
  return (
    <>
      <Part name="Workloads" count={<span class="soft">by its last {rows.length} records</span>}>
        {found.length ? (
          <ul>
            {found.slice(0, 12).map((d) => (
              <WorkloadDoing key={d.key} doing={d} />
            ))}
          </ul>
        ) : (
          <p class="soft">No flow of it is recorded, so none of its processes is known.</p>
        )}
        {found.length > 12 ? <p class="soft small">and {found.length - 12} more</p> : null}
      </Part>
      <Paths list={ways(rows, n.id)} id={n.id} />
    </>
  );
}

function WorkloadDoing({ doing: d }: { doing: Doing }) {
  const some = (names: string[]) =>
    names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
  const about = [
    d.serves.length ? `answers for ${some(d.serves)}` : null,
    d.opens.length ? `opens ${some(d.opens)}` : null,
  ];
  return (
    <li class="workload-line" title={d.workload?.executable || undefined}>
      <span>
        {d.workload ? <Name text={words(d.workload)} /> : <span class="unknown">process not known</span>}
        <div class="soft small">
          <bdi>{about.filter(Boolean).join("; ") || "refused attempts"}</bdi>
        </div>
      </span>
      <span class="soft num">
        {d.flows} {plural(d.flows, "flow")}
      </span>
    </li>
  );
}

function Paths({ list, id }: { list: Way[]; id: string }) {
  // As it was asked above.
  const f = (w: Way, name: string) =>
    `flows?${w.row.from.node === id ? "from" : "to"}=${id}&limit=500[${flowKey(w.row)}].${name}`;
  return (
    <Part name="Paths" count={<span class="num">{list.length || ""}</span>}>
      {list.length ? (
        <ul class="lines paths">
          {list.slice(0, 20).map((w) => (
            <li key={w.node}>
              <To to={{ sel: `node:${w.node}` }}>
                <Name text={w.name ?? w.node} />
              </To>
              <span class={w.path === "relayed" ? "v-would-deny" : "soft"}>{w.path}</span>
              {w.rtt_us === null ? null : (
                <span class="num soft" title="Round trip, as the newest TCP flow has it">
                  <Num field={f(w, "rtt_us")} value={w.rtt_us} as="micros" />
                </span>
              )}
              <When field={f(w, "last_ms")} at={w.last_ms / 1000} />
            </li>
          ))}
        </ul>
      ) : (
        <p class="soft">No flow of it has said how it travels.</p>
      )}
      {list.length > 20 ? <p class="soft small">and {list.length - 20} more</p> : null}
    </Part>
  );
}

/** Names that lead to a node. */
export function Dns({ n }: { n: NodeRow }) {
  return (
    <Part name="DNS">
      {n.dns.length ? (
        <ul class="lines">
          {n.dns.map((name, i) => (
            <li key={name}>
              <Name text={name} mono />
              <span class="soft small">{i === 0 ? "itself" : "with all who offer it"}</span>
            </li>
          ))}
        </ul>
      ) : (
        <p class="soft">No name leads to it: it was revoked.</p>
      )}
      {n.external ? (
        <p class="soft small">It has no agent, so it asks its own DNS servers; these names are answered to others.</p>
      ) : (
        <>
          <p class="soft small">
            They resolve for those who may reach it. What its resolver asks and keeps is told on the node alone:
          </p>
          <Command text="warren-node dns status" />
        </>
      )}
    </Part>
  );
}

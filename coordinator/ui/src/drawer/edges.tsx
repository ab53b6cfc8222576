// Edges in a list, and what their ends are called.
import type { Edge } from "../api/types";
import { plural, port } from "../format";
import { VERDICT_WORDS } from "../map/graph";
import { Link as To, Name, Num } from "../ui/parts";
import { Part } from "./Drawer";

export const endName = (end: Edge["from"]) => end.name ?? end.address ?? "not known";

export function EndLink({ end }: { end: Edge["from"] }) {
  if (end.node)
    return (
      <To to={{ sel: `node:${end.node}` }}>
        <Name text={end.name ?? end.node} />
      </To>
    );
  return (
    <To to={{ sel: `address:${end.address}` }}>
      <Name text={end.address} mono />
    </To>
  );
}

export function EdgeList({ edges, name, limit = 40 }: { edges: readonly Edge[]; name: string; limit?: number }) {
  if (!edges.length) return null;
  return (
    <Part name={name} count={<span class="num">{edges.length}</span>}>
      <ul class="edges">
        {edges.slice(0, limit).map((e) => (
          <li key={e.id}>
            <To to={{ sel: `edge:${e.id}` }} className="edge-line">
              <span class={`edge-mark v-${e.verdict}`} title={VERDICT_WORDS[e.verdict]}>
                {e.verdict === "allow" ? "→" : e.verdict === "deny" ? "✕" : e.verdict === "would-deny" ? "–" : "⋯"}
              </span>
              <span class="edge-ends">
                <Name text={endName(e.from)} /> <span class="soft">→</span> <Name text={endName(e.to)} />
              </span>
              <span class="edge-what mono soft">{e.service ?? port(e.protocol, e.port)}</span>
              {e.verdict === "deny" || e.verdict === "would-allow" ? (
                <Num field={`map.edges[${e.id}].tries`} value={e.tries} of={plural(e.tries, "try", "tries")} />
              ) : (
                <Num field={`map.edges[${e.id}].bytes_out+bytes_back`} value={e.bytes_out + e.bytes_back} as="bytes" />
              )}
            </To>
          </li>
        ))}
      </ul>
      {edges.length > limit ? (
        <p class="soft small">and {edges.length - limit} more; the table view of the map has all of them</p>
      ) : null}
    </Part>
  );
}

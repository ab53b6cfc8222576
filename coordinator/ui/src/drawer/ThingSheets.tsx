import type { Edge, PolicyUsage } from "../api/types";
import { aim, gatewaysInUse, groups } from "../map/graph";
import { NodeState } from "../map/GroupBox";
import { sumField } from "../map/LinkCard";
import { blocks } from "../policy-text";
import { useResource } from "../state/resource";
import { place } from "../state/live";
import { useStore } from "../state/store";
import { Field, Link as To, Name, Num, When } from "../ui/parts";
import { EdgeList } from "./edges";
import { UsedBy } from "./Gateways";
import { GrantText } from "./GrantText";
import { Gone, Part, Sheet, type SheetData } from "./Drawer";
import { plural } from "../format";

const byWeight = (edges: readonly Edge[]) =>
  [...edges].sort((a, b) => b.bytes_out + b.bytes_back - a.bytes_out - a.bytes_back || b.tries - a.tries);

function Totals({ edges }: { edges: readonly Edge[] }) {
  const sum = (field: "bytes_out" | "bytes_back" | "flows" | "tries") => edges.reduce((a, e) => a + e[field], 0);
  const refused = edges.filter((e) => e.verdict === "deny");
  return (
    <dl class="fields">
      <Field name="Sent">
        <Num field={sumField(edges, "bytes_out")} value={sum("bytes_out")} as="bytes" />
      </Field>
      <Field name="Back">
        <Num field={sumField(edges, "bytes_back")} value={sum("bytes_back")} as="bytes" />
      </Field>
      <Field name="Flows">
        <Num field={sumField(edges, "flows")} value={sum("flows")} />
      </Field>
      {refused.length ? (
        <Field name="Refused tries">
          <span class="v-deny">
            <Num field={sumField(refused, "tries")} value={refused.reduce((a, e) => a + e.tries, 0)} />
          </span>
        </Field>
      ) : null}
    </dl>
  );
}

export function ServiceSheet({ value, live, text }: SheetData) {
  const service = live?.map.services.find((s) => s.name === value);
  const edges = byWeight(live?.map.edges.filter((e) => aim(e, live.map.services) === value) ?? []);
  const grants =
    text?.sources
      .flatMap((s) => blocks(s.file, s.text))
      .filter((b) => b.kind === "grant" && new RegExp(`"service:${escape(value)}"`).test(b.text)) ?? [];
  if (!service && !edges.length)
    return (
      <Sheet kind="service" title={<Name text={value} />}>
        <Gone what="The policy declares no such service, and nothing used it in the chosen time." />
      </Sheet>
    );
  const addresses = service?.addresses ?? [];
  const uses = live && addresses.length ? gatewaysInUse(live.map).filter((u) => u.service.name === value) : [];
  const inUse = [...new Set(uses.map((u) => u.gateway))];
  return (
    <Sheet kind={addresses.length ? "service behind gateways" : "service"} title={<Name text={value} />}>
      <dl class="fields">
        {addresses.length ? (
          <Field name="Hosts">
            {addresses.map((a) => (
              <div key={a}>
                <Name text={a} mono />
              </div>
            ))}
            <span class="soft">without an agent</span>
          </Field>
        ) : null}
        <Field name="Listens">
          <span class="mono">{service?.ports.join(", ") ?? "not known"}</span>
        </Field>
        <Field name={addresses.length ? "Gateways" : "On"}>
          {service?.nodes.length ? (
            service.nodes.map((id, i) => {
              const node = live!.map.nodes.find((n) => n.id === id);
              return (
                <span key={id} class="on-node">
                  {i ? " " : ""}
                  {node ? <NodeState node={node} /> : null}
                  <To to={{ sel: `node:${id}` }}>
                    <Name text={node?.name ?? id} />
                  </To>
                </span>
              );
            })
          ) : (
            <span class="v-would-deny">{addresses.length ? "no node leads there" : "no node offers it"}</span>
          )}
        </Field>
        {inUse.length ? (
          <Field name="In use">
            {inUse.map((id) => (
              <div key={id}>
                <Name text={live!.map.nodes.find((n) => n.id === id)?.name ?? id} />
                <UsedBy map={live!.map} gateway={id} service={value} />
              </div>
            ))}
          </Field>
        ) : null}
      </dl>
      <Part name="In this time">
        <Totals edges={edges} />
      </Part>
      <EdgeList edges={edges.filter((e) => e.verdict === "deny" || e.verdict === "would-deny")} name="Refused here" />
      <EdgeList edges={edges.filter((e) => e.verdict === "allow" || e.verdict === "would-allow")} name="Who uses it" />
      <Part name="Who may" count={<span class="num">{grants.length}</span>}>
        {grants.length ? (
          <ul class="lines">
            {grants.map((g) => (
              <li key={g.name}>
                <To to={{ sel: `grant:${g.name}` }}>
                  <span class="mono">{g.name}</span>
                </To>
                <span class="soft mono">
                  {g.file}:{g.line}
                </span>
              </li>
            ))}
          </ul>
        ) : (
          <p class="soft">No grant names it: nobody may.</p>
        )}
      </Part>
    </Sheet>
  );
}

const escape = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

export function GroupSheet({ value, live }: SheetData) {
  const by = useStore(place, (p) => p.group);
  const group = live ? groups(live.map, value.startsWith("tag:") ? "tag" : by).find((g) => g.key === value) : null;
  if (!live || !group)
    return (
      <Sheet kind="group" title={<Name text={value} />}>
        <Gone what="No node belongs here." />
      </Sheet>
    );
  const own = new Set(group.nodes.map((n) => n.id));
  const strangers = new Set(group.addresses);
  const isIn = (end: Edge["from"]) => (end.node ? own.has(end.node) : strangers.has(end.address ?? ""));
  const into = byWeight(live.map.edges.filter((e) => isIn(e.to) && !isIn(e.from)));
  const out = byWeight(live.map.edges.filter((e) => isIn(e.from)));
  return (
    <Sheet kind={group.kind === "outside" ? "not of this network" : group.kind} title={<Name text={group.label} />}>
      {group.nodes.length ? (
        <Part
          name="Nodes"
          count={
            <Num field={`map.nodes[${group.nodes.map((n) => n.id).join(",")}].length`} value={group.nodes.length} />
          }
        >
          <ul class="lines">
            {group.nodes.slice(0, 60).map((n) => (
              <li key={n.id}>
                <To to={{ sel: `node:${n.id}` }}>
                  <NodeState node={n} /> <Name text={n.name} />
                </To>
                <span class="mono soft">{n.addresses[0]}</span>
              </li>
            ))}
          </ul>
          {group.nodes.length > 60 ? <p class="soft small">and {group.nodes.length - 60} more</p> : null}
        </Part>
      ) : null}
      {group.services.length ? (
        <Part name="Services" count={<span class="num">{group.services.length}</span>}>
          <ul class="lines">
            {group.services.map((s) => (
              <li key={s.name}>
                <To to={{ sel: `service:${s.name}` }}>
                  <Name text={s.name} />
                </To>
                <span class="mono soft">{s.ports.join(", ")}</span>
              </li>
            ))}
          </ul>
        </Part>
      ) : null}
      <EdgeList edges={into} name="Comes in" limit={20} />
      <EdgeList edges={out} name="Goes out" limit={20} />
    </Sheet>
  );
}

export function GrantSheet({ value, live, text }: SheetData) {
  const { data: usage } = useResource<PolicyUsage>("/policy/usage", { within: 2592000 });
  const row = usage?.grants.find((g) => g.name === value);
  const edges = byWeight(live?.map.edges.filter((e) => e.grant === value) ?? []);
  const f = (name: string) => `policy/usage[${value}].${name}`;
  return (
    <Sheet kind="grant" title={<Name text={value} mono />}>
      <GrantText grant={value} text={text} generation={text?.generation ?? 0} said="As it stands in" />
      <Part name="Use in 30 days">
        {row ? (
          <dl class="fields">
            <Field name="Flows">
              <Num field={f("flows")} value={row.flows} />
            </Field>
            <Field name="Bytes">
              <Num field={f("bytes")} value={row.bytes} as="bytes" />
            </Field>
            <Field name="Last used">
              <When
                field={f("last_seen")}
                at={row.last_seen}
                none={usage?.observed_since ? "never, as far as is recorded" : "not known"}
              />
            </Field>
            <Field name="Recorded since">
              <When field="policy/usage.observed_since" at={usage?.observed_since} />
            </Field>
          </dl>
        ) : (
          <p class="soft">{usage ? "Not in the present policy." : "asking …"}</p>
        )}
      </Part>
      <EdgeList edges={edges} name="Uses it now" />
    </Sheet>
  );
}

export function AddressSheet({ value, live }: SheetData) {
  const edges = byWeight(live?.map.edges.filter((e) => e.from.address === value || e.to.address === value) ?? []);
  return (
    <Sheet kind="address" title={<Name text={value} mono />}>
      <p class="soft">No node of this network holds this address.</p>
      {edges.length ? (
        <Part name="In this time">
          <Totals edges={edges} />
        </Part>
      ) : (
        <Gone what="Nothing was seen of it in the chosen time." />
      )}
      <EdgeList edges={edges} name={plural(edges.length, "Edge")} />
    </Sheet>
  );
}

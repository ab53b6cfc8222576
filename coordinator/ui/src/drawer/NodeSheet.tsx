import type { NodeRow } from "../api/types";
import { useResource } from "../state/resource";
import { clock, nodes as nodeRows } from "../state/live";
import { useStore } from "../state/store";
import { Copy, Fault, Field, Link as To, Loading, Name, Num, Tag, When } from "../ui/parts";
import { NodeState } from "../map/GroupBox";
import { gatewaysInUse } from "../map/graph";
import { GoesBy, LeadsTo } from "./Gateways";
import { EdgeList } from "./edges";
import { Ways } from "./Ways";
import { Dns, NodeFlows } from "./Workloads";
import { Part, Sheet, type SheetData } from "./Drawer";

export function NodeSheet({ value, live }: SheetData) {
  const known = useStore(nodeRows, (rows) => rows?.find((n) => n.id === value || n.name === value) ?? null);
  // The event stream keeps the list; a node is asked for by itself only if it is not there.
  const { data, problem } = useResource<NodeRow>(known ? null : `/nodes/${encodeURIComponent(value)}`);
  const n = known ?? data;
  if (!n)
    return (
      <Sheet kind="node" title={<Name text={value} mono />}>
        {problem ? <Fault problem={problem} /> : <Loading />}
      </Sheet>
    );
  return (
    <Sheet kind="node" title={<Name text={n.name} />}>
      <NodeBody n={n} live={live} />
    </Sheet>
  );
}

const CHANNELS = {
  udp: "UDP",
  quic: "a door, in QUIC datagrams",
  websocket: "a door, in a WebSocket over TLS",
};

/** What its control channel goes by. */
function Channel({ by }: { by: NodeRow["transport"] }) {
  return by ? <span data-channel={by}>{CHANNELS[by]}</span> : <span class="soft">none: it is not online</span>;
}

function NodeBody({ n, live }: { n: NodeRow; live: SheetData["live"] }) {
  const now = useStore(clock);
  void now;
  const f = (name: string) => `nodes[${n.id}].${name}`;
  const seen = live?.map.nodes.find((m) => m.id === n.id);
  const edges = live?.map.edges.filter((e) => e.from.node === n.id || e.to.node === n.id) ?? [];
  const sorted = [...edges].sort((a, b) => b.bytes_out + b.bytes_back - a.bytes_out - a.bytes_back);
  const peers = new Set(
    edges.filter((e) => e.verdict === "allow").map((e) => (e.from.node === n.id ? e.to.node : e.from.node)),
  );
  const goesBy = live ? gatewaysInUse(live.map).some((u) => u.user === n.id) : false;
  return (
    <>
      <div class="sheet-verdict">
        <NodeState node={{ online: n.online, revoked: n.revoked, behind_since: seen?.behind_since ?? null }} word />
        <span class="soft">
          {n.revoked !== null ? (
            <When field={f("revoked")} at={n.revoked} />
          ) : n.since !== null ? (
            <>
              since <When field={f("since")} at={n.since} />
            </>
          ) : n.external ? (
            "an external device: it is not seen, it has no agent"
          ) : (
            "not seen since the coordinator started"
          )}
        </span>
      </div>
      <dl class="fields">
        <Field name="Tags">
          {n.tags.length ? (
            n.tags.map((t) => (
              <To key={t} to={{ page: "map", group: "tag", sel: `tag:${t}` }} className="tag-link">
                <Tag name={t} />
              </To>
            ))
          ) : (
            <span class="soft">none</span>
          )}
        </Field>
        <Field name="Site">{seen ? <Name text={seen.site} /> : <Name text={null} />}</Field>
        <Field name="Offers">
          {n.offers.length ? (
            n.offers.map((s, i) => (
              <span key={s}>
                {i ? ", " : ""}
                <To to={{ sel: `service:${s}` }}>
                  <Name text={s} />
                </To>
              </span>
            ))
          ) : (
            <span class="soft">nothing</span>
          )}
        </Field>
        {n.leads_to.length ? (
          <Field name="Gateway to">
            {n.leads_to.map((s) => (
              <LeadsTo key={s} service={s} node={n.id} map={live?.map} />
            ))}
          </Field>
        ) : null}
        {live && goesBy ? (
          <Field name="Goes by">
            <GoesBy map={live.map} node={n.id} />
          </Field>
        ) : null}
        <Field name="Peers">
          <Num field={f("peers")} value={n.peers} /> <span class="soft">permitted, {peers.size} in use now</span>
        </Field>
      </dl>
      <Part name="Policy">
        <dl class="fields">
          <Field name="Enforces">
            {n.enforced ? (
              <>
                generation <Num field={f("enforced.generation")} value={n.enforced.generation} />{" "}
                <span class="soft">
                  · revision <Num field={f("enforced.revision")} value={n.enforced.revision} /> ·{" "}
                  <When field={f("enforced.at")} at={n.enforced.at} />
                </span>
              </>
            ) : (
              <span class="unknown">not known since the coordinator started</span>
            )}
          </Field>
          <Field name="Was sent">
            {n.sent ? (
              <>
                generation <Num field={f("sent.generation")} value={n.sent.generation} />{" "}
                <span class="soft">
                  · <When field={f("sent.at")} at={n.sent.at} />
                </span>
              </>
            ) : (
              <span class="unknown">not known</span>
            )}
          </Field>
          {seen?.behind_since ? (
            <Field name="Behind since">
              <When field={`map.nodes[${n.id}].behind_since`} at={seen.behind_since} />
            </Field>
          ) : null}
        </dl>
      </Part>
      <NodeFlows n={n} />
      <Ways n={n} />
      <Part name="Identity">
        <dl class="fields">
          <Field name="Node id">
            <Name text={n.id} mono />
            <Copy text={n.id} label="Copy the node id" />
          </Field>
          <Field name="Identity key">
            {n.external ? <span class="soft">none: an external device</span> : <Name text={n.identity} mono />}
          </Field>
          <Field name="WireGuard">
            {n.wireguard.map((k) => (
              <div key={k}>
                <Name text={k} mono />
              </div>
            ))}
          </Field>
          <Field name="Key serial">
            <Num field={f("key_serial")} value={n.key_serial} />
          </Field>
          <Field name="Keys proven">
            <When field={f("keys_since")} at={n.keys_since} />
          </Field>
          <Field name="Enrolled">
            <When field={f("enrolled")} at={n.enrolled} />
          </Field>
        </dl>
      </Part>
      <Part name="Network">
        <dl class="fields">
          <Field name="IPv4">
            <Name text={n.v4} mono />
          </Field>
          <Field name="IPv6">
            <Name text={n.v6} mono />
          </Field>
          <Field name="Seen at">
            <Name text={n.seen_at} mono />
          </Field>
          <Field name="Control channel">
            <Channel by={n.transport} />
          </Field>
          <Field name="Endpoints">
            {n.endpoints.length ? (
              n.endpoints.map((e) => (
                <div key={e}>
                  <Name text={e} mono />
                </div>
              ))
            ) : (
              <span class="soft">none</span>
            )}
          </Field>
          <Field name="Agent">
            {n.external ? <span class="soft">none: an external device</span> : <Name text={n.agent} mono />}
          </Field>
        </dl>
      </Part>
      <Dns n={n} />
      <EdgeList edges={sorted} name="Talks" limit={20} />
    </>
  );
}

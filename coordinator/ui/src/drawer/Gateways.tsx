// Hosts without an agent: what a node leads to, and who goes by whom. What is in use is read off what passed in the chosen time.
import type { FlowMap } from "../api/types";
import { gatewaysInUse } from "../map/graph";
import { Link as To, Name } from "../ui/parts";

const MOST = 12;

const nameOf = (map: FlowMap | undefined, id: string) => map?.nodes.find((n) => n.id === id)?.name ?? id;

/** Who uses this gateway to the service. */
export function UsedBy({ map, gateway, service }: { map: FlowMap | undefined; gateway: string; service: string }) {
  const uses = map ? gatewaysInUse(map).filter((u) => u.gateway === gateway && u.service.name === service) : [];
  if (!uses.length) return null;
  return (
    <span class="soft">
      {" "}
      used by{" "}
      {uses.slice(0, MOST).map((u, i) => (
        <span key={u.user}>
          {i ? ", " : ""}
          <To to={{ sel: `node:${u.user}` }}>
            <Name text={nameOf(map, u.user)} />
          </To>
        </span>
      ))}
      {uses.length > MOST ? ` and ${uses.length - MOST} more` : ""}
    </span>
  );
}

/** One service behind a node, with its addresses. */
export function LeadsTo({ map, node, service }: { map: FlowMap | undefined; node: string; service: string }) {
  const known = map?.services.find((s) => s.name === service);
  return (
    <div>
      <To to={{ sel: `service:${service}` }}>
        <Name text={service} />
      </To>
      {known?.addresses?.length ? (
        <>
          {" "}
          <Name text={known.addresses.join(", ")} mono />
        </>
      ) : null}
      <UsedBy map={map} gateway={node} service={service} />
    </div>
  );
}

/** The gateways that a node goes by. */
export function GoesBy({ map, node }: { map: FlowMap; node: string }) {
  const uses = gatewaysInUse(map).filter((u) => u.user === node);
  return (
    <>
      {uses.map((u) => (
        <div key={`${u.service.name} ${u.gateway}`}>
          <To to={{ sel: `node:${u.gateway}` }}>
            <Name text={nameOf(map, u.gateway)} />
          </To>{" "}
          <span class="soft">to</span>{" "}
          <To to={{ sel: `service:${u.service.name}` }}>
            <Name text={u.service.name} />
          </To>
        </div>
      ))}
    </>
  );
}

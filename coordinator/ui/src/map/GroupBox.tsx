import { memo } from "./memo";
import type { Box } from "./layout";
import { slot } from "./graph";
import { selOfSlot } from "./select";
import { Icon } from "../ui/icons";
import { Num } from "../ui/parts";
import { plural, visible } from "../format";
import type { MapNode } from "../api/types";
import type { Level } from "../state/url";

interface Props {
  box: Box;
  /** In the hand of who arranges. */
  lifted: boolean;
  sel: string | null;
  onSlot: (id: string) => void;
  onLevel: (key: string, level: Level) => void;
}

const ids = (nodes: readonly { id: string }[]) => `map.nodes[${nodes.map((n) => n.id).join(",")}].length`;

export const GroupBox = memo(function GroupBox({ box, lifted, sel, onSlot, onLevel }: Props) {
  const { group, level, rect } = box;
  const head = slot.group(group.key);
  const small = box.slots.get(head)!.h === rect.h;
  const top = group.kind === "node" || group.kind === "outside" ? 1 : 2;
  const mark = (id: string) => ({ "data-slot": id, "aria-pressed": selOfSlot(id) === sel });
  const place = (id: string) => {
    const r = box.slots.get(id)!;
    return { left: `${r.x}px`, top: `${r.y}px`, width: `${r.w}px`, height: `${r.h}px` };
  };
  const offline = group.nodes.filter((n) => n.online === false);
  const behind = group.nodes.filter((n) => n.online === true && n.behind_since !== null);
  const title = group.kind === "tag" && group.key !== "untagged" ? group.key : group.label;
  return (
    <section
      class={`group k-${group.kind} ${small ? "small" : ""} ${lifted ? "lifted" : ""} ${sel === selOfSlot(head) ? "chosen" : ""}`}
      data-group={group.key}
      aria-label={title}
      style={{ transform: `translate(${rect.x}px, ${rect.y}px)`, width: `${rect.w}px`, height: `${rect.h}px` }}
    >
      <button type="button" class="slot group-head" {...mark(head)} onClick={() => onSlot(head)} title={visible(title)}>
        <span class="group-name">
          <bdi>{group.label}</bdi>
        </span>
        <span class="group-count">
          {group.kind === "outside" ? (
            `${group.addresses.length} ${plural(group.addresses.length, "address", "addresses")}`
          ) : group.kind === "node" ? (
            <NodeState node={group.nodes[0]!} word />
          ) : (
            <>
              <Num field={ids(group.nodes)} value={group.nodes.length} of={plural(group.nodes.length, "node")} />
              {small && group.services.length && !offline.length && !behind.length ? (
                <>
                  {" "}
                  · {group.services.length} {plural(group.services.length, "service")}
                </>
              ) : null}
            </>
          )}
          {group.kind !== "node" && offline.length ? (
            <span class="state s-offline tally" title={`${offline.length} offline`}>
              <i class="dot" aria-hidden="true" />
              {offline.length}
              <span class="sr"> offline</span>
            </span>
          ) : null}
          {group.kind !== "node" && behind.length ? (
            <span class="state s-behind tally" title={`${behind.length} behind: not yet enforcing the present policy`}>
              <i class="dot" aria-hidden="true" />
              {behind.length}
              <span class="sr"> behind</span>
            </span>
          ) : null}
        </span>
      </button>
      <span class="level">
        {level > 0 && !(small && level === 1) ? (
          <button
            type="button"
            onClick={() => onLevel(group.key, (level - 1) as Level)}
            aria-label={`Close ${visible(title)}`}
            title="Show less"
          >
            <Icon name="minus" size={12} />
          </button>
        ) : null}
        {level < top ? (
          <button
            type="button"
            onClick={() =>
              onLevel(
                group.key,
                (small && level === 0 && !group.services.length && group.kind !== "outside" ? top : level + 1) as Level,
              )
            }
            aria-label={`Open ${visible(title)}`}
            title={level === 0 ? "Show services" : "Show nodes"}
          >
            <Icon name="plus" size={12} />
          </button>
        ) : null}
      </span>
      {group.services.map((s) => {
        const id = slot.service(group.key, s.name);
        if (!box.slots.has(id)) return null;
        return (
          <button
            type="button"
            key={id}
            class={s.addresses.length ? "slot service agentless" : "slot service"}
            {...mark(id)}
            style={place(id)}
            onClick={() => onSlot(id)}
            title={`${visible(s.name)} ${s.ports.join(", ")}${behindText(s.addresses)}`}
          >
            {s.addresses.length ? <Icon name="agentless" size={13} /> : null}
            <span class="service-name">
              <bdi>{visible(s.name)}</bdi>
            </span>
            <span class="port mono">
              {s.ports[0]?.replace("icmp/echo", "icmp") ?? "not known"}
              {s.ports.length > 1 ? ` +${s.ports.length - 1}` : ""}
            </span>
          </button>
        );
      })}
      {group.nodes.map((n) => {
        const id = slot.node(n.id);
        const r = box.slots.get(id);
        if (!r) return null;
        const own = group.services.filter((s) => s.nodes.includes(n.id) && box.slots.has(slot.at(n.id, s.name)));
        const h = r.h + own.length * 22 + (own.length ? 4 : 0);
        return (
          <div
            key={id}
            class="node-frame"
            style={{ left: `${r.x}px`, top: `${r.y}px`, width: `${r.w}px`, height: `${h}px` }}
          >
            <button
              type="button"
              class="slot node"
              {...mark(id)}
              style={{ height: `${r.h}px` }}
              onClick={() => onSlot(id)}
              title={visible(n.name)}
            >
              <NodeState node={n} />
              <span class="service-name">
                <bdi>{visible(n.name)}</bdi>
              </span>
            </button>
            {own.map((s) => {
              const at = slot.at(n.id, s.name);
              const q = box.slots.get(at)!;
              return (
                <button
                  type="button"
                  key={at}
                  class={s.addresses.length ? "slot service tiny agentless" : "slot service tiny"}
                  title={`${visible(s.name)} ${s.ports.join(", ")}${behindText(s.addresses)}`}
                  {...mark(at)}
                  style={{ left: `${q.x - r.x}px`, top: `${q.y - r.y}px`, width: `${q.w}px`, height: `${q.h}px` }}
                  onClick={() => onSlot(at)}
                >
                  {s.addresses.length ? <Icon name="agentless" size={13} /> : null}
                  <span class="service-name">
                    <bdi>{visible(s.name)}</bdi>
                  </span>
                  <span class="port mono">{s.ports[0]}</span>
                </button>
              );
            })}
          </div>
        );
      })}
      {group.addresses.map((a) => {
        const id = slot.address(a);
        if (!box.slots.has(id)) return null;
        return (
          <button
            type="button"
            key={id}
            class="slot service address"
            {...mark(id)}
            style={place(id)}
            onClick={() => onSlot(id)}
          >
            <span class="service-name mono">
              <bdi>{visible(a)}</bdi>
            </span>
          </button>
        );
      })}
      {box.hidden ? <span class="hidden-count">{box.hidden} more: tidy to show</span> : null}
    </section>
  );
});

/** Filled: enforces. A bar: behind. Hollow: offline. A dash: not known. */
/** Of a service of hosts without an agent. */
const behindText = (addresses: readonly string[]) =>
  addresses.length ? `: hosts without an agent, ${addresses.join(", ")}, behind these nodes` : "";

export function NodeState({
  node,
  word,
}: {
  node: Pick<MapNode, "online" | "behind_since" | "revoked">;
  word?: boolean;
}) {
  const [kind, text] =
    node.revoked !== null
      ? ["revoked", "revoked"]
      : node.online === null
        ? ["unknown", "not known"]
        : !node.online
          ? ["offline", "offline"]
          : node.behind_since !== null
            ? ["behind", "behind"]
            : ["fine", "online"];
  return (
    <span class={`state s-${kind}`}>
      <i class="dot" aria-hidden="true" />
      {word ? text : <span class="sr">{text}</span>}
    </span>
  );
}

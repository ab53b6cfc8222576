// One field that knows names, tags, services, addresses and grants.
import { useEffect, useMemo, useState } from "preact/hooks";
import { blocks } from "../policy-text";
import { go, mapState, nodes, place, policy } from "../state/live";
import { useStore } from "../state/store";
import { HOME, type Place } from "../state/url";
import { Icon } from "../ui/icons";
import { visible } from "../format";

let input: HTMLInputElement | null = null;
export const focusSearch = (): void => {
  input?.focus();
  input?.select();
};

interface Hit {
  kind: string;
  text: string;
  more: string;
  to: Partial<Place>;
}

const MOST = 9;

export function Search() {
  const page = useStore(place, (p) => p.page);
  const q = useStore(place, (p) => p.q);
  const [text, setText] = useState(q);
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  useEffect(() => setText(q), [q]);
  const all = useIndex(open);
  const hits = useMemo(() => find(all, text), [all, text]);
  const canFilter = page !== "policy" && page !== "tokens" && page !== "alarms";
  const rows: Hit[] =
    text.trim() && canFilter
      ? [{ kind: "show", text: `only what has “${text.trim()}”`, more: "", to: { q: text.trim(), sel: null } }, ...hits]
      : hits;
  const choose = (hit: Hit | undefined) => {
    if (!hit) return;
    setOpen(false);
    input?.blur();
    const stays = hit.to.sel ? ["map", "flows", "nodes"].includes(page) : true;
    go(stays ? hit.to : { ...HOME, page: "map", ...hit.to });
  };
  const shown = open && text.trim().length > 0;
  return (
    <div class="search" role="search">
      <Icon name="search" />
      <input
        ref={(el) => {
          input = el;
        }}
        value={text}
        placeholder="Search"
        aria-label="Search names, tags, services, addresses, grants"
        role="combobox"
        aria-expanded={shown}
        aria-controls="search-hits"
        aria-activedescendant={shown ? `hit-${at}` : undefined}
        spellcheck={false}
        autoComplete="off"
        onInput={(e) => {
          setText(e.currentTarget.value);
          setAt(0);
          setOpen(true);
        }}
        onFocus={() => setOpen(true)}
        onBlur={() => setTimeout(() => setOpen(false), 120)}
        onKeyDown={(e) => {
          if (e.key === "ArrowDown" || e.key === "ArrowUp") {
            e.preventDefault();
            setAt((n) => (n + (e.key === "ArrowDown" ? 1 : -1) + rows.length) % Math.max(1, rows.length));
          } else if (e.key === "Enter") {
            e.preventDefault();
            if (!text.trim()) go({ q: "" });
            else choose(rows[at]);
          }
        }}
      />
      {q ? (
        <button
          type="button"
          class="quiet tiny"
          aria-label="Clear the search"
          onClick={() => {
            setText("");
            go({ q: "" });
          }}
        >
          <Icon name="close" size={12} />
        </button>
      ) : (
        <kbd aria-hidden="true">/</kbd>
      )}
      {shown ? (
        <ul class="hits" id="search-hits" role="listbox">
          {rows.map((h, i) => (
            <li
              key={`${h.kind} ${h.text}`}
              id={`hit-${i}`}
              role="option"
              aria-selected={i === at}
              onPointerEnter={() => setAt(i)}
              onPointerDown={(e) => {
                e.preventDefault();
                choose(h);
              }}
            >
              <span class="hit-kind">{h.kind}</span>
              <bdi class={h.kind === "grant" || h.kind === "address" ? "mono" : ""}>{visible(h.text)}</bdi>
              <span class="soft mono">{visible(h.more)}</span>
            </li>
          ))}
          {rows.length === 0 ? <li class="soft">nothing of that name</li> : null}
        </ul>
      ) : null}
    </div>
  );
}

function useIndex(wanted: boolean): Hit[] {
  const rows = useStore(nodes);
  const services = useStore(mapState, (s) => s.live?.map.services ?? null);
  const text = useStore(policy);
  return useMemo(() => {
    if (!wanted) return [];
    const list: Hit[] = [];
    for (const s of services ?? [])
      list.push({
        kind: "service",
        text: s.name,
        more: [...s.ports, ...(s.addresses ?? [])].join(" "),
        to: { sel: `service:${s.name}` },
      });
    for (const n of rows ?? []) {
      if (n.revoked !== null) continue;
      list.push({ kind: "node", text: n.name, more: n.v4 ?? n.v6, to: { sel: `node:${n.id}` } });
      list.push({ kind: "address", text: n.v6, more: n.name, to: { sel: `node:${n.id}` } });
    }
    for (const t of new Set((rows ?? []).flatMap((n) => n.tags)))
      list.push({ kind: "tag", text: t, more: "", to: { sel: `tag:${t}` } });
    for (const s of text?.sources ?? [])
      for (const b of blocks(s.file, s.text))
        if (b.kind === "grant")
          list.push({ kind: "grant", text: b.name, more: `${b.file}:${b.line}`, to: { sel: `grant:${b.name}` } });
    return list;
  }, [wanted, rows, services, text]);
}

export function find(all: readonly Hit[], text: string): Hit[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const score = (h: Hit): number => {
    const name = h.text.toLowerCase();
    const line = `${h.kind} ${name} ${h.kind}:${name} ${h.more.toLowerCase()}`;
    if (!words.every((w) => line.includes(w))) return -1;
    return (
      (name === words[0] ? 4 : name.startsWith(words[0]!) ? 2 : name.includes(words[0]!) ? 1 : 0) +
      (h.kind === "address" ? -0.5 : 0)
    );
  };
  return all
    .map((h) => ({ h, s: score(h) }))
    .filter((x) => x.s >= 0)
    .sort((a, b) => b.s - a.s || a.h.text.length - b.h.text.length || (a.h.text < b.h.text ? -1 : 1))
    .slice(0, MOST)
    .map((x) => x.h);
}

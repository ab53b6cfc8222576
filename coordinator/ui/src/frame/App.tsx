// The frame: rail, top, the thing itself, the drawer. It never scrolls; what stands in it may.
import { useEffect, useRef, useState } from "preact/hooks";
import { go, place, session, status, visit } from "../state/live";
import { useStore } from "../state/store";
import { PAGES, type Page, format, toPage } from "../state/url";
import { Icon, type IconName, Mark } from "../ui/icons";
import { Drawer } from "../drawer/Drawer";
import { MapPage } from "../pages/MapPage";
import { FlowsPage } from "../pages/FlowsPage";
import { PolicyPage } from "../pages/PolicyPage";
import { AlarmsPage } from "../pages/AlarmsPage";
import { AuditPage } from "../pages/AuditPage";
import { NodesPage } from "../pages/NodesPage";
import { TokensPage } from "../pages/TokensPage";
import { SignIn } from "./SignIn";
import { Top } from "./Top";
import { focusSearch } from "./Search";
import { Loading } from "../ui/parts";

const NAMES: Record<Page, string> = {
  map: "Map",
  flows: "Flows",
  policy: "Policy",
  nodes: "Nodes",
  tokens: "Tokens",
  alarms: "Alarms",
  audit: "Audit",
};
/** Pressed after `g`. */
const KEYS: Record<string, Page> = {
  m: "map",
  f: "flows",
  p: "policy",
  n: "nodes",
  t: "tokens",
  a: "alarms",
  u: "audit",
};
const VIEWS = {
  map: MapPage,
  flows: FlowsPage,
  policy: PolicyPage,
  nodes: NodesPage,
  tokens: TokensPage,
  alarms: AlarmsPage,
  audit: AuditPage,
};

export function App() {
  const who = useStore(session);
  const page = useStore(place, (p) => p.page);
  const open = useStore(place, (p) => p.sel !== null);
  const network = useStore(status, (s) => s?.name ?? null);
  useKeys();
  useEffect(() => {
    document.title = `${NAMES[page]}${network ? ` · ${network}` : ""} · Warren`;
  }, [page, network]);
  if (who === "asking")
    return (
      <div class="whole">
        <Loading />
      </div>
    );
  if (who === null) return <SignIn />;
  const View = VIEWS[page];
  return (
    <div class={`frame ${open ? "with-drawer" : ""}`}>
      <a
        class="skip"
        href="#main"
        onClick={(e) => {
          e.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        Skip to the content
      </a>
      <Rail page={page} />
      <Top who={who} />
      <main id="main" tabIndex={-1}>
        <View />
      </main>
      <Drawer />
      <Keys />
    </div>
  );
}

const HELP: readonly (readonly [string, string])[] = [
  ["/", "search names, tags, addresses, grants"],
  ["g m", "map"],
  ["g f", "flows"],
  ["g p", "policy"],
  ["g n", "nodes"],
  ["g t", "tokens"],
  ["g a", "alarms"],
  ["g u", "audit"],
  ["↑ ↓ ← →", "to the next box, or the next row"],
  ["+ −", "open or close a box of the map"],
  ["Enter", "details"],
  ["Esc", "close, then clear the search"],
  ["?", "this list"],
];

/** What `?` shows. */
function Keys() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "?" && !isTyping(event.target)) setOpen((o) => !o);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog
      ref={dialog}
      class="keys"
      aria-label="Keys"
      onClose={() => setOpen(false)}
      onClick={(e) => {
        if (e.target === e.currentTarget) setOpen(false);
      }}
    >
      <h2>Keys</h2>
      <dl>
        {HELP.map(([key, what]) => (
          <div key={key}>
            <dt>
              {key.split(" ").map((k) => (
                <kbd key={k}>{k}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </dialog>
  );
}

function Rail({ page }: { page: Page }) {
  const alarms = useStore(status, (s) => s?.alarms.length ?? 0);
  const p = useStore(place);
  return (
    <nav class="rail" aria-label="Pages">
      <div class="brand">
        <Mark />
        <span>Warren</span>
      </div>
      {PAGES.map((name) => (
        <a
          key={name}
          href={format(toPage(p, name))}
          aria-current={name === page ? "page" : undefined}
          title={`${NAMES[name]} (g ${Object.entries(KEYS).find(([, v]) => v === name)?.[0]})`}
          onClick={(e) => {
            if (e.metaKey || e.ctrlKey || e.shiftKey) return;
            e.preventDefault();
            visit(toPage(place.get(), name));
          }}
        >
          <Icon name={name as IconName} />
          <span>{NAMES[name]}</span>
          {name === "alarms" && alarms > 0 ? (
            <b class="badge num" data-field="status.alarms.length" data-value={alarms} data-form="count">
              {alarms}
            </b>
          ) : null}
        </a>
      ))}
    </nav>
  );
}

const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));

function useKeys(): void {
  useEffect(() => {
    let afterG = 0;
    const onKey = (event: KeyboardEvent) => {
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
        if (isTyping(event.target)) (event.target as HTMLElement).blur();
        else if (place.get().sel) go({ sel: null });
        else if (place.get().q) go({ q: "" });
        return;
      }
      if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
      if (event.key === "/") {
        event.preventDefault();
        focusSearch();
      } else if (event.key === "g") {
        afterG = event.timeStamp;
        return;
      } else if (event.timeStamp - afterG < 1200) {
        const page = KEYS[event.key];
        if (page) {
          event.preventDefault();
          visit(toPage(place.get(), page));
        }
      }
      afterG = 0;
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}

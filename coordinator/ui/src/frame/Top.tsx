import { useEffect, useState } from "preact/hooks";
import type { Session } from "../api/types";
import { clock, connection, go, leave, status, trouble } from "../state/live";
import { useStore } from "../state/store";
import { Icon } from "../ui/icons";
import { Num } from "../ui/parts";
import { ago, clock as clockWord, utc } from "../format";
import { Search } from "./Search";
import { TimeBar } from "./TimeBar";

export function Top({ who }: { who: Session }) {
  return (
    <header class="top">
      <NetworkState />
      <TimeBar />
      <Search />
      <Theme />
      <button
        type="button"
        class="quiet"
        title={`Signed in as ${who.name} (${who.scope}). Sign out`}
        aria-label={`Sign out ${who.name}`}
        onClick={() => void leave()}
      >
        <Icon name="leave" />
      </button>
    </header>
  );
}

function NetworkState() {
  const s = useStore(status);
  const link = useStore(connection);
  const fault = useStore(trouble.status);
  const now = useStore(clock);
  void now;
  if (!s)
    return (
      <div class="network">
        <strong class="unknown">{fault ? fault.detail : "…"}</strong>
      </div>
    );
  const e = s.enforcement;
  const behind = e.behind.length;
  const lost = link.state === "lost";
  return (
    <div class="network">
      <strong>
        <bdi>{s.name}</bdi>
      </strong>
      {lost ? (
        <span class="stale" role="status" title={link.heard ? utc(link.heard) : ""}>
          {link.heard
            ? `not live since ${clockWord(link.heard)}, ${ago(link.heard, Date.now() / 1000)}`
            : "not live: no event has come yet"}
        </span>
      ) : (
        <a
          class={`gen ${behind ? "is-behind" : ""}`}
          href="/nodes"
          title={e.summary}
          onClick={(event) => {
            event.preventDefault();
            go({ page: "nodes", sel: null, q: "" });
          }}
        >
          {s.generation === 0 ? null : <span class="dot" aria-hidden="true" />}
          {s.generation === 0 ? (
            <span>no policy: all is refused</span>
          ) : (
            <>
              <span>
                gen <Num field="status.enforcement.generation" value={e.generation} />
              </span>
              <span class="gen-rest">
                <Num field="status.enforcement.enforced" value={e.enforced} /> of{" "}
                <Num field="status.enforcement.of" value={e.of} /> enforce
              </span>
              {behind ? (
                <span class="gen-behind">
                  <Num field="status.enforcement.behind.length" value={behind} /> behind
                </span>
              ) : null}
            </>
          )}
        </a>
      )}
      {s.observe ? (
        <span class="observe" title="The policy lets everything pass and only records what it would refuse">
          observes only
        </span>
      ) : null}
      {s.flows.declared_lost > 0 ? (
        <span class="gen-rest v-would-deny" title="Flow records that nodes lost before they could be sent">
          <Num field="status.flows.declared_lost" value={s.flows.declared_lost} /> lost
        </span>
      ) : null}
    </div>
  );
}

type Look = "system" | "light" | "dark";

function Theme() {
  const [look, setLook] = useState<Look>(
    () => (document.documentElement.dataset.theme as Look | undefined) ?? "system",
  );
  const [dark, setDark] = useState(matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const heard = () => setDark(media.matches);
    media.addEventListener("change", heard);
    return () => media.removeEventListener("change", heard);
  }, []);
  const isDark = look === "dark" || (look === "system" && dark);
  const turn = () => {
    const next: Look = isDark ? "light" : "dark";
    // What the system says anyway need not be remembered.
    const keep = (next === "dark") !== dark;
    try {
      if (keep) localStorage.setItem("warren.theme", next);
      else localStorage.removeItem("warren.theme");
    } catch {
      // A browser that forbids storage forgets the look, no more.
    }
    if (keep) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    setLook(keep ? next : "system");
  };
  return (
    <button
      type="button"
      class="quiet"
      title={isDark ? "Light" : "Dark"}
      aria-label={isDark ? "Light look" : "Dark look"}
      onClick={turn}
    >
      <Icon name={isDark ? "sun" : "moon"} />
    </button>
  );
}

import { useEffect, useState } from "preact/hooks";
import { ApiError, post } from "../api/client";
import type { KeyRow, Problem, Session } from "../api/types";
import { clock } from "../state/live";
import { useStore } from "../state/store";
import { useResource } from "../state/resource";
import { Command, Empty, Fault, Loading, Name, When } from "../ui/parts";
import { Icon } from "../ui/icons";
import { Table, type Column } from "../ui/table";

export function Keys() {
  const [serial, setSerial] = useState(0);
  const { data, problem } = useResource<KeyRow[]>("/keys", {}, serial);
  const [kept, keep] = useState<KeyRow[] | null>(null);
  useEffect(() => {
    if (data) keep(data);
  }, [data]);
  const [making, setMaking] = useState(false);
  const [fault, setFault] = useState<Problem | null>(null);
  const now = useStore(clock, (c) => Math.floor(c / 30) * 30);
  const revoke = async (id: string) => {
    try {
      await post(`/keys/${encodeURIComponent(id)}/revoke`, {});
      setFault(null);
      setSerial((n) => n + 1);
    } catch (error) {
      if (error instanceof ApiError) setFault(error.problem);
    }
  };
  const state = (k: KeyRow) =>
    k.revoked !== null ? "revoked" : k.ends !== null && k.ends <= now ? "expired" : "usable";
  const columns: Column<KeyRow>[] = [
    {
      id: "state",
      head: "State",
      track: "92px",
      cell: (k) => <span class={`token-state ts-${state(k)}`}>{state(k)}</span>,
    },
    { id: "name", head: "Name", track: "minmax(90px,1.2fr)", cell: (k) => <Name text={k.name} /> },
    { id: "scope", head: "Scope", track: "minmax(60px,1fr)", cell: (k) => k.scope },
    {
      id: "last",
      head: "Last used",
      track: "104px",
      right: true,
      cell: (k) => <When field={`keys[${k.id}].last_used`} at={k.last_used} none="never" />,
      spare: 1,
    },
    {
      id: "ends",
      head: "Ends",
      track: "104px",
      right: true,
      cell: (k) => <When field={`keys[${k.id}].ends`} at={k.ends} none="never" />,
      spare: 1,
    },
    {
      id: "id",
      head: "Id",
      track: "minmax(110px,0.8fr)",
      cell: (k) => <span class="mono soft">{k.id}</span>,
      spare: 2,
    },
    {
      id: "act",
      head: "",
      track: "76px",
      right: true,
      cell: (k) => (state(k) === "usable" ? <Sure word="Revoke" onSure={() => void revoke(k.id)} /> : null),
    },
  ];
  return (
    <>
      <div class="bar second">
        <h1>API keys</h1>
        <span class="soft">for programs and for this page</span>
        <span class="grow" />
        <button type="button" class="button" onClick={() => setMaking(!making)}>
          <Icon name="plus" /> New key
        </button>
      </div>
      {making ? <NewKey onDone={() => setSerial((n) => n + 1)} /> : null}
      {(problem ?? fault) ? <Fault problem={(problem ?? fault)!} /> : null}
      {kept ? (
        <Table
          label="API keys"
          rows={kept}
          columns={columns}
          keyOf={(k) => k.id}
          empty={<Empty title="No key was made yet" />}
        />
      ) : (
        <Loading />
      )}
    </>
  );
}

function Sure({ word, onSure }: { word: string; onSure: () => void }) {
  const [asked, ask] = useState(false);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => ask(false), 4000);
    return () => clearTimeout(timer);
  }, [asked]);
  return (
    <button
      type="button"
      class={`button slim ${asked ? "danger" : ""}`}
      onClick={(e) => {
        e.stopPropagation();
        asked ? onSure() : ask(true);
      }}
    >
      {asked ? "Sure?" : word}
    </button>
  );
}

const LIVES: readonly (readonly [string, number | null])[] = [
  ["1 day", 86400],
  ["30 days", 2592000],
  ["1 year", 31536000],
  ["no end", null],
];

function NewKey({ onDone }: { onDone: () => void }) {
  const [name, setName] = useState("");
  const [scope, setScope] = useState<Session["scope"]>("read");
  const [life, setLife] = useState("30 days");
  const [made, setMade] = useState<string | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const make = async () => {
    const seconds = LIVES.find(([word]) => word === life)?.[1] ?? null;
    try {
      const reply = await post<{ key: string; row: KeyRow }>("/keys", {
        name,
        scope,
        ends: seconds === null ? null : clock.get() + seconds,
      });
      setMade(reply.key);
      setProblem(null);
      onDone();
    } catch (error) {
      if (error instanceof ApiError) setProblem(error.problem);
    }
  };
  return (
    <div class="new-key">
      {made ? (
        <div>
          <p>This key is shown once. Keep it where secrets are kept.</p>
          <Command text={made} />
        </div>
      ) : (
        <form
          onSubmit={(e) => {
            e.preventDefault();
            void make();
          }}
        >
          <label>
            Name{" "}
            <input
              value={name}
              onInput={(e) => setName(e.currentTarget.value)}
              required
              placeholder="grafana"
              spellcheck={false}
            />
          </label>
          <label>
            Scope{" "}
            <select value={scope} onChange={(e) => setScope(e.currentTarget.value as Session["scope"])}>
              <option>read</option>
              <option>operate</option>
              <option>admin</option>
            </select>
          </label>
          <label>
            Lives{" "}
            <select value={life} onChange={(e) => setLife(e.currentTarget.value)}>
              {LIVES.map(([word]) => (
                <option key={word}>{word}</option>
              ))}
            </select>
          </label>
          <button type="submit" class="button primary">
            Make it
          </button>
        </form>
      )}
      {problem ? <Fault problem={problem} /> : null}
    </div>
  );
}

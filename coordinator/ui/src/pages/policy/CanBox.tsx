import { useEffect, useState } from "preact/hooks";
import type { Answer, Ever } from "../../api/types";
import { mapState, nodes } from "../../state/live";
import { useStore } from "../../state/store";
import { useResource } from "../../state/resource";
import { Link as To } from "../../ui/parts";
import { Icon } from "../../ui/icons";

export function CanBox() {
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const [port, setPort] = useState("");
  const [asked, setAsked] = useState({ from: "", to: "", port: "" });
  const rows = useStore(nodes);
  const map = useStore(mapState, (s) => s.live?.map ?? null);
  useEffect(() => {
    const timer = setTimeout(() => setAsked({ from: from.trim(), to: to.trim(), port: port.trim() }), 180);
    return () => clearTimeout(timer);
  }, [from, to, port]);
  // An answer stands beside its own question only.
  const isAsked = asked.from === from.trim() && asked.to === to.trim() && asked.port === port.trim();
  const ready = isAsked && asked.from && asked.to;
  const { data, problem } = useResource<Answer>(ready ? "/can" : null, {
    from: asked.from,
    to: asked.to,
    port: asked.port || null,
  });
  const ever = useResource<Ever>(ready && data ? "/ever" : null, {
    from: asked.from.includes(":") ? asked.from : `node:${asked.from}`,
    to: asked.to,
    port: asked.port || null,
  });
  const tags = [...new Set(rows?.flatMap((n) => n.tags) ?? [])].sort();
  const names =
    rows
      ?.filter((n) => n.revoked === null)
      .map((n) => n.name)
      .sort() ?? [];
  const services = map?.services.map((s) => s.name) ?? [];
  return (
    <section class="side-part can">
      <h2>Can …</h2>
      <form onSubmit={(e) => e.preventDefault()} role="search" aria-label="Can one open a connection to the other?">
        <label for="can-a">From</label>
        <input
          id="can-a"
          list="can-from"
          value={from}
          onInput={(e) => setFrom(e.currentTarget.value)}
          placeholder="tag:web, or a node"
          spellcheck={false}
          autoComplete="off"
        />
        <label for="can-b">To</label>
        <input
          id="can-b"
          list="can-to"
          value={to}
          onInput={(e) => setTo(e.currentTarget.value)}
          placeholder="a service, tag or node"
          spellcheck={false}
          autoComplete="off"
        />
        <label for="can-c">Port</label>
        <input
          id="can-c"
          class="can-port"
          value={port}
          onInput={(e) => setPort(e.currentTarget.value)}
          placeholder="any; or tcp/8443"
          spellcheck={false}
          autoComplete="off"
        />
        <datalist id="can-from">
          {tags.map((t) => (
            <option key={t} value={`tag:${t}`} />
          ))}
          {names.map((n) => (
            <option key={n} value={n} />
          ))}
        </datalist>
        <datalist id="can-to">
          {services.map((s) => (
            <option key={s} value={s} />
          ))}
          {tags.map((t) => (
            <option key={t} value={`tag:${t}`} />
          ))}
          {names.map((n) => (
            <option key={n} value={n} />
          ))}
        </datalist>
      </form>
      <div class="can-answer" role="status">
        {from.trim() && to.trim() ? null : <p class="soft">Answered as you type, by the policy in force.</p>}
        {ready && problem ? (
          <p class="soft">
            {problem.detail}
            {problem.hint ? ` ${problem.hint}` : ""}
          </p>
        ) : null}
        {data ? <Said answer={data} /> : null}
        {ever.data ? (
          <p class="soft small">
            {ever.data.yes
              ? "A node that could be enrolled may."
              : "Proven: no node that could ever be enrolled with this may."}
          </p>
        ) : null}
      </div>
    </section>
  );
}

function Said({ answer }: { answer: Answer }) {
  const pairs = (list: readonly { grant?: string; nearest?: string | null }[]) => [
    ...new Set(list.map((x) => x.grant ?? x.nearest).filter((x): x is string => !!x)),
  ];
  const grants = pairs(answer.passes);
  const some = answer.passes.length > 0 && !answer.yes;
  return (
    <>
      <p class={answer.yes ? "yes" : "no"}>
        <Icon name={answer.yes ? "check" : some ? "dash" : "cross"} />{" "}
        {answer.yes
          ? "Yes"
          : some
            ? `Partly: ${answer.passes.length} of ${answer.passes.length + answer.fails.length} pairs`
            : "No"}
      </p>
      {grants.slice(0, 5).map((g) => (
        <p key={g}>
          by{" "}
          <To to={{ sel: `grant:${g}` }}>
            <span class="mono">{g}</span>
          </To>
        </p>
      ))}
      {answer.fails.slice(0, 4).map((f, i) => (
        <p key={i} class="soft">
          {f.reason}
          {f.nearest ? (
            <>
              {" "}
              · nearest:{" "}
              <To to={{ sel: `grant:${f.nearest}` }}>
                <span class="mono">{f.nearest}</span>
              </To>
            </>
          ) : null}
        </p>
      ))}
      {answer.fails.length > 4 ? <p class="soft small">and {answer.fails.length - 4} more</p> : null}
    </>
  );
}

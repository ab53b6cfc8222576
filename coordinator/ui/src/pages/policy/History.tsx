import type { PolicyRow } from "../../api/types";
import { Link as To, When } from "../../ui/parts";

export function History({ history, shown }: { history: PolicyRow[]; shown: number }) {
  const rows = [...history].sort((a, b) => b.generation - a.generation);
  return (
    <section class="side-part">
      <h2>History</h2>
      <ul class="history">
        {rows.map((r) => (
          <li key={r.generation}>
            <To
              to={{ generation: r.current ? null : r.generation, line: null, sel: null }}
              className={`history-line ${r.generation === shown ? "shown" : ""}`}
            >
              <span class="num gen">{r.generation}</span>
              <span class="by">
                <bdi>{r.by}</bdi>
              </span>
              <When field={`policy/history[${r.generation}].applied`} at={r.applied} />
              {r.current ? <span class="now">in force</span> : null}
            </To>
          </li>
        ))}
      </ul>
    </section>
  );
}

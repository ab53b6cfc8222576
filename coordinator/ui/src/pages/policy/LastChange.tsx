import type { PolicyDiff, PolicyText } from "../../api/types";
import { useResource } from "../../state/resource";
import { DiffWords } from "./DiffWords";

/** What the policy in force gave and took when it came. */
export function LastChange({ current }: { current: PolicyText }) {
  const { data, problem } = useResource<PolicyDiff>("/policy/diff", { to: current.generation });
  return (
    <section class="side-part">
      <h2>What generation {current.generation} changed</h2>
      {problem ? <p class="soft">{problem.detail}</p> : null}
      {data ? <DiffWords {...data.diff} /> : problem ? null : <p class="soft">asking …</p>}
    </section>
  );
}

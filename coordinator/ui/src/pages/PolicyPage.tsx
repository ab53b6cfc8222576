import type { PolicyRow } from "../api/types";
import { loadPolicy, place, policy, policySerial, trouble } from "../state/live";
import { useStore } from "../state/store";
import { useResource } from "../state/resource";
import { Command, Empty, Fault, Loading, Pending } from "../ui/parts";
import { CanBox } from "./policy/CanBox";
import { Current } from "./policy/Current";
import { History } from "./policy/History";
import { LastChange } from "./policy/LastChange";
import { Older } from "./policy/Older";
import { Reviewed } from "./policy/Reviewed";

export function PolicyPage() {
  const generation = useStore(place, (p) => p.generation);
  const serial = useStore(policySerial);
  const current = useStore(policy);
  const fault = useStore(trouble.policy);
  const { data: history, problem, again } = useResource<PolicyRow[]>("/policy/history", {}, serial);
  const isCurrent = generation === null || generation === current?.generation;
  if (!history) return <Pending name="Policy" problem={problem} again={again} />;
  if (!history.length) {
    return (
      <div class="page">
        <Empty title="No policy was ever applied">
          <p>Everything is refused until there is one.</p>
          <Command text="warren policy apply policy.toml" />
        </Empty>
      </div>
    );
  }
  return (
    <div class="page flush policy">
      <div class="policy-main">
        {isCurrent ? (
          current ? (
            <Current text={current} serial={serial} />
          ) : fault ? (
            <Fault problem={fault} again={() => void loadPolicy()} />
          ) : (
            <Loading />
          )
        ) : (
          <Older generation={generation!} current={current} history={history} />
        )}
      </div>
      <div class="policy-side">
        <CanBox />
        {isCurrent && current ? <LastChange current={current} /> : null}
        {isCurrent && current ? <Reviewed sources={current.sources} /> : null}
        <History history={history} shown={generation ?? current?.generation ?? 0} />
      </div>
    </div>
  );
}

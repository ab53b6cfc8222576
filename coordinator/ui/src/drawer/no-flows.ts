import type { FlowList } from "../api/types";
import { utc } from "../format";

/** Nothing was found: why that is. */
export function noFlows({ next, searched_to, kept_since }: FlowList): string {
  if (next !== null) {
    const back = searched_to === null ? "" : ` received since ${utc(searched_to)}`;
    return `No record was found${back}. Older ones were not looked for.`;
  }
  return kept_since === null ? "No record is kept." : `No record is kept: what is kept begins ${utc(kept_since)}.`;
}

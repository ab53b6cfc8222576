import { useEffect, useState } from "preact/hooks";
import { ApiError, post } from "../../api/client";
import type { PolicyReview, Problem, SourceText } from "../../api/types";

interface Said {
  key: string | null;
  data: PolicyReview | null;
  problem: Problem | null;
}

/** What the coordinator says of a policy, beside the one in force. Never of another policy than was asked about. */
export function useReview(sources: SourceText[] | null, serial: unknown = 0): Pick<Said, "data" | "problem"> {
  const [said, say] = useState<Said>({ key: null, data: null, problem: null });
  const key = sources && JSON.stringify([sources, serial]);
  useEffect(() => {
    if (!sources) return;
    const stop = new AbortController();
    post<PolicyReview>("/policy/review", { sources }, stop.signal).then(
      (data) => say({ key, data, problem: null }),
      (error: unknown) => {
        if (!stop.signal.aborted && error instanceof ApiError) say({ key, data: null, problem: error.problem });
      },
    );
    return () => stop.abort();
  }, [key]);
  return said.key === key ? said : { data: null, problem: null };
}

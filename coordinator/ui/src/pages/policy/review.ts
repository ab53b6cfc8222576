import { useEffect, useState } from "preact/hooks";
import { ApiError, post } from "../../api/client";
import type { PolicyReview, Problem, SourceText } from "../../api/types";

/** What the coordinator says of a policy, beside the one in force. */
export function useReview(sources: SourceText[] | null): { data: PolicyReview | null; problem: Problem | null } {
  const [state, set] = useState<{ data: PolicyReview | null; problem: Problem | null }>({ data: null, problem: null });
  const key = sources && JSON.stringify(sources);
  useEffect(() => {
    if (!sources) return;
    const stop = new AbortController();
    post<PolicyReview>("/policy/review", { sources }, stop.signal).then(
      (data) => set({ data, problem: null }),
      (error: unknown) => {
        if (error instanceof ApiError) set({ data: null, problem: error.problem });
      },
    );
    return () => stop.abort();
  }, [key]);
  return state;
}

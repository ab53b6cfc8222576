import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, type Query, get } from "../api/client";
import type { Problem } from "../api/types";

export interface Resource<T> {
  data: T | null;
  problem: Problem | null;
  /** Asked and not yet answered. */
  busy: boolean;
  again: () => void;
}

/**
 * What a route says; asked again when the question or `serial` changes. The old answer stays until the new one is there,
 * but never longer than its question.
 */
export function useResource<T>(path: string | null, query: Query = {}, serial: unknown = 0): Resource<T> {
  const key = path === null ? null : `${path} ${JSON.stringify(query)}`;
  const [state, set] = useState<{ key: string | null; data: T | null; problem: Problem | null; busy: boolean }>({
    key: null,
    data: null,
    problem: null,
    busy: false,
  });
  const [turn, setTurn] = useState(0);
  const asked = useRef(query);
  asked.current = query;
  useEffect(() => {
    if (path === null || key === null) return;
    const stop = new AbortController();
    set((s) => ({ ...s, busy: true }));
    get<T>(path, asked.current, stop.signal).then(
      (data) => {
        if (!stop.signal.aborted) set({ key, data, problem: null, busy: false });
      },
      (error: unknown) => {
        if (stop.signal.aborted) return;
        const problem =
          error instanceof ApiError ? error.problem : { type: "", title: "", status: 0, detail: String(error) };
        set((s) => ({ key, data: s.key === key ? s.data : null, problem, busy: false }));
      },
    );
    return () => stop.abort();
  }, [key, serial, turn]);
  const again = useCallback(() => setTurn((n) => n + 1), []);
  const mine = state.key === key;
  return { data: mine ? state.data : null, problem: mine ? state.problem : null, busy: state.busy || !mine, again };
}

import { useEffect, useReducer, useRef } from "preact/hooks";

/** A value with listeners. */
export class Store<T> {
  private listeners = new Set<() => void>();
  constructor(private value: T) {}
  get(): T {
    return this.value;
  }
  set(value: T): void {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const listener of [...this.listeners]) listener();
  }
  update(change: (value: T) => T): void {
    this.set(change(this.value));
  }
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

/** Draws again when what `choose` picks has changed. */
export function useStore<T, U = T>(store: Store<T>, choose: (value: T) => U = (v) => v as unknown as U): U {
  const [, again] = useReducer((n: number) => n + 1, 0);
  const chosen = choose(store.get());
  const last = useRef(chosen);
  last.current = chosen;
  const pick = useRef(choose);
  pick.current = choose;
  useEffect(() => {
    const look = () => {
      if (!Object.is(pick.current(store.get()), last.current)) again(0 as never);
    };
    look();
    return store.subscribe(look);
  }, [store]);
  return chosen;
}

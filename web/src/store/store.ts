import { useEffect, useState } from "preact/hooks";

/** A value that can be watched. */
export interface Store<Value> {
  get(): Value;
  /** Replaces the value; watchers hear of it only when it is another one. */
  update(change: (value: Value) => Value): void;
  subscribe(watcher: () => void): () => void;
}

export function createStore<Value>(initial: Value): Store<Value> {
  let value = initial;
  const watchers = new Set<() => void>();
  return {
    get: () => value,
    update(change) {
      const next = change(value);
      if (Object.is(next, value)) return;
      value = next;
      for (const watcher of [...watchers]) watcher();
    },
    subscribe(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}

/** Renders again whenever the selected part of the store is another one. */
export function useStore<Value, Part>(store: Store<Value>, select: (value: Value) => Part): Part {
  const [, render] = useState({});
  const part = select(store.get());
  useEffect(() => {
    let last = select(store.get());
    // The value may have changed between rendering and this effect.
    if (!Object.is(last, part)) render({});
    return store.subscribe(() => {
      const next = select(store.get());
      if (Object.is(next, last)) return;
      last = next;
      render({});
    });
    // The selection may read props, so it is subscribed anew with each of them.
  }, [store, part]);
  return part;
}

/** The id that is selected, if it is of this kind. */
export const selected = (sel: string | null, kind: string): string | null =>
  sel?.startsWith(`${kind}:`) ? sel.slice(kind.length + 1) : null;

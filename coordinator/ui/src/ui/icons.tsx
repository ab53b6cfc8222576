// Line icons, 16 by 16, drawn in the colour of the text.
const PATHS = {
  map: "M5.4 8a1.9 1.9 0 1 1-3.8 0 1.9 1.9 0 0 1 3.8 0M14.4 3.7a1.9 1.9 0 1 1-3.8 0 1.9 1.9 0 0 1 3.8 0M14.4 12.3a1.9 1.9 0 1 1-3.8 0 1.9 1.9 0 0 1 3.8 0M5.2 7.1l5.6-2.6M5.2 8.9l5.6 2.6",
  flows: "M2 5h9.5M9 2.5 11.5 5 9 7.5M14 11H4.5M7 8.5 4.5 11 7 13.5",
  policy: "M8 1.8 13 3.6v4c0 3.2-2.1 5.6-5 6.6-2.9-1-5-3.4-5-6.6v-4zM5.8 7.8l1.6 1.6 2.9-3",
  agentless: "M2 8h5M7 3.5v9M7 3.5h6.5M7 8h6.5M7 12.5h6.5",
  nodes: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  tokens: "M10.2 9.2a3.7 3.7 0 1 0-3.4-3.4L2 10.6V14h3.4v-2h2v-2h1.4zM10.8 5.2h.01",
  alarms: "M8 2a4 4 0 0 0-4 4c0 3.6-1.5 4.6-1.5 5.4h11c0-.8-1.5-1.8-1.5-5.4a4 4 0 0 0-4-4M6.6 13.6a1.5 1.5 0 0 0 2.8 0",
  audit: "M4 2h6l3 3v9H4zM6.5 7.5h4M6.5 10.5h4",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9M10.4 10.4 14 14",
  close: "M4 4l8 8M12 4l-8 8",
  check: "M3.5 8.5 6.5 11.5 12.5 4.8",
  cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  dash: "M3.5 8h9",
  dots: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  copy: "M6 6h7.5v7.5H6zM10 6V2.5H2.5V10H6",
  plus: "M8 3.5v9M3.5 8h9",
  minus: "M3.5 8h9",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  tidy: "M2.5 3.5h4v3.5h-4zM9.5 3.5h4V7h-4zM2.5 9.5h4V13h-4zM9.5 9.5h4V13h-4z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2v9.6L12.5 8z",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6M8 1.5V3M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1",
  moon: "M13.2 9.8A5.6 5.6 0 0 1 6.2 2.8a5.6 5.6 0 1 0 7 7z",
  leave: "M6.5 2.5h-4v11h4M6.5 8H14M11 5l3 3-3 3",
  link: "M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2.2-2.2A2.6 2.6 0 0 0 9 3.3L8 4.3M9.2 6.8a2.6 2.6 0 0 0-3.7 0L3.3 9A2.6 2.6 0 0 0 7 12.7l1-1",
  down: "M4 6.2 8 10.2 12 6.2",
  table: "M2.5 3h11v10h-11zM2.5 6.5h11M6.5 6.5V13",
  arrow: "M3 8h10M9.5 4.5 13 8l-3.5 3.5",
  export: "M8 2v8M4.8 6.8 8 10l3.2-3.2M2.5 13.5h11",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      class={`icon i-${name}`}
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The mark of Warren: two joined burrows. */
export function Mark({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" class="mark">
      <rect width="32" height="32" rx="8" />
      <path d="M8 11v6a4 4 0 0 0 8 0v-4m0 4a4 4 0 0 0 8 0v-6" fill="none" stroke-width="2.6" stroke-linecap="round" />
    </svg>
  );
}

import type { JSX } from "preact";

const paths = {
  desktop: ["M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1Z", "M9 20h6M12 17v3"],
  browser: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z", "M3 12h18M12 3c2.5 2.6 3.8 5.6 3.8 9s-1.3 6.4-3.8 9c-2.5-2.6-3.8-5.6-3.8-9s1.3-6.4 3.8-9Z"],
  terminal: ["M4 4h16a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1Z", "m7 9 3 3-3 3M13 15h4"],
  app: ["M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z"],
  back: ["M15 5l-7 7 7 7"],
  stop: ["M7 6.5h10a.5.5 0 0 1 .5.5v10a.5.5 0 0 1-.5.5H7a.5.5 0 0 1-.5-.5V7a.5.5 0 0 1 .5-.5Z"],
  clipboard: ["M9 5H6a1 1 0 0 0-1 1v14a1 1 0 0 0 1 1h12a1 1 0 0 0 1-1V6a1 1 0 0 0-1-1h-3", "M9 3.5h6v3.5H9z"],
  keyboard: ["M3 6h18a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1Z", "M6 10h.01M10 10h.01M14 10h.01M18 10h.01M7 14h10"],
  fullscreen: ["M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"],
  reload: ["M20 11.5A8 8 0 1 0 18 17.3", "M20.5 5.5v6h-6"],
  tab: ["M13 4h7v7M20 4l-9 9", "M18 14v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h5"],
  picture: ["M4 6h9M17 6h3M4 12h3M11 12h9M4 18h11M19 18h1", "M15 4v4M9 10v4M17 16v4"],
  sun: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Z", "M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4"],
  moon: ["M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z"],
  auto: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z", "M12 3v18M12 7h5M12 11h7M12 15h6"],
  alert: ["M12 4 2.8 19.5h18.4L12 4Z", "M12 10v4.5M12 17h.01"],
  more: ["M6 12h.01M12 12h.01M18 12h.01"],
  close: ["M6 6l12 12M18 6 6 18"],
  agents: ["M4 5h16v5H4zM4 14h16v5H4z", "M7.5 7.5h.01M7.5 16.5h.01"],
} as const;

export type IconName = keyof typeof paths;

/** A line icon, drawn in the text's colour; words beside it say what it means. */
export function Icon({ name, size = 20 }: { name: IconName; size?: number }): JSX.Element {
  return (
    <svg
      class="icon"
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.75"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {paths[name].map((d) => (
        <path key={d} d={d} />
      ))}
    </svg>
  );
}

/** The icon of a template, by the name that the template gives; unknown names get the general one. */
export function templateIcon(name: string | undefined): IconName {
  return name === "desktop" || name === "browser" || name === "terminal" ? name : "app";
}

/** The product's mark. */
export function Mark(): JSX.Element {
  return (
    <svg class="mark" width="28" height="28" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" class="mark-ground" />
      <rect x="6" y="8" width="20" height="13" rx="2.5" fill="none" stroke="#fff" stroke-width="2.4" />
      <path d="M11.5 25.5h9" stroke="#fff" stroke-width="2.4" stroke-linecap="round" />
      <path d="m13.6 11.6 5.4 2.9-5.4 2.9z" fill="#fff" />
    </svg>
  );
}

// Okabe and Ito's colours, which differ for all kinds of colour vision; where hue alone could fail, the dash or the fill differs too.
const OKABE_ITO = {
  orange: "#E69F00", sky: "#56B4E9", green: "#009E73", yellow: "#F0E442", blue: "#0072B2", vermillion: "#D55E00", purple: "#CC79A7",
} as const;

export interface Palette {
  text: string;
  muted: string;
  grid: string;
  crosshair: string;
  label: string;
  ai: string;
  mining: string;
  up: string;
  down: string;
  band: string;
  /** Lines in the order in which they are given out. */
  lines: readonly string[];
  spans: Record<SpanKind, string>;
  mark: string;
  markText: string;
}

export type SpanKind = "pre" | "after" | "overnight" | "gap" | "halt";

export const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 3], [8, 3, 2, 3], [], [4, 2], [1, 3], [10, 4]];

const dark: Palette = {
  text: "#c9d4df", muted: "#8b9aab", grid: "rgba(139,154,171,0.10)", crosshair: "#8b9aab", label: "#39485a",
  ai: OKABE_ITO.orange, mining: OKABE_ITO.sky, up: OKABE_ITO.sky, down: "#ef7d2d", band: "rgba(86,180,233,0.18)",
  lines: [OKABE_ITO.sky, OKABE_ITO.orange, "#1fc39a", OKABE_ITO.yellow, OKABE_ITO.purple, "#ef7d2d", "#c9d4df", "#4f9bd0"],
  spans: { pre: "rgba(240,228,66,0.07)", after: "rgba(204,121,167,0.10)", overnight: "rgba(86,180,233,0.07)", gap: "rgba(239,125,45,0.55)", halt: "rgba(213,94,0,0.30)" },
  mark: OKABE_ITO.yellow, markText: "#10161d",
};

const light: Palette = {
  text: "#26323f", muted: "#5b6b7b", grid: "rgba(38,50,63,0.08)", crosshair: "#5b6b7b", label: "#5b6b7b",
  ai: "#b35c00", mining: OKABE_ITO.blue, up: OKABE_ITO.blue, down: OKABE_ITO.vermillion, band: "rgba(0,114,178,0.15)",
  lines: [OKABE_ITO.blue, "#b97f00", "#007d5b", "#a04c7d", OKABE_ITO.vermillion, "#2f86b8", "#26323f", "#7a6f00"],
  spans: { pre: "rgba(230,159,0,0.10)", after: "rgba(204,121,167,0.14)", overnight: "rgba(86,180,233,0.14)", gap: "rgba(213,94,0,0.50)", halt: "rgba(213,94,0,0.22)" },
  mark: "#a04c7d", markText: "#ffffff",
};

export function palette(isDark: boolean): Palette {
  return isDark ? dark : light;
}

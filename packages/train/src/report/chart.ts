/** Charts as data: everything the page draws from. */

/** A colour of the page's style: each has a light and a dark value. */
export type Color = `optimizer-${number}` | `layer-${number}` | "reference";

export const MARKERS = ["circle", "square", "diamond", "triangle", "cross", "plus"] as const;

export type Marker = (typeof MARKERS)[number];

export interface ChartSeries {
  readonly label: string;
  /** One value for each x; null where there is none. */
  readonly values: readonly (number | null)[];
  readonly color: Color;
  readonly marker?: Marker;
  readonly dashed?: boolean;
  /** In pixels, 2 by default. A wide line is seen on both sides of a narrow one that covers it. */
  readonly width?: number;
  /** Markers alone, large ones, without a line. */
  readonly isPick?: boolean;
  /** The range of each value, which is drawn as a bar. */
  readonly low?: readonly (number | null)[];
  readonly high?: readonly (number | null)[];
}

export interface Chart {
  readonly title: string;
  /** Unit of y, shown beside the title. */
  readonly unit: string;
  readonly xLabel: string;
  /** Ascending. */
  readonly x: readonly number[];
  readonly series: readonly ChartSeries[];
  /** Logarithmic axes; values must be > 0 or null. */
  readonly logX?: boolean;
  readonly logY?: boolean;
  /** If given, the only ticks of the x axis. */
  readonly xTicks?: readonly number[];
  /** Charts with the same key share their cursor. */
  readonly cursor?: string;
}

/** Part of a page, under one heading. */
export interface Section {
  /** The target of links. */
  readonly id: string;
  readonly heading: string;
  readonly note: string;
  readonly charts: readonly Chart[];
  /** HTML below the charts. */
  readonly html?: string;
}

/** A value that an axis can show. */
export function finite(value: number | null | undefined): number | null {
  return value !== null && value !== undefined && Number.isFinite(value) ? value : null;
}

/** A value that a logarithmic axis can show. */
export function positive(value: number | null | undefined): number | null {
  const number = finite(value);
  return number !== null && number > 0 ? number : null;
}

/** The x of several series together, ascending. */
export function placesOf(series: readonly (readonly number[])[]): number[] {
  return [...new Set(series.flat())].sort((a, b) => a - b);
}

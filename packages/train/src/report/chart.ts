/** Charts as data: what the page draws, and all that it knows. */

export interface ChartSeries {
  readonly label: string;
  /** One value for each x; null leaves a gap. */
  readonly values: readonly (number | null)[];
  /** Place in the palette. */
  readonly color: number;
  readonly dashed?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly x: readonly number[];
  readonly series: readonly ChartSeries[];
  /** Logarithmic y axis; values must be > 0 or null. */
  readonly logarithmic?: boolean;
  /** x are 0, 1, 2, … and stand for these. */
  readonly names?: readonly string[];
  /** Bars in place of lines. */
  readonly bars?: boolean;
  /** Charts with the same key share their cursor. */
  readonly cursor?: string;
}

/** Charts under one heading. */
export interface ChartSection {
  readonly heading: string;
  readonly note: string;
  readonly charts: readonly Chart[];
}

/** The section on how the rates were found. */
import type { RateSearch, Trial } from "../search/rate-search.js";
import { duration, grouped, percent } from "../text.js";
import { placesOf } from "./chart.js";
import type { Chart, ChartSeries, Section } from "./chart.js";
import { escapeHtml, htmlTable } from "./html.js";
import { layerLook, lookOf, widthOf } from "./looks.js";

/** Empty when rates were given or tuned. */
export function searchSections(searches: readonly RateSearch[]): Section[] {
  const [first] = searches;
  if (first === undefined) return [];
  return [
    {
      id: "search",
      heading: "The search for the rates",
      note: `Short runs of the same schedule, scored on ${grouped(first.heldOut)} held-out training samples. The test set had no part in it. After each rung the worse rates were dropped, and the others trained longer.`,
      charts: searches.map(searchChart),
      html: searches
        .map(
          (search) =>
            `<h3>${escapeHtml(search.optimizer)}</h3><p>${escapeHtml(searchText(search))}</p>${searchTable(search)}`,
        )
        .join(""),
    },
  ];
}

function hasThresholds({ trials }: RateSearch): boolean {
  return trials.some(({ maxGradNorm }) => maxGradNorm !== null);
}

/** Held-out accuracy over the rate: a line for each rung, or for each clipping threshold. */
function searchChart(search: RateSearch): Chart {
  const { optimizer, trials } = search;
  const x = placesOf([trials.map(({ lr }) => lr)]);
  const seriesOf = (label: string, own: readonly Trial[]): Omit<ChartSeries, "color"> => {
    const at = new Map(own.map(({ lr, accuracy }) => [lr, accuracy]));
    return { label, values: x.map((lr) => percentOf(at.get(lr))) };
  };
  const groups = hasThresholds(search)
    ? placesOf([trials.map(({ maxGradNorm }) => maxGradNorm ?? Infinity)]).map((norm) =>
        seriesOf(
          norm === Infinity ? "not clipped" : `clipped to norm ${norm}`,
          finalTrials(trials).filter(({ maxGradNorm }) => (maxGradNorm ?? Infinity) === norm),
        ),
      )
    : placesOf([trials.map(({ rung }) => rung)]).map((rung) => {
        const own = trials.filter((trial) => trial.rung === rung);
        return seriesOf(`after ${Math.max(...own.map(({ steps }) => steps))} steps`, own);
      });
  const best = chosenTrial(search);
  const color = lookOf(optimizer, [optimizer]).color;
  const pick: ChartSeries = {
    label: "chosen",
    values: x.map((lr) => (lr === best?.lr ? percentOf(best.accuracy) : null)),
    color,
    isPick: true,
  };
  const lines = groups.map((group, index) => ({
    ...group,
    ...layerLook(index, groups.length),
    // A threshold that clips nothing has the same line as no threshold.
    width: widthOf(index, groups.length),
  }));
  return {
    title: optimizer,
    unit: "held-out accuracy, %",
    xLabel: "rate",
    x,
    series: [...lines, pick],
    logX: true,
    xTicks: x,
  };
}

function percentOf(accuracy: number | null | undefined): number | null {
  return accuracy === null || accuracy === undefined ? null : 100 * accuracy;
}

/** The longest run of each rate and threshold, in their order. */
function finalTrials(trials: readonly Trial[]): Trial[] {
  const last = new Map<string, Trial>();
  for (const trial of trials) {
    const key = `${trial.lr} ${String(trial.maxGradNorm)}`;
    const known = last.get(key);
    if (known === undefined || trial.rung >= known.rung) last.set(key, trial);
  }
  return [...last.values()].sort(
    (a, b) => (a.maxGradNorm ?? Infinity) - (b.maxGradNorm ?? Infinity) || a.lr - b.lr,
  );
}

function isChosen({ chosen }: RateSearch, { lr, maxGradNorm }: Trial): boolean {
  return lr === chosen.lr && maxGradNorm === chosen.maxGradNorm;
}

function chosenTrial(search: RateSearch): Trial | undefined {
  return finalTrials(search.trials).find((trial) => isChosen(search, trial));
}

function searchText(search: RateSearch): string {
  const { trials, chosen, atEdge, seconds } = search;
  const clipped = chosen.maxGradNorm === null ? "" : `, clipped to norm ${chosen.maxGradNorm},`;
  const best = chosenTrial(search);
  const score = best === undefined ? "" : ` with ${outcome(best)}`;
  const neighbours = neighboursOf(search).map((trial) => `${trial.lr} had ${outcome(trial)}`);
  const beside = neighbours.length === 0 ? "" : ` Beside it, ${neighbours.join(", and ")}.`;
  const edge = atEdge ? " It lies at the end of the ladder: a better one may lie beyond." : "";
  return `Rate ${chosen.lr}${clipped} was chosen${score}, from ${trials.length} short runs in ${duration(seconds)}.${beside}${edge}`;
}

/** The next lower and the next higher rate with the chosen threshold. */
function neighboursOf(search: RateSearch): Trial[] {
  const { chosen, trials } = search;
  const own = finalTrials(trials).filter(({ maxGradNorm }) => maxGradNorm === chosen.maxGradNorm);
  const place = own.findIndex(({ lr }) => lr === chosen.lr);
  return place === -1
    ? []
    : [own[place - 1], own[place + 1]].filter((trial) => trial !== undefined);
}

function outcome({ accuracy }: Trial): string {
  return accuracy === null ? "diverged" : percent(accuracy);
}

function searchTable(search: RateSearch): string {
  const withThresholds = hasThresholds(search);
  const rows = finalTrials(search.trials).map((trial) => {
    const { lr, maxGradNorm, steps, loss } = trial;
    const isBest = isChosen(search, trial);
    return [
      `${lr}${isBest ? '<span class="badge">chosen</span>' : ""}`,
      ...(withThresholds ? [maxGradNorm === null ? "off" : String(maxGradNorm)] : []),
      outcome(trial),
      loss === null ? "–" : loss.toFixed(4),
      String(steps),
    ];
  });
  return htmlTable({
    label: `Rates that were tried for ${search.optimizer}`,
    head: [
      "rate",
      ...(withThresholds ? ["clipped to norm"] : []),
      "held-out accuracy",
      "held-out loss",
      "steps",
    ],
    rows,
  });
}

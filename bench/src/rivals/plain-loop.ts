/** The rule as one would write it on a Sunday: two loops over three Float32Arrays. */
import type { Problem } from "../problem.js";
import type { Rival } from "../rival.js";
import { LEARNING_RATE, MAX_UNORM, MOMENTUM, WEIGHT_DECAY } from "../rules.js";

export function plainLoop(problem: Problem): Rival {
  const weights = problem.weights.map((values) => values.slice());
  const momenta = problem.weights.map((values) => new Float32Array(values.length));
  return {
    name: "plain JavaScript loop",
    rule: "clip-update",
    bits: 32,
    threads: 1,
    reset: (fresh) => {
      weights.forEach((values, i) => {
        values.set(problem.weights[i]!);
      });
      if (fresh) for (const momentum of momenta) momentum.fill(0);
    },
    step: () => {
      weights.forEach((values, i) => {
        stepLayer(values, problem.gradients[i]!, momenta[i]!);
      });
    },
    weights: () => weights,
  };
}

function stepLayer(weights: Float32Array, gradient: Float32Array, momentum: Float32Array): void {
  let weightSum = 0;
  let updateSum = 0;
  for (let i = 0; i < weights.length; i++) {
    const m = MOMENTUM * momentum[i]! + gradient[i]! + WEIGHT_DECAY * weights[i]!;
    momentum[i] = m;
    weightSum += weights[i]! * weights[i]!;
    updateSum += m * m;
  }
  const ratio =
    weightSum > 0 && updateSum > 0
      ? Math.min(1, (MAX_UNORM * Math.sqrt(weightSum)) / Math.sqrt(updateSum))
      : 1;
  for (let i = 0; i < weights.length; i++) weights[i]! -= LEARNING_RATE * ratio * momentum[i]!;
}

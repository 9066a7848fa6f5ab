/** Gradients for layers that have one on other processes only. */
import { shown } from "../check.js";
import type { Parameter } from "../optimizer/parameter.js";
import type { Collective } from "./collective.js";

export class BorrowedGradients {
  readonly #collective: Collective;
  readonly #gradients = new WeakMap<Parameter, Float32Array>();
  readonly #borrowers = new Set<Parameter>();

  constructor(collective: Collective) {
    this.#collective = collective;
  }

  /** Gives a layer a gradient of −0, until {@link takeBack}: −0 + x = x for every x. */
  lend(parameter: Parameter): Float32Array {
    const gradient = this.#gradients.get(parameter) ?? this.#allocate(parameter);
    this.#gradients.set(parameter, gradient.fill(-0));
    this.#borrowers.add(parameter);
    parameter.grad = gradient;
    return gradient;
  }

  takeBack(): void {
    for (const parameter of this.#borrowers) {
      if (parameter.grad === this.#gradients.get(parameter)) parameter.grad = null;
    }
    this.#borrowers.clear();
  }

  /** Without memory the job ends: the other processes already wait for this one's part of the sum. */
  #allocate({ name, size }: Parameter): Float32Array {
    try {
      return new Float32Array(size);
    } catch (error) {
      return this.#collective.abort(
        `layer ${shown(name ?? "parameter")}: no memory for a gradient of ${size} elements (${String(error)})`,
      );
    }
  }
}

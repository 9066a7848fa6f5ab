/** Networks by the name of their model. */
import { createLenet } from "./lenet.js";
import { createMlp } from "./mlp.js";
import type { Network, NetworkOptions } from "./model.js";

/** Creates a network; jax-js' wasm device must be initialised. */
export function createNetwork(options: NetworkOptions): Network {
  return options.config.model === "mlp" ? createMlp(options) : createLenet(options);
}

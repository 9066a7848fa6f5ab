/** Writes data/resnet50.json and data/gpt2.json from the architectures: `npm run data`. */
import { writeFileSync } from "node:fs";
import { gpt2 } from "./gpt2.js";
import { modelFile } from "./model.js";
import { resnet50 } from "./resnet50.js";

for (const [name, layers] of Object.entries({ resnet50: resnet50(), gpt2: gpt2() })) {
  writeFileSync(modelFile(name), JSON.stringify(layers));
}

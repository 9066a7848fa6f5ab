import { existsSync } from "node:fs";
import js from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import importX, { createNodeResolver } from "eslint-plugin-import-x";
import tseslint from "typescript-eslint";

const library = "packages/layerwise/src";

/**
 * The floors of the library, from the top: a folder imports from those below it, never from those above or beside it.
 * Entry points, files of src/ itself, stand on top; check, errors and warn at the bottom.
 *
 * @type {[floor: string[], reason: string][]}
 */
const floors = [
  [["adapters", "distributed"], "Adapters and distributed training stand on top of the library."],
  [["optimizer"], "The optimizer stands above the steps that it makes."],
  [["step"], "A step stands above the kernels, options and decisions that it puts together."],
  [["kernels"], "Kernels are for steps: nothing below knows them."],
  [["options", "state"], "Options and state know nothing of each other."],
  [["decide"], "Decisions are scalar arithmetic, at the bottom."],
];

/**
 * What a folder may not import although it stands below.
 *
 * @type {Record<string, Record<string, string> | undefined>}
 */
const strangers = {
  kernels: {
    options: "Kernels know nothing of options.",
    decide: "Kernels measure and apply; decisions are made elsewhere.",
  },
};

/**
 * @param {string} folder
 * @returns {import("eslint").Linter.Config}
 */
function importsGoDown(folder) {
  const level = floors.findIndex(([folders]) => folders.includes(folder));
  const forbidden = floors
    .slice(0, level + 1)
    .flatMap(([folders, reason]) =>
      folders.filter((name) => name !== folder).map((name) => [name, reason]),
    );
  const own = Object.entries(strangers[folder] ?? {});
  return {
    files: [`${library}/${folder}/**/*.ts`],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            ...[...forbidden, ...own].map(([name, message]) => ({
              regex: `^(\\.\\./)+${name}/`,
              message,
            })),
            {
              regex: "^(\\.\\./)+(index|checkpoint|quantization|jax|tfjs|mpi)\\.js$",
              message: "Entry points stand on top of everything.",
            },
          ],
        },
      ],
    },
  };
}

export default defineConfig(
  globalIgnores([
    "**/dist/",
    "**/coverage/",
    "**/*.generated.ts",
    "bench/",
    "runs/",
    // Its types are those of packages that only its own tests install (npm run test:tfjs).
    ...(existsSync(`${import.meta.dirname}/integration/tfjs/node_modules`)
      ? []
      : ["integration/tfjs/"]),
    // Their chart library is installed by npm run figures only.
    "docs/figures/",
    // AssemblyScript looks like TypeScript and is not.
    `${library}/kernels/wasm/assembly/`,
  ]),

  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    plugins: { "import-x": importX },
    settings: {
      "import-x/extensions": [".ts", ".js", ".mjs"],
      "import-x/parsers": { "@typescript-eslint/parser": [".ts"] },
      "import-x/ignore": ["node_modules"],
      "import-x/resolver-next": [
        createNodeResolver({
          extensions: [".ts", ".js", ".mjs"],
          extensionAlias: { ".js": [".ts", ".js"] },
        }),
      ],
    },
    rules: {
      eqeqeq: "error",
      "no-console": "off",
      "import-x/no-cycle": ["error", { ignoreExternal: true }],
      "import-x/no-self-import": "error",
      "import-x/no-duplicates": "error",
      "import-x/first": "error",
      "import-x/newline-after-import": "error",
      "import-x/order": [
        "error",
        {
          groups: ["builtin", "external", ["parent", "sibling", "index"]],
          alphabetize: { order: "asc" },
        },
      ],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      // Indexing is checked by the compiler (noUncheckedIndexedAccess); in a loop over typed arrays
      // the assertion is what says that the index is in range.
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
    },
  },

  ...floors.flatMap(([folders]) => folders.map(importsGoDown)),

  {
    files: [`${library}/**/*.ts`],
    ignores: [`${library}/warn.ts`],
    rules: { "no-console": "error" },
  },
  {
    // Vitest's asymmetric matchers (expect.any and its like) are typed `any`.
    files: ["packages/*/test/**/*.{ts,mjs}", "integration/*/test/**/*.ts"],
    rules: {
      "@typescript-eslint/no-unsafe-assignment": "off",
    },
  },
  {
    // jax-js' trees are a type that contains itself, which overflows this rule's stack.
    files: ["packages/layerwise/test/jax/**/*.ts"],
    rules: {
      "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
    },
  },
  {
    files: ["**/*.js", "**/*.mjs"],
    languageOptions: {
      globals: {
        Buffer: "readonly",
        URL: "readonly",
        WebAssembly: "readonly",
        console: "readonly",
        process: "readonly",
      },
    },
  },
  {
    // Plain JavaScript that bundlers, other runtimes and mpirun run; what it imports is installed by its own tests only.
    files: ["integration/runtimes/*.mjs", "integration/mpi/**/*.mjs"],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: {
      globals: Object.fromEntries(
        [
          ...["Worker", "clearTimeout", "crossOriginIsolated", "document", "fetch"],
          ...["navigator", "performance", "setInterval", "setTimeout"],
        ].map((name) => [name, "readonly"]),
      ),
    },
  },
);

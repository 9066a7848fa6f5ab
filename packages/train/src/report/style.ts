/**
 * The style of pages. Colours of optimizers are Okabe and Ito's, which colour-blind readers can tell apart,
 * darker on white and lighter on black: each has a contrast of 3 or more to its background. lars32bit has
 * the colour of text, since it lies on lars8bit, which is blue. Colours of layers follow viridis from the
 * first layer to the last.
 */
const LIGHT = `
  --text: #1f2328; --muted: #57606a; --line: #d5dbe1; --card: #ffffff; --page: #f6f8fa; --accent: #0969da;
  --wrong: #d55e00; --right: #0072b2;
  --optimizer-0: #0072b2; --optimizer-1: #d55e00; --optimizer-2: #262c33; --optimizer-3: #b0558f;
  --optimizer-4: #a06f00; --optimizer-5: #00875f; --optimizer-6: #7a4419; --optimizer-7: #c2185b;
  --optimizer-8: #6d7a00; --optimizer-9: #2384b0; --optimizer-10: #6e7781; --optimizer-11: #7b4fc9;
  --reference: #6e7781;
  --layer-0: #440154; --layer-1: #433e85; --layer-2: #2f6c8e; --layer-3: #21878b;
  --layer-4: #1a9167; --layer-5: #4f962a; --layer-6: #85850f; --layer-7: #ad7600;
`;

const DARK = `
  --text: #e6edf3; --muted: #9da7b3; --line: #313842; --card: #161b22; --page: #0d1117; --accent: #6cb0ff;
  --wrong: #ff9351; --right: #5cb8ee;
  --optimizer-0: #56b4e9; --optimizer-1: #ff8a42; --optimizer-2: #f0f3f6; --optimizer-3: #e08fc4;
  --optimizer-4: #e9c13c; --optimizer-5: #2fc79a; --optimizer-6: #c8a182; --optimizer-7: #ff7aa8;
  --optimizer-8: #c9d44a; --optimizer-9: #8fd3ff; --optimizer-10: #aab4be; --optimizer-11: #b79cf5;
  --reference: #8b949e;
  --layer-0: #bb9df2; --layer-1: #8ea5ff; --layer-2: #5fb3e8; --layer-3: #3fc4c4;
  --layer-4: #3fd09a; --layer-5: #86d549; --layer-6: #c2d823; --layer-7: #f5dc3a;
`;

export const STYLE = `
:root { color-scheme: light dark; ${LIGHT} }
@media (prefers-color-scheme: dark) { :root { ${DARK} } }
@media print { :root { color-scheme: light; ${LIGHT} } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 1240px; padding: 40px 28px 56px; background: var(--page); color: var(--text); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { margin: 4px 0 8px; max-width: 28em; font-size: clamp(24px, 3.4vw, 36px); line-height: 1.2; font-weight: 680; letter-spacing: -0.015em; text-wrap: balance; }
h2 { margin: 0; font-size: 21px; line-height: 1.3; letter-spacing: -0.01em; }
h3 { margin: 24px 0 8px; font-size: 15px; font-weight: 650; }
p { margin: 0; }
a { color: var(--accent); }
.subject { color: var(--muted); font-weight: 600; }
.facts { color: var(--muted); }
main { margin-top: 24px; }
section { margin-top: 52px; scroll-margin-top: 16px; }
section > p { margin: 4px 0 16px; max-width: 76ch; color: var(--muted); }
section > p.finding { color: var(--text); font-size: 16.5px; }
.failure, .note { margin: 14px 0; padding: 10px 16px; border: 1px solid var(--line); border-left: 4px solid var(--wrong); border-radius: 6px; background: var(--card); }
.note { border-left-color: var(--right); }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 22px 0 0; padding: 0; list-style: none; font-size: 14px; }
nav a { display: inline-block; padding: 3px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(210px, 100%), 1fr)); gap: 14px; margin: 0; padding: 0; list-style: none; }
.cards li { padding: 16px 18px; border: 1px solid var(--line); border-top: 4px solid var(--swatch); border-radius: 8px; background: var(--card); }
.cards .name { font-weight: 600; }
.cards .value { font-size: 32px; line-height: 1.25; font-weight: 680; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.cards .more { color: var(--muted); font-size: 13.5px; }
.swatch { display: inline-block; width: 12px; height: 12px; margin-right: 7px; border-radius: 3px; background: var(--swatch); vertical-align: -1px; print-color-adjust: exact; }
.table { margin: 12px 0; overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
.table:focus-visible, button:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: 7px 11px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--muted); font-weight: 600; font-size: 13px; }
th:first-child, .text { text-align: left; }
tbody th, thead th:first-child { position: sticky; left: 0; z-index: 1; background: var(--card); }
tbody th { font-weight: 500; max-width: 22em; overflow: hidden; text-overflow: ellipsis; }
tr.chosen > * { font-weight: 680; }
.texts td, .texts thead th { text-align: left; }
.texts td { white-space: normal; min-width: 9em; }
.badge { display: inline-block; margin-left: 8px; padding: 0 7px; border: 1px solid var(--line); border-radius: 99px; color: var(--muted); font-size: 12px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 18px; margin-bottom: 18px; }
.half { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 0 18px; align-items: start; }
.half > * { min-width: 0; }
figure { margin: 0; padding: 14px 16px 10px; min-width: 0; border: 1px solid var(--line); border-radius: 8px; background: var(--card); break-inside: avoid; }
figcaption { margin-bottom: 8px; font-weight: 650; }
.unit { color: var(--muted); font-weight: 400; }
.chart { min-height: 230px; }
.chart .u-over { touch-action: pan-y; }
.legend { display: flex; flex-wrap: wrap; gap: 0 14px; margin: 6px 0 2px; padding: 0; list-style: none; }
.legend button { display: flex; align-items: center; gap: 7px; min-height: 28px; padding: 2px 0; border: 0; background: none; color: var(--text); font: inherit; font-size: 13px; text-align: left; cursor: pointer; }
.legend button[aria-pressed="false"] { color: var(--muted); text-decoration: line-through; }
.legend button[aria-pressed="false"] svg { opacity: 0.35; }
.legend svg { flex: none; }
.legend .value { flex: none; min-width: 3.4em; color: var(--muted); font-variant-numeric: tabular-nums; }
@media (min-width: 601px) { .legend { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); } }
details { margin-top: 4px; font-size: 13px; }
summary { display: inline-block; padding: 2px 0; color: var(--muted); cursor: pointer; }
summary::before { content: "▸ "; } details[open] > summary::before { content: "▾ "; }
summary::-webkit-details-marker { display: none; }
details .table { max-height: 300px; overflow-y: auto; margin: 6px 0; }
details table { font-size: 12.5px; } details th, details td { padding: 4px 10px; }
details p { margin: 4px 0; color: var(--muted); }
.matrix { width: auto; font-size: 13px; }
.matrix th, .matrix td { padding: 5px 8px; border: 1px solid var(--line); }
.matrix td { min-width: 36px; text-align: center; }
.matrix thead th:first-child { max-width: 7em; white-space: normal; }
.matrix thead th { vertical-align: bottom; }
.matrix thead th.class { padding: 8px 4px; text-align: center; }
.matrix .class > span { display: inline-block; max-height: 11em; overflow: hidden; text-overflow: ellipsis; }
.matrix .turned > span { writing-mode: vertical-rl; text-orientation: sideways; transform: rotate(180deg); }
.matrix tbody th { max-width: 14em; text-align: left; }
.matrix td { background: color-mix(in srgb, var(--tint, transparent) var(--share, 0%), var(--card)); print-color-adjust: exact; }
.matrix td.right { --tint: var(--right); } .matrix td.wrong { --tint: var(--wrong); } .matrix td.zero { color: var(--muted); }
.share { display: inline-block; width: 64px; height: 9px; margin-left: 9px; border-radius: 2px; background: linear-gradient(to right, var(--swatch) var(--share), var(--line) var(--share)); print-color-adjust: exact; }
footer { margin-top: 56px; padding-top: 14px; border-top: 1px solid var(--line); color: var(--muted); font-size: 13px; }
@media (max-width: 600px) {
  body { padding: 22px 14px 40px; }
  section { margin-top: 40px; }
  figure { padding: 12px 10px 8px; }
  th, td { padding: 6px 10px; }
  .cards { grid-template-columns: 1fr; gap: 10px; }
  .cards li { display: grid; grid-template-columns: 1fr auto; padding: 10px 14px; border-top-width: 1px; border-left: 4px solid var(--swatch); align-items: center; }
  .cards .value { grid-row: span 2; grid-column: 2; grid-row-start: 1; font-size: 24px; }
  tbody th { max-width: 11em; }
  .share { width: 34px; margin-left: 6px; }
  .matrix { font-size: 11.5px; } .matrix th, .matrix td { padding: 5px 3px; } .matrix td { min-width: 27px; }
  .matrix thead th:first-child { max-width: 5.5em; padding-left: 6px; } .matrix tbody th { max-width: 8.5em; padding-left: 6px; padding-right: 6px; }
}
@media print {
  body { max-width: none; padding: 0; background: #fff; font-size: 11pt; }
  nav, figure details { display: none; }
  section { margin-top: 24pt; }
  h2 { break-after: avoid; }
  h2 + p { break-after: avoid; } p { break-inside: avoid; }
  .table { overflow: visible; }
  table { font-size: 8.5pt; } th, td { padding: 3pt 4pt; white-space: normal; }
  tbody th, thead th:first-child { position: static; }
  .share { width: 30px; } .matrix th, .matrix td { padding: 2pt; }
  .matrix td { min-width: 18pt; }
  .charts { grid-template-columns: 1fr 1fr; gap: 8pt; }
}
`;

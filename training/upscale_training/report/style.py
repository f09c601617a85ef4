"""The report's look and its small conveniences. It reads well without the script, which adds values under the pointer, a
closer look at pictures, and reloading while the run goes on."""

STYLE = """
:root { color-scheme: light dark; --page: #f5f6f8; --card: #fff; --ink: #1c2127; --soft: #59636e; --rule: #dde1e6;
  --grid: #e9ecef;
  --good: #1a7f43; --good-bg: #e4f4ea; --warn: #8a5a00; --warn-bg: #fdf1d6; --bad: #b3261e; --bad-bg: #fdebe9;
  --action: #4a3aa7; --mute-bg: #eceff2;
  --c0: #2a78d6; --c1: #e06225; --c2: #12916a; --c3: #c28a00; --c4: #6a55c9; --c5: #d94a78; --c6: #5f7d1e; --c7: #0c8aa5; }
@media (prefers-color-scheme: dark) { :root { --page: #111316; --card: #1a1d22; --ink: #e7eaee; --soft: #9ba5b0;
  --rule: #31373e; --grid: #282d33; --good: #5fce8c; --good-bg: #17301f; --warn: #f0bd52; --warn-bg: #37290c; --bad: #ff8a80;
  --bad-bg: #3d1a18; --action: #b3a6f5; --mute-bg: #262b31;
  --c0: #5b9ff0; --c1: #f0834b; --c2: #35c294; --c3: #dfb03a; --c4: #a594f5; --c5: #f27ba0; --c6: #9fc14d; --c7: #45bdd8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1440px; padding: 20px 24px 60px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 34px 0 10px; }
h3 { font-size: 15px; margin: 0; }
p { margin: 4px 0; max-width: 80ch; }
a { color: var(--c0); }
header .top { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 12px; }
.badge { display: inline-block; font-weight: 600; font-size: 13px; padding: 2px 10px; border-radius: 99px; white-space: nowrap; }
.good { color: var(--good); background: var(--good-bg); } .warn { color: var(--warn); background: var(--warn-bg); }
.bad { color: var(--bad); background: var(--bad-bg); } .mute { color: var(--soft); background: var(--mute-bg); }
.soft, .note, .none { color: var(--soft); } .note, .none { font-size: 13px; }
.progress { display: flex; gap: 3px; margin: 12px 0 4px; }
.progress div { flex: 1 1 0; min-width: 6px; }
.progress i { display: block; height: 8px; border-radius: 4px; background: var(--rule); overflow: hidden; }
.progress i b { display: block; height: 100%; background: var(--c0); }
.progress span { font-size: 12px; color: var(--soft); display: block; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.tools { font-size: 13px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 14px; margin: 0;
  min-width: 0; }
.grid { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 310px), 1fr)); }
.tiles { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); margin: 18px 0 0; }
.tiles dt { font-size: 13px; color: var(--soft); } .tiles dd { margin: 0; font-size: 22px; font-weight: 600; line-height: 1.25; }
.tiles small { display: block; font-size: 12.5px; font-weight: 400; color: var(--soft); line-height: 1.35; }
.tiles small.better { color: var(--good); } .tiles small.worse { color: var(--bad); }
.alarm.good { border-color: var(--good); } .alarm.warn { border-color: var(--warn); } .alarm.bad { border-color: var(--bad); }
.alarms { display: grid; gap: 10px; margin-top: 16px; }
.alarm { border: 1px solid; border-left-width: 6px; border-radius: 8px; padding: 10px 14px; }
.alarm p, p.alarm { color: var(--ink); max-width: none; } .alarm .when { color: var(--soft); font-size: 13px; }
.calm { border-radius: 8px; padding: 8px 14px; margin-top: 16px; max-width: none; }
.actions { margin: 0; padding: 0; list-style: none; } .actions li { padding: 3px 0 3px 24px; position: relative; }
.actions li::before { content: "◆"; color: var(--action); position: absolute; left: 4px; }
figcaption { display: flex; justify-content: space-between; gap: 8px; font-size: 14px; }
figcaption output { color: var(--soft); font-size: 12.5px; white-space: nowrap; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0 14px; margin: 2px 0 4px; padding: 0; font-size: 12.5px;
  color: var(--soft); }
.legend output { color: var(--ink); font-variant-numeric: tabular-nums; font-weight: 600; }
.legend svg { width: 18px; height: 8px; margin-right: 4px; }
svg.chart { display: block; width: 100%; height: auto; touch-action: pan-y; }
svg text { font: 11.5px system-ui, sans-serif; fill: var(--soft); }
svg .tick { font-variant-numeric: tabular-nums; } svg .stage { font-size: 11px; } svg .lost { fill: var(--bad);
  font-size: 13px; text-anchor: middle; }
svg path { fill: none; } svg path.grid { stroke: var(--grid); display: inline; }
svg .border { stroke: var(--soft); stroke-dasharray: 2 3; } svg .level { stroke: var(--soft); stroke-dasharray: 6 4;
  opacity: .8; }
svg .line { stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; } svg .raw { opacity: .28; stroke-width: 1; }
svg .given-up { opacity: .4; stroke-width: 1.3; stroke-dasharray: 1 3; } svg .dashed { stroke-dasharray: 6 3; }
svg .ring { fill: none; stroke-width: 2; } svg .cursor { stroke: var(--soft); visibility: hidden; }
svg .mark.alarm { fill: var(--bad); stroke: var(--card); } svg .mark.action { fill: var(--action); stroke: var(--card); }
.c0 { stroke: var(--c0); } .c1 { stroke: var(--c1); } .c2 { stroke: var(--c2); } .c3 { stroke: var(--c3); }
.c4 { stroke: var(--c4); } .c5 { stroke: var(--c5); } .c6 { stroke: var(--c6); } .c7 { stroke: var(--c7); }
.health h3 { display: flex; justify-content: space-between; gap: 8px; align-items: baseline; }
.health .value { font-size: 20px; font-weight: 600; } .health p { font-size: 13.5px; }
.meter { position: relative; height: 8px; border-radius: 4px; background: var(--mute-bg); margin: 6px 0 8px; }
.meter i { position: absolute; top: 0; bottom: 0; border-radius: 4px; background: var(--good); opacity: .3; }
.meter b { position: absolute; top: -3px; width: 4px; margin-left: -2px; height: 14px; border-radius: 2px;
  background: var(--ink); }
.scroll { overflow-x: auto; padding-bottom: 6px; }
.strip { border-collapse: separate; border-spacing: 4px 2px; } .strip th { font-weight: 400; font-size: 12.5px;
  color: var(--soft); text-align: left; }
.strip td { padding: 0; vertical-align: top; } .strip .name { font-weight: 600; color: var(--ink); padding-top: 8px; }
.strip thead tr:last-child th:last-child, .strip td:last-child { position: sticky; right: 0; background: var(--page);
  border-left: 6px solid var(--page); }
.strip .edge { border-bottom: 2px solid var(--c0); }
.strip button { display: block; padding: 0; border: 0; background: none; cursor: zoom-in; }
  .strip img, dialog img { display: block; image-rendering: pixelated; }
.strip .missing { display: grid; place-items: center; background: var(--mute-bg); color: var(--soft); font-size: 12px; }
dialog { border: 0; border-radius: 12px; padding: 12px; background: var(--card); color: var(--ink); max-width: 98vw;
  max-height: 98vh; }
dialog::backdrop { background: #000b; } dialog div { display: flex; gap: 8px; align-items: center;
  justify-content: space-between; margin-bottom: 8px; }
dialog button { font: inherit; padding: 4px 12px; border: 1px solid var(--rule); border-radius: 8px;
  background: var(--mute-bg); color: inherit; }
details { margin-top: 10px; } summary { cursor: pointer; font-weight: 600; }
table.facts { border-collapse: collapse; font-size: 13.5px; margin: 8px 0; }
  table.facts td, table.facts th { padding: 3px 16px 3px 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid var(--grid); overflow-wrap: anywhere; font-weight: 400; }
  table.facts th { color: var(--soft); min-width: 110px; }
footer { margin-top: 40px; font-size: 13px; color: var(--soft); }
@media (max-width: 600px) { body { padding: 14px 12px 40px; } h1 { font-size: 22px; }
  .tiles { grid-template-columns: 1fr 1fr; } .grid { gap: 10px; }
  .card { padding: 10px; } }
@media print { :root { --page: #fff; } body { padding: 0; font-size: 12px; } .tools, dialog { display: none; }
  .card, .alarm, tr { break-inside: avoid; }
  h2 { break-after: avoid; } .badge, .calm, .alarm, .meter, .progress i, .progress b { print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
  .grid { grid-template-columns: 1fr 1fr; } .scroll { overflow: visible; } .strip { border-spacing: 2px; }
  .strip img, .strip .missing { width: 68px !important; height: auto !important; } }
"""

SCRIPT = """
"use strict";
const amount = v => !Number.isFinite(v) ? "none" : v !== 0 && (Math.abs(v) < 1e-4 || Math.abs(v) >= 1e7) ? v.toExponential(1)
  : Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(4));
for (const svg of document.querySelectorAll("svg.chart")) {
  const figure = svg.closest("figure"), at = figure.querySelector(".at"), cursor = svg.querySelector(".cursor");
  const pair = name => svg.dataset[name].split(" ").map(Number);
  const [x0, x1] = pair("x"), [y0, y1] = pair("y"), [left, top, right, bottom] = pair("box"), log = svg.dataset.log === "1";
  const value = y => { const p = (bottom - y) / (bottom - top); return log ? y0 * (y1 / y0) ** p : y0 + p * (y1 - y0); };
  const lines = [...svg.querySelectorAll("path.main")].map(path => ({
    out: figure.querySelector(`.legend output[data-line="${path.dataset.line}"]`),
    points: (path.getAttribute("d").match(/[-\\d.]+ [-\\d.]+/g) || []).map(p => p.split(" ").map(Number)) }));
  for (const line of lines) line.last = line.out.textContent;
  const leave = () => {
    cursor.style.visibility = "hidden"; at.textContent = "";
    for (const line of lines) line.out.textContent = line.last;
  };
  const move = event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    const all = lines.flatMap(line => line.points);
    if (x < left - 6 || !all.length) return leave();
    const near = points => points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
    const [px] = near(all);
    cursor.setAttribute("x1", px); cursor.setAttribute("x2", px); cursor.style.visibility = "visible";
    at.textContent = "step " + Math.round(x0 + (px - left) / (right - left) * (x1 - x0)).toLocaleString("en");
    for (const line of lines) {
      const point = line.points.length ? near(line.points) : null;
      line.out.textContent = point && Math.abs(point[0] - px) < 8 ? amount(value(point[1])) : "–";
    }
  };
  svg.addEventListener("pointermove", move); svg.addEventListener("pointerdown", move); svg.addEventListener("pointerleave", leave);
}
const dialog = document.querySelector("dialog");
if (dialog) {
  let row = [], index = 0;
  const image = dialog.querySelector("img"), text = dialog.querySelector("span");
  const show = next => {
    index = (next + row.length) % row.length;
    const tile = row[index], fits = Math.min(innerWidth * .94 / tile.width, (innerHeight - 110) / tile.height);
    const zoom = Math.max(1, Math.min(6, Math.floor(fits)));
    image.src = tile.src; image.width = tile.width * zoom; image.height = tile.height * zoom;
    text.textContent = tile.alt + " · " + zoom + "×";
  };
  for (const tile of document.querySelectorAll(".strip button")) tile.addEventListener("click", () => {
    row = [...tile.closest("tr").querySelectorAll("img")]; show(row.indexOf(tile.querySelector("img"))); dialog.showModal();
  });
  dialog.addEventListener("keydown", event => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key]; if (by) { event.preventDefault(); show(index + by); } });
  dialog.querySelector(".back").addEventListener("click", () => show(index - 1));
  dialog.querySelector(".on").addEventListener("click", () => show(index + 1));
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  image.addEventListener("click", () => show(index + 1));
}
const live = document.querySelector("#live");
if (live) {
  live.checked = location.hash === "#live";
  live.addEventListener("change", () => { history.replaceState(null, "", live.checked ? "#live" : location.pathname); });
  setInterval(() => { if (live.checked && !document.hidden && !(dialog && dialog.open)) location.reload(); }, 30000);
  const silent = Date.now() / 1000 - Number(live.dataset.time), late = document.querySelector("#late");
  if (silent > Number(live.dataset.late)) late.hidden = false;
}
addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
"""

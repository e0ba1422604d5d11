"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const points = data.points, byNumber = new Map(points.map((p) => [p.number, p]));
  const groupOf = new Map();
  data.groups.forEach((g, i) => g.points.forEach((n) => groupOf.set(n, i)));
  const parameters = [...new Set(points.flatMap((p) => Object.keys(p.parameters)))];
  const figures = [...new Set(points.flatMap((p) => Object.keys(p.figures)))].sort();
  const chosen = new Set(), ranges = new Map();
  let sorting = { key: "metric", down: data.sign > 0 }, visible = [];
  const MOST_ROWS = 1000, MOST_CURVES = 40, MOST_PICTURED = 8, NARROWEST = 150, HEIGHT = 300;
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  function make(tag, attributes = {}, text) {
    const svg = ["svg", "path", "line", "rect", "text", "g", "title"].includes(tag);
    const one = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    if (text !== undefined) one.textContent = text;
    return one;
  }
  function shown(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return String(value);
    const size = Math.abs(value);
    return size >= 1e5 || (size < 1e-3 && size > 0) ? value.toExponential(2) : value.toPrecision(4);
  }
  function valueOf(point, key) {
    if (key === "metric" || key === "status" || key === "seconds" || key === "number") return point[key];
    if (key.startsWith("p:")) return point.parameters[key.slice(2)];
    return point.figures[key.slice(2)];
  }
  // Names of settings without what all of them begin with, up to a dot.
  const seed = (name) => /(^|\.)seed$/.test(name);
  const settings = parameters.filter((name) => !seed(name));
  const start = settings.length ? settings[0].slice(0, settings[0].lastIndexOf(".") + 1) : "";
  const brief = (name) => (settings.every((one) => one.startsWith(start)) && name.startsWith(start) ? name.slice(start.length) : name);
  const labelOf = (key) => (key === "metric" ? data.metric || "metric" : key === "number" ? "point" : key.replace(/^[pf]:/, ""));
  const known = (value) => value !== null && value !== undefined;
  function compare(a, b) {
    if (!known(a) || !known(b)) return known(b) - known(a);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  function colour(point) {
    return `var(--s${(groupOf.get(point.number) ?? 0) % 6})`;
  }

  // ---- what is left after filter and ranges
  function words(point) {
    const told = Object.entries(point.parameters).map(([k, v]) => `${k}=${v}`).join(" ");
    return `${point.name} ${told} ${point.status} ${point.run}`.toLowerCase();
  }
  const told = new Map(points.map((p) => [p.number, words(p)]));
  function refilter() {
    const wanted = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    visible = points.filter((p) => {
      if (!wanted.every((w) => told.get(p.number).includes(w))) return false;
      for (const [key, [low, high]] of ranges) {
        const place = axes.find((a) => a.key === key).place(valueOf(p, key));
        if (place === null || place < low || place > high) return false;
      }
      return true;
    });
    const sign = sorting.down ? -1 : 1;
    visible.sort((a, b) => {
      const [x, y] = [valueOf(a, sorting.key), valueOf(b, sorting.key)];
      if (!known(x) || !known(y)) return known(y) - known(x);
      return sign * compare(x, y) || a.number - b.number;
    });
    $("count").textContent = `${visible.length} of ${points.length} points, ${chosen.size} chosen`;
    drawTable(); markLines(); drawCurves(); drawPictures(); drawCommands();
  }

  // ---- table
  const columns = $("columns");
  figures.forEach((f) => columns.append(new Option(f, `f:${f}`, false, f === data.metric && false)));
  function keys() {
    const more = [...columns.selectedOptions].map((o) => o.value);
    return ["number", ...parameters.map((p) => `p:${p}`), "metric", ...more, "seconds", "status"];
  }
  function drawTable() {
    const head = make("tr");
    for (const key of keys()) {
      const cell = make("th", { class: "sortable", scope: "col", tabindex: 0 }, labelOf(key));
      if (key === sorting.key) cell.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
      const sort = () => { sorting = { key, down: sorting.key === key ? !sorting.down : key === "metric" && data.sign > 0 }; refilter(); };
      cell.addEventListener("click", sort);
      cell.addEventListener("keydown", (e) => { if (e.key === "Enter") sort(); });
      head.append(cell);
    }
    $("points").tHead.replaceChildren(head);
    const rows = visible.slice(0, MOST_ROWS).map((p) => {
      const row = make("tr", { class: `point${chosen.has(p.number) ? " chosen" : ""}`, "data-number": p.number, tabindex: 0 });
      for (const key of keys()) {
        const value = valueOf(p, key);
        row.append(make("td", typeof value === "number" ? { class: "number" } : {}, key === "status" && p.why ? `${p.status}: ${p.why}` : key === "seconds" && value >= 10 ? String(Math.round(value)) : shown(value)));
      }
      const choose = () => { chosen.has(p.number) ? chosen.delete(p.number) : chosen.add(p.number); refilter(); };
      row.addEventListener("click", choose);
      row.addEventListener("keydown", (e) => { if (e.key === "Enter") choose(); });
      return row;
    });
    $("points").tBodies[0].replaceChildren(...rows);
    $("more").textContent = visible.length > MOST_ROWS ? `${visible.length - MOST_ROWS} more: filter to see them` : "";
  }

  // ---- parallel coordinates
  const axes = [...parameters.map((p) => `p:${p}`), ...(data.metric ? ["metric"] : [])].map((key) => {
    const values = points.map((p) => valueOf(p, key)).filter(known);
    const numbers = values.length > 0 && values.every((v) => typeof v === "number");
    if (numbers) {
      let low = Math.min(...values), high = Math.max(...values);
      const log = low > 0 && high / low > 50;
      const f = log ? Math.log : (v) => v;
      const span = f(high) - f(low);
      return { key, ticks: span ? [low, high] : [low], place: (v) => (!known(v) ? null : span ? (f(v) - f(low)) / span : 0.5) };
    }
    const kinds = [...new Set(values.map(String))].sort((a, b) => compare(a, b));
    return { key, ticks: kinds, place: (v) => (!known(v) ? null : kinds.length > 1 ? kinds.indexOf(String(v)) / (kinds.length - 1) : 0.5) };
  });
  const lines = new Map();
  function drawParallel() {
    const room = $("parallel").clientWidth - 200, gaps = Math.max(1, axes.length - 1);
    const step = Math.max(NARROWEST, room / gaps), width = step * gaps + 200, top = 34, bottom = HEIGHT - 12;
    const x = (i) => 70 + i * step, y = (place) => bottom - place * (bottom - top);
    const svg = make("svg", { width, height: HEIGHT + 10, role: "img", "aria-label": "Parallel coordinates of all points" });
    for (const p of points) {
      const path = axes.map((a, i) => [x(i), a.place(valueOf(p, a.key))]).filter(([, place]) => place !== null);
      if (path.length < 2) continue;
      const line = make("path", { class: "line", stroke: colour(p), d: "M" + path.map(([px, place]) => `${px},${y(place).toFixed(1)}`).join("L") });
      line.append(make("title", {}, `${p.number}: ${p.name}`));
      lines.set(p.number, line);
      svg.append(line);
    }
    axes.forEach((axis, i) => {
      svg.append(make("line", { class: "axis", x1: x(i), x2: x(i), y1: top, y2: bottom }));
      const name = labelOf(axis.key);
      const text = make("text", { class: "name", x: x(i), y: 14, "text-anchor": "middle" }, name.length > 22 ? `…${name.slice(-21)}` : name);
      text.append(make("title", {}, name));
      svg.append(text);
      const few = axis.ticks.length <= 12 ? axis.ticks : [axis.ticks[0], axis.ticks.at(-1)];
      few.forEach((t) => svg.append(make("text", { x: x(i) + 6, y: y(axis.place(t)) + 4 }, shown(t).slice(0, 20))));
      const range = make("rect", { class: "range", x: x(i) - 9, width: 18, y: 0, height: 0 });
      const area = make("rect", { class: "catch", x: x(i) - 14, width: 28, y: top - 8, height: bottom - top + 16 });
      let from = null;
      const placeAt = (e) => (bottom - (e.clientY - svg.getBoundingClientRect().top)) / (bottom - top);
      area.addEventListener("pointerdown", (e) => { from = placeAt(e); area.setPointerCapture(e.pointerId); });
      area.addEventListener("pointerup", (e) => {
        if (from === null) return;
        const ends = [from, placeAt(e)].sort((a, b) => a - b);
        from = null;
        if (ends[1] - ends[0] < 0.02) { ranges.delete(axis.key); range.setAttribute("height", 0); }
        else {
          ranges.set(axis.key, ends);
          range.setAttribute("y", y(Math.min(1.04, ends[1])));
          range.setAttribute("height", y(Math.max(-0.04, ends[0])) - y(Math.min(1.04, ends[1])));
        }
        refilter();
      });
      svg.append(range, area);
    });
    $("parallel").replaceChildren(svg);
  }
  function markLines() {
    const left = new Set(visible.map((p) => p.number));
    for (const [number, line] of lines) {
      line.setAttribute("class", `line${chosen.has(number) ? " chosen" : left.has(number) ? "" : " off"}`);
      if (chosen.has(number)) line.parentNode.insertBefore(line, line.parentNode.querySelector(".axis"));
    }
  }

  // ---- curves
  const curve = $("curve");
  Object.keys(data.curves).sort().forEach((key) => curve.append(new Option(key, key)));
  if (!curve.options.length) $("curves-part").hidden = true;
  const usual = [...curve.options].find((o) => o.value.endsWith("val/selection") || o.value.endsWith("val/auroc"));
  if (usual) curve.value = usual.value;
  const looked = () => (chosen.size ? points.filter((p) => chosen.has(p.number)) : visible);
  function drawCurves() {
    const own = data.curves[curve.value];
    if (!own) return;
    const known = looked().filter((p) => own[p.number]).slice(0, MOST_CURVES);
    const all = known.flatMap((p) => own[p.number]);
    if (!all.length) { $("curves").textContent = "None of these points logged it."; return; }
    const width = 900, height = 300, left = 60, right = width - 16, top = 12, bottom = height - 28;
    const [x0, x1] = [Math.min(...all.map((v) => v[0])), Math.max(...all.map((v) => v[0]))];
    const [y0, y1] = [Math.min(...all.map((v) => v[1])), Math.max(...all.map((v) => v[1]))];
    const x = (v) => left + ((v - x0) / (x1 - x0 || 1)) * (right - left);
    const y = (v) => bottom - ((v - y0) / (y1 - y0 || 1)) * (bottom - top);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img", "aria-label": curve.value });
    for (let i = 0; i <= 4; i++) {
      const v = y0 + ((y1 - y0) * i) / 4;
      svg.append(make("line", { class: "grid", x1: left, x2: right, y1: y(v), y2: y(v) }));
      svg.append(make("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, shown(v)));
    }
    [x0, x1].forEach((v) => svg.append(make("text", { x: x(v), y: height - 8, "text-anchor": "middle" }, shown(v))));
    svg.append(make("text", { x: (left + right) / 2, y: height - 8, "text-anchor": "middle" }, "epoch"));
    for (const p of known) {
      const line = make("path", { class: "curve", stroke: colour(p), d: "M" + own[p.number].map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("L") });
      line.append(make("title", {}, `${p.number}: ${p.name}`));
      svg.append(line);
    }
    $("curves").replaceChildren(svg);
  }

  // ---- pictures
  const worth = (p) => (known(p.metric) ? data.sign * p.metric : -Infinity);
  function bestOfGroups() {
    const best = new Map();
    for (const p of visible) {
      if (!data.pictures.of || !data.pictures.of[p.number]) continue;
      const g = groupOf.get(p.number), other = best.get(g);
      if (!other || worth(p) > worth(other)) best.set(g, p);
    }
    return [...best.values()].sort((a, b) => (worth(a) === worth(b) ? a.number - b.number : worth(b) - worth(a)));
  }
  function drawPictures() {
    const frames = data.pictures.frames || [];
    if (!frames.length) { $("pictures-part").hidden = true; return; }
    const asked = chosen.size ? points.filter((p) => chosen.has(p.number)) : bestOfGroups();
    const known = asked.filter((p) => data.pictures.of[p.number]).slice(0, MOST_PICTURED);
    const table = make("table"), head = make("tr");
    head.append(make("th", {}, "frame"));
    for (const p of known) {
      const cell = make("th", { title: p.name }, `${p.number}: ${shown(p.metric)}`);
      for (const name of parameters) if (name in p.parameters) cell.append(make("div", { class: "quiet" }, `${brief(name)}=${p.parameters[name]}`));
      head.append(cell);
    }
    table.append(head);
    frames.forEach((frame, i) => {
      const row = make("tr"), first = make("td");
      first.append(make("img", { src: frame.picture, alt: frame.id, width: 176 }), make("span", { class: "quiet" }, `${frame.id}, ${frame.label}`));
      row.append(first);
      for (const p of known) {
        const cell = make("td"), picture = data.pictures.of[p.number][i];
        if (picture) cell.append(make("img", { src: picture, alt: `${frame.id} by ${p.name}`, width: 176 }));
        row.append(cell);
      }
      table.append(row);
    });
    const missing = asked.length - known.length;
    $("pictures").replaceChildren(table);
    if (missing > 0) $("pictures").append(make("p", { class: "quiet" }, `${missing} more have no pictures here, or no room.`));
  }

  // ---- commands, importance, groups
  function drawCommands() {
    const asked = chosen.size ? points.filter((p) => chosen.has(p.number)) : visible.slice(0, 3);
    $("commands").textContent = asked.map((p) => `# ${p.number}: ${p.name}, in ${p.run || "no folder yet"}\n${p.command}`).join("\n\n");
  }
  const moved = Object.entries(data.importance);
  if (!moved.length) $("importance-part").hidden = true;
  for (const [name, share] of moved) {
    const bar = make("div", { class: "bar" }), room = make("span");
    if (share === null) room.textContent = "too few points to say";
    else room.append(make("i", { style: `width:${(100 * share).toFixed(1)}%` }));
    bar.append(make("span", {}, name), room, make("span", { class: "number" }, share === null ? "" : `${(100 * share).toFixed(0)} %`));
    $("importance").append(bar);
  }
  const groupRows = [...document.querySelectorAll("#groups tbody tr")];
  const means = data.groups.map((g) => g.mean);
  const best = means.reduce((b, m, i) => (m !== null && (b < 0 || data.sign * (m - means[b]) > 0) ? i : b), -1);
  groupRows.sort((a, b) => {
    const [x, y] = [means[a.dataset.group], means[b.dataset.group]];
    return x === null || y === null ? (y !== null) - (x !== null) : data.sign * (y - x);
  });
  groupRows.forEach((row) => {
    if (Number(row.dataset.group) === best) row.classList.add("best");
    row.style.cursor = "pointer";
    row.title = "choose its points";
    row.addEventListener("click", () => {
      const own = data.groups[row.dataset.group].points, all = own.every((n) => chosen.has(n));
      own.forEach((n) => (all ? chosen.delete(n) : chosen.add(n)));
      refilter();
    });
    document.querySelector("#groups tbody").append(row);
  });

  $("filter").addEventListener("input", refilter);
  columns.addEventListener("change", refilter);
  curve.addEventListener("change", drawCurves);
  $("none").addEventListener("click", () => { chosen.clear(); refilter(); });
  drawParallel();
  refilter();
})();

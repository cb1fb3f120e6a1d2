// Curves over the steps, drawn as SVG at the width they have.

const MARGIN = { top: 8, right: 10, bottom: 22, left: 46 };
const POINTS = 40; // up to so many steps every value gets a dot

/** What the reader chose for all charts. */
const chartOptions = { smoothing: 1, onStep: null };
const charts = new Set();

/** Draws all charts again, after an option changed. */
function redrawCharts() {
  for (const chart of charts) chart.draw();
}

/** The charts' own class: one figure of a panel (see panels.py), with legend and values. */
class Chart {
  constructor(panel, { steps, values, bands = {} }, compact) {
    this.panel = panel;
    this.steps = steps;
    this.compact = compact;
    this.height = compact ? 120 : 190;
    this.log = panel.scale === "log";
    let place = 0;
    this.series = panel.series.map((one) => ({
      ...one,
      values: values[one.metric],
      band: bands[one.metric] ?? [],
      tone: one.role || `c${place++ % 10}`,
      shown: true,
    }));
    this.at = null;
    this.build();
    charts.add(this);
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width && width !== this.width) {
        this.width = width;
        this.draw();
      }
    }).observe(this.plot);
  }

  build() {
    const { title, note, kind } = this.panel;
    this.tip = h("div", { class: "tip", hidden: true });
    this.plot = h("div", { class: "plot" }, this.tip);
    const scale = kind === "line" && !this.panel.limits && !this.compact && h("button", {
      type: "button", class: "quiet", "aria-pressed": String(this.log), title: "Logarithmic axis",
      onclick: (event) => {
        this.log = !this.log;
        event.currentTarget.setAttribute("aria-pressed", String(this.log));
        this.draw();
      },
    }, "log");
    this.figure = h("figure", { class: "chart" },
      h("figcaption", null,
        h("div", { class: "chart-head" }, h("h4", null, title), scale),
        note && h("p", { class: "note" }, note)),
      this.needsLegend() && this.legend(),
      this.plot,
      folded("Values", () => this.table(), { class: "values" }));
  }

  /** Whether the title leaves open what a curve is. */
  needsLegend() {
    const [first, ...others] = this.series;
    return others.length > 0 || !this.panel.title.toLowerCase().includes(first.label.toLowerCase());
  }

  legend() {
    return h("ul", { class: "legend" }, this.series.map((one) => h("li", null,
      h("button", {
        type: "button", "aria-pressed": "true", title: "Show or hide",
        onclick: (event) => {
          one.shown = !one.shown;
          event.currentTarget.setAttribute("aria-pressed", String(one.shown));
          this.draw();
        },
      }, h("span", { class: `swatch ${one.tone}` }), one.label))));
  }

  table() {
    const head = h("tr", null, h("th", { scope: "col" }, "step"),
      this.series.map((one) => h("th", { scope: "col" }, one.label)));
    const rows = this.steps.map((step, i) => h("tr", null, h("th", { scope: "row" }, count(step)),
      this.series.map((one) => h("td", null, short(one.values[i])))));
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": this.panel.title },
      h("table", null, h("thead", null, head), h("tbody", null, rows)));
  }

  draw() {
    if (!this.width) return;
    const shown = this.series.filter((one) => one.shown);
    const stacked = this.panel.kind === "stack";
    const curves = shown.map((one) => ({
      ...one,
      curve: stacked ? one.values : smooth(one.values, chartOptions.smoothing),
      edges: one.band.map((edge) => smooth(edge, chartOptions.smoothing)),
    }));
    const [low, high, log] = this.range(curves, stacked);
    const { top, right, bottom, left } = MARGIN;
    const inner = { width: this.width - left - right, height: this.height - top - bottom };
    const first = this.steps[0];
    const last = this.steps[this.steps.length - 1];
    const band = inner.width / (last - first + 1);
    this.x = (step) => left + (last === first && !stacked
      ? inner.width / 2
      : stacked ? (step - first + 0.5) * band : ((step - first) / (last - first)) * inner.width);
    const along = log
      ? (value) => (Math.log10(value) - Math.log10(low)) / (Math.log10(high) - Math.log10(low))
      : (value) => (value - low) / (high - low);
    this.y = (value) => top + (1 - along(value)) * inner.height;

    const drawing = svg("svg", {
      width: this.width, height: this.height, tabindex: "0", role: "img",
      "aria-label": this.label(),
    });
    for (const tick of log ? logTicks(low, high) : ticks(low, high, inner.height / 38)) {
      const y = Math.round(this.y(tick)) + 0.5;
      drawing.append(
        svg("line", { class: "grid", x1: left, x2: this.width - right, y1: y, y2: y }),
        svg("text", { class: "tick", x: left - 6, y: y + 3.5, "text-anchor": "end" }, short(tick)));
    }
    for (const tick of ticks(first, last, inner.width / 70).filter(Number.isInteger)) {
      drawing.append(svg("text", {
        class: "tick", x: this.x(tick), y: this.height - 6, "text-anchor": "middle",
      }, String(tick)));
    }
    drawing.append(svg("text", { class: "tick", x: left - 14, y: this.height - 6, "text-anchor": "end" }, "step"));
    if (stacked) this.drawBars(drawing, curves, band);
    else this.drawLines(drawing, curves, log);
    this.cursor = svg("g", { class: "cursor" });
    drawing.append(this.cursor);
    this.listen(drawing);
    this.plot.querySelector("svg")?.remove();
    this.plot.prepend(drawing);
    this.curves = curves;
    if (this.at === null) this.hide();
    else this.show(this.at);
  }

  /** The ends of the vertical axis, and whether it is logarithmic. */
  range(curves, stacked) {
    const limits = this.panel.limits ?? [];
    if (stacked) {
      const sums = this.steps.map((_, i) => curves.reduce((sum, one) => sum + (one.curve[i] ?? 0), 0));
      return [0, niceEnd(Math.max(...limits, 1e-12, ...sums)), false];
    }
    const all = curves.flatMap((one) => [one.curve, one.values, ...one.edges]).flat().filter((v) => v !== null);
    const positive = all.filter((value) => value > 0);
    if (this.log && positive.length) {
      const low = 10 ** Math.floor(Math.log10(Math.min(...positive)) + 1e-9);
      const high = 10 ** Math.ceil(Math.log10(Math.max(...positive)) - 1e-9);
      return [low, high > low ? high : low * 10, true];
    }
    let low = Math.min(...limits, ...all, Infinity);
    let high = Math.max(...limits, ...all, -Infinity);
    if (low > high) [low, high] = [0, 1];
    // A range that nearly touches zero begins there.
    if (low > 0 && low < 0.4 * high) low = 0;
    if (low === high) [low, high] = low === 0 ? [0, 1] : [Math.min(0, low), Math.max(0, high)];
    const step = tickStep(low, high, 4);
    return [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step, false];
  }

  drawLines(drawing, curves, log) {
    const { left, right } = MARGIN;
    if (!log && this.y(0) >= MARGIN.top && this.y(0) < this.height - MARGIN.bottom - 1) {
      const y = Math.round(this.y(0)) + 0.5;
      drawing.append(svg("line", { class: "zero", x1: left, x2: this.width - right, y1: y, y2: y }));
    }
    for (const one of curves) {
      const path = (values) => this.path(values, log);
      if (one.edges.length) {
        drawing.append(svg("path", { class: `band ${one.tone}`, d: this.area(one.edges, log) }));
      }
      if (one.curve !== one.values) {
        drawing.append(svg("path", { class: `raw ${one.tone}`, d: path(one.values) }));
      }
      drawing.append(svg("path", { class: `curve ${one.tone}`, d: path(one.curve) }));
      this.steps.forEach((step, i) => {
        const value = one.curve[i];
        if (value === null || (log && value <= 0)) return;
        const alone = (one.curve[i - 1] ?? null) === null && (one.curve[i + 1] ?? null) === null;
        if (this.steps.length > POINTS && !alone) return;
        drawing.append(svg("circle", {
          class: `dot ${one.tone}`, cx: this.x(step), cy: this.y(value), r: 2.5,
        }));
      });
    }
  }

  path(values, log) {
    let open = false;
    return this.steps.map((step, i) => {
      const value = values[i];
      if (value === null || (log && value <= 0)) {
        open = false;
        return "";
      }
      const point = `${open ? "L" : "M"}${this.x(step).toFixed(1)} ${this.y(value).toFixed(1)}`;
      open = true;
      return point;
    }).join("");
  }

  /** Between two curves, wherever both have a value. */
  area([low, high], log) {
    const known = (i) => [low[i], high[i]].every((v) => v !== null && (!log || v > 0));
    const pieces = [];
    this.steps.forEach((_, i) => {
      if (!known(i)) return;
      if (i && known(i - 1)) pieces[pieces.length - 1].push(i);
      else pieces.push([i]);
    });
    const point = (values) => (i) => `${this.x(this.steps[i]).toFixed(1)} ${this.y(values[i]).toFixed(1)}`;
    return pieces.map((piece) =>
      `M${[...piece.map(point(low)), ...piece.toReversed().map(point(high))].join("L")}z`).join("");
  }

  drawBars(drawing, curves, band) {
    const gap = band > 6 ? Math.min(2, band * 0.15) : 0;
    const bases = this.steps.map(() => 0);
    for (const one of curves) {
      // One path per series: thousands of rectangles would be slow.
      const d = this.steps.map((step, i) => {
        const value = one.curve[i];
        if (!value) return "";
        const x = this.x(step) - (band - gap) / 2;
        const bottom = this.y(bases[i]);
        bases[i] += value;
        const top = this.y(bases[i]);
        return `M${x.toFixed(2)} ${bottom.toFixed(2)}V${top.toFixed(2)}` +
          `h${(band - gap).toFixed(2)}V${bottom.toFixed(2)}z`;
      }).join("");
      drawing.append(svg("path", { class: `bar ${one.tone}`, d }));
    }
  }

  listen(drawing) {
    const nearest = (event) => {
      const x = event.clientX - drawing.getBoundingClientRect().left;
      let best = 0;
      this.steps.forEach((step, i) => {
        if (Math.abs(this.x(step) - x) < Math.abs(this.x(this.steps[best]) - x)) best = i;
      });
      return best;
    };
    drawing.addEventListener("pointermove", (event) => this.show(nearest(event)));
    drawing.addEventListener("pointerleave", () => this.hide());
    drawing.addEventListener("blur", () => this.hide());
    drawing.addEventListener("click", (event) => {
      if (event.detail !== 0) chartOptions.onStep?.(this.steps[nearest(event)]);
    });
    drawing.addEventListener("keydown", (event) => {
      const end = this.steps.length - 1;
      const next = {
        ArrowLeft: Math.max(0, (this.at ?? end + 1) - 1),
        ArrowRight: Math.min(end, (this.at ?? -1) + 1),
        Home: 0,
        End: end,
      }[event.key];
      if (next !== undefined) this.show(next);
      else if (event.key === "Enter" && this.at !== null) chartOptions.onStep?.(this.steps[this.at]);
      else if (event.key === "Escape") this.hide();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  show(i) {
    this.at = i;
    const x = this.x(this.steps[i]);
    this.cursor.replaceChildren(
      svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: this.height - MARGIN.bottom }));
    const stacked = this.panel.kind === "stack";
    const entries = this.curves.filter((one) => !stacked || one.values[i]);
    this.tip.replaceChildren(
      h("strong", null, `Step ${count(this.steps[i])}`),
      h("dl", null, (stacked ? entries.toReversed() : entries).flatMap((one) => [
        h("dt", null, h("span", { class: `swatch ${one.tone}` }), one.label),
        h("dd", null, short(one.values[i]), one.band.length && one.band[0][i] !== null
          ? ` (${short(one.band[0][i])} to ${short(one.band[1][i])})` : ""),
      ])),
      chartOptions.onStep ? h("p", null, "Click for its episodes") : "");
    this.tip.hidden = false;
    const room = this.width - this.tip.offsetWidth;
    const beside = x + 12 > room ? x - 12 - this.tip.offsetWidth : x + 12;
    this.tip.style.left = `${Math.max(0, Math.min(room, beside))}px`;
  }

  hide() {
    this.at = null;
    this.tip.hidden = true;
    this.cursor.replaceChildren();
  }

  label() {
    const ends = this.series.map((one) => {
      const known = one.values.filter((value) => value !== null);
      return known.length ? `${one.label} ${short(known[0])} to ${short(known[known.length - 1])}` : "";
    });
    const last = this.steps[this.steps.length - 1];
    return `${this.panel.title}, steps ${this.steps[0]} to ${last}: ${ends.filter(Boolean).join("; ")}`;
  }
}

/** Means over the last `width` values. */
function smooth(values, width) {
  if (width <= 1) return values;
  return values.map((value, i) => {
    if (value === null) return null;
    const known = values.slice(Math.max(0, i + 1 - width), i + 1).filter((v) => v !== null);
    return known.reduce((sum, v) => sum + v, 0) / known.length;
  });
}

/** The distance of about `number` round ticks. */
function tickStep(low, high, number) {
  const rough = (high - low) / Math.max(1, number);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
}

function ticks(low, high, number) {
  if (low === high) return [low];
  const step = tickStep(low, high, number);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    found.push(Number((i * step).toPrecision(12)));
  }
  return found;
}

function logTicks(low, high) {
  const [first, last] = [Math.round(Math.log10(low)), Math.round(Math.log10(high))];
  const every = Math.ceil((last - first) / 5);
  const found = [];
  for (let power = first; power <= last; power += every) found.push(10 ** power);
  return found;
}

function niceEnd(value) {
  const step = tickStep(0, value, 4);
  return Math.ceil(value / step - 1e-6) * step;
}

/** A line without axes: how a rate went. */
function sparkline(values, label) {
  const [width, height] = [110, 22];
  const top = Math.max(...values.map((v) => v ?? 0), 1e-9);
  const x = (i) => 2 + (i / Math.max(1, values.length - 1)) * (width - 4);
  const d = values.map((value, i) => (value === null ? "" :
    `${i && values[i - 1] !== null ? "L" : "M"}${x(i).toFixed(1)} ${
      (height - 3 - (value / top) * (height - 6)).toFixed(1)}`)).join("");
  const drawing = svg("svg", { class: "spark", width, height, role: "img", "aria-label": label });
  const known = values.flatMap((value, i) => (value === null ? [] : [i]));
  if (known.length > 1) {
    const [from, to] = [x(known[0]), x(known[known.length - 1])];
    drawing.append(svg("path", { class: "under", d: `${d.replaceAll("M", "L").replace("L", "M")}L${to} ${height - 1}L${from} ${height - 1}z` }));
  }
  drawing.append(svg("path", { class: "curve c0", d }));
  if (known.length === 1) {
    const [only] = known;
    const y = height - 3 - (values[only] / top) * (height - 6);
    drawing.append(svg("circle", { class: "dot c0", cx: x(only), cy: y, r: 2 }));
  }
  return drawing;
}

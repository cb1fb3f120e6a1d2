// What the pages over several runs share: tables, and charts with a curve for each run.

/** A table whose first two columns are words and the others numbers. */
function table(head, rows) {
  const place = (i) => (i < 2 ? "" : "number");
  return h("div", { class: "scroll card" }, h("table", null,
    h("thead", null, h("tr", null, head.map((text, i) => h("th", { scope: "col", class: place(i) }, text)))),
    h("tbody", null, rows.map(([first, ...cells]) => h("tr", null,
      h("th", { scope: "row" }, first),
      cells.map((cell, i) => h("td", { class: place(i + 1) }, cell)))))));
}

/** The groups of charts, below all else of the section. */
function showCharts(section, metrics, groups) {
  if (!metrics.steps.length) return;
  if (metrics.steps.length >= 8) section.append(smoothing(metrics.steps.length));
  for (const { title, folded: closed, panels } of groups) {
    const make = () => h("div", { class: closed ? "charts compact" : "charts" },
      panels.map((panel) => new Chart(panel, metrics, closed).figure));
    section.append(closed
      ? folded(h("h3", null, title), make, { class: "group" })
      : h("div", { class: "group" }, h("h3", null, title), make()));
  }
}

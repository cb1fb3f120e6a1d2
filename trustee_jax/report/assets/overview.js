// The run at a glance: key figures, curves, accounting; and its config.

/** The line under the page's title. */
function showFacts(facts) {
  document.querySelector(".top").append(h("dl", { class: "facts" }, facts.map(([name, value]) =>
    value && h("div", null, h("dt", null, name), h("dd", { title: value }, plain(value))))));
}

/** What the line says of a run. */
function showHeader({ run }) {
  showFacts([
    ["model", run.model],
    ["simulator", run.simulator ?? (run.model ? "the model's frozen base" : null)],
    ["tools", run.tools],
    ["steps", run.planned ? `${count(run.steps)} of ${count(run.planned)}` : count(run.steps)],
    ["written", run.written.slice(0, 16).replace("T", " ")],
  ]);
}

/** Fills the overview. */
function showOverview(section, summary, episodes) {
  const { metrics, groups, accounting } = summary;
  section.append(h("h2", { class: "unheard" }, "Overview"));
  if (!metrics.steps.length) {
    section.append(h("p", { class: "notice" }, episodes.size
      ? `No step is complete yet; ${plural(episodes.size, "episode")} of the first can be read.`
      : "No step is complete yet, and no episode is recorded. Write the report again later."));
    return;
  }
  section.append(tiles(summary, episodes));
  if (metrics.steps.length >= 8) section.append(smoothing(metrics.steps.length));
  for (const { title, compact, folded: closed, panels } of groups) {
    const make = () => h("div", { class: compact ? "charts compact" : "charts" },
      panels.map((panel) => new Chart(panel, metrics, compact).figure));
    section.append(closed
      ? folded(h("h3", null, title), make, { class: "group" })
      : h("div", { class: "group" }, h("h3", null, title), make()));
    if (title === "Validity") section.append(accountingGroup(accounting));
  }
  if (!groups.some(({ title }) => title === "Validity")) section.append(accountingGroup(accounting));
}

function tiles({ metrics: { steps, values }, run, accounting }, episodes) {
  const last = (name) => {
    const known = (values[name] ?? []).filter((value) => value !== null);
    return known.length ? known[known.length - 1] : null;
  };
  const first = (name) => (values[name] ?? []).find((value) => value !== null) ?? null;
  const played = accounting.find(({ title }) => title === "Episodes");
  const seconds = (values["seconds/step"] ?? []).filter((value) => value !== null);
  const from = (name, form) => (steps.length > 1 && first(name) !== null
    ? `last step; first ${form(first(name))}` : "last step");
  const entries = [
    ["Steps", count(run.steps), run.planned ? `of ${count(run.planned)} planned` : ""],
    ["Mean reward", short(last("reward/mean")), from("reward/mean", short)],
    ["Difficulty", short(last("curriculum/difficulty")), from("curriculum/difficulty", short)],
    ["Valid episodes", percent(played?.rows[0].share), "over the run"],
    ["Episodes", count(played?.total ?? episodes.size), run.left_out
      ? `${count(episodes.size)} in this file` : "all in this file"],
    ["Seconds a step", short(seconds.length
      ? seconds.reduce((sum, value) => sum + value, 0) / seconds.length : null), "mean"],
  ];
  return h("dl", { class: "tiles" }, entries.map(([name, value, note]) =>
    h("div", null, h("dt", null, name), h("dd", null, value), h("p", { class: "note" }, note))));
}

function smoothing(steps) {
  const choices = [[1, "none"], [5, "5 steps"], [20, "20 steps"], [50, "50 steps"]];
  return h("div", { class: "controls" }, h("label", null, "Smoothing ", h("select", {
    id: "smoothing",
    onchange: (event) => {
      chartOptions.smoothing = Number(event.target.value);
      redrawCharts();
    },
  }, choices.filter(([width]) => width < steps).map(([width, text]) =>
    h("option", { value: width }, text)))));
}

function accountingGroup(tables) {
  return h("div", { class: "group", id: "accounting" },
    h("h3", null, "Accounting"),
    h("p", { class: "note" }, "Everything the run started, by what became of it, over all complete steps; refills add to groups and draws."),
    h("div", { class: "tables" }, tables.map(accountingTable)));
}

function accountingTable({ title, unit, total, rows, never, recent_steps: recent }) {
  const head = ["", "count", "share", `last ${recent}`, "in steps", "share by step"];
  return h("div", { class: "card" },
    h("h4", null, title, " ", h("span", { class: "note" }, `${count(total)} ${unit}`)),
    h("div", { class: "scroll" }, h("table", { class: "accounting" },
      h("thead", null, h("tr", null, head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", null, rows.map((row, place) => h("tr", { class: place ? "" : "kept" },
        h("th", { scope: "row" }, title === "Episodes"
          ? h("a", { href: place
            ? `#view=episodes&cause=${encodeURIComponent(row.label)}`
            : "#view=episodes&cause=valid" }, words(row.label))
          : words(row.label)),
        h("td", null, count(row.count)),
        h("td", null, percent(row.share)),
        h("td", null, percent(row.recent)),
        h("td", null, count(row.steps)),
        h("td", { class: "sparkcell" }, sparkline(row.series, `${words(row.label)} by step`))))))),
    never.length ? h("p", { class: "note" }, "Never: ", never.map(words).join(", "), ".") : null);
}

/** Fills the config: all options, searchable. */
function showConfig(section, { options }) {
  section.append(h("h2", null, "Config"));
  if (!options.length) {
    section.append(h("p", { class: "notice" }, "The run has no config.json yet: it writes it with its first step."));
    return;
  }
  const rows = options.map((option) => ({
    text: `${option.name} ${JSON.stringify(option.value)}`.toLowerCase(),
    changed: option.changed,
    row: h("tr", { class: option.changed ? "changed" : "" },
      h("th", { scope: "row" }, plain(option.name)),
      h("td", null, h("code", null, plain(optionText(option.value)))),
      h("td", null, option.changed ? h("code", null, plain(optionText(option.default))) : "")),
  }));
  const found = h("span", { class: "note", role: "status" });
  const word = h("input", { id: "config-search", type: "search", autocomplete: "off" });
  const only = h("input", { type: "checkbox" });
  const apply = () => {
    const wanted = word.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { text, changed, row } of rows) {
      row.hidden = !wanted.every((part) => text.includes(part)) || (only.checked && !changed);
      shown += row.hidden ? 0 : 1;
    }
    found.textContent = `${shown} of ${plural(rows.length, "option")}`;
  };
  word.addEventListener("input", apply);
  only.addEventListener("change", apply);
  apply();
  section.append(
    h("div", { class: "controls" }, h("label", null, "Search ", word),
      h("label", null, only, " changed from the default only"), found),
    h("details", { open: true, class: "card" }, h("summary", null, "Options"), h("div", { class: "scroll" },
      h("table", { class: "options" },
        h("thead", null, h("tr", null, ["option", "value", "default, where it differs"].map((text) =>
          h("th", { scope: "col" }, text)))),
        h("tbody", null, rows.map(({ row }) => row))))));
}

function optionText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

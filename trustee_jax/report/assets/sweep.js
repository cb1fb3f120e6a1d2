// A sweep: its variants with intervals over their runs, curves with bands, and every run.

function showSweep(summary) {
  const { sweep, figures, variants, runs, metrics, groups } = summary;
  showFacts([
    ["base", sweep.base],
    ["file", sweep.file],
    ["runs", `${count(sweep.complete)} of ${count(runs.length)} complete`],
    ["written", sweep.written.slice(0, 16).replace("T", " ")],
  ]);
  const section = document.getElementById("sweep");
  section.append(
    h("div", { class: "group", id: "variants" },
      h("h3", null, "Variants"),
      h("p", { class: "note" }, "Runs that differ in nothing but their seed. Mean ± half of its 95% interval (Student's t) over the complete runs; at begin and end: over a tenth of a run's steps; highest: of a single step."),
      table(["variant", "runs", ...figures], variants.map(({ name, complete, count: all, cells }) => [
        plain(name), complete === all ? count(all) : `${count(complete)}/${count(all)}`, ...cells.map(interval)]))),
    h("div", { class: "group", id: "runs" },
      h("h3", null, "Runs"),
      table(["run", "state", ...figures], runs.map((run) => [
        run.report ? h("a", { href: run.report }, plain(run.name)) : plain(run.name),
        state(run), ...run.cells.map(short)]))));
  showCharts(section, metrics, groups);
}

function interval(cell) {
  if (cell === null) return "–";
  const [mean, margin] = cell;
  return margin === null ? short(mean) : `${short(mean)} ± ${short(margin)}`;
}

function state({ state: name, step, steps, note }) {
  const kind = { complete: "good", failed: "bad" }[name] ?? "none";
  return [
    h("span", { class: `badge ${kind}` }, name), ` ${count(step)}/${count(steps)}`,
    note && h("p", { class: "note" }, plain(note))];
}

openPage(showSweep);

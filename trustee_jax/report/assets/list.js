// The list of episodes: what it filters by, how it is sorted, one page of rows at a time.

const PAGE = 50;

/** The fields of a filter, as they are in the address. */
const FILTERS = [
  "from", "to", "reward", "cause", "ended", "category", "tool", "use", "unmet", "with", "text",
];

const COLUMNS = [
  { name: "key", label: "Episode", by: (e, row) => e.order[row] },
  { name: "step", label: "Step", by: (e, row) => e.columns.step[row], number: true },
  { name: "reward", label: "Reward", by: (e, row) => e.columns.reward[row] },
  { name: "query", label: "Query", by: (e, row) => e.columns.query[row] },
  { name: "category", label: "Category", by: (e, row) => e.name("category", row) },
  { name: "difficulty", label: "Difficulty", by: (e, row) => e.columns.difficulty[row], number: true },
  { name: "turns", label: "Turns", by: (e, row) => e.columns.turns[row], number: true },
  { name: "calls", label: "Calls", by: (e, row) => e.columns.calls[row], number: true },
  { name: "tokens", label: "Tokens", by: (e, row) => e.columns.tokens[row], number: true },
  { name: "ended", label: "Ended", by: (e, row) => e.name("cause", row) ?? e.name("ended", row) },
];

/** The list; `navigate(changes)` asks for another state of the page. */
class EpisodeList {
  constructor(section, episodes, leftOut, navigate) {
    this.episodes = episodes;
    this.navigate = navigate;
    this.rows = [];
    this.status = h("p", { class: "note", role: "status", id: "found" });
    this.body = h("tbody");
    this.pager = h("nav", { class: "pager", "aria-label": "Pages" });
    this.heads = new Map();
    section.append(h("h2", { class: "unheard" }, "Episodes"));
    if (leftOut) {
      section.append(h("p", { class: "notice", id: "left-out" },
        `${plural(leftOut, "earlier episode")} of this run ${leftOut === 1 ? "is" : "are"} not in ` +
        `this file: it was written with --episodes=${episodes.size}. The curves and the accounting cover all.`));
    }
    if (!episodes.size) {
      section.append(h("p", { class: "notice" }, "No episode is recorded yet."));
      return;
    }
    section.append(this.form(), this.status, this.table(), this.pager);
  }

  form() {
    const { columns, names, size } = this.episodes;
    const tally = (column) => {
      const counts = new Map();
      for (const value of columns[column].flat()) counts.set(value, (counts.get(value) ?? 0) + 1);
      return counts;
    };
    const named = (column, kind) => [...tally(column)]
      .filter(([place]) => place !== null)
      .map(([place, number]) => [names[kind][place], `${words(names[kind][place])} (${count(number)})`])
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const rewards = [...tally("reward")].filter(([value]) => value !== null)
      .sort(([a], [b]) => b - a)
      .map(([value, number]) => [String(value), `${String(value).replace("-", "−")} (${count(number)})`]);
    const invalid = columns.cause.filter((place) => place !== null).length;
    const tools = names.tool.map((name) => [name, name]).sort(([a], [b]) => (a < b ? -1 : 1));
    const some = (column) => columns[column].some(Boolean);

    const select = (name, label, any, options) => options.length > 0 && h("label", null, label,
      h("select", { name }, h("option", { value: "" }, any),
        options.map(([value, text]) => h("option", { value }, text))));
    const input = (name, label, properties) =>
      h("label", null, label, h("input", { name, autocomplete: "off", ...properties }));
    this.controls = h("form", { class: "filters", "aria-label": "Filters", role: "search" },
      input("text", "Text in the episode", { type: "search", placeholder: "words, in any order" }),
      select("reward", "Reward", "any", rewards),
      select("cause", "Validity", "any", [
        ["valid", `valid (${count(size - invalid)})`],
        ...(invalid ? [["invalid", `invalid (${count(invalid)})`]] : []),
        ...named("cause", "cause").map(([value, text]) => [value, `– ${text}`]),
      ]),
      h("div", { class: "pair" }, input("from", "From step", { type: "number", min: 0 }),
        input("to", "to step", { type: "number", min: 0 })),
      select("ended", "Ended", "any", named("ended", "ended")),
      select("category", "Category", "any", named("category", "category")),
      tools.length > 0 && h("div", { class: "pair double" },
        h("label", null, "Tool", h("input", { name: "tool", list: "tool-names", autocomplete: "off" }),
          h("datalist", { id: "tool-names" }, tools.map(([value]) => h("option", { value })))),
        select("use", "was", "offered or called", [["offered", "offered"], ["called", "called"]])),
      select("unmet", "Criterion not met", "any", named("unmet", "criterion")),
      select("with", "With", "anything", [
        ...(some("vetoed") ? [["vetoed", "a veto"]] : []),
        ...(some("malformed") ? [["malformed", "malformed calls"]] : []),
        ...(some("unmarked") ? [["unmarked", "unmarked calls"]] : []),
      ]),
      h("button", { type: "reset" }, "Clear"));
    let timer = 0;
    const changed = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.navigate({ ...this.typed(), page: "" }), 200);
    };
    this.controls.addEventListener("input", changed);
    this.controls.addEventListener("submit", (event) => event.preventDefault());
    this.controls.addEventListener("reset", () => setTimeout(changed));
    return h("details", { class: "filterbox", open: window.innerWidth > 700 },
      h("summary", null, "Filters"), this.controls);
  }

  typed() {
    return Object.fromEntries(FILTERS.map((name) => [name, this.controls.elements[name]?.value ?? ""]));
  }

  table() {
    const heads = COLUMNS.map(({ name, label, number }) => {
      const head = h("th", { scope: "col", class: number ? "number" : "" }, h("button", {
        type: "button",
        onclick: () => {
          const [by, down] = this.order;
          const next = by === name && !down ? `-${name}` : name;
          this.navigate({ sort: next === "key" ? "" : next, page: "" });
        },
      }, label));
      this.heads.set(name, head);
      return head;
    });
    return h("table", { class: "list" }, h("thead", null, h("tr", null, heads)), this.body);
  }

  /** Shows the episodes of a state; resolves to false if a later call overtook this one. */
  async apply(state) {
    if (!this.episodes.size) return true;
    this.searching?.abort();
    const search = this.searching = new AbortController();
    for (const name of FILTERS) {
      const control = this.controls.elements[name];
      if (control && control !== document.activeElement && control.value !== (state[name] ?? "")) {
        control.value = state[name] ?? "";
      }
    }
    const filter = JSON.stringify([FILTERS.map((name) => state[name] ?? ""), state.sort ?? ""]);
    if (filter !== this.filter) {
      let rows = this.matching(state);
      if (state.text) {
        rows = await this.episodes.search(rows, state.text, (share) => {
          this.status.textContent = `Searching … ${percent(share)}`;
        }, search.signal);
        if (rows === null || search.signal.aborted) return false;
      }
      this.order = [(state.sort ?? "").replace("-", "") || "key", (state.sort ?? "").startsWith("-")];
      this.rows = this.sorted(rows);
      this.filter = filter;
    }
    this.show(Number(state.page) || 1);
    return true;
  }

  matching(state) {
    const { columns, names, size } = this.episodes;
    const place = (kind, name) => names[kind].indexOf(name);
    const tests = [];
    if (state.from) tests.push((row) => columns.step[row] >= Number(state.from));
    if (state.to) tests.push((row) => columns.step[row] <= Number(state.to));
    if (state.reward) tests.push((row) => columns.reward[row] === Number(state.reward));
    if (state.cause === "valid") tests.push((row) => columns.cause[row] === null);
    else if (state.cause === "invalid") tests.push((row) => columns.cause[row] !== null);
    else if (state.cause) {
      const cause = place("cause", state.cause);
      tests.push((row) => columns.cause[row] === cause);
    }
    for (const kind of ["ended", "category"]) {
      const wanted = place(kind, state[kind]);
      if (state[kind]) tests.push((row) => columns[kind][row] === wanted);
    }
    if (state.unmet) {
      const unmet = place("criterion", state.unmet);
      tests.push((row) => columns.unmet[row].includes(unmet));
    }
    if (state.with) tests.push((row) => Boolean(columns[state.with]?.[row]));
    if (state.tool) {
      const part = state.tool.toLowerCase();
      // The name of a tool is meant alone; anything else means all names that contain it.
      const exact = names.tool.some((name) => name.toLowerCase() === part);
      const wanted = new Set(names.tool.flatMap((name, i) => {
        const lower = name.toLowerCase();
        return (exact ? lower === part : lower.includes(part)) ? [i] : [];
      }));
      const uses = state.use ? [state.use] : ["offered", "called"];
      tests.push((row) => uses.some((use) => columns[use][row].some((tool) => wanted.has(tool))));
    }
    const rows = [];
    for (let row = 0; row < size; row++) if (tests.every((test) => test(row))) rows.push(row);
    return rows;
  }

  sorted(rows) {
    const [name, down] = this.order;
    const { by } = COLUMNS.find((column) => column.name === name) ?? COLUMNS[0];
    const keyed = rows.map((row) => [by(this.episodes, row), row]);
    keyed.sort(([a, i], [b, j]) => {
      // What is missing comes last in either direction.
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      const order = a < b ? -1 : a > b ? 1 : 0;
      return (down ? -order : order) || i - j;
    });
    return keyed.map(([, row]) => row);
  }

  show(page) {
    const pages = Math.max(1, Math.ceil(this.rows.length / PAGE));
    const at = Math.min(Math.max(1, page), pages);
    const rows = this.rows.slice((at - 1) * PAGE, at * PAGE);
    const total = this.episodes.size;
    this.status.textContent = this.rows.length === total
      ? plural(total, "episode") : `${count(this.rows.length)} of ${plural(total, "episode")}`;
    this.body.replaceChildren(...rows.map((row) => this.row(row)));
    for (const [name, head] of this.heads) {
      const [by, down] = this.order;
      head.setAttribute("aria-sort", name !== by ? "none" : down ? "descending" : "ascending");
    }
    const turn = (to, label) => h("button", {
      type: "button", disabled: to < 1 || to > pages || to === at,
      onclick: () => this.navigate({ page: to === 1 ? "" : String(to) }, true),
    }, label);
    this.pager.replaceChildren(...(pages === 1 ? [] : [
      turn(1, "First"), turn(at - 1, "Previous"),
      h("span", { class: "note" }, `page ${count(at)} of ${count(pages)}`),
      turn(at + 1, "Next"), turn(pages, "Last"),
    ]));
  }

  row(row) {
    const { columns } = this.episodes;
    const cause = this.episodes.name("cause", row);
    const key = columns.key[row];
    const cell = (label, content, kind = "") => h("td", { "data-label": label, class: kind }, content);
    const link = h("a", { href: `#episode=${encodeURIComponent(key)}` }, plain(key));
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.navigate({ episode: key }, true);
    });
    const flags = [
      columns.vetoed[row] && h("span", { class: "flag bad" }, "veto"),
      columns.malformed[row] && h("span", { class: "flag" }, "malformed call"),
      columns.unmarked[row] && h("span", { class: "flag" }, "unmarked call"),
    ];
    const made = h("tr", null,
      h("th", { scope: "row", "data-label": "Episode" }, link),
      cell("Step", count(columns.step[row]), "number"),
      cell("Reward", rewardBadge(cause === null ? columns.reward[row] : null)),
      cell("Query", h("span", { class: "query", dir: "auto" }, flags, plain(columns.query[row])), "wide"),
      cell("Category", plain(words(this.episodes.name("category", row)))),
      cell("Difficulty", short(columns.difficulty[row]), "number"),
      cell("Turns", count(columns.turns[row]), "number"),
      cell("Calls", count(columns.calls[row]), "number"),
      cell("Tokens", count(columns.tokens[row]), "number"),
      cell("Ended", cause === null ? words(this.episodes.name("ended", row) ?? "–")
        : h("span", { class: "cause" }, plain(words(cause)))));
    // The whole row leads to the episode; the link serves keyboard and screen reader.
    made.addEventListener("click", (event) => {
      if (!event.target.closest("a") && !String(getSelection())) link.click();
    });
    return made;
  }
}

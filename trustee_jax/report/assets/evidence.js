// What is claimed of a run, by which rule, what was found, and what it took.

function showEvidence({ found, title, written, metrics, groups }) {
  const { claims, rules, policies, remarks, tables } = found;
  showFacts([
    ["claims", `${count(claims.filter(({ holds }) => holds).length)} of ${count(claims.length)} hold`],
    ["model", policies[0].identity.model],
    ["written", written.slice(0, 16).replace("T", " ")],
  ]);
  const section = document.getElementById("sweep");
  section.append(
    h("div", { class: "group", id: "claims" },
      h("h3", null, "Claims"),
      h("ul", { class: "card claims" }, claims.map(({ holds, text }) => h("li", null,
        h("span", { class: `badge ${holds ? "good" : "bad"}` }, holds ? "yes" : "no"), " ", plain(text)))),
      h("p", { class: "note" }, rules)),
    h("div", { class: "group", id: "policies" },
      h("h3", null, "Policies"),
      h("p", { class: "note" }, "Right answers by the official checkers of BFCL, greedy, with Wilson's 95% interval. Strict: calls in the model's own form; lenient: in any form that a reader would accept."),
      named(tables.policies),
      h("ul", null, remarks.map((text) => h("li", null, plain(text))))),
    h("div", { class: "group", id: "categories" },
      h("h3", null, "By category"),
      h("p", { class: "note" }, "The trained policy, read strictly, against its base; p not corrected."),
      table(["category", "base read", "cases", "only the base", "only the trained", "difference", "p"],
        Object.entries(found.by_category).flatMap(([reading, pairs]) => Object.entries(pairs).map(([name, pair]) => [
          plain(name), reading, count(pair.both + pair.only_a + pair.only_b + pair.neither),
          count(pair.only_a), count(pair.only_b), points(pair), short(pair.p)])))),
    h("div", { class: "group", id: "costs" },
      h("h3", null, "What it took"),
      named(tables.costs)));
  showCharts(section, metrics, groups);
}

function named({ head, rows }) {
  return table(head, rows.map((cells) => cells.map((cell) => plain(cell))));
}

function points({ difference, low, high }) {
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}`;
  return `${signed(difference)} (${signed(low)} to ${signed(high)})`;
}

openPage(showEvidence);

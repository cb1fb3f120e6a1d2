// What became of an episode: the verdict by parts, the world before and after, the tokens trained.

function verdictPart({ verdict, cause, messages }) {
  if (verdict === null) {
    const called = messages.some((message) => message.calls);
    return h("p", { class: "note" }, cause !== null
      ? "None: the episode is invalid."
      : called ? "None recorded." : "None needed: no call fits a tool, which is rewarded −1.");
  }
  return [
    gradedPart(verdict),
    (verdict.judges ?? []).map((one) => h("section", { class: "judge" },
      h("h4", null, h("code", null, plain(one.judge)), " ", one.reward === null ? "" : rewardBadge(one.reward), " ",
        h("span", { class: "note" }, one.weight === null ? "" : `weight ${one.weight}`)),
      gradedPart(one))),
  ];
}

/** What one judge found. */
function gradedPart(verdict) {
  const known = new Set();
  const parts = verdict.parts.map((part) => {
    const vetoes = verdict.vetoes.filter((veto) => veto.criterion === part.criterion);
    vetoes.forEach((veto) => known.add(veto));
    return partItem(part, vetoes, verdict.criteria[part.criterion] ?? part.met, verdict.mode);
  });
  const others = verdict.vetoes.filter((veto) => !known.has(veto));
  return [
    verdict.mode ? h("p", { class: "note" }, {
      logprobs: "Read from the log-probabilities of yes and no.",
      reasoned: "Given criterion by criterion, after reasoning.",
      joint: "Given for all criteria at once.",
      rules: "Given by the deterministic checks alone: met is what none of them objects to.",
      python: "Given by a function of the user's.",
      weighted: "The reward is the weighted mean of several judges'.",
    }[verdict.mode] ?? plain(verdict.mode)) : "",
    verdict.score === undefined ? "" : h("p", null, `Reward ${verdict.score}, given as a number.`),
    parts.length ? h("ol", { class: "parts" }, parts) : "",
    others.map(vetoNote),
    verdict.reasoning ? [h("h4", null, "Reasoning"), block(verdict.reasoning)] : "",
  ];
}

function partItem(part, vetoes, met, mode) {
  const overruled = part.met && !met && mode !== "rules";
  const { probability } = part;
  return h("li", { class: met ? "met" : "unmet" },
    h("div", { class: "part-head" },
      h("span", { class: `mark ${met ? "good" : "bad"}`, role: "img", "aria-label": met ? "met" : "not met" }, met ? "✓" : "✗"),
      h("b", null, plain(words(part.criterion))),
      part.line === null ? "" : h("a", { href: `#line=${part.line}`, "data-line": part.line, class: "cited" }, `line ${part.line}`)),
    probability === null ? "" : h("div", { class: "probability" },
      h("meter", { min: 0, max: 1, value: probability, "aria-label": "probability that it is met" }),
      h("span", null, `p(met) ${probability.toFixed(3)}`)),
    part.reasoning ? block(part.reasoning, { class: "note" }) : "",
    part.recites ? h("p", { class: "note" }, h("span", { class: "flag" }, "recites"), " These reasons only repeat the question.") : "",
    overruled ? h("p", { class: "overruled" }, "The verifier said met; a check overruled it.") : "",
    vetoes.map(vetoNote));
}

function vetoNote(veto) {
  return h("p", { class: "veto" }, h("span", { class: "flag bad" }, "veto"), " ",
    h("code", null, plain(veto.check)), " ", plain(veto.reason));
}

function changesPart(changes) {
  if (!changes.length) return "";
  return card(plural(changes.length, "change") + " to the world", h("ol", { class: "changes" },
    changes.map((change) => h("li", null,
      h("span", { class: `operation ${change.operation}` }, plain(change.operation)), " ",
      h("code", null, plain(change.collection), " / ", plain(change.id)),
      Object.keys(change.record).length
        ? block(JSON.stringify(change.record), { class: "code" }, "code") : "",
      h("p", { class: "note" }, "by ", h("code", null, plain(change.call)))))), "changes");
}

/** The world at the start and at the end, in one table a collection, with what changed marked. */
function worldPart(before, after) {
  if (before === null && after === null) return null;
  const start = before ?? {};
  const end = after ?? start;
  const collections = [...new Set([...Object.keys(start), ...Object.keys(end)])];
  const compared = collections.map((name) => [name, compare(start[name] ?? [], end[name] ?? [])]);
  const changed = compared.reduce((sum, [, rows]) => sum + rows.filter((row) => row.kind !== "same").length, 0);
  const only = h("input", { type: "checkbox" });
  const holder = h("div", { class: "world" }, compared.map(([name, rows]) => collection(name, rows)));
  only.addEventListener("change", () => holder.classList.toggle("changes-only", only.checked));
  return card("World", [
    h("div", { class: "controls" },
      h("span", { class: "note" }, before === null ? "Only its end is recorded."
        : after === null ? "Only its start is recorded."
          : changed ? `${plural(changed, "record")} differ${changed === 1 ? "s" : ""} between start and end.`
            : "The same at the end as at the start."),
      changed ? h("label", null, only, " changed records only") : ""),
    holder,
  ], "world");
}

/** The records of a collection at both ends, paired by id. */
function compare(start, end) {
  const text = (record) => JSON.stringify(record.id ?? record);
  const later = new Map(end.map((record) => [text(record), record]));
  const rows = start.map((record) => {
    const now = later.get(text(record));
    later.delete(text(record));
    if (now === undefined) return { kind: "removed", before: record, after: {} };
    const same = JSON.stringify(record, Object.keys(record).sort()) === JSON.stringify(now, Object.keys(now).sort());
    return { kind: same ? "same" : "changed", before: record, after: now };
  });
  return [...rows, ...[...later.values()].map((record) => ({ kind: "added", before: {}, after: record }))];
}

function collection(name, rows) {
  const fields = [...new Set(rows.flatMap((row) => [...Object.keys(row.before), ...Object.keys(row.after)]))];
  const changed = rows.some((row) => row.kind !== "same");
  return h("div", { class: changed ? "" : "unchanged" }, h("h4", null, plain(words(name)), " ",
    h("span", { class: "note" }, plural(rows.length, "record"))),
  h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `records of ${name}` },
    h("table", { class: "records" },
      h("thead", null, h("tr", null, h("th", { scope: "col" }, h("span", { class: "unheard" }, "change")),
        fields.map((field) => h("th", { scope: "col" }, plain(field))))),
      h("tbody", null, rows.map((row) => h("tr", { class: row.kind },
        h("td", null, row.kind === "same" ? "" : h("span", { class: `operation ${row.kind}` }, row.kind)),
        fields.map((field) => h("td", null, recordField(row, field)))))))));
}

function recordField({ kind, before, after }, field) {
  const text = (record) => {
    const value = record[field];
    return value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
  };
  const [old, now] = [text(before), text(after)];
  if (kind === "removed") return h("del", null, plain(old));
  if (kind === "added") return h("ins", null, plain(now));
  if (old === now) return plain(old);
  return [old ? h("del", null, plain(old)) : "", old && now ? " → " : "", now ? h("ins", null, plain(now)) : ""];
}

/** The tokens of an episode: what was trained on, and what was only context. */
function segmentsPart(sequences) {
  if (sequences === null || !sequences.length) return null;
  const sum = (segments, wanted) => segments.filter(wanted).reduce((total, [number]) => total + number, 0);
  const trained = ([, text]) => text !== null;
  return card("Tokens", [
    h("p", { class: "note" }, h("span", { class: "trained" }, "Marked text"),
      " is what the policy sampled and is trained on; the rest is context."),
    sequences.map((segments, place) => h("div", { class: "sequence" },
      h("p", null, sequences.length > 1 ? `Sequence ${place + 1}: ` : "",
        `${plural(sum(segments, trained), "token")} trained on, ${count(sum(segments, (s) => !trained(s)))} of context`),
      tokenBar(segments),
      h("div", { class: "tokens text", dir: "auto" }, segments.map(([number, text]) => (text === null
        ? h("span", { class: "context" }, `${plural(number, "token")} of context`)
        : block(text, { class: "trained", title: plural(number, "token") }, "span")))))),
  ], "tokens");
}

function tokenBar(segments) {
  const total = segments.reduce((sum, [number]) => sum + number, 0) || 1;
  const bar = svg("svg", { class: "token-bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  let x = 0;
  for (const [number, text] of segments) {
    const width = (number / total) * 1000;
    bar.append(svg("rect", { x, y: 0, width, height: 10, class: text === null ? "context" : "trained" }));
    x += width;
  }
  return bar;
}

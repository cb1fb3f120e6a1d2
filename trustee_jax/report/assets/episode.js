// One episode: its task, the dialogue, and where it stands in the list.

/**
 * Fills the section with an episode.
 * `place`: {before, after, at, of} within the list, and {siblings: [{key, reward}]} of its
 * group.
 */
function showEpisode(section, episode, place, navigate, listHref) {
  const { key, task, verdict } = episode;
  const vetoes = verdict === null ? [] : [verdict, ...verdict.judges ?? []].flatMap((one) => one.vetoes);
  const go = (target, label, title) => h("button", {
    type: "button", title, disabled: target === null,
    onclick: () => navigate({ episode: target, line: "" }, true),
  }, label);
  section.replaceChildren(
    h("div", { class: "episode-head" },
      h("div", { class: "crumbs" }, h("a", { href: listHref }, "Episodes"),
        h("span", { class: "note" }, place.at ? `${count(place.at)} of ${count(place.of)} listed` : "not in the list"),
        h("span", { class: "note keys" }, "Keys: j and k turn, Esc leads back")),
      h("h2", { tabindex: "-1" }, "Episode ", plain(key)),
      h("div", { class: "badges" },
        rewardBadge(episode.cause === null ? episode.reward : null),
        episode.cause === null ? null : h("span", { class: "badge none" }, plain(words(episode.cause))),
        episode.ended === null ? null : h("span", { class: "fact" }, "ended by ", plain(words(episode.ended))),
        h("span", { class: "fact" }, `step ${count(episode.step)}`),
        h("span", { class: "fact" }, plain(words(task.category))),
        vetoes.length ? h("span", { class: "flag bad" }, plural(vetoes.length, "veto").replace("vetos", "vetoes")) : null),
      h("div", { class: "turning" },
        go(place.before, "← Previous", "k or left arrow"), go(place.after, "Next →", "j or right arrow")),
      place.siblings.length > 1 ? h("nav", { class: "siblings", "aria-label": "Episodes of the same task" },
        h("span", { class: "note" }, "Same task:"),
        place.siblings.map((one) => h("a", {
          href: address({ ...readState(), episode: one.key, line: "" }), title: `episode ${one.key}`,
          "aria-current": one.key === key ? "page" : null,
        }, rewardBadge(one.reward)))) : null),
    episode.cause === null ? "" : h("p", { class: "notice bad" },
      h("strong", null, "Invalid: ", plain(words(episode.cause)), ". "), plain(episode.detail),
      " It has no reward and is not trained on."),
    h("div", { class: "columns" },
      h("div", { class: "main-column" },
        card("Task", taskPart(task), "task"),
        card("Dialogue", dialogue(episode), "dialogue")),
      h("div", { class: "side-column" },
        card("Verdict", verdictPart(episode), "verdict"),
        changesPart(episode.changes),
        card("Counts", countsPart(episode.counts), "counts"))),
    worldPart(task.world, episode.world) ?? "",
    segmentsPart(episode.segments) ?? "");
}

function card(title, content, id) {
  return h("section", { class: "card", id: `part-${id}`, "aria-label": title }, h("h3", null, title), content);
}

function taskPart(task) {
  const { difficulty, ...aspects } = task.aspects;
  const field = (name, content) => h("div", null, h("dt", null, name), h("dd", null, content));
  return [
    h("dl", { class: "fields" },
      field("Query", block(task.query, { class: "quote" })),
      field("Intent", block(task.intent)),
      field("Persona", block(task.persona)),
      field("Expected calls", task.expected_calls.length
        ? h("ol", null, task.expected_calls.map((name, i) => h("li", null, h("code", null, plain(name)), " ",
          h("span", { class: "note" }, plain(Object.entries(task.expected_values[i] ?? {})
            .map(([key, value]) => `${key}: ${value}`).join(", "))))))
        : "none"),
      field("Aspects", h("ul", { class: "chips" },
        difficulty === undefined ? null : h("li", null, "difficulty ", h("b", null, short(difficulty))),
        Object.entries(aspects).map(([name, value]) => h("li", null, plain(words(name)), " ",
          h("b", null, typeof value === "number" ? short(value) : String(value))))))),
    h("h4", null, plural(task.tools.length, "tool")),
    task.tools.map((tool) => folded(
      [h("code", null, plain(tool.name)), " ", h("span", { class: "note" }, plain(tool.description.slice(0, 140)))],
      () => [block(tool.description), schema(tool.parameters),
        folded("JSON schema", () => block(JSON.stringify(tool.parameters, null, 2), { class: "code" }, "pre"))],
      { class: "tool-schema" })),
  ];
}

/** The parameters of a tool as a table. */
function schema(parameters) {
  const properties = Object.entries(parameters?.properties ?? {});
  if (!properties.length) return h("p", { class: "note" }, "no parameters");
  const required = new Set(Array.isArray(parameters.required) ? parameters.required : []);
  return h("div", { class: "scroll" }, h("table", { class: "schema" }, h("tbody", null,
    properties.map(([name, rule]) => h("tr", null,
      h("th", { scope: "row" }, h("code", null, plain(name)), required.has(name) ? h("span", { class: "flag" }, "required") : ""),
      h("td", null, plain([rule?.type].flat().filter(Boolean).join(" or ") || "any"),
        Array.isArray(rule?.enum) ? h("div", { class: "note" }, plain(rule.enum.map((v) => JSON.stringify(v)).join(", "))) : ""),
      h("td", null, plain(String(rule?.description ?? ""))))))));
}

function dialogue({ messages }) {
  return h("ol", { class: "chat" }, messages.map((message) => {
    const { role } = message;
    const body = h("div", { class: "body" });
    if (message.reasoning) body.append(reasoning(message.reasoning));
    if (role === "system") body.append(folded(
      [h("span", { class: "note" }, plain(message.content.slice(0, 90)), " …")],
      () => block(message.content), { class: "system" }));
    else if (role === "tool") body.append(toolResult(message));
    else if (message.content) body.append(line(message.line, block(message.content)));
    else if (message.line !== null) body.append(line(message.line, h("p", { class: "note" }, "(an empty message)")));
    if (message.unmarked) body.append(unmarkedNote(message.unmarked));
    const attempts = [
      ...(message.calls ?? []).map((call) => [call.line, callCard(call)]),
      ...(message.malformed ?? []).map((call) => [call.line, malformedCard(call)]),
    ];
    body.append(...attempts.sort(([a], [b]) => a - b).map(([number, shown]) => line(number, shown)));
    return h("li", { class: `turn ${["system", "user", "assistant", "tool"].includes(role) ? role : "other"}` },
      h("div", { class: "role" }, plain(role || "no role")), body);
  }));
}

/** One line of the verifier's transcript, which verdicts point to by its number. */
function line(number, content) {
  if (number === null) return content;
  return h("div", { class: "line", id: `line-${number}`, tabindex: "-1" },
    h("span", { class: "line-number", title: "line of the verifier's transcript" }, number), content);
}

function reasoning(text) {
  return folded(
    [h("b", null, "Private reasoning"), h("span", { class: "note" }, ` ${plural(text.length, "character")}; ` +
      "no simulator and no verifier sees it")],
    () => block(text), { class: "private", open: text.length < 1200 });
}

function callCard({ name, arguments: text }) {
  const parsed = parse(text);
  return h("div", { class: "call" },
    h("div", null, h("span", { class: "what" }, "calls "), h("code", { class: "call-name" }, plain(name))),
    parsed !== null && typeof parsed === "object" && !Array.isArray(parsed)
      ? h("dl", { class: "arguments" }, Object.entries(parsed).map(([key, value]) =>
        h("div", null, h("dt", null, plain(key)), h("dd", null, block(JSON.stringify(value), {}, "code")))))
      : block(text, { class: "code" }, "pre"));
}

function malformedCard({ text, problem }) {
  return h("div", { class: "call malformed" },
    h("div", null, h("span", { class: "flag bad" }, "malformed call"), " ", plain(problem)),
    block(text, { class: "code" }, "pre"));
}

/** Says of the text above that it is a call which nothing answers. */
function unmarkedNote(names) {
  return h("p", { class: "note unmarked" },
    h("span", { class: "flag bad" }, names.length === 1 ? "unmarked call" : "unmarked calls"), " of ",
    names.map((name, i) => [i ? ", " : "", h("code", null, plain(name))]),
    ": written without the form of a call, so it is read as text");
}

function toolResult({ content, name, line: number }) {
  const parsed = parse(content);
  const failed = parsed !== null && typeof parsed === "object" && "error" in parsed;
  const shown = parsed !== null && typeof parsed === "object" && content.length < 20000
    ? JSON.stringify(parsed, null, 2) : content;
  return line(number, h("div", { class: failed ? "result failed" : "result" },
    h("div", null, h("span", { class: "what" }, name ? [h("code", null, plain(name)), " returns "] : "returns "),
      failed ? h("span", { class: "flag bad" }, "error") : ""), block(shown, { class: "code" }, "pre")));
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function countsPart(counts) {
  const entries = Object.entries(counts);
  if (!entries.length) return h("p", { class: "note" }, "none recorded");
  return h("dl", { class: "counts" }, entries.map(([name, value]) =>
    h("div", { class: value ? "" : "nought" }, h("dt", null, plain(words(name))), h("dd", null, short(value)))));
}

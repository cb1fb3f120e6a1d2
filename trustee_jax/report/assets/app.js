// The state of the page is its address: #view=episodes&reward=1, #episode=1-0-3&line=4.

const VIEWS = ["overview", "episodes", "episode", "config"];

function readState() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

function address(state) {
  const entries = Object.entries(state).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return `#${new URLSearchParams(entries)}`;
}

/** Goes to the present state with changes; `keep` leaves the old one in the browser's history. */
function navigate(changes, keep = false) {
  const next = address({ ...readState(), ...changes });
  if (next === location.hash) return;
  if (keep) location.hash = next;
  else location.replace(next);
}

async function start(summary, notice) {
  const section = (name) => document.getElementById(name);
  const episodes = new Episodes(summary.index);
  showHeader(summary);
  showOverview(section("overview"), summary, episodes);
  showConfig(section("config"), summary);
  const list = new EpisodeList(section("episodes"), episodes, summary.run.left_out, navigate);
  chartOptions.onStep = (step) =>
    navigate({ ...cleared(), view: "episodes", from: String(step), to: String(step) }, true);

  let place = { before: null, after: null, siblings: [] };
  let shown = "";
  let turn = 0;

  async function render() {
    const mine = ++turn;
    const state = readState();
    const view = state.episode !== undefined ? "episode" : VIEWS.includes(state.view) ? state.view : "overview";
    notice.hidden = true;
    if (view === "episode" || view === "episodes") await list.apply(state);
    if (mine !== turn) return;
    if (view === "episode") {
      const row = episodes.rows.get(state.episode);
      if (row === undefined) {
        notice.textContent = `No episode ${state.episode} is in this file.`;
        notice.hidden = false;
      } else if (shown !== state.episode) {
        const episode = await episodes.get(row);
        if (mine !== turn) return;
        place = placeOf(row);
        const { episode: _, line: __, ...back } = state;
        showEpisode(section("episode"), episode, place, navigate, address({ ...back, view: "episodes" }));
        shown = state.episode;
      }
    }
    const arrived = section(view).hidden || (view === "episode" && !state.line);
    for (const name of VIEWS) section(name).hidden = name !== view;
    if (view === "episode" && episodes.rows.get(state.episode) === undefined) section(view).hidden = true;
    if (view !== "episode") shown = "";
    for (const link of document.querySelectorAll("[data-view]")) {
      const here = link.dataset.view === view || (view === "episode" && link.dataset.view === "episodes");
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${view === "episode" ? `${state.episode} · ` : ""}${summary.run.name} · trustee report`;
    if (arrived && turn > 1) scrollTo(0, 0);
    if (view === "episode" && arrived) section("episode").querySelector("h2")?.focus({ preventScroll: true });
    if (view === "episode" && state.line) showLine(state.line);
  }

  function placeOf(row) {
    const at = list.rows.indexOf(row);
    const key = (i) => (at >= 0 && i >= 0 && i < list.rows.length ? episodes.columns.key[list.rows[i]] : null);
    const own = episodes.columns.key[row];
    const group = own.slice(0, own.lastIndexOf("-") + 1);
    const siblings = group === "" ? [] : episodes.columns.key.flatMap((other, i) =>
      (other.startsWith(group) && !other.slice(group.length).includes("-")
        ? [{ key: other, order: episodes.order[i],
             reward: episodes.columns.cause[i] === null ? episodes.columns.reward[i] : null }] : []));
    siblings.sort((a, b) => (a.order < b.order ? -1 : 1));
    return { siblings, before: key(at - 1), after: key(at + 1), at: at + 1, of: list.rows.length };
  }

  document.addEventListener("click", (event) => {
    const cited = event.target.closest("[data-line]");
    if (cited) {
      event.preventDefault();
      if (readState().line === cited.dataset.line) showLine(cited.dataset.line);
      else navigate({ line: cited.dataset.line });
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, svg, .scroll")) return;
    const state = readState();
    if (event.key === "/") {
      event.preventDefault();
      if (state.view !== "episodes" || state.episode) navigate({ view: "episodes", episode: "", line: "" }, true);
      setTimeout(() => document.querySelector("[name=text]")?.focus(), 50);
    }
    if (state.episode === undefined) return;
    const target = { j: place.after, ArrowRight: place.after, k: place.before, ArrowLeft: place.before }[event.key];
    if (target) navigate({ episode: target, line: "" }, true);
    if (event.key === "Escape") navigate({ view: "episodes", episode: "", line: "" }, true);
  });
  addEventListener("hashchange", render);
  await render();
}

/** No filter at all. */
function cleared() {
  return Object.fromEntries([...FILTERS, "sort", "page", "episode", "line"].map((name) => [name, ""]));
}

function showLine(number) {
  const line = document.getElementById(`line-${number}`);
  if (!line) return;
  document.querySelectorAll(".line.cited-now").forEach((other) => other.classList.remove("cited-now"));
  line.classList.add("cited-now");
  line.scrollIntoView({ block: "center" });
  line.focus({ preventScroll: true });
}

openPage(start);

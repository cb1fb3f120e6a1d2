// The data of the page: a summary that is opened at once, and chunks of episodes that are opened
// when one of their episodes is looked at or searched.

const OPEN_CHUNKS = 6;

/** The value of one compressed block. */
async function unpack(id) {
  const text = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Opens the page: `show` fills it, given the summary and the notice above the content. */
async function openPage(show) {
  const notice = document.getElementById("notice");
  if (typeof DecompressionStream === "undefined") {
    notice.textContent = "This browser is too old for this report; any of 2023 or later opens it.";
    return;
  }
  document.querySelector("[data-skip]").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  try {
    const summary = await unpack("summary");
    notice.hidden = true;
    await show(summary, notice);
    document.documentElement.dataset.ready = "";
  } catch (error) {
    notice.textContent = `The report cannot be opened: ${error.message}`;
    notice.hidden = false;
    throw error;
  }
}

/** All episodes: columns of the index by row, and whole episodes on request. */
class Episodes {
  constructor({ columns, names, chunks }) {
    this.columns = columns;
    this.names = names;
    this.size = columns.key?.length ?? 0;
    this.rows = new Map((columns.key ?? []).map((key, row) => [key, row]));
    // By step, task and episode, as texts that compare; the file has them as they ended.
    this.order = (columns.key ?? []).map((key) => key.replace(/\d+/g, (digits) => digits.padStart(9, "0")));
    this.starts = [];
    let start = 0;
    for (const size of chunks) {
      this.starts.push(start);
      start += size;
    }
    this.open = new Map();
  }

  /** The entry of a column that holds places of names, as a name; null if there is none. */
  name(kind, row) {
    const place = this.columns[kind][row];
    return place === null ? null : this.names[kind][place];
  }

  /** Which chunk holds a row. */
  chunkOf(row) {
    let low = 0;
    for (let high = this.starts.length; low + 1 < high;) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= row) low = middle;
      else high = middle;
    }
    return low;
  }

  /** A chunk, remembered while it is among those opened last. */
  chunk(number) {
    const known = this.open.get(number) ?? unpack(`chunk-${number}`);
    this.open.delete(number);
    this.open.set(number, known);
    if (this.open.size > OPEN_CHUNKS) this.open.delete(this.open.keys().next().value);
    return known;
  }

  /** An episode with its task and tools in place. */
  async get(row) {
    const number = this.chunkOf(row);
    const { tools, tasks, episodes } = await this.chunk(number);
    const episode = episodes[row - this.starts[number]];
    const task = tasks[episode.task];
    return {
      ...episode,
      key: this.columns.key[row],
      task: { ...task, tools: task.tools.map((place) => tools[place]) },
    };
  }

  /** Those of the rows whose text contains every word; reports its progress, and can be stopped. */
  async search(rows, text, onProgress, signal) {
    const needles = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    let number = -1;
    let texts = null;
    for (const [done, row] of [...rows].sort((a, b) => a - b).entries()) {
      if (this.chunkOf(row) !== number) {
        number = this.chunkOf(row);
        texts = textsOf(await this.chunk(number));
        onProgress(done / rows.length);
        // Lets the browser paint, and react to what is typed meanwhile.
        await new Promise((resolve) => setTimeout(resolve));
        if (signal.aborted) return null;
      }
      const where = texts(row - this.starts[number]);
      if (needles.every((needle) => where.includes(needle))) found.push(row);
    }
    return found;
  }
}

/** A function from an episode's place in a chunk to all its text in lower case. */
function textsOf({ tools, tasks, episodes }) {
  const taskTexts = tasks.map((task) =>
    strings([task, task.tools.map((place) => tools[place].name)]).toLowerCase());
  return (place) => {
    const { task, key, ...rest } = episodes[place];
    return `${key}\n${taskTexts[task]}\n${strings(rest).toLowerCase()}`;
  };
}

/** All strings within a value. */
function strings(value) {
  const found = [];
  const walk = (item) => {
    if (typeof item === "string") found.push(item);
    else if (Array.isArray(item)) item.forEach(walk);
    else if (item !== null && typeof item === "object") Object.values(item).forEach(walk);
  };
  walk(value);
  return found.join("\n");
}

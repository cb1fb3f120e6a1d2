// Elements and numbers. Text enters the page as text nodes only, never as markup: what a policy
// wrote is hostile until shown otherwise.

/** An element: h("p", {class: "note", onclick: f}, "text", child, null, [more]). */
function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** An SVG element, like `h`. */
function svg(tag, properties, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child);
  }
  return element;
}

// Characters that show nothing, or that change the direction of the text around them.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** A text with its invisible characters made visible. */
function plain(text) {
  const parts = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    const code = match[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.append(text.slice(end, match.index));
    parts.append(h("span", { class: "unseen", title: "a character that is not shown" }, `U+${code}`));
    end = match.index + match[0].length;
  }
  parts.append(text.slice(end));
  return parts;
}

const LONG = 6000;

/** A block of text; a very long one begins with its start and a button for the rest. */
function block(text, properties = {}, tag = "div") {
  const body = h(tag, { dir: "auto", ...properties, class: `text ${properties.class ?? ""}` });
  if (text.length <= LONG) {
    body.append(plain(text));
    return body;
  }
  const more = h("button", { type: "button", class: "more", onclick: () => {
    body.replaceChildren(plain(text));
    body.focus();
  } }, `Show all ${count(text.length)} characters`);
  body.tabIndex = -1;
  body.append(plain(text.slice(0, LONG)), " … ", more);
  return body;
}

/** A folded part of the page, whose content is made when it is first opened. */
function folded(summary, make, { open = false, ...properties } = {}) {
  const details = h("details", properties, h("summary", null, summary));
  let made = false;
  const build = () => {
    if (details.open && !made) {
      made = true;
      details.append(...[make()].flat());
    }
  };
  details.addEventListener("toggle", build);
  if (open) {
    details.open = true;
    build();
  }
  return details;
}

/** A whole number with separators. */
function count(value) {
  if (value === null || value === undefined) return "–";
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A number in few characters. */
function short(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return count(size).replace(/^/, value < 0 ? "−" : "");
  const text = size >= 1e6 || size < 1e-3
    ? Number(size.toPrecision(3)).toExponential().replace("e+", "e")
    : String(Number(size >= 1000 ? size.toFixed(0) : size.toPrecision(3)));
  return (value < 0 ? "−" : "") + text;
}

/** A share as a percentage. */
function percent(value) {
  if (value === null || value === undefined) return "–";
  const hundredth = 100 * value;
  if (hundredth > 0 && hundredth < 0.1) return "<0.1%";
  return `${hundredth.toFixed(hundredth < 10 && hundredth > 0 ? 1 : 0)}%`;
}

/** "1 call", "2 calls". */
function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A name of the program as words: "zero_variance" is "zero variance". */
function words(name) {
  return name.replaceAll("_", " ");
}

/** The badge of a reward; its text says what its colour does. */
function rewardBadge(reward) {
  if (reward === null) return h("span", { class: "badge none" }, "invalid");
  const kind = reward > 0 ? "good" : reward < 0 ? "bad" : "middle";
  const text = reward > 0 ? `+${reward}` : String(reward).replace("-", "−");
  return h("span", { class: `badge ${kind}`, "aria-label": `reward ${reward}` }, text);
}

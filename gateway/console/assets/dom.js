// What the parts of the page build with. Text is only ever set as text.

export const $ = (id) => document.getElementById(id);

// el makes an element: el("td", {class: "num", title: "…"}, "text", child).
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((c) => c !== undefined && c !== null && c !== ""));
  return node;
}

// setText touches the page only where something changed.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const short = (id) => (id || "").slice(0, 8);

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return `${(bytes / 1024).toFixed(bytes < 10240 ? 1 : 0)} KiB`;
}

// span says how long something is, in its two largest units.
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const units = [["y", 31536000], ["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = units.findIndex(([, n]) => s >= n);
  if (at < 0) return "0 s";
  const [name, n] = units[at];
  const whole = `${Math.floor(s / n)} ${name}`;
  const below = units[at + 1];
  const rest = below ? Math.floor((s % n) / below[1]) : 0;
  return rest > 0 ? `${whole} ${rest} ${below[0]}` : whole;
}

// clock is a countdown: 1:07.
export function clock(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

export const timeOfDay = (date) => date.toLocaleTimeString("en-GB", { hour12: false });

// hue turns a ref into a colour, so that rows of one ref can be told apart.
export function hue(ref) {
  return (parseInt((ref || "0").replaceAll("-", "").slice(0, 6), 16) * 137) % 360;
}

export function chip(word) {
  return el("span", { class: "chip", "data-reads": word }, word);
}

// command shows a line for a shell with a button that copies it.
export function command(line) {
  const button = el("button", { type: "button", class: "copy", "aria-label": `Copy: ${line}`, title: "Copy" }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(line);
      button.textContent = "copied";
    } catch {
      button.textContent = "select it";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  return el("span", { class: "command" }, el("code", { tabindex: "0" }, line), button);
}

// table makes a small table; a cell is text or a node.
export function table(heads, rows, caption) {
  const head = el("tr", {}, ...heads.map((h) => el("th", { scope: "col" }, h)));
  const body = rows.map((cells) => el("tr", {}, ...cells.map((c) => el("td", {}, c instanceof Node ? c : String(c ?? "")))));
  return el("table", { class: "table", "aria-label": caption }, el("thead", {}, head), el("tbody", {}, ...body));
}

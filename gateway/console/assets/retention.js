// What dies when: the minutes of one class with a countdown, and of every class
// the key that is due next.

import { $, clock, el, setText, span } from "./dom.js";

const shown = 5; // minutes

export class Retention {
  constructor(api, watched, events) {
    this.api = api;
    this.watched = watched;
    this.events = events;
    this.classes = [];
    this.slots = Array.from({ length: shown }, () => slot($("minutes")));
    this.due = new Map(); // class → cells
    setText($("minute-class"), watched);
  }

  start() {
    this.ask();
    setInterval(() => this.draw(), 500);
  }

  // ask reads the keys again, each second while one is overdue.
  async ask() {
    try {
      this.classes = (await this.api.get("/v1/retention")).classes;
      this.draw();
    } catch {
      // the feed says what is wrong
    }
    const overdue = this.minutes().some((b) => b.state !== "expired" && Date.parse(b.due) <= Date.now());
    setTimeout(() => this.ask(), overdue ? 1000 : 4000);
  }

  minutes() {
    const all = this.classes.find((c) => c.class === this.watched)?.buckets ?? [];
    const begun = all.filter((b) => b.tier === "0" && startOf(b.bucket) <= Date.now());
    return begun.sort((a, b) => startOf(b.bucket) - startOf(a.bucket)).slice(0, shown);
  }

  draw() {
    const now = Date.now();
    const minutes = this.minutes();
    this.slots.forEach((s, i) => drawMinute(s, minutes[i], now, this.events, this.watched));
    for (const c of this.classes) this.drawClass(c, now);
  }

  drawClass(c, now) {
    const alive = c.buckets.filter((b) => b.state !== "expired").sort((a, b) => Date.parse(a.due) - Date.parse(b.due));
    const next = alive.find((b) => startOf(b.bucket) <= now) ?? alive[0];
    const cells = this.due.get(c.class) ?? this.addClass(c);
    setText(cells.keys, String(alive.length));
    setText(cells.gone, String(c.buckets.length - alive.length));
    setText(cells.next, next ? next.bucket.replace("T", " ") : "–");
    setText(cells.when, !next ? "–" : next.state === "held" ? "held" : Date.parse(next.due) <= now ? "now" : span(Date.parse(next.due) - now));
  }

  addClass(c) {
    const cells = { keys: el("td", { class: "num" }), gone: el("td", { class: "num" }), next: el("td", { class: "mono" }), when: el("td", {}) };
    $("due").append(el("tr", { "data-class": c.class }, el("td", {}, c.class), el("td", { class: "mono", title: c.rule }, c.retention), cells.when, cells.next, cells.keys, cells.gone));
    this.due.set(c.class, cells);
    return cells;
  }
}

// startOf reads a bucket's name, which is its start in UTC.
function startOf(bucket) {
  const full = bucket + "0000-01-01T00:00".slice(bucket.length);
  return Date.parse(`${full}:00Z`);
}

function slot(list) {
  const s = { name: el("b", { class: "mono" }), bar: el("progress", { max: "1", value: "0" }), note: el("span", { class: "note" }), count: el("span", { class: "dim" }) };
  s.node = el("li", { "data-state": "none" }, s.name, s.bar, s.note, s.count);
  list.append(s.node);
  return s;
}

function drawMinute(s, bucket, now, events, watched) {
  if (!bucket) {
    setText(s.name, "–");
    return;
  }
  const start = startOf(bucket.bucket);
  const due = Date.parse(bucket.due);
  const state = bucket.state !== "expired" && due <= now ? "due" : bucket.state;
  s.node.dataset.state = state;
  s.node.dataset.bucket = bucket.bucket;
  setText(s.name, bucket.bucket.slice(11));
  s.bar.setAttribute("aria-label", `What is left of ${bucket.bucket}`);
  s.bar.value = state === "live" ? Math.min(1, (due - now) / (due - start)) : 0;
  setText(s.note, { live: `dies in ${clock(due - now)}`, due: "due now", expired: "expired", held: "held" }[state] ?? state);
  const n = events.inBucket(watched, bucket.bucket);
  setText(s.count, n === 0 ? "" : n === 1 ? "1 event" : `${n} events`);
}

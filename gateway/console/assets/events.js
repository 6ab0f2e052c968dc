// The sealed events as they arrive. An event that reads differently later comes
// again under its position, and its row changes.

import { $, chip, el, hue, setText, short, size, timeOfDay } from "./dom.js";

const most = 200; // rows
const order = ["present", "erased", "expired", "held", "denied", "unavailable", "tampered", "unknown key", "note"];

export class Events {
  constructor() {
    this.rows = new Map(); // position → {event, node, cells}
    this.names = new Map(); // ref → name, of who was shown; kept in this tab
    this.fresh = []; // not on the page yet
    this.head = 0;
    this.body = $("events");
    $("notes").addEventListener("change", () => this.body.classList.toggle("with-notes", $("notes").checked));
  }

  take(event) {
    this.head = Math.max(this.head, event.position);
    if (this.fresh.length === 0) setTimeout(() => this.draw(), 50);
    this.fresh.push(event);
  }

  // draw puts what came since the last time onto the page at once.
  draw() {
    const added = [];
    for (const event of this.fresh.splice(0)) {
      const known = this.rows.get(event.position);
      if (known) this.change(known, event);
      else added.push(this.add(event));
    }
    this.body.prepend(...added.reverse());
    for (const [position, row] of this.rows) {
      if (this.rows.size <= most) break;
      row.node.remove();
      this.rows.delete(position);
    }
    $("events-none").hidden = this.rows.size > 0;
    this.tally();
  }

  add(event) {
    const reads = el("td", { class: "c-reads" }, chip(event.readable));
    const ref = el("td", { class: "c-ref mono", title: event.ref });
    const [type, version] = splitType(event.type);
    const node = el("tr", { "data-reads": event.readable, "data-position": event.position },
      el("td", { class: "c-seen mono", title: `position ${event.position}; the log tells the hour: ${event.hour}` }, timeOfDay(new Date())),
      el("td", { class: "c-type" }, type, el("span", { class: "dim" }, version)),
      el("td", { class: "c-class" }, event.class),
      el("td", { class: "c-bucket mono", title: event.bucket }, bucketOf(event.bucket)),
      ref,
      el("td", { class: "c-n num" }, event.records ? String(event.records) : ""),
      el("td", { class: "c-size num" }, size(event.bytes)),
      reads);
    const row = { event, node, reads, ref };
    this.nameRow(row);
    this.rows.set(event.position, row);
    return node;
  }

  change(row, event) {
    row.event = event;
    if (row.node.dataset.reads === event.readable) return;
    row.node.dataset.reads = event.readable;
    row.reads.replaceChildren(chip(event.readable));
    row.node.classList.remove("turned");
    void row.node.offsetWidth; // begins the animation anew
    row.node.classList.add("turned");
  }

  nameRow({ event, ref }) {
    if (!event.ref) return;
    ref.style.setProperty("--hue", hue(event.ref));
    const name = this.names.get(event.ref);
    ref.replaceChildren(el("span", { class: "ref" }, short(event.ref)), name ? el("span", { class: "name" }, name) : "");
  }

  // know labels the rows of somebody who was looked up.
  know(name, ref) {
    this.names.set(ref, name);
    for (const row of this.rows.values()) if (row.event.ref === ref) this.nameRow(row);
  }

  // forget takes the label away again: after an erasure nothing leads from the name
  // to what was, here neither.
  forget(name) {
    for (const [ref, known] of this.names) {
      if (known !== name) continue;
      this.names.delete(ref);
      for (const row of this.rows.values()) if (row.event.ref === ref) this.nameRow(row);
    }
  }

  // inBucket counts the events shown of one class and bucket.
  inBucket(name, bucket) {
    let events = 0;
    for (const { event } of this.rows.values()) if (event.class === name && event.bucket === bucket) events++;
    return events;
  }

  tally() {
    const count = new Map();
    for (const { event } of this.rows.values()) count.set(event.readable, (count.get(event.readable) || 0) + 1);
    const list = $("tally");
    for (const word of order) {
      let item = list.querySelector(`[data-word="${word}"]`);
      if (!item && count.has(word)) {
        item = el("li", { "data-word": word }, chip(word));
        list.insertBefore(item, [...list.children].find((other) => order.indexOf(other.dataset.word) > order.indexOf(word)) ?? null);
      }
      if (item) setText(item.firstChild, `${count.get(word) || 0} ${word}`);
    }
  }
}

function splitType(type) {
  const at = type.lastIndexOf(".v");
  return at < 0 ? [type, ""] : [type.slice(0, at), type.slice(at)];
}

// bucketOf leaves out today's date where the bucket is shorter than a day.
function bucketOf(bucket) {
  return bucket.includes("T") ? `${bucket.slice(11)}${bucket.length === 13 ? "h" : ""} UTC` : bucket;
}

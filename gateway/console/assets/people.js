// Invented people who chat through the gateway, one WebSocket each.

import { $, el, setText } from "./dom.js";
import { Spark } from "./spark.js";

const most = 60; // lines of the chat
const erased = 4410; // close code of an erasure
const lines = [
  "hello", "who is there?", "the river is high today", "did you get my note?", "yes, thank you", "see you at four",
  "I forgot my umbrella", "again?", "let us meet at the bridge", "which one?", "the old one", "I will bring tea", "good night",
];

class Person {
  constructor(name, url) {
    this.name = name;
    this.url = url;
    this.sent = 0;
    this.received = 0;
    this.state = "idle";
    this.wait = 1; // seconds before the next try
  }

  connect() {
    this.state = "connecting";
    this.changed();
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onopen = () => {
      this.state = "connected";
      this.wait = 1;
      this.changed();
    };
    socket.onmessage = (m) => { this.received++; this.heard(m.data); };
    socket.onclose = (e) => {
      if (this.socket !== socket) return;
      this.state = e.code === erased ? "erased" : "closed";
      this.code = e.code;
      this.left = this.wait;
      this.wait = Math.min(this.wait * 2, 16);
      this.changed();
    };
  }

  // tryAgain is called each second. After an erasure it does nothing: to come back
  // is for the person to decide.
  tryAgain() {
    if (this.state === "closed" && --this.left < 0) this.connect();
  }

  say(text) {
    if (this.state !== "connected" || this.socket.bufferedAmount > 65536) return false;
    this.socket.send(text);
    this.sent++;
    return true;
  }
}

export class People {
  constructor(info) {
    this.log = $("chat");
    this.heard = []; // not on the page yet
    this.crossed = 0; // messages since the last second
    this.count = 0; // of people
    this.spark = new Spark($("spark"), $("rate"));
    this.people = info.persons.map((name) => this.person(name, info.gateway));
  }

  person(name, gateway) {
    const url = new URL(gateway);
    url.searchParams.set("user", name);
    const p = new Person(name, url.href);
    p.changed = () => this.draw(p);
    p.heard = (data) => this.hear(p, data);
    this.place(p);
    return p;
  }

  // place makes the row of a person.
  place(p) {
    const avatar = el("span", { class: "avatar", "aria-hidden": "true" }, p.name.slice(0, 1).toUpperCase());
    p.hue = 190 + this.count++ * 137;
    avatar.style.setProperty("--hue", p.hue);
    p.note = el("span", { class: "note" });
    p.again = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => p.connect() }, "Reconnect");
    p.show = el("button", { type: "button", class: "quiet", "aria-label": `Show what is held about ${p.name}` }, "Show");
    p.erase = el("button", { type: "button", class: "danger", "aria-label": `Erase ${p.name}` }, "Erase");
    p.show.addEventListener("click", () => busy(p.show, () => this.onShow(p.name)));
    p.erase.addEventListener("click", () => busy(p.erase, () => this.onErase(p.name)));
    $("people").append(el("li", { "data-name": p.name }, avatar, el("span", { class: "who" }, el("b", {}, p.name), p.note), p.again, p.show, p.erase));
    $("who").append(el("option", { value: p.name }, p.name));
  }

  start() {
    for (const p of this.people) p.connect();
    $("say").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = $("text").value.trim();
      if (text && this.people.find((p) => p.name === $("who").value).say(text)) {
        this.crossed++;
        $("text").value = "";
      }
    });
    $("traffic").addEventListener("click", () => this.toggle());
    $("pace").addEventListener("change", () => this.pace());
    setInterval(() => this.second(), 1000);
  }

  toggle() {
    this.running = !this.running;
    $("traffic").setAttribute("aria-pressed", String(this.running));
    setText($("traffic"), this.running ? "Stop traffic" : "Start traffic");
    this.pace();
  }

  pace() {
    clearInterval(this.timer);
    if (!this.running) return;
    this.timer = setInterval(() => {
      for (const p of this.people) if (p.say(lines[Math.floor(Math.random() * lines.length)])) this.crossed++;
    }, 1000 / Number($("pace").value));
  }

  second() {
    this.spark.add(this.crossed);
    this.crossed = 0;
    for (const p of this.people) {
      this.draw(p);
      p.tryAgain();
    }
  }

  draw(p) {
    const counts = `${p.sent} sent, ${p.received} received`;
    setText(p.note, { idle: "", connecting: "connecting…", connected: counts, closed: `closed (${p.code}); trying again`, erased: `erased (${erased})` }[p.state]);
    p.note.parentNode.parentNode.dataset.state = p.state;
    p.again.hidden = p.state !== "erased";
    p.show.hidden = p.state === "erased";
  }

  // hear counts every message, and shows each once: as the first who is connected
  // gets it.
  hear(p, data) {
    this.crossed++;
    if (p !== this.people.find((q) => q.state === "connected")) return;
    if (this.heard.length === 0) setTimeout(() => this.drawChat(), 100);
    this.heard.push(JSON.parse(data));
  }

  drawChat() {
    const end = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    this.log.append(...this.heard.splice(0).slice(-most).map(({ from, text }) => {
      const name = el("b", {}, from || "somebody");
      name.style.setProperty("--hue", this.people.find((p) => p.name === from)?.hue ?? 0);
      return el("li", {}, name, el("span", {}, text));
    }));
    while (this.log.childElementCount > most) this.log.firstChild.remove();
    if (end) this.log.scrollTop = this.log.scrollHeight;
  }
}

async function busy(button, work) {
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  try {
    await work();
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}

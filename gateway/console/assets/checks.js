// The checks that anybody can run, with the command that does the same.

import { $, chip, command, el, short, table } from "./dom.js";

export class Checks {
  constructor(api, info) {
    this.api = api;
    this.shell = info.command;
    this.running = 0; // the newest check writes the result, an older one no longer
    const first = info.persons[0];
    this.add("Rebuild the views", "views rebuild --all", "every table again from the log, beside the live one", () => this.rebuild());
    this.add(`Show ${first}`, `subject show ${first}`, "what is held, until when; the look is recorded", () => this.showing(first));
    this.add("List the views", "views list", "how far each has read", () => this.views());
    this.add("Keys", "keys status", "how the custodian is", () => this.keys());
    this.add("Doctor", "doctor", "what an operator should know", () => this.doctor());
    const now = new Date().toISOString().replace(/\.\d+/, "");
    $("checks").append(el("li", {}, el("b", {}, "Replay the past"), el("span", { class: "hint" }, "the views as of a moment, into a file that any SQLite tool opens"),
      command(`${this.shell} audit replay --as-of ${now} --out past.db`)));
  }

  add(title, line, hint, check) {
    const button = el("button", { type: "button", onclick: () => this.run(title, check) }, title);
    $("checks").append(el("li", {}, button, el("span", { class: "hint" }, hint), command(`${this.shell} ${line}`)));
  }

  // run shows what a check finds, or why it could not look.
  async run(title, check) {
    const mine = ++this.running;
    const put = (...nodes) => {
      if (mine !== this.running) return;
      $("result-title").textContent = title;
      $("result").replaceChildren(...nodes);
    };
    this.put = put;
    put(el("p", { class: "none" }, "Looking…"));
    try {
      put(...(await check()));
    } catch (error) {
      put(el("p", { class: "bad" }, `${error.message}.`));
    }
  }

  async rebuild() {
    const put = this.put;
    const bar = el("progress", {});
    const note = el("p", { class: "none" }, "Rebuilding…");
    put(note, bar);
    const done = await this.api.job("/v1/views:rebuild", { all: true }, (job) => {
      if (!job.total) return;
      bar.max = job.total;
      bar.value = job.done;
      note.textContent = `${job.done} of ${job.total} events`;
    });
    const same = done.rebuilt.every((v) => v.digest === v.live_digest);
    const digest = (d) => el("span", { class: "mono", title: d }, d.slice(0, 12));
    const verdict = same ? el("p", { class: "good" }, "✓ Every rebuilt view equals the live one.") : el("p", { class: "bad" }, "✗ A rebuilt view differs from the live one.");
    return [verdict, table(["View", "Events", "Seconds", "Rebuilt", "Live", ""], done.rebuilt.map((v) => [
      v.name, v.events, v.seconds.toFixed(2), digest(v.digest), digest(v.live_digest), v.digest === v.live_digest ? "equal" : "DIFFERS",
    ]), "Rebuilt views")];
  }

  // show is the check for whoever is asked about elsewhere on the page; it returns
  // their ref, or nothing.
  async show(name) {
    let ref;
    await this.run(`Show ${name}`, () => this.showing(name, (found) => { ref = found; }));
    return ref;
  }

  async showing(name, tell) {
    const { subject, connections, holdings } = await this.api.post("/v1/subjects:show", { id: name });
    if (subject.state === "unknown") return [el("p", {}, `Nothing leads from ${name} to anything in the log: `, chip("unknown"))];
    tell?.(subject.ref);
    const rows = holdings.map((h) => [h.class, h.bucket.replace("T", " "), h.scope, h.events, h.records, h.due.slice(0, 16).replace("T", " "), chip(h.readable)]);
    return [
      el("p", {}, `${name} is ${subject.state} under ref ${short(subject.ref)}: ${connections.open} open of ${connections.total} connections.`),
      table(["Class", "Bucket", "Scope", "Events", "Records", "Due (UTC)", "Reads"], rows, "Holdings"),
    ];
  }

  async views() {
    const { views } = await this.api.get("/v1/views");
    return [table(["View", "Generation", "Position", "Behind", "Rows"], views.map((v) => [v.name, v.generation, v.position, v.lag, v.rows]), "Views")];
  }

  async keys() {
    const k = await this.api.get("/v1/keys");
    const rows = [["Custodian", k.custodian], ["State", k.state], ["People", k.subjects], ["Bucket keys", k.buckets], ["Handles in memory", k.handles], ["Blocks of anonymous refs", k.blocks], ["Named as destroyed", k.destroyed]];
    return [table(["What", "Now"], rows, "Keys")];
  }

  async doctor() {
    const { findings } = await this.api.get("/v1/doctor");
    const level = (l) => el("span", { class: "chip", "data-level": l }, l);
    return [table(["", "Subject", "Finding"], (findings || []).map((f) => [level(f.level), f.subject, f.message]), "Findings")];
  }
}

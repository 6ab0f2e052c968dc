// An erasure and its receipt.

import { $, command, el, setText } from "./dom.js";

export class Receipts {
  constructor(api, info) {
    this.api = api;
    this.shell = info.command;
    $("receipt").append(command(`${this.shell} erase ${info.persons[0]} --yes`));
  }

  erase(name) {
    return this.request({ id: name }, name);
  }

  async request(body, name) {
    this.say("working", "note");
    try {
      const result = await this.api.post("/v1/erasures", body);
      this.draw(result, name);
      if (result.state !== "pending") this.onErased(name);
    } catch (error) {
      this.say("failed", "tampered");
      $("receipt").replaceChildren(el("p", { class: "bad" }, `${error.message}.`));
    }
  }

  say(word, reads) {
    setText($("receipt-state"), word);
    $("receipt-state").dataset.reads = reads;
  }

  draw(result, name) {
    if (result.state === "pending") {
      this.say("pending", "denied");
      const finish = el("button", { type: "button", onclick: () => this.request({ request: result.request }, name) }, "Finish");
      $("receipt").replaceChildren(el("p", {}, "The request stands, but something may still open. "), finish);
      return;
    }
    this.say(result.state, "erased");
    const r = result.receipt;
    const line = (word, value, attributes = {}) => [el("dt", {}, word), el("dd", attributes, value)];
    const list = el("dl", { class: "facts" },
      ...line("Receipt", r.id, { class: "mono" }),
      ...line("Ground", r.ground || "–", { class: "mono" }),
      ...line("Classes", (r.classes || []).join(", ") || "nothing was held"),
      ...((r.withheld || []).length ? line("Withheld", r.withheld.join(", ")) : []),
      ...line("Destroyed", `${r.keys_destroyed} keys, ${r.buckets} buckets`),
      ...line("Effective", r.effective_at),
      ...line("Signature", r.signature, { class: "mono cut", title: r.signature }));
    const verdict = el("span", { class: "note", role: "status" });
    const verify = el("button", { type: "button", onclick: () => this.verify(r.id, verdict) }, "Verify");
    $("receipt").replaceChildren(list, el("p", { class: "line" }, verify, verdict), command(`${this.shell} receipt verify ${r.id}`));
  }

  // verify asks for the receipt as it stands in the log.
  async verify(id, verdict) {
    try {
      const file = await this.api.get(`/v1/receipts/${encodeURIComponent(id)}`);
      verdict.className = file.valid ? "note good" : "note bad";
      verdict.textContent = file.valid ? "✓ read back from the log, signature valid" : "✗ the signature does not hold";
    } catch (error) {
      verdict.className = "note bad";
      verdict.textContent = error.message;
    }
  }
}

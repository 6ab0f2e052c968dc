// Joins the parts of the page.

import { $, setText } from "./dom.js";
import { API } from "./api.js";
import { Events } from "./events.js";
import { People } from "./people.js";
import { Retention } from "./retention.js";
import { Receipts } from "./receipt.js";
import { Checks } from "./checks.js";

const kept = "lethe-token";
const info = JSON.parse(document.body.dataset.info);

// takeToken moves the token out of the address, where it would be copied along,
// into this tab.
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    sessionStorage.setItem(kept, found);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(kept);
}

function alertOf(text) {
  $("alert").hidden = !text;
  setText($("alert"), text || "");
}

function askForToken(why) {
  sessionStorage.removeItem(kept);
  alertOf(why);
  $("login").hidden = false;
  document.querySelector("main").inert = true;
  $("token").focus();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(kept, $("token").value.trim());
  location.reload();
});

function linkState(state) {
  $("link").dataset.state = state;
  setText($("link"), { live: "following the log", lost: "no answer; trying again", refused: "not signed in" }[state]);
  if (state === "live") alertOf("");
  if (state === "lost") alertOf("lethe serve does not answer. What was acknowledged is safe; the page goes on when it is back.");
  if (state === "refused") askForToken("The token is not valid: a new one is made at every start. Open the address that lethe serve printed last.");
}

function start(token) {
  const api = new API(token);
  const events = new Events();
  const receipts = new Receipts(api, info);
  const checks = new Checks(api, info);
  const people = new People(info);
  const retention = new Retention(api, info.class, events);

  people.onErase = (name) => receipts.erase(name);
  receipts.onErased = (name) => events.forget(name);
  people.onShow = async (name) => {
    const ref = await checks.show(name);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    $("result-title").scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
    if (ref) events.know(name, ref);
    return ref;
  };
  people.start();
  retention.start();
  api.feed((event) => {
    events.take(event);
    setText($("position"), `#${events.head}`);
  }, linkState);
}

const token = takeToken();
if (token) start(token);
else {
  $("link").dataset.state = "refused";
  setText($("link"), "not signed in");
  askForToken("This page needs the token that lethe serve printed with its address.");
}

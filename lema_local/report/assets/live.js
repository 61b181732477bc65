// Keeps the live part of a watched report up to date, and goes through its samples by keyboard.
// The server sends HTML in which every value is escaped; the browser parses it as a document that runs nothing.
"use strict";

const POLL_MS = 2000;
const MOST = 200; // samples that are kept

const byId = (id) => document.getElementById(id);
const list = byId("live-samples");
const outcome = byId("live-outcome");
const made = byId("live").dataset.report;
const samples = () => [...list.querySelectorAll("details.sample")];

const filter = () => {
  for (const each of samples()) each.hidden = outcome.value !== "" && each.dataset.outcome !== outcome.value;
  const count = `${samples().filter((each) => !each.hidden).length} of ${samples().length}`;
  if (byId("live-count").textContent !== count) byId("live-count").textContent = count;
};

const take = (fresh) => {
  const old = byId("live-numbers");
  const numbers = fresh.getElementById("live-numbers");
  if (old.outerHTML !== numbers.outerHTML) old.replaceWith(numbers);
  const there = new Map(samples().map((each) => [each.dataset.id, each]));
  for (const each of [...fresh.querySelectorAll("#live-samples details.sample")].reverse()) {
    const before = there.get(each.dataset.id);
    if (!before) list.prepend(each);
    else if (before.dataset.kind !== each.dataset.kind) {
      const focused = before.contains(document.activeElement);
      each.open = before.open;
      before.replaceWith(each);
      if (focused) each.querySelector("summary").focus({ preventScroll: true });
    }
  }
  for (const each of samples().slice(MOST)) if (!each.open) each.remove();
  byId("live-newer").hidden = fresh.getElementById("live").dataset.report === made;
  filter();
};

const poll = () => {
  const request = new XMLHttpRequest();
  request.open("GET", "/live");
  request.responseType = "document";
  request.onload = () => {
    const part = request.status === 200 && request.response && request.response.getElementById("live");
    if (part) take(request.response);
    byId("live-gone").textContent = part ? "" : "No answer: this is what was there before.";
  };
  request.onerror = () => { byId("live-gone").textContent = "lema report --watch has ended: this is its last state."; };
  request.onloadend = () => setTimeout(poll, POLL_MS);
  request.send();
};

const go = (by) => {
  const shown = samples().filter((each) => !each.hidden);
  if (shown.length === 0) return;
  const open = shown.findIndex((each) => each.open);
  const next = shown[open < 0 ? 0 : Math.min(Math.max(open + by, 0), shown.length - 1)];
  for (const each of samples()) each.open = each === next;
  next.querySelector("summary").focus();
  next.scrollIntoView({ block: "nearest" });
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  const by = { j: 1, k: -1 }[event.key];
  if (by) go(by);
});
outcome.addEventListener("input", filter);
byId("live-bar").hidden = false;
filter();
setTimeout(poll, POLL_MS);

// The review page: shows one correction at a time, sends what the reviewer does, and keeps it until it is on disk.
// Every text of a model is put in as text (textContent); nothing here makes markup from a string.
"use strict";

const $ = (id) => document.getElementById(id);
const reviewer = location.pathname.startsWith("/as/") ? decodeURIComponent(location.pathname.slice(4)) : null;
const RETRY_MS = 1500;
const LONG = 2400;                        // characters of a text that gets a box of its own to scroll in
const WORDS = { excellent: "Excellent", good: "Good", poor: "Poor" };
const KEYS = { 1: "excellent", 2: "good", 3: "poor" };

let item = null;
let progress = null;
let busy = false;

// ---- what outlives a reload: an event that the server has not confirmed, notes begun, the choice about keys

const store = {
  get(key) { try { return localStorage.getItem(`lema ${key}`); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(`lema ${key}`, value); } catch { /* storage is off: the page still works */ } },
  drop(key) { try { localStorage.removeItem(`lema ${key}`); } catch { /* the same */ } },
};
const pendingKey = `pending ${reviewer}`;
const noteKey = (id) => `note ${reviewer} ${id}`;
const keysOn = () => store.get("keys") !== "off";

// ---- the server

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.ok) return answer.json();
  const kind = answer.headers.get("content-type") || "";
  const error = new Error(kind.includes("json") ? (await answer.json()).error : (await answer.text()).trim());
  error.status = answer.status;
  throw error;
}

const mine = `/api/as/${encodeURIComponent(reviewer || "")}`;

async function send(event) {
  // it stays in the browser until the server says that it is on disk; sent twice, it counts once.
  // Returns what to show, and whether the server took the event.
  store.set(pendingKey, JSON.stringify(event));
  busy = true;
  setDisabled(true);
  for (;;) {
    try {
      const view = await ask(mine, event);
      store.drop(pendingKey);
      trouble("");
      return { view, taken: true };
    } catch (error) {
      if (error.status === 400 || error.status === 413) {
        store.drop(pendingKey);
        if (event.note) store.set(noteKey(event.correction), event.note);
        trouble(refusal(event, error.message));
        return { view: await ask(mine), taken: false };
      }
      trouble(error.status === undefined
        ? "The server does not answer. Your last grade is kept in this browser and is sent as soon as it is back."
        : `${error.message} Your last grade is kept in this browser.`);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

async function act(event) {
  if (busy || (!item && event.event !== "undo")) return;
  const shown = item && item.id;
  if (event.event !== "undo") {
    event.correction = shown;
    event.note = $("note").value.trim() || null;
  }
  performance.mark("pressed");
  try {
    const { view, taken } = await send({ id: crypto.randomUUID(), ...event });
    if (taken && event.event !== "undo") store.drop(noteKey(shown));
    show(view, taken ? sentence(event, view) : "");
    release();
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    performance.measure("answer", "pressed");
  } catch (error) {
    trouble(error.message);
  } finally {
    release();
  }
}

function release() {
  busy = false;
  setDisabled(false);
}

function sentence(event, view) {
  const done = { grade: `Graded ${event.grade}.`, skip: "Skipped.", undo: "Undone." }[event.event];
  return `${done} ${view.progress.graded} of ${view.progress.total} graded.`;
}

function refusal(event, reason) {
  const what = event.event === "grade" ? `grade (${event.grade})` : event.event;
  return `Your last ${what} was not recorded. ${reason}${event.note ? " Its note is kept in this browser." : ""}`;
}

// ---- what is shown

function trouble(text) {
  $("trouble").hidden = !text;
  if ($("trouble").textContent !== text) $("trouble").textContent = text;
}

function setDisabled(on) {
  // aria-disabled keeps the focus where it is
  for (const button of document.querySelectorAll("#grades button")) button.setAttribute("aria-disabled", on);
  const undo = !progress || !progress.can_undo;
  for (const button of document.querySelectorAll('[data-event="undo"]')) button.setAttribute("aria-disabled", on || undo);
}

function put(id, text) {
  const box = $(id);
  box.textContent = text || "";
  box.hidden = !text;
  bound(box, (text || "").length, box.closest("section").querySelector("h2"));
}

function bound(box, length, heading) {
  const long = length > LONG;
  box.classList.toggle("long", long);
  if (long) {                              // what scrolls must be reachable by keyboard, and have a name
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `${heading.textContent}, long text`);
  } else {
    box.removeAttribute("tabindex");
    box.removeAttribute("role");
    box.removeAttribute("aria-label");
  }
}

function lines(list, all, wrong) {
  const heading = list.closest("section").querySelector("h2");
  const named = wrong === null || wrong === undefined ? null : `Step ${wrong}`;
  const at = all.findIndex((line) => line.label === named);
  list.replaceChildren(...all.map((line, k) => {
    const row = document.createElement("li");
    const text = document.createElement("div");
    text.className = "text";
    text.dir = "auto";
    text.textContent = line.text;
    if (!line.label) row.className = "bare";
    if (line.label) {
      const label = document.createElement("span");
      label.className = "label";
      label.textContent = line.label;
      row.append(label);
    }
    row.append(text);
    if (named && at >= 0) row.classList.add(k < at ? "kept-step" : k === at ? "wrong" : "replaced");
    if (named && k === at) {
      const mark = document.createElement("span");
      mark.className = "mark";
      mark.textContent = "named as the first wrong step";
      row.append(mark);
    }
    bound(text, line.text.length, heading);
    return row;
  }));
  return at;
}

function show(view, said) {
  progress = view.progress;
  item = view.item;
  const { total, graded, skipped } = progress;
  $("bar").max = total;
  $("bar").value = graded;
  $("count").textContent = `${graded} of ${total}${skipped ? `, ${skipped} skipped` : ""}`;
  for (const id of ["way", "who", "help"]) $(id).hidden = false;
  $("name").textContent = reviewer;
  $("kept").textContent = view.writer
    ? `A run is writing the database (PID ${view.writer}); it takes your grades in.` : "";
  $("item").hidden = $("grades").hidden = !item;
  $("done").hidden = Boolean(item);
  document.body.classList.toggle("grading", Boolean(item));
  if (item) showItem(); else showDone();
  $("said").textContent = said || "";
  window.scrollTo(0, 0);
  if (said) $(item ? "title" : "done-title").focus({ preventScroll: true });
}

function showItem() {
  $("title").textContent = `Correction ${item.place}`;
  document.title = `${item.place} of ${progress.total} · review of corrections`;
  $("rejected").hidden = !item.rejected_because;
  $("rejected").textContent = item.rejected_because ? `Not kept: ${item.rejected_because}` : "";
  put("question", item.question);
  $("reference").textContent = item.reference;
  put("reference-solution", item.reference_solution);
  const found = lines($("steps"), item.steps, item.incorrect_step);
  $("mistaken").hidden = !item.mistaken_answer;
  $("mistaken-answer").textContent = item.mistaken_answer || "";
  const step = item.incorrect_step;
  $("named").textContent = step === null ? "Names no step." : found < 0
    ? `Names step ${step}, which the original solution does not have.` : `Step ${step} is the first wrong one.`;
  put("explanation", item.explanation || "No explanation.");
  lines($("solution"), item.solution, null);
  $("h-solution").hidden = !item.solution.length;
  $("note").value = store.get(noteKey(item.id)) || item.note || "";
  openNote(Boolean($("note").value), false);
}

function showDone() {
  document.title = "All graded · review of corrections";
  $("tally").replaceChildren(...Object.entries(progress.counts).map(([grade, count]) => {
    const row = pair(WORDS[grade], count);
    row.className = grade;
    return row;
  }));
}

function pair(term, value) {
  const row = document.createElement("div");
  for (const [tag, text] of [["dt", term], ["dd", value]]) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}

function openNote(on, focus = true) {
  $("note-box").hidden = !on;
  $("note-button").setAttribute("aria-expanded", on);
  if (on && focus) $("note").focus();
}

// ---- who

async function start() {
  const { reviewers, definitions } = await ask("/api/reviewers");
  for (const [grade, means] of Object.entries(definitions)) {
    document.querySelector(`[data-grade="${grade}"] .means`).textContent = means;
    for (const list of document.querySelectorAll(".meanings")) list.append(pair(WORDS[grade], means));
  }
  if (reviewer !== null) {
    const pending = store.get(pendingKey);
    const { view, taken } = pending ? await send(JSON.parse(pending)) : { view: await ask(mine), taken: false };
    show(view, taken ? "The last grade was sent again." : "");
    release();
    return;
  }
  $("start").hidden = false;
  $("begun").hidden = !reviewers.length;
  $("people").replaceChildren(...reviewers.map((each) => {
    const row = document.createElement("li");
    const link = document.createElement("a");
    const name = document.createElement("bdi");
    link.href = `/as/${encodeURIComponent(each.name)}`;
    name.textContent = each.name;
    link.append(name);
    row.append(link, ` ${each.graded} of ${each.total}`);
    return row;
  }));
  $("own-name").focus();
}

// ---- what the reviewer does

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.getAttribute("aria-disabled") === "true") return;
  if (button.dataset.grade) act({ event: "grade", grade: button.dataset.grade });
  else if (button.dataset.event) act({ event: button.dataset.event });
  else if (button.id === "note-button") openNote($("note-box").hidden);
  else if (button.id === "help") $("manual").showModal();
  else if (button.id === "close") $("manual").close();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.isComposing) return;
  if (event.target.id === "note" && event.key === "Escape") {
    event.preventDefault();
    if (!$("note").value) openNote(false);
    $("title").focus({ preventScroll: true });
    return;
  }
  if (event.target.closest("input, textarea, dialog") || $("grades").hidden && $("done").hidden || !keysOn()) return;
  if (KEYS[event.key]) act({ event: "grade", grade: KEYS[event.key] });
  else if (event.key === "s") act({ event: "skip" });
  else if (event.key === "u") { if (progress && progress.can_undo) act({ event: "undo" }); }
  else if (event.key === "n" && item) openNote(true);
  else if (event.key === "?") $("manual").showModal();
  else return;
  event.preventDefault();                  // the n that opens the note is no part of it
});

$("note").addEventListener("input", () => {
  if (!item) return;
  if ($("note").value) store.set(noteKey(item.id), $("note").value); else store.drop(noteKey(item.id));
});

$("keys-on").checked = keysOn();
$("keys-on").addEventListener("change", () => store.set("keys", $("keys-on").checked ? "on" : "off"));

$("names").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("own-name").value.trim();
  if (name) location.assign(`/as/${encodeURIComponent(name)}`);
});

start().catch((error) => {
  trouble(error.status === undefined ? "The server does not answer. Start it again: lema review" : error.message);
});

// The list of bad lines: each with its text to edit, judged anew at every key, or to be left out.

import { parse, problemOf } from "./jsonl.js";

const MOST_SHOWN = 100;

export class BadLines {
  /** Calls `changed()` whenever a line becomes good or bad. */
  constructor(place, limits, changed) {
    Object.assign(this, { place, limits, changed, bad: [], texts: new Map(), ids: new Set() });
  }

  show({ bad, ids }) {
    this.bad = bad;
    this.ids = ids;
    this.texts = new Map(bad.map((line) => [line.number, line.text]));
    this.problems = new Map(bad.map((line) => [line.number, line.problem]));
    this.place.replaceChildren(...bad.slice(0, MOST_SHOWN).map((line) => this.entry(line)));
  }

  get left() {
    return this.problems.size;
  }

  get leftOut() {
    return [...this.texts.values()].filter((text) => text === null).length;
  }

  leaveAllOut() {
    for (const line of this.bad) if (this.problems.has(line.number)) this.texts.set(line.number, null);
    this.problems.clear();
    this.place.replaceChildren();
    this.changed();
  }

  entry(line) {
    const id = `line-${line.number}`;
    const entry = element("div", { className: "mend" });
    const label = element("label", { htmlFor: id, textContent: `Line ${line.number}` });
    const error = element("span", { id: `${id}-error`, className: "error", textContent: said(line) });
    const out = element("button", { type: "button", className: "link", textContent: "Leave it out" });
    out.setAttribute("aria-label", `Leave line ${line.number} out`);
    const top = element("div", { className: "mend-head" });
    top.append(label, error, out);
    const text = element("textarea", { id, rows: 3, spellcheck: false, value: line.text ?? "" });
    text.setAttribute("aria-describedby", error.id);
    text.setAttribute("aria-invalid", "true");
    text.disabled = line.text === null;
    if (text.disabled) text.placeholder = "Too long to be shown here";
    text.addEventListener("input", () => this.edited(line, text, error, entry));
    out.addEventListener("click", () => this.leaveOut(line, entry));
    entry.append(top, text);
    return entry;
  }

  edited(line, text, error, entry) {
    this.texts.set(line.number, text.value);
    const { value, problem, why } = parse(text.value);
    const wrong = problem ?? problemOf(value, this.limits, (id) => this.ids.has(id) || this.usedBelow(id, line.number));
    if (wrong) this.problems.set(line.number, wrong);
    else this.problems.delete(line.number);
    text.setAttribute("aria-invalid", String(Boolean(wrong)));
    entry.classList.toggle("mended", !wrong);
    error.textContent = wrong ? said({ problem: wrong, why }) : "is right now";
    this.changed();
  }

  /** Another line that was mended has this id already. */
  usedBelow(id, number) {
    return this.bad.some((other) => {
      if (other.number === number || this.problems.has(other.number)) return false;
      const text = this.texts.get(other.number);
      return text !== null && parse(text).value?.custom_id === id;
    });
  }

  leaveOut(line, entry) {
    this.texts.set(line.number, null);
    this.problems.delete(line.number);
    const next = entry.nextElementSibling ?? entry.previousElementSibling;
    entry.remove();
    this.changed();
    (next?.querySelector("textarea") ?? document.getElementById("go")).focus();
  }
}

function said({ problem, why }) {
  return why ? `${problem}: ${why}` : problem;
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

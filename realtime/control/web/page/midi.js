// MIDI learn: press MIDI, touch a control here, move a knob there.

import { midi, values, watch } from "./store.js";
import { by, make, title } from "./words.js";

let on = false;

export function midiLearn(hello) {
  by("learn").hidden = by("midi").hidden = !hello.midi;
  watch("midi", show);
}

function show() {
  const state = values.get("midi");
  if (!state) return;
  const rows = state.mapping.map(([name, what]) => [name, brief(what)]);
  const known = new Map(rows);
  by("midi-hint").textContent = on ? (state.learning ? `Move a knob for ${title(state.learning)}` : "Touch a control of this page") : state.port ? `Port: ${state.port}` : "No port";
  by("mapping").replaceChildren(...rows.map(([name, what]) => row(name, what)));
  for (const element of document.querySelectorAll("[data-name]")) {
    const what = known.get(element.dataset.name);
    if (what) element.dataset.midi = what.replace(/ ch \d+$/, "");
    else delete element.dataset.midi;
    element.classList.toggle("learning", on && state.learning === element.dataset.name);
  }
}

// As it fits into the corner of a button.
const brief = (what) => what.replace(/controller /i, "CC ").replace(/, channel (\d+)$/, " ch $1");

function row(name, what) {
  const button = make("button", { className: "tool", textContent: "×", aria: { label: `Forget ${what} for ${title(name)}` } });
  button.addEventListener("click", () => midi("forget", name));
  return make("li", { className: "row" }, make("span", { textContent: title(name) }), make("span", { className: "dim", textContent: what }), button);
}

function turn(to) {
  on = to;
  by("learn").setAttribute("aria-pressed", String(on));
  document.body.classList.toggle("learn", on);
  if (!on) midi("cancel", true);
  show();
}

// In learn mode a touch chooses what is learned; nothing else happens.
function intercept(event) {
  const control = on && event.target.closest?.("[data-name]");
  if (!control || (event.type === "keydown" && !["Enter", " "].includes(event.key))) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (event.type !== "click") midi("learn", control.dataset.name);
}

for (const type of ["pointerdown", "click", "keydown"]) document.addEventListener(type, intercept, { capture: true });
by("learn").addEventListener("click", () => turn(!on));
addEventListener("keydown", (event) => {
  if (on && event.key === "Escape" && !event.target.matches?.("input[type=text], select")) { turn(false); event.stopImmediatePropagation(); }
}, { capture: true });

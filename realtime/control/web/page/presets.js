// Presets to recall, save, step through, delete and bring back; and forms for the other actions that need a name.

import { fire, values, watch } from "./store.js";
import { by, make, title } from "./words.js";

const ARROWS = { "preset/previous": "‹", "preset/next": "›" };

export function presets(parameters) {
  const actions = parameters.filter((p) => p.kind === "action" && p.available);
  const load = actions.find((p) => p.name === "preset/load");
  const away = actions.find((p) => p.name === "preset/delete");
  const undo = actions.find((p) => p.name === "preset/undo");
  const steps = actions.filter((p) => p.argument === "" && p !== undo).sort((a, b) => b.name.localeCompare(a.name));
  by("steps").replaceChildren(...steps.map(step));
  by("forms").replaceChildren(...actions.filter((p) => p.argument.startsWith("text") && p !== load && p !== away).map(form));
  if (load) {
    watch("presets", () => list(load, away));
    watch("status/preset", () => list(load, away));
  }
  by("undo").replaceChildren();
  if (undo) watch("undo", (trashed) => by("undo").replaceChildren(...(trashed ? [back(undo, trashed)] : [])));
  document.body.classList.toggle("no-presets", !actions.some((p) => p.argument !== "switch"));
}

function step(p) {
  const button = make("button", { className: "step", title: p.description, textContent: ARROWS[p.name] ?? title(p.name), aria: { label: title(p.name) }, data: { name: p.name } });
  button.addEventListener("click", () => fire(p.name));
  return button;
}

function list(load, away) {
  const names = values.get("presets") ?? [];
  const current = values.get("status/preset");
  by("preset-list").replaceChildren(...(names.length ? names.map((name, i) => row(load, away, name, i, name === current)) : [empty()]));
}

const empty = () => make("p", { className: "dim", textContent: "None yet. Find a sound, give it a name, save it." });

function row(load, away, name, i, current) {
  const button = make("button", { className: "row", title: `Recall ${name}`, aria: { pressed: String(current) } },
    make("span", { className: "number", textContent: i + 1 }), make("span", { className: "words", textContent: name }));
  button.addEventListener("click", () => fire(load.name, name));
  if (!away) return button;
  const cross = make("button", { className: "tool cross", title: `Delete ${name}`, textContent: "×", aria: { label: `Delete ${name}` } });
  cross.addEventListener("click", () => fire(away.name, name));
  return make("div", { className: "pair" }, button, cross);
}

// Neither saving over nor deleting asks, on a stage; this takes it back.
function back(p, { name, how }) {
  const button = make("button", { className: "row undo", title: p.description, data: { name: p.name } },
    make("span", { className: "words", textContent: `Undo: “${name}” was ${how === "deleted" ? "deleted" : "saved over"}` }));
  button.addEventListener("click", () => fire(p.name));
  return button;
}

const VERBS = { "preset/save": ["Save", "Name of this sound"], "model/load": ["Load", "Bundle: a file or a name"] };

function form(p) {
  const [verb, hint] = VERBS[p.name] ?? [title(p.name), p.description];
  const field = make("input", { type: "text", placeholder: hint, autocomplete: "off", spellcheck: false, maxLength: 200, enterKeyHint: "done", aria: { label: `${title(p.name)}: ${p.description}` } });
  const button = make("button", { className: "tool", textContent: verb });
  const box = make("form", { className: "form", data: { action: p.name } }, field, button);
  const choice = p.name === "model/load" ? bundles(field) : null;
  if (choice) box.prepend(choice);
  if (p.name === "preset/save") {
    const same = (name) => name.toLowerCase() === field.value.trim().toLowerCase();
    field.addEventListener("input", () => { button.textContent = (values.get("presets") ?? []).some(same) ? "Replace" : verb; });
  }
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = (choice?.value || field.value).trim();
    if (!text && p.argument === "text") return field.focus();
    fire(p.name, text || null);
    field.value = "";
    button.textContent = verb;
    document.activeElement?.blur();
  });
  return box;
}

// The bundles that the program knows of, in front of a field that is there for all others.
function bundles(field) {
  const choice = make("select", { aria: { label: "Bundle" } });
  let touched = false; // until then it shows what plays
  const other = () => { field.hidden = choice.value !== ""; };
  watch("bundles", (known) => {
    const before = choice.value;
    const options = known.map(({ name, load, plays }) => make("option", { value: load, textContent: plays ? `${name} (plays)` : name }));
    choice.replaceChildren(...options, make("option", { value: "", textContent: "Another file…" }));
    touched &&= [...choice.options].some((o) => o.value === before);
    choice.value = touched ? before : known.find(({ plays }) => plays)?.load ?? choice.options[0].value;
    choice.hidden = !known.length;
    other();
  });
  choice.addEventListener("change", () => {
    touched = true;
    other();
    if (!choice.value) field.focus();
  });
  return choice;
}

// Presets to recall, save and step through; and forms for the other actions that need a name.

import { fire, values, watch } from "./store.js";
import { by, make, title } from "./words.js";

const ARROWS = { "preset/previous": "‹", "preset/next": "›" };

export function presets(parameters) {
  const actions = parameters.filter((p) => p.kind === "action" && p.available);
  const load = actions.find((p) => p.name === "preset/load");
  const steps = actions.filter((p) => p.argument === "").sort((a, b) => b.name.localeCompare(a.name));
  by("steps").replaceChildren(...steps.map(step));
  by("forms").replaceChildren(...actions.filter((p) => p.argument.startsWith("text") && p !== load).map(form));
  if (load) {
    watch("presets", () => list(load));
    watch("status/preset", () => list(load));
  }
  document.body.classList.toggle("no-presets", !actions.some((p) => p.argument !== "switch"));
}

function step(p) {
  const button = make("button", { className: "step", title: p.description, textContent: ARROWS[p.name] ?? title(p.name), aria: { label: title(p.name) }, data: { name: p.name } });
  button.addEventListener("click", () => fire(p.name));
  return button;
}

function list(load) {
  const names = values.get("presets") ?? [];
  const current = values.get("status/preset");
  by("preset-list").replaceChildren(...(names.length ? names.map((name, i) => row(load, name, i, name === current)) : [empty()]));
}

const empty = () => make("p", { className: "dim", textContent: "None yet. Find a sound, give it a name, save it." });

function row(load, name, i, current) {
  const button = make("button", { className: "row", title: `Recall ${name}`, aria: { pressed: String(current) } },
    make("span", { className: "number", textContent: i + 1 }), make("span", { textContent: name }));
  button.addEventListener("click", () => fire(load.name, name));
  return button;
}

const VERBS = { "preset/save": ["Save", "Name of this sound"], "model/load": ["Load", "Bundle: a file or a name"] };

function form(p) {
  const [verb, hint] = VERBS[p.name] ?? [title(p.name), p.description];
  const field = make("input", { type: "text", placeholder: hint, autocomplete: "off", spellcheck: false, maxLength: 200, enterKeyHint: "done", aria: { label: `${title(p.name)}: ${p.description}` } });
  const box = make("form", { className: "form", data: { action: p.name } }, field, make("button", { className: "tool", textContent: verb }));
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text && p.argument === "text") return field.focus();
    fire(p.name, text || null);
    field.value = "";
    field.blur();
  });
  return box;
}

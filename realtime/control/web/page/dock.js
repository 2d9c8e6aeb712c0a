// The big buttons: domains, switches, record, panic. They act when touched, not when let go.

import { hue } from "./colour.js";
import { change, fire, values, watch } from "./store.js";
import { by, clock, make, title } from "./words.js";

const KEYS = { freeze: "F", bypass: "B", mute: "M", record: "R", panic: "Esc" };
const SHOWS = { record: "status/recording" }; // where a switch's state comes from
const FIELDS = "input[type=text], select";
const ORDER = ["freeze", "bypass", "mute", "record"];

// On touch, mouse or key; a touch must not fire a second time as a click.
function onPress(button, act) {
  let touched = 0;
  button.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    touched = performance.now();
    act();
  });
  button.addEventListener("click", (event) => (event.detail === 0 || performance.now() - touched > 1500) && act());
}

export function domainButtons(parameter) {
  const buttons = parameter.choices.map((id, i) => {
    const button = make("button", { className: "domain", title: parameter.description, aria: { pressed: "false" }, data: { name: "to", domain: id } },
      make("i", { className: "weight" }), make("span", { textContent: title(id) }), make("kbd", { textContent: i < 9 ? i + 1 : "" }));
    button.style.setProperty("--hue", hue(i, parameter.choices.length));
    onPress(button, () => choose(id));
    return button;
  });
  const refresh = () => {
    const weights = parameter.choices.map((id) => values.get(`blend/${id}`) ?? 0);
    const blending = weights.some((w) => w > 0);
    const sum = weights.reduce((a, b) => a + b, 0) || 1;
    buttons.forEach((button, i) => {
      const share = blending ? weights[i] / sum : Number(values.get("to") === parameter.choices[i]);
      button.style.setProperty("--share", share.toFixed(3));
      button.classList.toggle("on", share > 0);
      button.classList.toggle("alone", share > 0.6);
      button.setAttribute("aria-pressed", String(share > 0));
    });
  };
  for (const name of ["to", ...parameter.choices.map((id) => `blend/${id}`)]) watch(name, refresh);
  const choose = (id) => {
    for (const other of parameter.choices) if (values.get(`blend/${other}`)) change(`blend/${other}`, 0);
    change("to", id);
  };
  by("domains").replaceChildren(...buttons);
  by("domains").style.setProperty("--columns", columns(buttons.length));
  return choose;
}

const columns = (count) => (count <= 4 ? Math.max(count, 1) : count <= 6 ? 3 : 4);

export function dock(parameters) {
  const toggles = parameters.filter((p) => p.kind === "bool" || (p.kind === "action" && p.argument === "switch" && p.available));
  const rank = (p) => (ORDER.indexOf(p.name) + 1 || 99);
  const events = parameters.filter((p) => p.kind === "event");
  const buttons = [...toggles.sort((a, b) => rank(a) - rank(b)).map(toggle), ...events.map(event)];
  by("dock").replaceChildren(...buttons);
  by("dock").style.setProperty("--buttons", buttons.length);
}

function labelled(p, extra) {
  return make("button", { className: `big ${p.name} ${extra}`, title: p.description, data: { name: p.name } },
    make("span", { textContent: title(p.name) }), make("kbd", { textContent: KEYS[p.name] ?? "" }));
}

function toggle(p) {
  const button = labelled(p, p.kind);
  const source = SHOWS[p.name] ?? p.name;
  const isOn = () => Number(values.get(source) ?? 0) > 0;
  watch(source, (value) => {
    button.setAttribute("aria-pressed", String(value > 0));
    if (p.name === "record") button.firstChild.textContent = value > 0 ? clock(value) : title(p.name);
  });
  onPress(button, () => (p.kind === "bool" ? change(p.name, isOn() ? 0 : 1) : fire(p.name, isOn() ? 0 : 1)));
  return button;
}

function event(p) {
  const button = labelled(p, "event");
  onPress(button, () => {
    fire(p.name);
    button.classList.remove("fired");
    requestAnimationFrame(() => button.classList.add("fired"));
  });
  return button;
}

// Single keys, as long as nobody is writing a name or choosing from a list; there Escape only leaves the field.
export function shortcuts(parameters, choose) {
  const choices = parameters.find((p) => p.name === "to")?.choices ?? [];
  return (press) => {
    if (press.ctrlKey || press.metaKey || press.altKey || press.repeat) return;
    const writing = press.target.matches?.(FIELDS);
    if (press.key === "Escape") return writing ? press.isComposing || press.target.blur() : fire("panic");
    if (writing) return;
    const digit = choices[Number(press.key) - 1];
    if (digit) return choose(digit);
    const name = Object.keys(KEYS).find((key) => KEYS[key].toLowerCase() === press.key.toLowerCase());
    if (name) return document.querySelector(`.big[data-name="${name}"]`)?.click();
    const step = { "[": "preset/previous", "]": "preset/next" }[press.key];
    if (step && parameters.some((p) => p.name === step && p.available)) fire(step);
  };
}

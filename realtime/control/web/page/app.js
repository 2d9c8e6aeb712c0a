// The page: built from the table that the server sends, then kept up to date by its pushes.

import { blended, hue, isLight, vivid } from "./colour.js";
import { dock, domainButtons, shortcuts } from "./dock.js";
import { fader } from "./fader.js";
import { openLink } from "./link.js";
import { meter } from "./meter.js";
import { midiLearn } from "./midi.js";
import { pad } from "./pad.js";
import { presets } from "./presets.js";
import { spectrogram } from "./spectrogram.js";
import { connectTo, forgetWatchers, receive, values, watch } from "./store.js";
import { toast } from "./toasts.js";
import { by, clock, counted, make, title } from "./words.js";

const FIRST = ["mix"]; // faders that share the first view with the pad
const picture = spectrogram(by("spectrogram"));
let domains = [];
let built = "";
let version = "";
let meters = [];
let blendPad = null;
let press = () => {};

function build(hello) {
  if (version && hello.version !== version) return location.reload(); // another version of the program
  version = hello.version;
  picture.describe(hello.scope);
  const table = JSON.stringify([hello.domains, hello.parameters, hello.midi, hello.presets]);
  if (table === built) return;
  built = table;
  forgetWatchers();
  domains = hello.domains;
  const { parameters } = hello;
  const weighted = new Set(domains.map((id) => `blend/${id}`));
  const faders = parameters.filter((p) => p.kind === "float" && !weighted.has(p.name));
  by("first-faders").replaceChildren(...faders.filter((p) => FIRST.includes(p.name)).map((p) => fader(p)));
  by("faders").replaceChildren(...faders.filter((p) => !FIRST.includes(p.name)).map((p) => fader(p)));
  const weights = parameters.filter((p) => weighted.has(p.name));
  by("weights").replaceChildren(...weights.map((p, i) => coloured(fader(p, title(p.name.slice(6))), i)));
  const choose = domainButtons(parameters.find((p) => p.name === "to"));
  blendPad = pad(by("pad"), domains);
  dock(parameters);
  presets(parameters);
  press = shortcuts(parameters, choose);
  meters = ["in", "out"].map(meter);
  figures(hello.status);
  midiLearn(hello);
  for (const name of ["to", ...weighted]) watch(name, tint);
  recolour();
}

function coloured(element, i) {
  element.style.setProperty("--hue", hue(i, domains.length));
  return element;
}

// The page takes the colour of what sounds.
function tint() {
  const weights = domains.map((id) => values.get(`blend/${id}`) ?? 0);
  const index = Math.max(domains.indexOf(values.get("to")), 0);
  const some = weights.some((w) => w > 0);
  if (!domains.length) return;
  const [dark, light] = [false, true].map((bright) => {
    const colours = domains.map((_, i) => vivid(i, domains.length, bright));
    return some ? blended(colours, weights) : colours[index];
  });
  picture.tint({ dark, light });
  const colour = isLight() ? light : dark;
  document.documentElement.style.setProperty("--accent", `rgb(${colour.map(Math.round)})`);
}

function recolour() {
  picture.recolour();
  blendPad?.recolour();
  tint();
}

function figures(status) {
  const put = (name, id, text) => watch(`status/${name}`, (value) => { by(id).textContent = text(value); });
  put("bundle", "bundle", (name) => name || "UMTN");
  put("engine", "engine", String);
  put("latency_ms", "latency", (ms) => `${ms.toFixed(1)} ms`);
  put("load", "load", (load) => `${Math.round(100 * load)} %`);
  put("xruns", "xruns", counted);
  watch("status/load", (load) => {
    by("load-bar").style.setProperty("--at", Math.min(load, 1));
    by("load-bar").classList.toggle("hot", load > 0.8);
  });
  watch("status/xruns", (count) => {
    by("xruns").classList.toggle("hot", count > 0);
    by("xruns").title = String(count); // where it is shortened
  });
  watch("status/gate", (open) => document.body.classList.toggle("gated", !open && values.get("input/gate_db") > -100));
  watch("log", incidents);
  const rest = ["uptime", "load_max", "callback_p999_us", "block", "rate", "resets", "blend_max"];
  by("facts").replaceChildren(...status.filter((s) => rest.includes(s.name)).map((s) => fact(s)));
}

function fact(s) {
  const number = make("dd", { textContent: "–" });
  const text = { uptime: clock, load_max: (v) => `${Math.round(100 * v)} %` }[s.name] ?? ((v) => `${Math.round(v)} ${s.unit.replace("us", "µs")}`);
  watch(`status/${s.name}`, (value) => { number.textContent = text(value); });
  return make("div", { title: s.description }, make("dt", { textContent: title(s.name.replace("_p999_us", " p99.9")) }), number);
}

const WHAT = { xruns: "late", resets: "model reset", input_repairs: "input repaired", recording_lost: "samples lost" };

const timeOf = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

function incidents(log) {
  const rows = [...log].reverse().map(({ at, until, what, count, cure }) => {
    const text = what === "xruns" ? `${count} block${count > 1 ? "s" : ""} late` : `${WHAT[what] ?? what} × ${count}`;
    const words = make("span", { className: "words", textContent: until - at > 1 ? `${text}, to ${timeOf(until)}` : text });
    if (cure) words.append(make("span", { className: "cure", textContent: cure }));
    return make("li", { className: "row" }, make("time", { textContent: timeOf(at) }), words);
  });
  by("incidents").replaceChildren(...(rows.length ? rows : [make("li", { className: "dim", textContent: "Nothing has gone wrong." })]));
}

function state(link) {
  document.body.dataset.link = link;
  by("link").setAttribute("aria-label", link === "on" ? "connected" : "no connection, trying again");
  by("link").title = by("link").getAttribute("aria-label");
  if (link === "on") keepAwake();
}

function keepAwake() {
  // Only where the browser allows it: on this machine, or over https.
  navigator.wakeLock?.request("screen").catch(() => {});
}

function show(tab) {
  document.body.dataset.tab = tab;
  for (const button of document.querySelectorAll("[data-show]")) {
    const chosen = button.dataset.show === tab;
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
}

function tabs() {
  const buttons = [...document.querySelectorAll("[data-show]")];
  for (const [i, button] of buttons.entries()) {
    button.addEventListener("click", () => show(button.dataset.show));
    button.addEventListener("keydown", ({ key }) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!by) return;
      const next = buttons[(i + by + buttons.length) % buttons.length];
      next.focus();
      show(next.dataset.show);
    });
  }
  show("play");
}

function themes() {
  const root = document.documentElement;
  by("theme").addEventListener("click", () => {
    root.dataset.theme = isLight() ? "dark" : "light";
    localStorage.setItem("theme", root.dataset.theme);
  });
  new MutationObserver(recolour).observe(root, { attributeFilter: ["data-theme"] });
}

function frame(now) {
  const [, out] = meters.map((draw) => draw(now));
  if (out !== undefined) document.body.style.setProperty("--pulse", out.toFixed(3));
  requestAnimationFrame(frame);
}

themes();
tabs();
if (location.search) history.replaceState(null, "", location.pathname); // the token is in a cookie now
addEventListener("keydown", (event) => press(event));
connectTo(openLink({
  onState: state,
  onColumns: (data) => picture.add(data),
  onText: (message) => {
    if (message.hello) build(message.hello);
    if (message.v) receive(message.v);
    if (message.error) toast(message.error, "error");
    if (message.note) toast(message.note, "note");
  },
}));
requestAnimationFrame(frame);

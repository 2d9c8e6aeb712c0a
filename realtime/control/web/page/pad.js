// The blend pad: domains on a circle, a finger between them.

import { inDisc, pointFor, seats, weightsAt } from "./blend.js";
import { blended, hue, isLight, vivid } from "./colour.js";
import { change, values, watch } from "./store.js";
import { make, title } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const FIELD = 96; // pixels of the soft colour field, scaled up
const SEAT = 0.8; // where domains sit, as a share of the pad's half side; outside is room for their names

function draw(tag, attributes, parent) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
  return element;
}

export function pad(box, domains) {
  const places = seats(domains.length);
  const names = domains.map((id) => `blend/${id}`);
  const field = make("canvas", { width: FIELD, height: FIELD });
  const svg = draw("svg", { viewBox: "-1.25 -1.25 2.5 2.5" }, box);
  box.replaceChildren(field, svg);
  box.tabIndex = 0;
  for (const [key, value] of Object.entries({ role: "slider", "aria-label": "Blend of domains; arrow keys move the point", "aria-roledescription": "blend pad", "aria-valuemin": 0, "aria-valuemax": 100 })) box.setAttribute(key, value);

  draw("circle", { r: 1, class: "rim" }, svg);
  draw("circle", { r: 0.5, class: "ring" }, svg);
  const rays = places.map((_, i) => draw("line", { class: "ray" }, svg));
  const dots = places.map(([x, y], i) => draw("circle", { cx: x, cy: y, r: 0.05, class: "seat" }, svg));
  const labels = places.map(([x, y], i) => {
    const text = draw("text", { x: x * 1.0, y: y > 0.3 ? y + 0.185 : y < -0.3 ? y - 0.11 : y - 0.12, class: "seat-name", "text-anchor": Math.abs(x) < 0.7 ? "middle" : x > 0 ? "end" : "start", dx: Math.abs(x) < 0.7 ? 0 : x > 0 ? 0.2 : -0.2 }, svg);
    text.textContent = domains.length <= 16 ? title(domains[i]) : "";
    return text;
  });
  [...dots, ...rays, ...labels].forEach((element, i) => element.style.setProperty("--hue", hue(i % domains.length, domains.length)));
  const halo = draw("circle", { r: 0.17, class: "halo" }, svg);
  const point = draw("circle", { r: 0.085, class: "point" }, svg);

  let at = [0, 0];
  const most = () => values.get("status/blend_max") || 0;

  function show(weights, active) {
    const sum = weights.reduce((a, b) => a + b, 0);
    for (const element of [halo, point]) { element.setAttribute("cx", at[0]); element.setAttribute("cy", at[1]); }
    rays.forEach((ray, i) => {
      ["x1", "y1"].forEach((key, c) => ray.setAttribute(key, places[i][c]));
      ["x2", "y2"].forEach((key, c) => ray.setAttribute(key, at[c]));
      ray.style.opacity = active ? weights[i] / (sum || 1) : 0;
    });
    dots.forEach((dot, i) => dot.setAttribute("r", 0.045 + 0.06 * (sum ? weights[i] / sum : 0)));
    labels.forEach((label, i) => label.classList.toggle("lit", weights[i] > 0.02));
    box.classList.toggle("active", active);
    const said = domains.map((id, i) => [id, Math.round((100 * weights[i]) / (sum || 1))]).filter(([, w]) => w);
    box.setAttribute("aria-valuenow", Math.max(0, ...said.map(([, w]) => w)));
    box.setAttribute("aria-valuetext", said.map(([id, w]) => `${id} ${w} %`).join(", "));
  }

  function refresh() {
    const weights = names.map((name) => values.get(name) ?? 0);
    if (weights.some((w) => w > 0)) {
      at = pointFor(weights, places, most(), at);
      return show(weights, true);
    }
    const index = Math.max(domains.indexOf(values.get("to")), 0);
    at = places[index] ?? [0, 0];
    show(places.map((_, i) => (i === index ? 1 : 0)), false);
  }

  function go(to) {
    at = inDisc(to);
    const weights = weightsAt(at, places, most());
    // Down before up: the machine may have no room for one more.
    const order = names.map((_, i) => i).sort((a, b) => weights[a] - weights[b]);
    for (const i of order) change(names[i], weights[i]);
  }

  const seen = (event) => {
    const area = box.getBoundingClientRect();
    const scale = (area.width / 2) * (1 / 1.25);
    return [(event.clientX - area.left - area.width / 2) / scale, (event.clientY - area.top - area.height / 2) / scale];
  };
  let down = false;
  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    box.setPointerCapture(event.pointerId);
    box.focus({ preventScroll: true, focusVisible: false });
    down = true;
    go(seen(event));
    event.preventDefault();
  });
  box.addEventListener("pointermove", (event) => down && go(seen(event)));
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => { down = false; });
  box.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.2 : 0.05;
    const by = { ArrowRight: [step, 0], ArrowLeft: [-step, 0], ArrowDown: [0, step], ArrowUp: [0, -step] }[event.key];
    if (by) go([at[0] + by[0], at[1] + by[1]]);
    else if (event.key === "Home") go([0, 0]);
    else return;
    event.preventDefault();
  });

  let planned = false;
  const soon = () => {
    if (planned) return;
    planned = true;
    queueMicrotask(() => { planned = false; refresh(); });
  };
  for (const name of [...names, "to"]) watch(name, soon);
  refresh();
  return { recolour: () => paint(field, places) };
}

// A soft field in the colours of the domains: what the weights will be, before one has touched it.
function paint(field, places) {
  const context = field.getContext("2d");
  const image = context.createImageData(FIELD, FIELD);
  const colours = places.map((_, i) => vivid(i, places.length));
  for (let py = 0; py < FIELD; py++) {
    for (let px = 0; px < FIELD; px++) {
      const to = (v) => ((v + 0.5) / FIELD - 0.5) * 2;
      const r = Math.min(Math.hypot(to(px), to(py)), 1); // the corners are cut off by the style sheet
      const near = places.map(([x, y]) => 1 / (0.03 + Math.hypot(to(px) - x, to(py) - y) ** 3));
      const at = 4 * (py * FIELD + px);
      image.data.set(blended(colours, near), at);
      image.data[at + 3] = 255 * (isLight() ? 0.3 + 0.35 * r ** 2 : 0.16 + 0.36 * r ** 2);
    }
  }
  context.putImageData(image, 0, 0);
}

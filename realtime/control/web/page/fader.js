// A fader: drag anywhere on it (relative, so that a touch alone moves nothing), arrow keys, double tap = default.

import { change, watch } from "./store.js";
import { make, shown, title } from "./words.js";

const EXPONENT = { linear: 1, square: 2 };
const STEP = { dB: 0.5, semitones: 1 };
const DRAG_PX = 4;
const TWICE_MS = 320;

export const toDial = (p, value) => {
  const share = (Math.min(Math.max(value, p.low), p.high) - p.low) / (p.high - p.low);
  return share ** (1 / EXPONENT[p.curve]);
};

export const fromDial = (p, dial) => {
  const at = Math.min(Math.max(dial, 0), 1) ** EXPONENT[p.curve];
  return p.low + (p.high - p.low) * at;
};

// Whole semitones, half decibels, whole milliseconds: what a hand can aim at. fine: as it comes.
function tidy(p, value, fine) {
  const step = fine ? 0.01 : p.unit === "ms" ? 1 : p.unit === "dB" ? 0.1 : STEP[p.unit] ?? 0.01;
  return Math.min(Math.max(Number((Math.round(value / step) * step).toFixed(4)), p.low), p.high);
}

export function fader(p, label = title(p.name), set = change) {
  const input = make("input", { type: "range", min: 0, max: 1000, step: 1, aria: { label: `${label}: ${p.description}` } });
  const number = make("output", { className: "value" });
  const box = make("div", { className: "fader", title: p.description, data: { name: p.name } },
    make("i", { className: "fill" }), make("s"), make("label", { textContent: label }), number, input);
  const bipolar = p.low === -p.high;
  const rest = toDial(p, p.default);
  box.style.setProperty("--rest", rest);
  box.querySelector("s").hidden = rest < 0.01 || rest > 0.99;
  let value = p.default;

  const show = (v) => {
    value = v;
    const dial = toDial(p, v);
    input.value = Math.round(dial * 1000);
    input.setAttribute("aria-valuetext", shown(p, v));
    number.textContent = shown(p, v);
    box.style.setProperty("--from", bipolar ? Math.min(dial, rest) : 0);
    box.style.setProperty("--to", bipolar ? Math.max(dial, rest) : dial);
    box.style.setProperty("--at", dial);
    box.classList.toggle("moved", Math.abs(v - p.default) > 1e-6);
  };
  const move = (v, fine = false) => set(p.name, tidy(p, v, fine));

  input.addEventListener("input", () => move(fromDial(p, input.value / 1000)));
  input.addEventListener("keydown", (event) => {
    const sign = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (sign) {
      const steps = event.shiftKey ? sign / 10 : sign;
      // Along a curved dial a step in the unit would be nothing at one end and too much at the other.
      const by = p.curve === "linear" ? value + steps * (STEP[p.unit] ?? (p.high - p.low) / 100) : fromDial(p, toDial(p, value) + steps / 100);
      move(by, event.shiftKey);
    } else if (event.key === "Home" || event.key === "End") move(event.key === "Home" ? p.low : p.high);
    else if (event.key === "Delete" || event.key === "Backspace") move(p.default);
    else return;
    event.preventDefault();
  });
  draggable(box, () => toDial(p, value), (dial, fine) => move(fromDial(p, dial), fine), () => move(p.default), input);
  watch(p.name, show);
  return box;
}

function draggable(box, start, move, reset, input) {
  let from = null;
  let tapped = 0;
  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    box.setPointerCapture(event.pointerId);
    input.focus({ preventScroll: true, focusVisible: false });
    from = { x: event.clientX, dial: start(), moved: false };
    event.preventDefault();
  });
  box.addEventListener("pointermove", (event) => {
    if (!from) return;
    const dx = event.clientX - from.x;
    if (!from.moved && Math.abs(dx) < DRAG_PX) return;
    if (!from.moved) from = { x: event.clientX, dial: from.dial, moved: true };
    else move(from.dial + (dx / box.clientWidth) * (event.shiftKey ? 0.1 : 1), event.shiftKey);
  });
  box.addEventListener("pointerup", () => {
    if (from && !from.moved) {
      const now = performance.now();
      if (now - tapped < TWICE_MS) reset();
      tapped = now;
    }
    from = null;
  });
  box.addEventListener("pointercancel", () => { from = null; });
}

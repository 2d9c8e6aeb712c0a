// What the program has to say: over the picture, where there is nothing to touch, never over a control.

import { by, make } from "./words.js";

const SHOWN_MS = 5000;
const MS_A_CHARACTER = 60; // a long sentence takes longer to read
const MOST = 3;

export function toast(text, kind) {
  const box = by("toasts");
  if (box.firstChild?.textContent === text) box.firstChild.remove();
  const close = make("button", { className: "close", aria: { label: "Dismiss" } });
  const element = make("p", { className: `toast ${kind}` }, make("span", { textContent: text }), close);
  box.prepend(element); // the newest is on top: it is read without scrolling
  while (box.children.length > MOST) box.lastChild.remove();
  element.addEventListener("click", () => element.remove());
  let hovered = false;
  const leave = () => { if (hovered || element.contains(document.activeElement)) wait(SHOWN_MS / 2); else element.remove(); };
  const wait = (ms) => setTimeout(leave, ms);
  element.addEventListener("pointerenter", () => { hovered = true; });
  element.addEventListener("pointerleave", () => { hovered = false; });
  wait(Math.max(SHOWN_MS, text.length * MS_A_CHARACTER));
}

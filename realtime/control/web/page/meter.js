// A level meter: rises at once, falls slowly, remembers the peak for a moment.

import { watch } from "./store.js";
import { by, decibels } from "./words.js";

const FLOOR_DB = -60;
const FALL_DB_S = 40;
const PEAK_S = 1.6;

export function meter(which) {
  const box = by(`meter-${which}`);
  const text = by(`level-${which}`);
  let [shown, level, peak, peaked, drawn] = [FLOOR_DB, FLOOR_DB, FLOOR_DB, 0, 0];
  watch(`status/level_${which}_db`, (db) => { level = db; });
  const share = (db) => Math.min(Math.max(1 - db / FLOOR_DB, 0), 1);

  return (now) => {
    const passed = Math.min((now - drawn) / 1000, 0.2);
    drawn = now;
    shown = Math.max(level, shown - FALL_DB_S * passed, FLOOR_DB);
    if (shown >= peak || now - peaked > PEAK_S * 1000) [peak, peaked] = [shown, now];
    box.style.setProperty("--level", share(shown).toFixed(4));
    box.style.setProperty("--peak", share(peak).toFixed(4));
    box.classList.toggle("hot", peak > -1);
    const said = decibels(peak <= FLOOR_DB ? -120 : peak);
    if (text.textContent !== said) {
      text.textContent = said;
      box.setAttribute("aria-valuenow", Math.round(Math.max(peak, FLOOR_DB)));
      box.setAttribute("aria-valuetext", `${said} dB`);
    }
    return share(shown);
  };
}

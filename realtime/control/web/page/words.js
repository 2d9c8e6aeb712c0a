// Names and numbers as a performer reads them.

const minus = (text) => text.replace("-", "−");

export function title(name) {
  const words = name.replace(/_(db|ms|hz|s)$/, "").replaceAll("_", " ").split("/");
  const text = words.join(" ");
  return text[0].toUpperCase() + text.slice(1);
}

export function shown(parameter, value) {
  const { unit, low, high, name } = parameter;
  if (name.endsWith("gate_db") && value <= low) return "off";
  if (unit === "dB") return `${value > 0 && low < 0 ? "+" : ""}${minus(value.toFixed(1))} dB`;
  if (unit === "ms") return value >= 1000 ? `${(value / 1000).toFixed(value < 1e4 ? 2 : 1)} s` : `${Math.round(value)} ms`;
  if (unit === "semitones") return `${value > 0 ? "+" : ""}${minus(Number.isInteger(value) ? String(value) : value.toFixed(2))} st`;
  if (!unit && low === 0 && high === 1) return `${Math.round(value * 100)} %`;
  return `${minus(value.toFixed(Math.abs(high - low) > 20 ? 1 : 2))}${unit ? ` ${unit}` : ""}`;
}

export function decibels(value) {
  return value <= -100 ? "−∞" : minus(value.toFixed(1));
}

export function clock(seconds) {
  const s = Math.floor(seconds);
  const pad = (n) => String(n).padStart(2, "0");
  return s >= 3600 ? `${Math.floor(s / 3600)}:${pad(Math.floor(s / 60) % 60)}:${pad(s % 60)}` : `${Math.floor(s / 60)}:${pad(s % 60)}`;
}

// A count that may grow for ever, in the place of four digits.
export const counted = (n) => (n < 1e4 ? String(n) : n < 1e6 ? `${Math.floor(n / 1e3)}k` : `${Math.floor(n / 1e6)}M`);

// One element, its properties and what is in it.
export function make(tag, properties = {}, ...inside) {
  const { data, aria, ...plain } = properties;
  const element = Object.assign(document.createElement(tag), plain);
  for (const [key, value] of Object.entries(data ?? {})) element.dataset[key] = value;
  for (const [key, value] of Object.entries(aria ?? {})) element.setAttribute(key === "role" ? key : `aria-${key}`, value);
  element.append(...inside);
  return element;
}

export const by = (id) => document.getElementById(id);

// A hue for each domain; the page takes the colour of what sounds.

const FIRST = 68; // amber
const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

export const hue = (index, count) => (FIRST + (index * 360) / Math.max(count, 1)) % 360;

export const isLight = () => document.documentElement.dataset.theme === "light";

export function rgb(css) {
  probe.fillStyle = css;
  probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}

// The same colour for a dark and for a light page.
export const vivid = (index, count, light = isLight()) => rgb(light ? `oklch(0.62 0.17 ${hue(index, count)})` : `oklch(0.79 0.145 ${hue(index, count)})`);

export function blended(colours, weights) {
  const sum = weights.reduce((a, b) => a + b, 0) || 1;
  return [0, 1, 2].map((c) => Math.sqrt(colours.reduce((a, rgb, i) => a + (weights[i] / sum) * rgb[c] ** 2, 0)));
}

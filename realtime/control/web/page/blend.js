// Where the finger is on the pad, and which weights that means.
// Domains sit on the unit circle. A domain's weight falls with the cube of its distance; small ones are cut off,
// so that near a domain it is alone and between two neighbours there are two: each further one costs computing time.

const POWER = 3;
const CUT = 0.06;

export const seats = (count) => Array.from({ length: count }, (_, i) => {
  const angle = count === 2 ? Math.PI * (1 - i) : -Math.PI / 2 + (2 * Math.PI * i) / count;
  return count === 1 ? [0, 0] : [Math.cos(angle), Math.sin(angle)];
});

export function weightsAt([x, y], places, most = 0) {
  const near = places.map(([px, py]) => Math.hypot(x - px, y - py));
  const on = near.findIndex((d) => d < 1e-3);
  if (on >= 0) return places.map((_, i) => (i === on ? 1 : 0));
  let raw = near.map((d) => d ** -POWER);
  let sum = raw.reduce((a, b) => a + b, 0);
  const limit = most > 0 && most < raw.length ? [...raw].sort((a, b) => b - a)[most] / sum : 0;
  // The first one too many is taken from all: a domain that leaves has come down to 0 before it does.
  raw = raw.map((w) => Math.max(w / sum - Math.max(CUT, limit), 0));
  sum = raw.reduce((a, b) => a + b, 0);
  if (sum < 1e-6) return evenly(near, most);
  return raw.map((w) => Math.round((w / sum) * 1000) / 1000);
}

// In the very middle all are equally far: the first ones that the machine can hold.
function evenly(near, most) {
  const count = most > 0 ? Math.min(most, near.length) : near.length;
  const chosen = near.map((d, i) => [d, i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).slice(0, count).map(([, i]) => i);
  return near.map((_, i) => (chosen.includes(i) ? Math.round(1000 / count) / 1000 : 0));
}

export const inDisc = ([x, y]) => {
  const r = Math.hypot(x, y);
  return r > 1 ? [x / r, y / r] : [x, y];
};

const apart = (a, b) => a.reduce((sum, w, i) => sum + (w - b[i]) ** 2, 0);

// The point whose weights are nearest to these (set over OSC, by a preset...); `from` if that will do.
export function pointFor(weights, places, most, from) {
  const sum = weights.reduce((a, b) => a + b, 0);
  const wanted = weights.map((w) => w / (sum || 1));
  if (from && apart(weightsAt(from, places, most), wanted) < 0.003) return from;
  const cost = (point) => apart(weightsAt(point, places, most), wanted);
  let best = [0, 1].map((c) => places.reduce((a, place, i) => a + wanted[i] * place[c], 0));
  for (let radius = 1; radius > 0.01; radius /= 1.7) {
    for (let ring = 0; ring < 16; ring++) {
      const angle = (ring / 16) * 2 * Math.PI;
      const point = inDisc([best[0] + radius * Math.cos(angle), best[1] + radius * Math.sin(angle)]);
      if (cost(point) < cost(best)) best = point;
    }
  }
  return best;
}

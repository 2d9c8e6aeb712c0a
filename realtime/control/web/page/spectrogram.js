// Input above output, scrolling to the left. The output is drawn in the colour of what sounded then.

import { isLight, rgb } from "./colour.js";

const KEPT = 640; // columns: 25 s
const FLOOR_DB = -96; // of byte 0, see scope.py
const DARK_DB = -82;
const BRIGHT_DB = -22;
const LINES_HZ = [100, 1000, 10000];

export function spectrogram(canvas) {
  const bytes = [];
  const tints = [];
  const strip = document.createElement("canvas");
  const ink = strip.getContext("2d");
  const context = canvas.getContext("2d");
  let bands = 96;
  let edges = [45, 16000];
  let head = 0;
  let count = 0;
  let look = null;
  let tint = { dark: [255, 255, 255], light: [0, 0, 0] };
  let planned = false;

  function prepare() {
    const light = isLight();
    const css = getComputedStyle(document.documentElement);
    look = { paper: rgb(css.getPropertyValue("--screen")), input: light ? [40, 42, 58] : [190, 196, 214], light, faint: css.getPropertyValue("--faint"), gap: css.getPropertyValue("--bg") };
    strip.width = KEPT;
    strip.height = 2 * bands;
    for (let i = 0; i < KEPT; i++) if (bytes[i]) ink.putImageData(column(bytes[i], tints[i]), i, 0);
  }

  // Paper, then the tint, then (for the loudest) towards white, or on white paper towards black.
  function shade(level, colour) {
    const t = Math.min(Math.max((FLOOR_DB * (1 - level / 255) - DARK_DB) / (BRIGHT_DB - DARK_DB), 0), 1) ** 1.35;
    const high = Math.max(t - 0.72, 0) / 0.28;
    const to = look.light ? 20 : 255;
    return [0, 1, 2].map((c) => {
      const base = look.paper[c] + (colour[c] - look.paper[c]) * Math.min(t / 0.72, 1);
      return base + (to - base) * high * (look.light ? 0.45 : 0.8);
    });
  }

  function column(levels, colours) {
    const image = ink.createImageData(1, 2 * bands);
    for (let half = 0; half < 2; half++) {
      for (let band = 0; band < bands; band++) {
        const row = half * bands + bands - 1 - band;
        image.data.set([...shade(levels[half * bands + band], half ? colours[look.light ? "light" : "dark"] : look.input), 255], 4 * row);
      }
    }
    return image;
  }

  function resize() {
    const scale = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.max(Math.round(canvas.clientWidth * scale), 1);
    canvas.height = Math.max(Math.round(canvas.clientHeight * scale), 1);
    plan();
  }

  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; render(); });
  }

  function render() {
    if (!look) return;
    const { width, height } = canvas;
    const scale = width / Math.max(canvas.clientWidth, 1);
    const gap = Math.round(2 * scale);
    const tall = (height - gap) / 2;
    const wide = Math.min(Math.max(Math.round(canvas.clientWidth / 1.6), 160), KEPT);
    const step = width / wide;
    context.fillStyle = `rgb(${look.paper})`;
    context.fillRect(0, 0, width, height);
    const have = Math.min(count, wide);
    for (let half = 0; half < 2; half++) {
      const y = half * (tall + gap);
      const older = Math.max(have - head, 0); // columns before the ring's seam
      const newer = have - older;
      const x = width - have * step;
      if (older) context.drawImage(strip, KEPT - older, half * bands, older, bands, x, y, older * step, tall);
      if (newer) context.drawImage(strip, head - newer, half * bands, newer, bands, x + older * step, y, newer * step, tall);
      scaleLines(y, tall, scale);
    }
    context.fillStyle = look.gap;
    context.fillRect(0, tall, width, gap);
  }

  function scaleLines(y, tall, scale) {
    context.fillStyle = look.faint;
    context.font = `${9.5 * scale}px system-ui, sans-serif`;
    for (const hz of LINES_HZ) {
      const share = Math.log(hz / edges[0]) / Math.log(edges[1] / edges[0]);
      const at = Math.round(y + tall * (1 - share));
      if (share <= 0 || share >= 1) continue;
      context.fillRect(canvas.width - 5 * scale, at, 5 * scale, scale);
      const text = hz >= 1000 ? `${hz / 1000}k` : String(hz);
      context.fillText(text, canvas.width - 8 * scale - context.measureText(text).width, at + 3.4 * scale);
    }
  }

  new ResizeObserver(resize).observe(canvas);
  return {
    describe(scope) {
      [bands, edges] = [scope.bands, scope.edges_hz];
      prepare();
    },
    recolour() { prepare(); plan(); },
    tint(colour) { tint = colour; },
    add(data) {
      if (!look) return;
      for (let at = 0; at + 2 * bands <= data.length; at += 2 * bands) {
        bytes[head] = data.slice(at, at + 2 * bands);
        tints[head] = tint;
        ink.putImageData(column(bytes[head], tint), head, 0);
        head = (head + 1) % KEPT;
        count = Math.min(count + 1, KEPT);
      }
      plan();
    },
  };
}

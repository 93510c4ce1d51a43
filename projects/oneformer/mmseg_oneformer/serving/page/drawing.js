// Predictions as pictures. A map has the number of the segment of each pixel, from 1, and 0 for none.

const TONE = 0.5; // how far outlines are lighter than their segment

// value, length, value, length, ... line by line
export function readRuns(runs, map) {
  for (let k = 0, at = 0; k < runs.length; at += runs[k + 1], k += 2) map.fill(runs[k], at, at + runs[k + 1]);
  return map;
}

// The map of a prediction without hidden classes. Of instances, which overlap, those of at least the wished score, the best on top.
export function segmentMap(prediction, size, leastScore, hidden) {
  const map = new Uint16Array(size.width * size.height), { segments, runs } = prediction;
  if (runs) {
    readRuns(runs, map);
    const shown = Uint16Array.from([0, ...segments.map((one, k) => (hidden.has(one.label) ? 0 : k + 1))]);
    if (hidden.size) for (let k = 0; k < map.length; k++) map[k] = shown[map[k]];
    return map;
  }
  for (let number = segments.length; number >= 1; number--) {
    const segment = segments[number - 1];
    if (segment.score < leastScore || hidden.has(segment.label)) continue;
    for (let k = 0, at = 0; k < segment.runs.length; at += segment.runs[k + 1], k += 2) {
      if (segment.runs[k]) map.fill(number, at, at + segment.runs[k + 1]);
    }
  }
  return map;
}

// Small maps are drawn larger, each pixel as a square, so that outlines stay thin.
export function enlargement(size, wished) {
  return Math.max(1, Math.ceil(wished / Math.max(size.width, size.height)));
}

function enlarge(map, { width, height }, factor) {
  if (factor === 1) return map;
  const large = new Uint16Array(map.length * factor * factor), wide = width * factor;
  for (let y = 0, at = 0; y < height; y++) {
    const first = at;
    for (let x = 0; x < width; x++, at += factor) large.fill(map[y * width + x], at, at + factor);
    for (let copy = 1; copy < factor; copy++, at += wide) large.copyWithin(at, first, first + wide);
  }
  return large;
}

function layer(width, height, paint) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height }), context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  paint(new Uint32Array(image.data.buffer));
  context.putImageData(image, 0, 0);
  return canvas;
}

// Red, green, blue as a pixel; canvases are little-endian on every browser's machine.
const pixel = ([red, green, blue], alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
const light = (color) => color.map((value) => Math.round(value + (255 - value) * TONE));

// Whether pixel k is at most `steps` away from another segment, along its line or column.
function isEdge(map, k, width, steps) {
  const number = map[k], column = k % width;
  for (let step = 1; step <= steps; step++) {
    if (column + step < width && map[k + step] !== number) return true;
    if (column >= step && map[k - step] !== number) return true;
    if (k + step * width < map.length && map[k + step * width] !== number) return true;
    if (k >= step * width && map[k - step * width] !== number) return true;
  }
  return false;
}

// Fill and outlines of all segments, made once for each map: opacity then costs nothing.
export function makeLayers(map, segments, size, factor) {
  const large = enlarge(map, size, factor), width = size.width * factor, height = size.height * factor;
  const thickness = Math.max(1, Math.round(Math.max(width, height) / 900));
  const fills = Uint32Array.from([0, ...segments.map((one) => pixel(one.color, 255))]);
  const lines = Uint32Array.from([0, ...segments.map((one) => pixel(light(one.color), 235))]);
  return {
    map: large, width, height, thickness,
    fill: layer(width, height, (pixels) => { for (let k = 0; k < large.length; k++) pixels[k] = fills[large[k]]; }),
    lines: layer(width, height, (pixels) => {
      for (let k = 0; k < large.length; k++) if (isEdge(large, k, width, thickness)) pixels[k] = lines[large[k]];
    }),
  };
}

// Some segments brightened, with a bold outline.
export function makeHighlight(layers, numbers) {
  if (!numbers.size) return null;
  const { map, width, height, thickness } = layers;
  const bright = pixel([255, 255, 255], 82), bold = pixel([255, 255, 255], 255);
  return layer(width, height, (pixels) => {
    for (let k = 0; k < map.length; k++) if (numbers.has(map[k])) pixels[k] = isEdge(map, k, width, 2 * thickness) ? bold : bright;
  });
}

export function compose(canvas, picture, layers, highlight, opacity) {
  const { width, height, fill, lines } = layers, context = canvas.getContext('2d');
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.globalAlpha = 1;
  context.imageSmoothingQuality = 'high';
  context.drawImage(picture, 0, 0, width, height);
  context.globalAlpha = opacity;
  context.globalCompositeOperation = 'color'; // first the hue, so that a red ball under blue is not brown
  context.drawImage(fill, 0, 0);
  context.globalCompositeOperation = 'source-over';
  context.drawImage(fill, 0, 0);
  context.globalAlpha = Math.min(1, opacity * 2.5); // outlines fade last
  context.drawImage(lines, 0, 0);
  context.globalAlpha = 1;
  if (highlight) context.drawImage(highlight, 0, 0);
}

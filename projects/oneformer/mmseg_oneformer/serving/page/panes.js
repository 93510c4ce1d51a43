// The stage: one prediction, three side by side, or every prediction under every token. A pane is one prediction with its canvas.

import { compose, enlargement, makeHighlight, makeLayers, segmentMap } from './drawing.js';

export const TASKS = ['semantic', 'instance', 'panoptic'];
const TITLES = { semantic: 'Semantic', instance: 'Instance', panoptic: 'Panoptic' };

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// What a view shows: task and token ('' for the task's own) of each pane.
export function wanted(view, token) {
  if (view === 'matrix') return TASKS.flatMap((row) => TASKS.map((task) => ({ task, token: row })));
  return (view === 'three' ? TASKS : [view]).map((task) => ({ task, token }));
}

export function describe(segment) {
  const share = `${(100 * segment.area).toFixed(segment.area < 0.1 ? 1 : 0)} % of the photo`;
  return segment.score === null ? share : `score ${segment.score.toFixed(2)}, ${share}`;
}

export class Stage {
  constructor(root, tip) {
    Object.assign(this, { root, tip, panes: [], pointed: false });
    root.addEventListener('pointermove', (event) => this.point(event));
    root.addEventListener('pointerdown', (event) => this.point(event));
    root.addEventListener('pointerleave', () => this.point(null));
  }

  // Lay out the panes of a view; `predictions` are in the order of wanted().
  lay(state, predictions) {
    this.state = state;
    this.panes = wanted(state.view, state.token).map((one, k) => this.pane(one, predictions[k]));
    this.root.className = `when-photo ${{ three: 'three', matrix: 'matrices' }[state.view] ?? 'one'}`;
    this.root.style.setProperty('--aspect', state.photo.map_width / state.photo.map_height);
    this.root.replaceChildren(...(state.view === 'matrix' ? [this.table()] : this.panes.map((pane) => pane.figure)));
    this.refresh();
  }

  pane({ task, token }, prediction) {
    const canvas = element('canvas'), at = element('span');
    canvas.dataset.task = task;
    canvas.dataset.token = token || task;
    canvas.setAttribute('role', 'img');
    const caption = element('figcaption', {}, element('i', { className: `dot ${task}` }), TITLES[task], at);
    return { task, token: token || task, prediction, canvas, at, figure: element('figure', {}, canvas, caption) };
  }

  table() {
    const head = element('tr', {}, element('td', { className: 'corner' }));
    head.append(...TASKS.map((task) => element('th', { scope: 'col', textContent: `${TITLES[task]} prediction` })));
    const rows = TASKS.map((token) => {
      const panes = this.panes.filter((pane) => pane.token === token);
      const cells = panes.map((pane) => element('td', { className: pane.task === token ? 'own' : '' }, pane.figure));
      return element('tr', {}, element('th', { scope: 'row', textContent: `${TITLES[token]} token` }), ...cells);
    });
    const caption = element('caption', { textContent: 'Rows: the token that the network was given. Columns: the prediction. Framed: each prediction from its own token.' });
    return element('table', { className: 'matrix' }, caption, element('thead', {}, head), element('tbody', {}, ...rows));
  }

  // Maps and layers anew: after another score threshold, or a class hidden.
  refresh() {
    const { photo, score, hidden } = this.state, size = { width: photo.map_width, height: photo.map_height };
    const factor = enlargement(size, this.panes.length === 1 ? 960 : 480);
    for (const pane of this.panes) {
      const { segments } = pane.prediction;
      pane.map = segmentMap(pane.prediction, size, score, hidden);
      Object.assign(pane, { layers: makeLayers(pane.map, segments, size, factor), highlight: null, lit: '' });
      const names = [...new Set(segments.filter((one) => !(one.score < score && pane.task === 'instance')).map((one) => one.name))];
      pane.canvas.setAttribute('aria-label', `${TITLES[pane.task]} prediction from the ${pane.token} token: ${names.join(', ') || 'nothing'}`);
    }
    this.draw();
  }

  draw() {
    for (const pane of this.panes) {
      compose(pane.canvas, this.state.picture, pane.layers, pane.highlight, this.state.opacity);
    }
  }

  // Light up segments: those under a point of the photo, or those of a class.
  light(choose) {
    for (const pane of this.panes) {
      const numbers = new Set(choose ? choose(pane) : []), key = [...numbers].join();
      if (pane.lit === key) continue;
      Object.assign(pane, { lit: key, highlight: makeHighlight(pane.layers, numbers) });
      compose(pane.canvas, this.state.picture, pane.layers, pane.highlight, this.state.opacity);
    }
  }

  lightClass(label) {
    this.light(label === null ? null : (pane) => pane.prediction.segments.flatMap((one, k) => (one.label === label ? [k + 1] : [])));
  }

  point(event) {
    const pane = event && this.panes.find((one) => one.canvas === event.target);
    if (!pane) {
      if (this.pointed) this.light(null);
      for (const one of this.panes) one.at.textContent = '';
      this.pointed = false;
      this.tip.hidden = true;
      return;
    }
    this.pointed = true;
    const box = pane.canvas.getBoundingClientRect(), { map_width: width, map_height: height } = this.state.photo;
    const x = Math.min(width - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * width)));
    const y = Math.min(height - 1, Math.max(0, Math.floor((event.clientY - box.top) / box.height * height)));
    const number = (one) => one.map[y * width + x];
    this.light((one) => (number(one) ? [number(one)] : []));
    for (const one of this.panes) one.at.textContent = number(one) ? one.prediction.segments[number(one) - 1].name : '–';
    this.showTip(event, pane.prediction.segments[number(pane) - 1]);
  }

  showTip(event, segment) {
    this.tip.hidden = !segment;
    if (!segment) return;
    const [swatch, name, facts] = this.tip.children;
    swatch.style.background = `rgb(${segment.color.join()})`;
    name.textContent = segment.name;
    facts.textContent = describe(segment);
    const { width, height } = this.tip.getBoundingClientRect();
    this.tip.style.left = `${Math.max(6, Math.min(event.clientX + 16, innerWidth - width - 6))}px`;
    this.tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18}px`;
  }
}

// The lists beside the stage: the classes that are seen, and the files that can be had.

import { element } from './panes.js';

// Classes of all panes: how many segments and which share of the photo, in the pane that has most of them.
export function seenClasses(panes, leastScore) {
  const seen = new Map();
  for (const { task, prediction } of panes) {
    const here = new Map();
    for (const segment of prediction.segments) {
      if (task === 'instance' && segment.score < leastScore) continue;
      const one = here.get(segment.label) ?? { label: segment.label, name: segment.name, count: 0, area: 0 };
      one.count += 1;
      one.area += segment.area;
      here.set(segment.label, one);
    }
    for (const one of here.values()) if (!(seen.get(one.label)?.area > one.area)) seen.set(one.label, one);
  }
  return [...seen.values()].sort((a, b) => b.area - a.area);
}

// `change(label, visible)` when a box is ticked, `look(label or null)` when a line is pointed at or has the focus.
export function listClasses(list, classes, { colors, hidden, change, look }) {
  const focused = list.contains(document.activeElement) ? document.activeElement.value : null;
  list.replaceChildren(...classes.map(({ label, name, count, area }) => {
    const box = element('input', { type: 'checkbox', checked: !hidden.has(label), value: label });
    const swatch = element('i', { className: 'swatch' });
    swatch.style.background = `rgb(${colors[label].join()})`;
    const facts = element('span', { textContent: `${count > 1 ? `${count} × · ` : ''}${area < 0.01 ? '< 1' : Math.round(100 * Math.min(1, area))} %` });
    const line = element('label', { className: hidden.has(label) ? 'off' : '' }, box, swatch, name, facts);
    box.addEventListener('change', () => change(label, box.checked));
    for (const [event, lit] of [['pointerenter', label], ['pointerleave', null], ['focusin', label], ['focusout', null]]) {
      line.addEventListener(event, () => look(lit));
    }
    return element('li', {}, line);
  }));
  if (!classes.length) list.append(element('li', { className: 'faint', textContent: 'Nothing above the threshold.' }));
  if (focused !== null) list.querySelector(`input[value="${focused}"]`)?.focus();
}

export function listFiles(list, exports, task, save) {
  list.replaceChildren(...exports.filter((one) => one.tasks.includes(task)).map((one) => {
    const kind = element('small', { textContent: one.suffix.split('.').pop() });
    const button = element('button', { type: 'button' }, one.title, kind);
    button.dataset.form = one.form;
    button.addEventListener('click', () => save(one));
    return element('li', {}, button);
  }));
}

// The page: its state, and what the user does to it. The network runs when a photo is sent, and never after.

import { element, Stage, TASKS, wanted } from './panes.js';
import { request, requestJson, requestPicture, download, RequestError } from './server.js';
import { listClasses, listFiles, seenClasses } from './settings.js';

const $ = (id) => document.getElementById(id);
const THRESHOLDS = ['object_mask_thr', 'overlap_thr'];
const state = {
  model: null, file: null, photo: null, picture: null, seconds: 0,
  view: 'panoptic', token: '', score: 0.5, opacity: 0.65, hidden: new Set(),
  predictions: new Map(), // by address
};
const stage = new Stage($('stage'), $('tip'));

// ---- messages and progress ----------------------------------------------------------------------------------------

function complain(error) {
  if (error.name === 'AbortError') return;
  if (!(error instanceof RequestError)) console.error(error);
  $('message').firstElementChild.textContent = error.message;
  $('again').hidden = !(state.file && (error.status === 404 || error.status === 503 || error.status === 0));
  $('message').hidden = false;
}

let working = 0;

// Show what is being waited for, and for how long, if it takes more than a moment.
async function busy(what, work) {
  const start = performance.now(), ticket = ++working;
  const tick = () => {
    const seconds = (performance.now() - start) / 1000;
    if (ticket !== working || seconds < 0.3) return;
    $('busy').hidden = false;
    if ($('busy-what').textContent !== what) $('busy-what').textContent = what;
    $('busy-seconds').textContent = seconds < 1 ? '' : `${Math.floor(seconds)} s`;
  };
  const timer = setInterval(tick, 100);
  $('work').setAttribute('aria-busy', 'true');
  $('message').hidden = true;
  try {
    return await work();
  } catch (error) {
    complain(error);
    return undefined;
  } finally {
    clearInterval(timer);
    if (ticket === working) {
      $('busy').hidden = true;
      $('work').removeAttribute('aria-busy');
    }
  }
}

// ---- a photo ------------------------------------------------------------------------------------------------------

let sending = null;

// Without the marks that would turn the words around it.
const nameOf = (file) => file.name.replace(/[\u202a-\u202e\u2066-\u2069]/g, '');

async function open(file) {
  if (!state.model) return;
  sending?.abort();
  const { signal } = sending = new AbortController();
  await busy('Running the network', async () => {
    const { max_bytes: limit } = state.model;
    if (file.size > limit) {
      throw new RequestError(`${nameOf(file) || 'The file'} has ${(file.size / 1e6).toFixed(1)} MB; at most ${limit / 1e6} MB are taken.`, 413);
    }
    const start = performance.now();
    state.file = file;
    const photo = await requestJson(`api/photos?${new URLSearchParams({ name: file.name || 'photo' })}`, { method: 'POST', body: file, signal });
    const seconds = (performance.now() - start) / 1000;
    const picture = await requestPicture(`api/photos/${photo.id}/picture`);
    if (signal.aborted) return;
    Object.assign(state, { photo, picture, seconds, hidden: new Set(), predictions: new Map() });
    document.body.dataset.state = 'photo';
    $('status').textContent = `${nameOf(file) || 'photo'}, ${photo.width} × ${photo.height} pixels. Predicted in ${seconds.toPrecision(2)} s, by one run of the network.`;
    await load();
  });
}

function thresholds(task) {
  return task === 'panoptic' ? THRESHOLDS.map((id) => [id, $(id).value]) : [];
}

function address({ task, token }) {
  return `api/photos/${state.photo.id}/predictions/${task}?${new URLSearchParams([['token', token || task], ...thresholds(task)])}`;
}

// Fetch what the view wants and is not here yet, and show it unless the user has gone on.
async function load() {
  const { photo, view, token } = state, paths = wanted(view, token).map(address);
  await Promise.all(paths.filter((path) => !state.predictions.has(path)).map(async (path) => {
    const prediction = await requestJson(path);
    if (photo !== state.photo) return;
    state.predictions.set(path, prediction);
    if (state.predictions.size > 60) state.predictions.delete(state.predictions.keys().next().value); // many slider positions
  }));
  const predictions = paths.map((path) => state.predictions.get(path));
  if (photo !== state.photo || view !== state.view || token !== state.token || predictions.includes(undefined)) return;
  stage.lay(state, predictions);
  list();
}

let loading = false, changed = false;

// One request at a time, however quickly a slider moves; the last position wins.
async function refresh() {
  if (!state.photo) return;
  changed = true;
  if (loading) return;
  loading = true;
  try {
    while (changed) {
      changed = false;
      await busy('Making the prediction', load);
    }
  } finally {
    loading = false;
  }
}

// ---- lists beside the stage ---------------------------------------------------------------------------------------

function list() {
  const classes = seenClasses(stage.panes, state.score), { hidden } = state;
  const change = (label, visible) => {
    hidden[visible ? 'delete' : 'add'](label);
    redraw();
  };
  listClasses($('classes'), classes, { colors: state.model.colors, hidden, change, look: (label) => stage.lightClass(label) });
  $('toggle-all').textContent = hidden.size ? 'Show all' : 'Hide all';
  $('toggle-all').onclick = () => {
    if (hidden.size) hidden.clear();
    else for (const { label } of classes) hidden.add(label);
    redraw();
  };
  const task = TASKS.includes(state.view) ? state.view : null;
  listFiles($('files'), task ? state.model.exports : [], task, (one) => {
    save(`${task}/${one.form}`, `${state.photo.name}_${task}${one.suffix}`);
  });
}

function save(path, fileName) {
  const query = new URLSearchParams([['score_thr', state.score], ...thresholds('panoptic')]);
  if (state.token && state.view !== 'matrix') query.set('token', state.token);
  busy('Writing the file', () => download(`api/photos/${state.photo.id}/files/${path}?${query}`, fileName));
}

function redraw() {
  stage.refresh();
  list();
}

// ---- controls -----------------------------------------------------------------------------------------------------

function choose(view) {
  state.view = view;
  for (const tab of $('views').children) {
    const chosen = tab.dataset.view === view;
    tab.setAttribute('aria-selected', chosen);
    tab.tabIndex = chosen ? 0 : -1;
  }
  $('stage').setAttribute('aria-labelledby', `tab-${view}`);
  for (const part of document.querySelectorAll('[data-views]')) part.hidden = !part.dataset.views.split(' ').includes(view);
  refresh();
}

$('views').addEventListener('click', (event) => {
  const tab = event.target.closest('[role="tab"]');
  if (tab) choose(tab.dataset.view);
});
$('views').addEventListener('keydown', (event) => {
  const tabs = [...$('views').children], at = tabs.indexOf(document.activeElement);
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined || at < 0) return;
  event.preventDefault();
  const tab = tabs.at(next % tabs.length);
  tab.focus();
  choose(tab.dataset.view);
});

function showValues() {
  for (const output of document.querySelectorAll('output')) {
    const { id, value } = $(output.htmlFor[0]);
    output.textContent = id === 'opacity' ? `${Math.round(100 * value)} %` : Number(value).toFixed(2);
  }
}

function reset() {
  for (const id of THRESHOLDS) $(id).value = state.model[id];
  $('score').value = 0.5;
  state.score = 0.5;
  showValues();
}

$('opacity').addEventListener('input', () => {
  state.opacity = Number($('opacity').value);
  showValues();
  stage.draw();
});
$('score').addEventListener('input', () => {
  state.score = Number($('score').value);
  showValues();
  if (state.photo) redraw();
});
for (const id of THRESHOLDS) $(id).addEventListener('input', () => { showValues(); refresh(); });
$('reset').addEventListener('click', () => { reset(); redraw(); refresh(); });
for (const radio of document.querySelectorAll('input[name="token"]')) {
  radio.addEventListener('change', () => { state.token = radio.value; refresh(); });
}
$('all-files').addEventListener('click', () => save('all', `${state.photo.name}.zip`));

// ---- ways for a photo to come in ----------------------------------------------------------------------------------

function take(files) {
  if (files.length) open(files[0]);
  else complain(new RequestError('That was no file. Save the picture first, then drop the file.', 0));
}

for (const id of ['choose', 'choose-first']) $(id).addEventListener('click', () => $('file').click());
$('file').addEventListener('change', () => {
  if ($('file').files.length) take($('file').files);
  $('file').value = ''; // the same file again is a change, too
});
$('sample').addEventListener('click', () => busy('Drawing', async () => {
  const picture = await (await request('api/sample')).blob();
  open(new File([picture], 'sample.png', { type: picture.type }));
}));
document.addEventListener('paste', (event) => {
  if (event.clipboardData?.files.length) take(event.clipboardData.files);
});
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dragging');
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('dragging');
});
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dragging');
  take(event.dataTransfer.files);
});
$('again').addEventListener('click', () => open(state.file));
$('close').addEventListener('click', () => { $('message').hidden = true; });

await busy('Connecting', async () => {
  const model = state.model = await requestJson('api/model');
  $('model').textContent = `${model.name} · ${model.classes} classes`;
  $('model').title = model.name;
  // A model predicts what it knows, whatever it is shown.
  $('limits').textContent = `The model knows ${model.known}. Up to ${model.max_bytes / 1e6} MB and ${model.max_pixels / 1e6} megapixels.`;
  $('score').min = model.least_score;
  reset();
});
choose('panoptic');

// The page of the demo. The server runs the network once a photo; everything below is drawn from id maps:
// each answer is a list of segments {name, label, score, color, share} and a map with the number of the segment of each
// pixel, 0 for none. Instances may overlap, so their masks come one by one and the map is made here, by the threshold.

const TASKS = ['semantic', 'instance', 'panoptic'];
const $ = (id) => document.getElementById(id);
const state = { model: null, photo: null, picture: null, answers: {}, view: 'panoptic', hidden: new Set(), hover: null };

// ---- talking to the server ----------------------------------------------------------------------------------------

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error('The server does not answer; is tools/demo.py still running?');
  }
  if (!response.ok) {
    const content = await response.json().catch(() => null);
    throw new Error(content?.detail ?? `The server answered ${response.status}.`);
  }
  return response;
}

async function busy(work) {
  $('stage').classList.add('busy');
  $('message').hidden = true;
  try {
    await work();
  } catch (error) {
    $('message').textContent = error.message;
    $('message').hidden = false;
  } finally {
    $('stage').classList.remove('busy');
  }
}

async function open(file) {
  await busy(async () => {
    const limit = state.model.max_bytes;
    if (file.size > limit) throw new Error(`The file has ${(file.size / 1e6).toFixed(1)} MB; at most ${(limit / 1e6).toFixed(0)} MB are taken.`);
    const photo = await (await ask('api/photos', { method: 'POST', body: file })).json();
    const picture = new Image();
    picture.src = `api/photos/${photo.id}/picture`;
    await picture.decode();
    Object.assign(state, { photo, picture, answers: {}, hidden: new Set(), hover: null });
    await load();
  });
}

// Answers under the chosen token, or, for the matrix, under all three.
async function load() {
  const chosen = $('token').value;
  const tokens = state.view === 'tokens' ? TASKS : [chosen];
  const asked = state.photo;
  await Promise.all(tokens.map(async (token) => {
    const query = new URLSearchParams({ object_mask_thr: $('object_mask_thr').value, overlap_thr: $('overlap_thr').value });
    if (token) query.set('token', token);
    const key = query.toString();
    if (state.answers[token]?.key === key) return;
    const content = await (await ask(`api/photos/${asked.id}/answers?${query}`)).json();
    if (asked !== state.photo) return;
    const answers = { key };
    for (const task of TASKS) answers[task] = await unpack(content[task]);
    state.answers[token] = answers;
  }));
  show();
}

async function unpack(answer) {
  if (answer.map) return { segments: answer.segments, map: await readMap(answer.map) };
  return { segments: answer.segments.map((segment) => ({ ...segment, runs: readRuns(segment.mask.counts) })), map: null };
}

// A PNG whose pixel is segment number R + 256 G.
async function readMap(url) {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  const { width, height } = picture;
  const context = Object.assign(document.createElement('canvas'), { width, height }).getContext('2d', { willReadFrequently: true, colorSpace: 'srgb' });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  return Uint16Array.from({ length: width * height }, (_, k) => pixels[4 * k] + 256 * pixels[4 * k + 1]);
}

// COCO's compressed run lengths: six bits a character, differences to the run before the last from the third on.
function readRuns(text) {
  const runs = [];
  for (let at = 0; at < text.length;) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const bits = text.charCodeAt(at++) - 48;
      value |= (bits & 31) << shift;
      shift += 5;
      more = (bits & 32) !== 0;
      if (!more && (bits & 16)) value |= -1 << shift;
    }
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

// ---- drawing ------------------------------------------------------------------------------------------------------

// The map of instances of at least the wished score, the best on top; runs go down the columns.
function instanceMap(segments) {
  const { width, height } = state.photo, least = Number($('score').value), map = new Uint16Array(width * height);
  for (let number = segments.length; number >= 1; number--) {
    const segment = segments[number - 1];
    if (segment.score < least || state.hidden.has(segment.label)) continue;
    let at = 0, inside = false;
    for (const run of segment.runs) {
      if (inside) for (let k = at; k < at + run; k++) map[(k % height) * width + Math.floor(k / height)] = number;
      at += run;
      inside = !inside;
    }
  }
  return map;
}

function shown(answer, task) {
  return { segments: answer.segments, map: task === 'instance' ? instanceMap(answer.segments) : answer.map };
}

function draw(canvas) {
  const { width, height } = state.photo, { segments, map } = canvas.answer, alpha = Number($('opacity').value);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  context.drawImage(state.picture, 0, 0, width, height);
  const layer = context.getImageData(0, 0, width, height), pixels = layer.data;
  const lit = canvas === state.hover?.canvas ? state.hover.number : 0;
  for (let k = 0; k < map.length; k++) {
    const number = map[k];
    if (!number || state.hidden.has(segments[number - 1].label)) continue;
    const color = segments[number - 1].color, edge = map[k + 1] !== number || map[k + width] !== number;
    const share = edge ? Math.min(1, alpha + 0.35) : number === lit ? Math.min(1, alpha + 0.2) : alpha;
    for (let c = 0; c < 3; c++) {
      const tone = edge || number === lit ? color[c] + (255 - color[c]) * 0.45 : color[c];
      pixels[4 * k + c] += (tone - pixels[4 * k + c]) * share;
    }
  }
  context.putImageData(layer, 0, 0);
}

function figure(title, answer, task) {
  const element = document.createElement('figure'), canvas = document.createElement('canvas'), caption = document.createElement('figcaption');
  canvas.answer = shown(answer, task);
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', title);
  canvas.dataset.title = title;
  canvas.addEventListener('pointermove', (event) => hover(canvas, event));
  canvas.addEventListener('pointerleave', () => hover(null));
  caption.textContent = title;
  element.append(canvas, caption);
  draw(canvas);
  return element;
}

function show() {
  if (!state.photo) return;
  const own = state.answers[$('token').value], stage = $('stage');
  let figures;
  if (state.view === 'tokens') {
    if (!TASKS.every((token) => state.answers[token])) return;
    figures = TASKS.flatMap((token) => TASKS.map((task) => figure(`${task} answer, ${token} token`, state.answers[token][task], task)));
  } else {
    if (!own) return;
    const tasks = state.view === 'three' ? TASKS : [state.view];
    figures = tasks.map((task) => figure(`${task} answer`, own[task], task));
  }
  stage.style.gridTemplateColumns = `repeat(${figures.length > 1 ? 3 : 1}, minmax(0, 1fr))`;
  stage.replaceChildren(...figures);
  listClasses(own ?? state.answers[TASKS[0]]);
  listDownloads();
}

function redraw() {
  for (const canvas of document.querySelectorAll('#stage canvas')) draw(canvas);
}

function hover(canvas, event) {
  const before = state.hover;
  state.hover = null;
  if (canvas) {
    const box = canvas.getBoundingClientRect(), { segments, map } = canvas.answer;
    const x = Math.floor((event.clientX - box.left) / box.width * canvas.width), y = Math.floor((event.clientY - box.top) / box.height * canvas.height);
    const number = map[y * canvas.width + x] ?? 0, segment = segments[number - 1];
    if (segment && !state.hidden.has(segment.label)) {
      state.hover = { canvas, number };
      $('tip').textContent = segment.score === null ? segment.name : `${segment.name} ${(100 * segment.score).toFixed(0)} %`;
      $('tip').style.left = `${Math.min(event.clientX + 14, innerWidth - 160)}px`;
      $('tip').style.top = `${event.clientY + 14}px`;
    }
  }
  $('tip').hidden = !state.hover;
  if (before?.number !== state.hover?.number || before?.canvas !== state.hover?.canvas) {
    for (const one of new Set([before?.canvas, state.hover?.canvas])) if (one?.isConnected) draw(one);
  }
}

function listClasses(answers) {
  const found = new Map();
  for (const task of state.view === 'three' || state.view === 'tokens' ? TASKS : [state.view]) {
    for (const segment of answers[task].segments) {
      if (task === 'instance' && segment.score < Number($('score').value)) continue;
      const entry = found.get(segment.label) ?? { name: segment.name, count: 0 };
      entry.count += 1;
      found.set(segment.label, entry);
    }
  }
  $('classes').replaceChildren(...[...found].sort((a, b) => a[1].name.localeCompare(b[1].name)).map(([label, { name, count }]) => {
    const item = document.createElement('li'), line = document.createElement('label'), box = document.createElement('input'), swatch = document.createElement('span'), share = document.createElement('span');
    box.type = 'checkbox';
    box.checked = !state.hidden.has(label);
    box.addEventListener('change', () => {
      state.hidden[box.checked ? 'delete' : 'add'](label);
      show();
    });
    swatch.className = 'swatch';
    swatch.style.background = `rgb(${state.model.colors[label].join()})`;
    share.className = 'share';
    share.textContent = count > 1 ? `${count} x` : '';
    line.append(box, swatch, name, share);
    item.append(line);
    return item;
  }));
}

function listDownloads() {
  const task = TASKS.includes(state.view) ? state.view : 'panoptic';
  $('downloads').disabled = false;
  $('formats').replaceChildren(...state.model.exports.filter((one) => one.tasks.includes(task)).map(({ format, title }) => {
    const query = new URLSearchParams({ task, score_thr: $('score').value, object_mask_thr: $('object_mask_thr').value, overlap_thr: $('overlap_thr').value });
    if ($('token').value) query.set('token', $('token').value);
    const item = document.createElement('li'), link = document.createElement('a');
    link.href = `api/photos/${state.photo.id}/exports/${format}?${query}`;
    link.download = '';
    link.textContent = title;
    item.append(link);
    return item;
  }));
}

// ---- what the user does -------------------------------------------------------------------------------------------

function outputs() {
  for (const output of document.querySelectorAll('output')) output.textContent = Number($(output.htmlFor[0]).value).toFixed(2);
}

let later;
function soon(work) {
  clearTimeout(later);
  later = setTimeout(work, 120);
}

$('file').addEventListener('change', (event) => event.target.files[0] && open(event.target.files[0]));
for (const [name, act] of [['dragover', () => $('stage').classList.add('over')], ['dragleave', () => $('stage').classList.remove('over')]]) {
  document.addEventListener(name, (event) => { event.preventDefault(); act(); });
}
document.addEventListener('drop', (event) => {
  event.preventDefault();
  $('stage').classList.remove('over');
  const file = event.dataTransfer.files[0];
  if (file) open(file);
});
for (const button of document.querySelectorAll('nav button')) {
  button.addEventListener('click', () => {
    for (const other of document.querySelectorAll('nav button')) other.setAttribute('aria-selected', other === button);
    state.view = button.dataset.view;
    if (state.photo) busy(load);
  });
}
$('opacity').addEventListener('input', () => { outputs(); redraw(); });
$('score').addEventListener('input', () => { outputs(); show(); });
$('token').addEventListener('change', () => state.photo && busy(load));
for (const id of ['object_mask_thr', 'overlap_thr']) {
  $(id).addEventListener('input', () => { outputs(); soon(() => state.photo && busy(load)); });
}

await busy(async () => {
  state.model = await (await ask('api/model')).json();
  $('model').textContent = `${state.model.name}, ${state.model.classes.length} classes`;
  $('object_mask_thr').value = state.model.object_mask_thr;
  $('overlap_thr').value = state.model.overlap_thr;
  outputs();
});

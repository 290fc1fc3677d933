const POINTS = 300;
const TREND = 60;
const LATE = 4000;
const AGAIN = 2000;
/** Alerts of one moment that are read out; further ones are a number. */
const READ = 3;

const byId = (id) => document.getElementById(id);
/** Absent without requests: a curve of times has no value where nothing happened. */
const timed = (ms) => (ms > 0 ? ms : null);
const TIMES = (which) => ['p50', 'p95', 'p99'].map((name, index) => ({
  name, style: name, value: (point) => timed(point[which][2 + index]),
}));
const sum = (points, value) => points.reduce((total, point) => total + value(point), 0);

const page = {
  range: 'minutes',
  paused: false,
  history: { minutes: [], hour: [] },
  trends: [new Map(), new Map()],
  alerts: [],
  told: null,
  now: null,
  heard: 0,
};

const tiles = {
  requests: tile(byId('tiles'), 'tile-requests', 'Requests'),
  latency: tile(byId('tiles'), 'tile-latency', 'Request p95'),
  errors: tile(byId('tiles'), 'tile-errors', 'Failed requests'),
  queries: tile(byId('tiles'), 'tile-queries', 'Queries'),
  database: tile(byId('tiles'), 'tile-database', 'Query p95'),
  cache: tile(byId('tiles'), 'tile-cache', 'Cache hits'),
};

const rateOf = (value) => `${perSecond(value)}/s`;
const charts = [
  new Chart({ title: 'Request times', lines: TIMES(1), logarithmic: true, unit: time }),
  new Chart({
    title: 'Requests a second',
    unit: rateOf,
    lines: [
      { name: 'all', style: 'all', fill: true, value: (point) => point[1][0] },
      { name: 'failed', style: 'failed', fill: true, value: (point) => point[1][1] },
    ],
  }),
  new Chart({ title: 'Query times', lines: TIMES(2), logarithmic: true, unit: time }),
  new Chart({
    title: 'Cache reads a second',
    unit: rateOf,
    stacked: true,
    lines: [
      { name: 'memory', style: 'memory', fill: true, value: (point) => point[3][0] },
      { name: 'second level', style: 'remote', fill: true, value: (point) => point[3][1] },
      { name: 'missed', style: 'missed', fill: true, value: (point) => point[3][2] },
    ],
  }),
];
byId('charts').append(...charts.map((chart) => chart.element));

const columns = [make('div', 'column'), make('div', 'column')];
byId('parts').append(...columns);
const panels = {
  cache: card(columns[0], 'cache', 'Cache'),
  database: card(columns[1], 'database', 'Database'),
  health: card(columns[0], 'health', 'Health'),
  runtime: card(columns[0], 'runtime', 'Runtime'),
  alerts: card(columns[1], 'alerts', 'Alerts'),
};
// It scrolls by itself, so the keyboard must get to it.
Object.assign(panels.alerts.body, { tabIndex: 0, ariaLabel: 'Alerts, the newest first', role: 'region' });
const tables = [
  new Table(byId('tables'), 'routes', 'Routes', 'request'),
  new Table(byId('tables'), 'queries', 'Queries', 'query'),
];

/** Rows of one name in two layers stay apart. */
function keyed(rows) {
  const seen = new Map();
  return rows.map((row) => {
    const nth = (seen.get(row.name) ?? 0) + 1;
    seen.set(row.name, nth);
    return { ...row, key: `${nth} ${row.name}` };
  });
}

function grow(list, value, most) {
  list.push(value);
  if (list.length > most) list.splice(0, list.length - most);
}

function takeFull(full) {
  page.history = full.history;
  page.now = full.now;
  page.trends = [full.now.requests, full.now.queries].map((table, side) =>
    new Map(keyed(table.rows).map((row, index) => [row.key, full.trends[side][index] ?? []])));
  takeAlerts(full.alerts);
  write(byId('title'), full.title);
  document.title = `${full.title} · live`;
}

function takeTick(tick) {
  const last = page.history.minutes.at(-1);
  if (last && tick.point[0] <= last[0]) return;
  grow(page.history.minutes, tick.point, POINTS);
  if (tick.coarse) grow(page.history.hour, tick.coarse, POINTS);
  page.now = tick.now;
  [tick.now.requests, tick.now.queries].forEach((table, side) => {
    for (const row of keyed(table.rows)) {
      if (!page.trends[side].has(row.key)) page.trends[side].set(row.key, []);
      grow(page.trends[side].get(row.key), row.rate, TREND);
    }
  });
}

function takeAlerts(alerts) {
  // What was there when the page opened is no news. A stream ends now and then: what came meanwhile is news all the same.
  const fresh = page.told === null ? [] : alerts.filter((alert) => alert.at > page.told);
  page.alerts = alerts;
  page.told = Math.max(page.told ?? 0, ...alerts.map((alert) => alert.at));
  if (fresh.length === 0) return;
  const read = fresh.slice(0, READ).map(inWords);
  if (fresh.length > READ) read.push(`and ${fresh.length - READ} more`);
  write(byId('news'), read.join('; '));
}

function inWords(alert) {
  const what = `${alert.kind} ${alert.subject}`;
  return alert.recovered ? `Over: ${what}` : `Alert: ${what}, ${time(alert.duration)}`;
}

function render() {
  if (page.paused || !page.now) return;
  const points = page.history[page.range];
  showTiles(page.now, points);
  charts.forEach((chart) => chart.show(points));
  charts[3].element.hidden = page.now.caches.length === 0;
  showCaches(panels.cache, page.now.caches);
  showNodes(panels.database, page.now.nodes);
  showChecks(panels.health, page.now.checks);
  showRuntime(panels.runtime, page.now.runtime);
  showAlerts(panels.alerts, page.alerts);
  // One column is enough for what is there.
  columns[0].hidden = page.now.caches.length + page.now.checks.length === 0 && page.now.runtime === null;
  showVerdicts(byId('verdicts'), page.now, page.alerts);
  [page.now.requests, page.now.queries].forEach((table, side) =>
    tables[side].show(keyed(table.rows), table.more, page.trends[side]));
  write(byId('up'), `up ${span(page.now.up)}`);
  const losses = page.now.losses.map(([name, lost]) => `${name}: ${count(lost)}`).join(' · ');
  write(byId('losses'), losses ? `Monitor: ${losses}` : 'The monitor lost nothing.');
}

function showTiles(now, points) {
  const recent = points.slice(-60);
  const last = points.at(-1) ?? [0, [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0]];
  const failed = sum(points, (point) => point[1][1]);
  const all = sum(points, (point) => point[1][0]);
  const hits = sum(points, (point) => point[3][0] + point[3][1]);
  const reads = hits + sum(points, (point) => point[3][2]);
  const shown = page.range === 'minutes' ? 'five minutes' : 'hour';
  const split = (text) => text.split(' ');
  const p95 = (which) => split(time(recent.map((point) => point[which][3]).filter(Boolean).at(-1) ?? 0));
  const curve = (which, index) => recent.map((point) => point[which][index]);
  const [latency, latencyUnit = ''] = p95(1);
  const [query, queryUnit = ''] = p95(2);
  const [share, shareUnit = ''] = split(percent(failed, all));
  const [hit, hitUnit = ''] = split(percent(hits, reads));
  tiles.requests(perSecond(last[1][0]), '/s', `${count(now.requests.active)} in flight`, curve(1, 0));
  tiles.latency(latency, latencyUnit, `p99 ${time(last[1][4])}`, curve(1, 3));
  tiles.errors(share, shareUnit, `of the last ${shown}`, curve(1, 1), failed > 0 ? 'bad' : '');
  tiles.queries(perSecond(last[2][0]), '/s', `${count(now.queries.active)} in flight`, curve(2, 0));
  tiles.database(query, queryUnit, `p99 ${time(last[2][4])}`, curve(2, 3));
  tiles.cache(hit, hitUnit, `of the last ${shown}`, recent.map((point) => point[3][0] + point[3][1]));
  byId('tile-cache').hidden = now.caches.length === 0;
}

function tell(state, text) {
  byId('state').dataset.state = state;
  write(byId('state-text'), text);
}

function connect() {
  const source = new EventSource(`${location.pathname}?live`);
  const on = (name, take) => source.addEventListener(name, (event) => {
    page.heard = Date.now();
    take(JSON.parse(event.data));
    tell(page.paused ? 'paused' : 'live', page.paused ? 'paused' : 'live');
    render();
  });
  on('full', takeFull);
  on('tick', takeTick);
  on('alerts', takeAlerts);
  source.addEventListener('closed', () => tell('lost', 'the service ends'));
  source.addEventListener('error', () => {
    // The stream ends by itself now and then and the browser asks again; only a refusal is final.
    if (source.readyState !== EventSource.CLOSED) return;
    tell('lost', 'refused, asking again');
    setTimeout(connect, AGAIN);
  });
}

setInterval(() => {
  const silent = Date.now() - page.heard;
  if (page.heard && silent > LATE) tell('lost', `no news for ${span(Math.round(silent / 1000))}`);
}, 1000);

for (const button of document.querySelectorAll('[data-range]')) {
  button.addEventListener('click', () => {
    page.range = button.dataset.range;
    for (const other of document.querySelectorAll('[data-range]')) other.setAttribute('aria-pressed', String(other === button));
    render();
  });
}

byId('pause').addEventListener('click', () => {
  page.paused = !page.paused;
  byId('pause').setAttribute('aria-pressed', String(page.paused));
  tell(page.paused ? 'paused' : 'live', page.paused ? 'paused' : 'live');
  render();
});

const THEMES = ['system', 'light', 'dark'];
function setTheme(theme) {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId('theme').setAttribute('aria-label', `Theme: ${theme === 'system' ? 'as the system' : theme}`);
  // A browser may forbid to store anything; then the choice lasts as long as the page.
  try { localStorage.setItem('bilten-theme', theme); } catch { /* nothing to do */ }
}
let theme = 'system';
try { theme = localStorage.getItem('bilten-theme') ?? 'system'; } catch { /* nothing to do */ }
setTheme(THEMES.includes(theme) ? theme : 'system');
byId('theme').addEventListener('click', () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  setTheme(theme);
});

connect();

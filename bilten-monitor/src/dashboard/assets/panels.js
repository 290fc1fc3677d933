/** A card with a heading, which is there only while it has something to show. */
function card(parent, id, title) {
  const body = make('div', 'body');
  const note = make('p', 'note');
  const heading = make('h2', '', title);
  const element = make('article', 'card', [make('div', 'head', [heading, note]), body]);
  element.id = id;
  element.hidden = true;
  element.tabIndex = -1;
  parent.append(element);
  return { element, body, note };
}

/** A number in large, with a line below and a small curve. */
function tile(parent, id, name) {
  const value = make('b', 'value', '–');
  const unit = make('span', 'unit');
  const below = make('p', 'below');
  const curve = draw('svg', { class: 'spark' });
  const element = make('article', 'tile', [make('h2', '', name), make('p', 'figure', [value, unit]), below, curve]);
  element.id = id;
  parent.append(element);
  return (text, unitText, belowText, values, mood) => {
    write(value, text);
    write(unit, unitText);
    write(below, belowText);
    element.dataset.mood = mood ?? '';
    spark(curve, values, 160, 36);
  };
}

/** Columns of the two tables: heading, class, what is written, what it is sorted by. */
const COLUMNS = [
  ['name', 'name', (row) => row.name, (row) => row.name],
  ['last minute', 'trend wide', null, null],
  ['per second', 'number', (row) => perSecond(row.rate), (row) => row.rate],
  ['p50', 'number wide', (row) => time(row.p50), (row) => row.p50],
  ['p95', 'number', (row) => time(row.p95), (row) => row.p95],
  ['p99', 'number wide', (row) => time(row.p99), (row) => row.p99],
  ['longest', 'number wide', (row) => time(row.max), (row) => row.max],
  ['errors', 'number bad', (row) => count(row.errors), (row) => row.errors],
  ['cancelled', 'number wide', (row) => count(row.cancelled), (row) => row.cancelled],
  ['in flight', 'number wide', (row) => count(row.active), (row) => row.active],
  ['total', 'number', (row) => count(row.count), (row) => row.count],
];

/** Routes or queries, to be sorted by any column. */
class Table {
  constructor(parent, id, title, what) {
    this.card = card(parent, id, title);
    this.what = what;
    this.sort = { column: COLUMNS.length - 1, down: true };
    this.body = make('tbody');
    this.heads = COLUMNS.map(([name, style, , by], column) => this.head(name, style, by, column));
    const table = make('table', '', [
      make('caption', 'quiet', `${title}, with times of the last one to two minutes`),
      make('thead', '', [make('tr', '', this.heads)]),
      this.body,
    ]);
    this.empty = make('p', 'empty', `No ${what} yet.`);
    this.card.body.append(this.empty, table);
    this.card.element.hidden = false;
    this.table = table;
  }

  head(name, style, by, column) {
    const head = make('th', style);
    head.scope = 'col';
    if (!by) {
      head.textContent = name;
      return head;
    }
    const button = make('button', 'sort', name);
    button.type = 'button';
    button.addEventListener('click', () => {
      const down = this.sort.column === column ? !this.sort.down : column > 0;
      this.sort = { column, down };
      this.render();
    });
    head.append(button);
    return head;
  }

  show(rows, more, trends) {
    Object.assign(this, { rows, trends });
    write(this.card.note, more > 0 ? `and ${count(more)} more` : '');
    this.render();
  }

  render() {
    const { column, down } = this.sort;
    this.heads.forEach((head, index) => {
      if (index === column) head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    this.empty.hidden = this.rows.length > 0;
    this.table.hidden = this.rows.length === 0;
    const by = COLUMNS[column][3];
    const order = (one, other) => (by(one) < by(other) ? -1 : by(one) > by(other) ? 1 : 0);
    const sorted = [...this.rows].sort((one, other) => (down ? order(other, one) : order(one, other)));
    const slowest = Math.max(...sorted.map((row) => row.p95), 1e-9);
    keep(this.body, sorted, (row) => row.key, () => this.row(), (element, row) => this.fill(element, row, slowest));
  }

  row() {
    return make('tr', '', COLUMNS.map(([, style, text], index) => {
      const cell = make(index === 0 ? 'th' : 'td', style);
      if (index === 0) cell.scope = 'row';
      if (!text) cell.append(draw('svg', { class: 'spark' }));
      return cell;
    }));
  }

  fill(element, row, slowest) {
    COLUMNS.forEach(([name, style, text], index) => {
      const cell = element.children[index];
      if (name === 'name') return;
      if (text) write(cell, text(row));
      else spark(cell.firstChild, this.trends.get(row.key) ?? [], 84, 22);
      if (style.includes('bad')) cell.classList.toggle('some', row.errors > 0);
      if (name === 'p95') cell.style.setProperty('--share', row.p95 / slowest);
    });
    const name = element.firstChild;
    // A long path may be broken after a slash, not in the middle of a word.
    if (!name.firstChild) name.append(...row.name.split(/(?<=[/_])/).flatMap((part) => [part, make('wbr')]));
  }
}

/** Names and values side by side. */
function facts(list, pairs) {
  keep(list, pairs, ([name]) => name, ([name]) => make('div', '', [make('dt', '', name), make('dd')]),
    (element, [, value, mood]) => {
      write(element.lastChild, value);
      element.lastChild.className = mood ?? '';
    });
}

const chip = (good, yes, no) => [good ? yes : no, good ? 'good' : 'bad'];

function setChip(element, [text, mood]) {
  write(element, text);
  element.className = `chip ${mood}`;
}

/** Each node of the database. */
function showNodes(panel, nodes) {
  panel.element.hidden = nodes.length === 0;
  const down = nodes.filter((node) => !node.up).length;
  write(panel.note, down > 0 ? `${down} of ${nodes.length} out of rotation` : `${nodes.length} in rotation`);
  keep(panel.body, nodes, (node) => node.name, (node) => make('section', 'node', [
    make('div', 'line', [make('h3', '', node.name), make('span', 'chip')]), make('dl', 'facts'),
  ]), (element, node) => {
    setChip(element.querySelector('.chip'), chip(node.up, 'in rotation', 'out of rotation'));
    facts(element.lastChild, [
      ['reads', `${perSecond(node.reads)} /s`],
      ['writes', `${perSecond(node.writes)} /s`],
      ['p50', time(node.p50)],
      ['p95', time(node.p95)],
      ['waiting p95', time(node.wait_p95)],
      ['in flight', count(node.active)],
      ['errors', count(node.errors), node.errors > 0 ? 'warn' : ''],
      ['ejected', `${count(node.ejections)} ×`, node.ejections > 0 ? 'warn' : ''],
    ]);
  });
}

/** Each region of each cache, with a bar that shows where its reads were answered. */
function showCaches(panel, caches) {
  panel.element.hidden = caches.length === 0;
  const regions = caches.flatMap((cache) => cache.regions.map((region) => ({ ...region, cache: cache.name })));
  const of = (name) => caches.reduce((sum, cache) => sum + cache[name], 0);
  const troubles = [['breaker opened', of('breaker_opened')], ['calls failed', of('remote_failures')],
    ['gaps in the log', of('log_gaps')], ['emptied', of('flushes')]].filter(([, value]) => value > 0);
  const behind = [[of('log_lag'), 'records behind'], [of('waiting'), 'invalidations waiting']].filter(([value]) => value > 0);
  const words = [...behind.map(([value, what]) => `${count(value)} ${what}`), ...troubles.map(([what, value]) => `${what} ${count(value)} ×`)];
  write(panel.note, words.join(' · ') || 'no trouble');
  keep(panel.body, regions, (region) => `${region.cache} ${region.name}`, (region) => make('section', 'region', [
    make('div', 'line', [make('h3', '', region.name), make('span', 'share')]),
    make('div', 'levels', [make('i', 'memory'), make('i', 'remote'), make('i', 'missed')]),
    make('dl', 'facts'),
  ]), (element, region) => {
    const [, levels, list] = element.children;
    const reads = region.memory + region.remote + region.missed;
    write(element.querySelector('.share'), reads > 0 ? `${percent(region.memory + region.remote, reads)} hit` : 'not read yet');
    ['memory', 'remote', 'missed'].forEach((level, index) => {
      levels.children[index].style.flexGrow = reads > 0 ? region[level] / reads : 0;
    });
    facts(list, [
      ['reads', `${perSecond(region.reads_rate)} /s`],
      ['memory', percent(region.memory, reads)],
      ['second level', percent(region.remote, reads)],
      ['shared loads', count(region.coalesced)],
      ['loads', count(region.loads)],
      ['load p95', time(region.load_p95)],
      ['failed loads', count(region.load_errors), region.load_errors > 0 ? 'warn' : ''],
      ['refused', count(region.refused)],
    ]);
  });
}

/** From which share of its time on a runtime has little left, and from which wait its tasks feel it. */
const BUSY = 0.9;
const WAIT = 50;
const isBusy = (runtime) => runtime !== null && (runtime.busiest > BUSY || runtime.wait > WAIT);

/** The runtime that runs the service. */
function showRuntime(panel, runtime) {
  panel.element.hidden = runtime === null;
  if (runtime === null) return;
  const waits = runtime.wait > WAIT ? 'tasks wait for their turn' : 'room for more';
  write(panel.note, runtime.busiest > BUSY ? 'something keeps a worker busy' : waits);
  if (!panel.list) panel.body.append((panel.list = make('dl', 'facts')));
  const share = (value) => percent(value, 1);
  facts(panel.list, [
    ['workers', count(runtime.workers)],
    ['tasks', count(runtime.tasks)],
    ['in the queue', count(runtime.queue)],
    ['busy', share(runtime.busy), runtime.busy > BUSY ? 'warn' : ''],
    ['busiest worker', share(runtime.busiest), runtime.busiest > BUSY ? 'warn' : ''],
    ['a task waits', time(runtime.wait), runtime.wait > WAIT ? 'warn' : ''],
  ]);
}

/** Degraded is up: it works, and somebody should look. */
const conditionOf = (check) => (!check.up ? ['down', 'bad'] : check.degraded ? ['degraded', 'warn'] : ['up', 'good']);

/** How many are down and how many are degraded, in words; nothing when all is well. */
function conditions(checks) {
  const of = (word) => checks.filter((check) => conditionOf(check)[0] === word).length;
  return ['down', 'degraded'].map((word) => [word, of(word)]).filter(([, number]) => number > 0);
}

/** What each health check last said. */
function showChecks(panel, checks) {
  panel.element.hidden = checks.length === 0;
  const words = conditions(checks).map(([word, number]) => `${number} ${word}`);
  write(panel.note, words.length > 0 ? `of ${checks.length}: ${words.join(', ')}` : 'all up');
  keep(panel.body, checks, (check) => check.name, (check) => make('section', 'check', [
    make('span', 'chip'), make('h3', '', check.name), make('p', 'note'),
  ]), (element, check) => {
    setChip(element.children[0], conditionOf(check));
    const age = check.age === null ? '' : check.age < 2 ? 'asked now' : `asked ${span(check.age)} ago`;
    const changed = check.changes > 0 ? `changed ${count(check.changes)} ×` : '';
    write(element.children[2], [time(check.took), age, changed].filter(Boolean).join(' · '));
  });
}

/** The alerts, the newest first. */
function showAlerts(panel, alerts) {
  panel.element.hidden = false;
  write(panel.note, alerts.length > 0 ? `the last ${alerts.length}` : '');
  if (alerts.length === 0) {
    panel.body.kept = undefined;
    panel.body.replaceChildren(make('p', 'empty', 'Nothing was slow, nothing was stuck.'));
    return;
  }
  if (!panel.body.kept) panel.body.replaceChildren();
  keep(panel.body, alerts, (alert) => `${alert.at} ${alert.kind} ${alert.subject} ${alert.recovered}`, alertElement, () => {});
}

function alertElement(alert) {
  const size = alert.duration > 0 ? `${time(alert.duration)}, over ${time(alert.threshold)}` : '';
  const ended = alert.outcome === 'success' ? '' : alert.error ?? alert.outcome;
  const held = alert.suppressed > 0 ? `${count(alert.suppressed)} more were held back, up to ${time(alert.worst)}` : '';
  const known = (alert.facts ?? []).map(([name, value]) => make('li', '', [make('span', '', name), make('b', '', value)]));
  const when = make('time', 'note', clock(alert.at));
  when.dateTime = new Date(alert.at).toISOString();
  return make('section', 'alert', [
    make('div', 'line', [make('span', alert.recovered ? 'chip good' : 'chip warn', alert.recovered ? `${alert.kind}: over` : alert.kind), make('h3', '', alert.subject), when]),
    make('p', 'note', [size, ended, held].filter(Boolean).join(' · ')),
    make('ul', 'known', known),
  ]);
}

/** What is well and what is not, in the heading; each leads to its card. */
function showVerdicts(parent, now, alerts) {
  const latest = alerts.filter((alert) => !alert.recovered && now.at - alert.at < 300000).length;
  const unwell = conditions(now.checks);
  const down = unwell.some(([word]) => word === 'down');
  const health = unwell.map(([word, number]) => `${number} ${word}`).join(', ') || 'healthy';
  const out = now.nodes.filter((node) => !node.up).length;
  const verdicts = [
    now.checks.length > 0 && ['health', unwell.length === 0 ? 'good' : down ? 'bad' : 'warn', health],
    now.nodes.length > 0 && ['database', out === 0 ? 'good' : 'bad', out === 0 ? `${now.nodes.length} nodes` : `${out} out of rotation`],
    isBusy(now.runtime) && ['runtime', 'warn', 'runtime busy'],
    ['alerts', latest === 0 ? 'good' : 'warn', latest === 0 ? 'no alerts' : `${latest} new ${latest === 1 ? 'alert' : 'alerts'}`],
  ];
  keep(parent, verdicts.filter(Boolean), ([id]) => id, ([id]) => {
    const link = make('a', 'chip');
    link.href = `#${id}`;
    return link;
  }, (link, [, mood, text]) => setChip(link, [text, mood]));
}

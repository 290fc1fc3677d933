/** The path through some points; a missing value interrupts it. */
function path(values, x, y) {
  let text = '';
  let open = false;
  values.forEach((value, index) => {
    if (value === null) {
      open = false;
      return;
    }
    text += `${open ? 'L' : 'M'}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    open = true;
  });
  return text;
}

/** The area between two rows of values. */
function area(upper, lower, x, y) {
  if (upper.length < 2) return '';
  const back = lower.map((value, index) => [x(index), y(value)]).reverse();
  return `${path(upper, x, y)}${back.map(([at, height]) => `L${at.toFixed(1)} ${height.toFixed(1)}`).join('')}Z`;
}

/** A small curve without axes. */
function spark(svg, values, width, height) {
  const most = Math.max(...values, 1e-9);
  const x = (index) => (values.length < 2 ? width : (index * width) / (values.length - 1));
  const y = (value) => height - 1.5 - (value / most) * (height - 3);
  if (!svg.firstChild) {
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('aria-hidden', 'true');
    svg.append(draw('path', { class: 'fill' }), draw('path', { class: 'line' }));
  }
  const anything = values.some((value) => value > 0);
  svg.children[0].setAttribute('d', anything ? area(values, values.map(() => 0), x, y) : '');
  svg.children[1].setAttribute('d', anything ? path(values, x, y) : '');
}

/** Round numbers up to the largest value. */
function steps(most) {
  const rough = most / 3;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((candidate) => candidate >= rough);
  return [1, 2, 3, 4].map((factor) => factor * step).filter((value, index) => index < 1 || value < most * 1.15 + step / 2);
}

/** Height by value, from zero. */
function linear(most, height) {
  const marks = steps(Math.max(most, 1));
  const top = Math.max(marks[marks.length - 1], most);
  return { y: (value) => height * (1 - value / top), marks };
}

/** Height by the value's logarithm: a median of a millisecond and a slow second are both to be seen. */
function logarithmic(least, most, height) {
  const low = 10 ** Math.floor(Math.log10(Math.max(least, 0.01)));
  const high = Math.max(10 ** Math.ceil(Math.log10(Math.max(most, 0.01) * 1.05)), low * 100);
  const scale = Math.log10(high / low);
  const marks = [];
  for (let mark = low; mark <= high * 1.001; mark *= 10) marks.push(Number(mark.toPrecision(1)));
  return { y: (value) => height * (1 - Math.log10(Math.max(value, low) / low) / scale), marks };
}

const EDGE = { left: 52, right: 10, top: 10, bottom: 22 };

/** A card with curves over time. `lines` have a name, a class and the value in a point. */
class Chart {
  constructor(options) {
    Object.assign(this, options);
    this.points = [];
    this.svg = draw('svg', { 'aria-hidden': 'true' });
    this.grid = this.svg.appendChild(draw('g', { class: 'grid' }));
    this.shapes = this.svg.appendChild(draw('g', {}));
    this.cursor = this.svg.appendChild(draw('line', { class: 'cursor' }));
    this.legend = this.lines.map((line) => make('b', '', '–'));
    const legend = make('ul', 'legend', this.lines.map((line, index) =>
      make('li', line.style, [make('span', '', line.name), this.legend[index]])));
    // A slider moves along the curve: by mouse, by finger, by arrow keys, and read out by a screen reader.
    this.slider = make('input', 'scrub');
    Object.assign(this.slider, { type: 'range', min: 0, max: 0, value: 0 });
    this.slider.setAttribute('aria-label', `Moment in ${this.title}`);
    this.moment = make('span', 'moment', 'now');
    const plot = make('div', 'plot', [this.svg, this.slider]);
    const head = make('div', 'head', [make('h2', '', this.title), this.moment, legend]);
    this.element = make('article', 'card chart', [head, plot]);
    new ResizeObserver(([entry]) => {
      this.width = entry.contentRect.width;
      this.height = entry.contentRect.height;
      this.render();
    }).observe(plot);
    this.slider.addEventListener('input', () => this.point(Number(this.slider.value)));
    this.slider.addEventListener('focus', () => this.point(Number(this.slider.value)));
    this.slider.addEventListener('blur', () => this.point(null));
    plot.addEventListener('pointermove', (event) => {
      const share = (event.clientX - plot.getBoundingClientRect().left - EDGE.left) / this.inner();
      this.point(Math.round(Math.min(Math.max(share, 0), 1) * (this.points.length - 1)));
    });
    plot.addEventListener('pointerleave', () => this.point(null));
  }

  inner() {
    return Math.max(this.width - EDGE.left - EDGE.right, 1);
  }

  /** Shows the values of one moment; null is the last. */
  point(index) {
    this.at = index === null ? null : this.points[index]?.[0] ?? null;
    this.render();
  }

  show(points) {
    this.points = points;
    this.slider.max = Math.max(points.length - 1, 0);
    if (document.activeElement !== this.slider) this.slider.value = this.slider.max;
    this.render();
  }

  render() {
    if (!this.width) return;
    const width = this.inner();
    const height = Math.max(this.height - EDGE.top - EDGE.bottom, 1);
    const rows = this.lines.map((line) => this.points.map(line.value));
    const shown = this.stacked ? stack(rows) : rows;
    const values = shown.flat().filter((value) => value !== null);
    const most = Math.max(...values, 0);
    const scale = this.logarithmic ? logarithmic(Math.min(...values, most), most, height) : linear(most, height);
    const last = this.points.length - 1;
    const x = (index) => EDGE.left + (last > 0 ? (index * width) / last : width);
    const y = (value) => EDGE.top + scale.y(value);
    this.svg.setAttribute('viewBox', `0 0 ${this.width} ${this.height}`);
    this.axes(scale.marks, x, y, height);
    this.curves(shown, x, y);
    this.values(rows, x, height);
  }

  axes(marks, x, y, height) {
    const parts = marks.flatMap((mark) => {
      const text = draw('text', { x: EDGE.left - 8, y: y(mark) + 4, 'text-anchor': 'end' });
      text.textContent = this.unit(mark).replace(/\.0+(?= |$|\/)/, '');
      return [draw('line', { x1: EDGE.left, x2: EDGE.left + this.inner(), y1: y(mark), y2: y(mark) }), text];
    });
    const shares = this.width < 420 ? [0, 1] : [0, 0.5, 1];
    for (const share of this.points.length > 1 ? shares : []) {
      const index = Math.round(share * (this.points.length - 1));
      const anchor = share === 0 ? 'start' : share === 1 ? 'end' : 'middle';
      const text = draw('text', { x: x(index), y: EDGE.top + height + 17, 'text-anchor': anchor });
      text.textContent = clock(this.points[index][0]);
      parts.push(text);
    }
    this.grid.replaceChildren(...parts);
  }

  curves(rows, x, y) {
    const parts = [];
    rows.forEach((row, index) => {
      const { style, fill } = this.lines[index];
      if (!this.points.some((point) => this.lines[index].value(point) > 0)) return;
      const lower = this.stacked && index > 0 ? rows[index - 1] : row.map(() => 0);
      if (fill && !this.logarithmic) parts.push(draw('path', { class: `fill ${style}`, d: area(row, lower, x, y) }));
      parts.push(draw('path', { class: `line ${style}`, d: path(row, x, y) }));
    });
    // Of a stack the lowest line is drawn last: where a level is empty it lies on the one below.
    this.shapes.replaceChildren(...(this.stacked ? parts.reverse() : parts));
  }

  values(rows, x, height) {
    const found = this.at === null ? -1 : this.points.findIndex((point) => point[0] >= this.at);
    const index = found < 0 ? this.points.length - 1 : found;
    const texts = rows.map((row) => (row[index] === undefined || row[index] === null ? '–' : this.unit(row[index])));
    texts.forEach((text, line) => write(this.legend[line], text));
    const at = this.points[index]?.[0];
    write(this.moment, found < 0 || at === undefined ? 'now' : clock(at));
    this.cursor.setAttribute('visibility', found < 0 ? 'hidden' : 'visible');
    for (const [name, value] of [['x1', x(index)], ['x2', x(index)], ['y1', EDGE.top], ['y2', EDGE.top + height]]) {
      this.cursor.setAttribute(name, Number.isFinite(value) ? value : 0);
    }
    if (at === undefined) return;
    const words = this.lines.map((line, number) => `${line.name} ${texts[number]}`).join(', ');
    this.slider.setAttribute('aria-valuetext', `${clock(at)}: ${words}`);
  }
}

/** Each row on top of those before it. */
function stack(rows) {
  const sums = [];
  return rows.map((row) => row.map((value, index) => (sums[index] = (sums[index] ?? 0) + (value ?? 0))));
}

'use strict';

/** Three digits and a unit: what a person reads at a glance. */
const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

/** A count: 950, 12.4 k, 3.20 M. */
function count(value) {
  if (value < 1000) return String(Math.round(value));
  const [size, unit] = value < 1e6 ? [1e3, 'k'] : value < 1e9 ? [1e6, 'M'] : [1e9, 'G'];
  return `${digits(value / size)} ${unit}`;
}

/** Events a second; a rare one is still not zero. */
function perSecond(value) {
  if (value === 0) return '0';
  if (value < 0.1) return '<0.1';
  return value < 10 ? value.toFixed(1) : count(value);
}

/** Milliseconds as a time. */
function time(ms) {
  if (!(ms > 0)) return '–';
  if (ms < 1) return `${digits(ms * 1000)} µs`;
  if (ms < 1000) return `${digits(ms)} ms`;
  return ms < 120000 ? `${digits(ms / 1000)} s` : `${digits(ms / 60000)} min`;
}

/** A share of a whole, which may be empty. */
function percent(part, whole) {
  if (!(whole > 0)) return '–';
  const share = (100 * part) / whole;
  if (part > 0 && share < 0.01) return '<0.01 %';
  return `${share === 100 || share === 0 ? share : share >= 99.95 ? '>99.9' : digits(share).slice(0, 4)} %`;
}

/** Seconds as a length of time. */
function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });

/** An element with a class and text, or with children. Text is never read as markup. */
function make(name, className, content) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (Array.isArray(content)) element.append(...content);
  else if (content !== undefined) element.textContent = content;
  return element;
}

function draw(name, attributes) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Sets a text only when it is another one, so that a selection survives. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Keeps one child for each item, in their order, and touches nothing that stays. */
function keep(parent, items, keyOf, create, update) {
  const known = (parent.kept ??= new Map());
  const left = new Set(known.keys());
  items.forEach((item, index) => {
    const key = keyOf(item);
    left.delete(key);
    if (!known.has(key)) known.set(key, create(item));
    const child = known.get(key);
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
    update(child, item);
  });
  for (const key of left) {
    known.get(key).remove();
    known.delete(key);
  }
}

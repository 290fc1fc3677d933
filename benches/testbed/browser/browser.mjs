// What every script for a page needs: a browser, ears for complaints, and eyes for what keeps people out.

import axe from 'axe-core';
import { chromium } from 'playwright-core';

const LIMIT = 90_000;

/** Launches a browser, hands it to `script` with helpers, and ends with the script's verdict. */
export async function run(script) {
  const overtime = setTimeout(() => end(new Error(`the script took more than ${LIMIT} ms`)), LIMIT);
  overtime.unref();
  const sandbox = process.env.BILTEN_CHROMIUM_SANDBOX !== 'no';
  const browser = await chromium.launch({ executablePath: process.env.BILTEN_CHROMIUM, chromiumSandbox: sandbox });
  try {
    await script({ open: (url, options) => open(browser, url, options), audit, overflow, claim });
    console.log('fine');
  } catch (error) {
    end(error);
  } finally {
    await browser.close();
  }
}

function end(error) {
  console.error(error.stack);
  process.exit(1);
}

/** A page of its own with a list of everything that it complained about. */
async function open(browser, url, { width = 1280, height = 900, dark = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? 'dark' : 'light',
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const complaints = [];
  const origin = new URL(url).origin;
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
  page.on('response', (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`);
  });
  page.on('request', (request) => {
    const asked = request.url();
    if (!asked.startsWith(origin) && !asked.startsWith('data:')) complaints.push(`asked elsewhere: ${asked}`);
  });
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  return { page, complaints, close: () => context.close() };
}

/** Serious and critical findings of axe, one line each. */
async function audit(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  const serious = violations.filter((finding) => ['serious', 'critical'].includes(finding.impact));
  return serious.flatMap((finding) =>
    finding.nodes.map((node) => `${finding.id}: ${node.target.join(' ')}: ${node.any[0]?.message ?? finding.help}`));
}

/** By how many pixels the page is wider than its window. */
const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** Fails with what was found instead, unless both are the same. */
function claim(what, found, expected) {
  const [left, right] = [found, expected].map((value) => JSON.stringify(value));
  if (left !== right) throw new Error(`${what}: ${left}, and not ${right}`);
}

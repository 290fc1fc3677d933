// The live page of a service with visitors: it loads, it moves, and nobody is kept out.

const { run } = await import(process.env.BILTEN_BROWSER);
const base = process.argv[2];
const shots = process.env.BILTEN_SCREENSHOTS;

/** Visits the service until told to stop. */
function visit() {
  let going = true;
  const visitor = async () => {
    for (let n = 1; going; n += 1) {
      await fetch(`${base}/api/v1/events/${(n % 40) + 1}`).then((answer) => answer.text());
      await fetch(`${base}/api/v1/events?page=${(n % 5) + 1}`).then((answer) => answer.text());
      if (n % 10 === 0) await fetch(`${base}/healthz`).then((answer) => answer.text());
      if (n % 17 === 0) await fetch(`${base}/nowhere/${n}`).then((answer) => answer.text());
    }
  };
  const gone = Promise.all([visitor(), visitor()]);
  return () => {
    going = false;
    return gone;
  };
}

const text = (page, selector) => page.locator(selector).first().innerText();
const total = (page) => page.locator('#routes tbody tr', { hasText: '/api/v1/events/{id}' }).first()
  .locator('td').last().innerText();

/** Waits until every part of the service is on the page. */
async function alive(page) {
  await page.locator('#state[data-state=live]').waitFor();
  for (const part of ['#cache .region', '#database .node', '#health .check', '#routes tbody tr', '#queries tbody tr']) {
    await page.locator(part).first().waitFor();
  }
  await page.waitForFunction(() => parseFloat(document.querySelector('#tile-requests .value').textContent) > 0);
}

async function moves(page, claim) {
  const before = await total(page);
  const curve = () => page.locator('.chart path.line').first().getAttribute('d');
  const drawn = await curve();
  await page.waitForFunction((old) => {
    const row = [...document.querySelectorAll('#routes tbody tr')].find((one) => one.textContent.includes('{id}'));
    return row.lastElementChild.textContent !== old;
  }, before);
  await page.waitForFunction((old) => document.querySelector('.chart path.line').getAttribute('d') !== old, drawn);
  claim('a raw path on the page', (await text(page, 'main')).includes('/nowhere'), false);
  claim('unmatched requests are one row', await page.locator('#routes tbody tr', { hasText: 'unmatched' }).count(), 1);
}

/** Everything by keyboard alone. */
async function keyboard(page, claim) {
  await page.keyboard.press('Tab');
  claim('the first stop', await page.evaluate(() => document.activeElement.className), 'skip');
  const hour = page.getByRole('button', { name: '1 hour' });
  await hour.focus();
  await page.keyboard.press('Enter');
  claim('the hour is chosen', await hour.getAttribute('aria-pressed'), 'true');
  await page.getByRole('button', { name: '5 min' }).press('Enter');
  const slider = page.getByRole('slider', { name: 'Moment in Request times' });
  await slider.focus();
  await page.keyboard.press('ArrowLeft');
  const said = await slider.getAttribute('aria-valuetext');
  claim(`what a screen reader says: ${said}`, /^\d\d:\d\d:\d\d: p50 .+, p95 .+, p99 .+$/.test(said), true);
  claim('the moment is shown', (await text(page, '.chart .moment')) !== 'now', true);
  const head = page.locator('#routes th', { hasText: 'p95' });
  await head.getByRole('button').press('Enter');
  claim('sorted', await head.getAttribute('aria-sort'), 'descending');
  const pause = page.getByRole('button', { name: 'Pause' });
  await pause.press('Space');
  claim('paused', await text(page, '#state'), 'paused');
  await pause.press('Space');
  await page.getByRole('button', { name: /^Theme/ }).press('Enter');
  claim('the theme', await page.evaluate(() => document.documentElement.dataset.theme), 'light');
}

await run(async ({ open, audit, overflow, claim }) => {
  const stop = visit();
  for (const [name, options] of [
    ['desk', {}], ['desk-dark', { dark: true }],
    ['phone', { width: 390, height: 844 }], ['phone-dark', { width: 390, height: 844, dark: true }],
  ]) {
    const { page, complaints, close } = await open(`${base}/bilten`, options);
    await alive(page);
    claim(`${name}: wider than its window by`, await overflow(page), 0);
    claim(`${name}: findings of axe`, await audit(page), []);
    if (name === 'desk') {
      await moves(page, claim);
      await keyboard(page, claim);
    }
    claim(`${name}: complaints`, complaints, []);
    if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
    await close();
  }
  await stop();
});

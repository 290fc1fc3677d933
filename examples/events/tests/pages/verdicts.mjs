// A page of a service that is half well: each verdict is told by a word and by a sign, never by its colour alone.

const { run } = await import(process.env.BILTEN_BROWSER);
const url = process.argv[2];
const shots = process.env.BILTEN_SCREENSHOTS;

const sign = (element) => element.evaluate((one) => getComputedStyle(one, '::before').content.slice(1, 2));

await run(async ({ open, audit, overflow, claim }) => {
  for (const [name, options] of [
    ['verdicts', {}], ['verdicts-dark', { dark: true }], ['verdicts-phone', { width: 390, height: 844 }],
  ]) {
    const { page, complaints, close } = await open(url, options);
    await page.locator('#health .check').nth(2).waitFor();
    const told = {};
    for (const check of await page.locator('#health .check').all()) {
      const chip = check.locator('.chip');
      told[await check.locator('h3').innerText()] = `${await sign(chip)} ${await chip.innerText()}`;
    }
    claim('the checks', told, { database: '✓ up', disk: '▲ degraded', mail: '✕ down' });
    claim('the note', await page.locator('#health .note').first().innerText(), 'of 3: 1 down, 1 degraded');
    claim('the verdict', await page.locator('#verdicts [href="#health"]').innerText(), '1 down, 1 degraded');
    await page.locator('#verdicts [href="#runtime"]').waitFor();
    claim('the runtime', await page.locator('#verdicts [href="#runtime"]').innerText(), 'runtime busy');
    claim('its facts', await page.locator('#runtime dt').allInnerTexts(),
      ['workers', 'tasks', 'in the queue', 'busy', 'busiest worker', 'a task waits']);
    claim('what is marked', await page.locator('#runtime dd.warn').first().evaluate((one) => one.previousSibling.textContent), 'busiest worker');
    claim('its sign', await sign(page.locator('#runtime dd.warn').first()), '▲');
    claim(`${name}: wider than its window by`, await overflow(page), 0);
    claim(`${name}: findings of axe`, await audit(page), []);
    claim(`${name}: complaints`, complaints, []);
    if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
    await close();
  }
});

// Something was slow and is quick again: the notice of that is no second alert, and needs no colour to be told from one.

const { run } = await import(process.env.BILTEN_BROWSER);
const [base, ...queries] = process.argv.slice(2);
const shots = process.env.BILTEN_SCREENSHOTS;

const sign = (element) => element.evaluate((one) => getComputedStyle(one, '::before').content.slice(1, 2));

/** The alerts of one query, the newest first, each as its sign and its words. */
async function told(page, query) {
  const chips = page.locator('#alerts .alert', { has: page.getByRole('heading', { name: query }) }).locator('.chip');
  return Promise.all((await chips.all()).map(async (chip) => `${await sign(chip)} ${await chip.innerText()}`));
}

/** Waits until so many alerts of the query are on the page. */
async function wait(page, query, many) {
  const alerts = page.locator('#alerts .alert', { has: page.getByRole('heading', { name: query }) });
  await alerts.nth(many - 1).waitFor();
}

await run(async ({ open, audit, overflow, claim }) => {
  const ways = [['recovery', {}], ['recovery-dark', { dark: true }], ['recovery-phone', { width: 390, height: 844 }]];
  for (const [index, [name, options]] of ways.entries()) {
    const query = queries[index];
    const verdict = ['1 new alert', '2 new alerts', '3 new alerts'][index];
    const { page, complaints, close } = await open(`${base}/live`, options);
    await page.locator('#state[data-state="live"]').waitFor();
    await fetch(`${base}/slow/${query}`);
    await wait(page, query, 1);
    claim('the alert', await told(page, query), ['▲ slow query']);
    claim('the verdict', await page.locator('#verdicts [href="#alerts"]').innerText(), verdict);
    const news = await page.locator('#news').textContent();
    claim('what is read out', news.startsWith(`Alert: slow query ${query}, `), true);
    await fetch(`${base}/later`);
    await wait(page, query, 2);
    claim('the notice and the alert', await told(page, query), ['✓ slow query: over', '▲ slow query']);
    claim('the verdict after it', await page.locator('#verdicts [href="#alerts"]').innerText(), verdict);
    claim('what is read out', await page.locator('#news').textContent(), `Over: slow query ${query}`);
    claim(`${name}: wider than its window by`, await overflow(page), 0);
    claim(`${name}: findings of axe`, await audit(page), []);
    claim(`${name}: complaints`, complaints, []);
    if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
    await close();
  }
});

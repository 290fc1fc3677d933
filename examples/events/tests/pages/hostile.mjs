// A page whose service was told markup: it is shown as text.

const { run } = await import(process.env.BILTEN_BROWSER);
const [url, markup] = process.argv.slice(2);

await run(async ({ open, audit, overflow, claim }) => {
  const { page, complaints } = await open(url, { width: 390, height: 844 });
  await page.locator('#alerts .known b', { hasText: markup }).first().waitFor();
  claim('the heading', await page.locator('h1').innerText(), markup);
  claim('elements made of it', await page.locator('b img, h1 *, h3 *, td img').count(), 0);
  claim('what ran', await page.evaluate(() => globalThis.ran ?? 'nothing'), 'nothing');
  claim('wider than its window by', await overflow(page), 0);
  claim('findings of axe', await audit(page), []);
  claim('complaints', complaints, []);
});

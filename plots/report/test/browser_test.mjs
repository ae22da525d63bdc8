// browser_test.mjs PROGRAM FOLDER: writes results, makes reports of them with PROGRAM, and uses them in headless Chromium.
// Exit codes: 0 all as expected, 1 not, 77 no Node.js package or browser to test with. Screenshots stay in FOLDER.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const source = resolve(fileURLToPath(import.meta.url), '../../../..');
const [program, folder] = process.argv.slice(2).map((path) => resolve(path));

function skip(why) { console.log('skipped: ' + why); process.exit(77); }
function loadBrowser() {
  const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  if (!browser) skip('no chromium (apt-get install chromium)');
  try {
    return { chromium: createRequire(import.meta.url)('playwright-core').chromium, browser };
  } catch {
    return skip('no playwright-core (npm ci --prefix plots/report/test)');
  }
}
const { chromium, browser: executablePath } = loadBrowser();

let failures = 0;
function expect(holds, what, found) {
  if (holds) return;
  failures++;
  console.log(`FAILED: ${what}${found === undefined ? '' : ': found ' + JSON.stringify(found)}`);
}

// ---- results to report

const hostile = ['</script><script>window.attacked = 1</script>', '<img src=x onerror="window.attacked = 1">', '"; window.attacked = 1; //',
  '{rich|x}<!--', '$& \u2028 \u0000', '__proto__'];

function row(point, label, axes, ttft, mass, more = {}) {
  return { point, label, system: label, axes, replica: 0, seed: 1, model: 'tiny', profile: 'made-up', profile_kind: 'measured', software_path: axes.software_path,
    schema_version: 2, verdict: 'STABLE', ttft: { mean_ttft_ms: ttft, p95_ttft_ms: ttft * 1.5 }, time_ms: { gpu_compute: ttft / 2, ssd: ttft / 2 },
    attention_mass_kept: { mean: mass }, busy: { gpu_compute: 0.5, ssd_demand: 0.25 }, scenario: 'made-up', ...more };
}
function writeResult(name, rows) {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'results.jsonl'), rows.map((one) => JSON.stringify(one) + '\n').join(''));
  return path;
}
function report(...words) {
  return execFileSync(program, ['report', ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
}

function hostileRows() {
  return hostile.map((text, i) => row(i, text, { software_path: text, [text]: i % 2 }, 1 + i, 0.5,
    { scenario: text, model: text, verdict: i === 0 ? 'BACKLOGGED' : 'STABLE', [text]: text }));
}
function manyRows(count) {
  const rows = [];
  for (let i = 0; i < count; i++) {
    const more = {};
    for (let k = 0; k < 60; k++) more['metric_' + k] = Math.sin(i * (k + 1)) * 1000;
    rows.push(row(i, 'system ' + i % 7, { software_path: i % 2 ? 'direct' : 'prototype', budget: (1 + i % 20) / 20, chunk: i % 13 }, 10 + i % 997, (i % 101) / 100, { more }));
  }
  return rows;
}

// ---- using a page

async function opened(browser, file, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.problems = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) page.problems.push(message.text()); });
  page.on('pageerror', (error) => page.problems.push(error.message));
  page.on('request', (request) => { if (!request.url().startsWith('file:') && !request.url().startsWith('data:') && !request.url().startsWith('blob:')) page.problems.push('asked for ' + request.url()); });
  const start = Date.now();
  await page.goto('file://' + file);
  await page.waitForSelector('body[data-ready=yes]', { timeout: 20000 });
  page.opened_ms = Date.now() - start;
  return page;
}

// Scrolls every chart into view and waits until it says that it is drawn.
async function drawAll(page) {
  for (const chart of await page.$$('.chart')) {
    if (!(await chart.isVisible())) continue;
    await chart.scrollIntoViewIfNeeded();
    await page.waitForFunction((node) => node.dataset.drawn === 'yes', chart, { timeout: 10000 });
  }
}

// Different colours in a chart's canvas: an empty canvas has one.
const numColours = (page, id) => page.evaluate((section) => {
  const colours = new Set();
  for (const canvas of document.querySelectorAll(`#${section} canvas`)) {
    // Read from a copy: reading the page's own canvas makes the browser warn.
    const copy = Object.assign(document.createElement('canvas'), { width: canvas.width, height: canvas.height });
    const context = copy.getContext('2d', { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] > 0) colours.add((pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2]);
  }
  return colours.size;
}, id);
const text = (page, selector) => page.$eval(selector, (node) => node.textContent);
const picture = (page, name) => page.screenshot({ path: join(folder, name), fullPage: true });

async function sweepIsDrawnAndFiltered(browser, file) {
  const page = await opened(browser, file);
  await drawAll(page);
  for (const id of ['explore', 'pareto', 'classes', 'busy', 'timeline']) expect(await numColours(page, id) > 3, `${id} is drawn`, await numColours(page, id));
  await picture(page, 'sweep.png');

  const all = await text(page, '#filters summary');
  expect(/all \d+ rows/.test(all), 'the filters begin with all rows', all);
  const total = Number(all.match(/\d+/)[0]);
  await page.$eval('#filters details', (node) => { node.open = true; });
  await page.uncheck('#filters input[data-parameter="software_path"][data-value="prototype"]');
  const fewer = await text(page, '#filters summary');
  expect(Number(fewer.match(/\d+/)[0]) < total, 'a box without its tick leaves rows out', fewer);
  expect(!(await text(page, '#table .grid')).includes('prototype'), 'the table follows the filters');
  await page.fill('#filters input[type=search]', 'contiguous');
  const labels = await page.$$eval('#table .row', (rows) => [...new Set(rows.map((one) => one.children[1].textContent))]);
  expect(labels.length === 1 && labels[0] === 'contiguous_kv', 'words are looked for', labels);
  await page.click('#filters button');
  expect(await text(page, '#filters summary') === all, 'Show all shows all', await text(page, '#filters summary'));

  const ttfts = async () => {
    const at = await page.$$eval('#table .head > div', (cells) => cells.findIndex((cell) => cell.title === 'ttft.mean_ttft_ms'));
    return page.$$eval('#table .row', (rows, column) => rows.map((one) => Number(one.children[column].textContent)), at);
  };
  await page.click('#table .head > div[title="ttft.mean_ttft_ms"]');
  const sorted = await ttfts();
  expect(sorted.length > 1 && sorted.every((one, i) => i === 0 || sorted[i - 1] <= one), 'a click on a column sorts', sorted.slice(0, 5));
  await page.focus('#table .grid');
  await page.keyboard.press('ArrowDown');
  const chosen = await page.$$eval('#table .row.selected', (rows) => rows.map((one) => one.getAttribute('aria-rowindex')));
  expect(chosen.length === 1 && chosen[0] === '3', 'arrows move the chosen row', chosen);
  await page.keyboard.press('End');
  expect((await page.$$eval('#table .row.selected', (rows) => rows.map((one) => one.getAttribute('aria-rowindex'))))[0] === String(total + 1), 'End goes to the last row');
  expect((await text(page, '#row-details')).includes('decisions_digest'), 'the chosen row shows all of its values');

  const before = await page.$eval('#timeline canvas', (canvas) => canvas.toDataURL());
  await page.focus('#timeline .chart');
  await page.keyboard.press('+');
  await page.waitForTimeout(300);
  expect(before !== await page.$eval('#timeline canvas', (canvas) => canvas.toDataURL()), 'the time line zooms by key');

  await page.selectOption('#explore select[aria-label="Metric"]', 'bytes_per_request.requested_bytes');
  await page.selectOption('#explore select[aria-label="against"]', 'ttft.mean_ttft_ms');
  await page.$eval('#explore .chart', (node) => node.scrollIntoView());
  await page.waitForTimeout(300);
  expect((await page.getAttribute('#explore .chart', 'aria-label')).startsWith('bytes_per_request.requested_bytes against ttft.mean_ttft_ms'), 'the chart follows the choice');

  await page.emulateMedia({ media: 'print' });
  await page.pdf({ path: join(folder, 'sweep.pdf'), format: 'A4' });
  expect(statSync(join(folder, 'sweep.pdf')).size > 20000, 'it prints');
  expect(page.problems.length === 0, 'nothing on the console', page.problems);
  await page.close();

  const night = await opened(browser, file, { colorScheme: 'dark' });
  await drawAll(night);
  const paper = await night.$eval('body', (node) => getComputedStyle(node).backgroundColor);
  expect(paper === 'rgb(20, 24, 31)', 'dark where the reader likes it dark', paper);
  await picture(night, 'dark.png');
  expect(night.problems.length === 0, 'nothing on the console in the dark', night.problems);
  await night.close();
}

async function hostileStringsStayText(browser, file) {
  const page = await opened(browser, file);
  await drawAll(page);
  for (const word of ['explore', 'classes']) await page.hover(`#${word} .chart`);
  await page.$eval('#filters details', (node) => { node.open = true; });
  await page.click('#table .head > div');
  expect(await page.evaluate(() => window.attacked) === undefined, 'no string of a result runs');
  expect(await page.$('img') === null, 'no string of a result becomes an element');
  expect(await text(page, '#title') === hostile[0], 'the title is the text itself', await text(page, '#title'));
  const labels = await page.$$eval('#table .row', (rows) => rows.length);
  expect(labels === hostile.length, 'all rows are there', labels);
  expect((await text(page, '#warnings')).includes('BACKLOGGED'), 'a backlogged row is warned of');
  expect(page.problems.length === 0, 'nothing on the console for hostile strings', page.problems);
  await picture(page, 'hostile.png');
  await page.close();
}

async function tenThousandRowsStayUsable(browser, file) {
  const megabytes = statSync(file).size / 1e6;
  expect(megabytes < 15, 'under 15 MB', megabytes);
  const page = await opened(browser, file);
  console.log(`10,000 rows: ${megabytes.toFixed(1)} MB, opened in ${page.opened_ms} ms`);
  await drawAll(page);
  const rows = await page.$$eval('#table .row', (nodes) => nodes.length);
  expect(rows > 5 && rows < 100, 'only rows in view are elements', rows);
  await page.focus('#table .grid');
  await page.keyboard.press('End');
  expect((await text(page, '#table .row.selected')).startsWith('9999'), 'the last of 10,000 rows can be reached', await text(page, '#table .row.selected'));
  expect(page.problems.length === 0, 'nothing on the console for many rows', page.problems);
  await picture(page, 'many.png');
  await page.close();
}

async function twoResultsSideBySide(browser, file) {
  const page = await opened(browser, file);
  await drawAll(page);
  const summary = await text(page, '#comparison-summary');
  expect(summary.includes('2 pairs shown: 1 equal, 1 lower in B, 0 higher in B'), 'pairs are counted', summary);
  expect(summary.includes('1 in A, 0 in B'), 'rows without a partner are counted', summary);
  expect(await numColours(page, 'comparison') > 3, 'the scatter is drawn');
  const first = await page.$$eval('#pairs tr:nth-child(2) td', (cells) => cells.map((cell) => cell.textContent));
  expect(first[1] === '20' && first[2] === '10' && first[3] === '0.5', 'the largest difference comes first', first);
  expect(page.problems.length === 0, 'nothing on the console side by side', page.problems);
  await picture(page, 'comparison.png');
  await page.close();
}

async function verdictsStandBesideTwoResults(browser, file) {
  const page = await opened(browser, file);
  expect((await text(page, '#verdict-summary')).includes('all together worse'), 'the verdict of all points is told', await text(page, '#verdict-summary'));
  const verdicts = await page.$$eval('#verdicts td:last-child', (cells) => cells.map((cell) => [cell.textContent, cell.className]));
  expect(verdicts.length > 1 && verdicts.every(([word, look]) => word === look), 'each point has its verdict', verdicts);
  await picture(page, 'verdicts.png');
  expect(page.problems.length === 0, 'nothing on the console beside verdicts', page.problems);
  await page.close();
}

async function aBundleShowsMeasuredAgainstFitted(browser, file) {
  const page = await opened(browser, file);
  await drawAll(page);
  for (const id of ['fitted', 'residuals']) expect(await numColours(page, id) > 3, `${id} is drawn`, await numColours(page, id));
  expect((await text(page, '#fit-summary')).includes(hostile[1]), 'every fit is summed up, its name as text');
  expect(await page.$$eval('#fit-points tbody tr', (rows) => rows.length) === 6, 'all points of the first fit are listed');
  await page.selectOption('#fitted select', hostile[1]);
  expect(await page.$$eval('#fit-points tbody tr', (rows) => rows.length) === 3, 'the points follow the chosen fit');
  await page.waitForTimeout(300);
  expect((await page.getAttribute('#fitted .chart', 'aria-label')).startsWith(hostile[1]), 'the chart follows the chosen fit');
  for (const part of ['gpu', 'ssd', 'link', 'host']) expect(await page.$$eval(`#part-${part} tbody tr`, (rows) => rows.length) > 4, `${part} has its numbers`);
  expect((await text(page, '#warnings')).includes('1 of 6 points did not converge'), 'what did not converge is warned of');
  expect(await page.evaluate(() => window.attacked) === undefined && await page.$('img') === null, 'no string of a bundle runs');
  expect(page.problems.length === 0, 'nothing on the console for a bundle', page.problems);
  await picture(page, 'bundle.png');
  await page.close();
}

async function aComparisonShowsPredictedAgainstMeasured(browser, file) {
  const page = await opened(browser, file);
  await drawAll(page);
  for (const id of ['scatter', 'spans']) expect(await numColours(page, id) > 3, `${id} is drawn`, await numColours(page, id));
  const cells = () => page.$$eval('#cell-list tbody tr', (rows) => rows.map((one) => one.children[1].textContent));
  expect((await cells()).length === 4, 'the cells of all requests are listed', await cells());
  await page.selectOption('#scatter select[aria-label="Cells"]', 'kinds of spans');
  const spans = await cells();
  expect(spans.length === 3 && spans[0] === hostile[0], 'cells without time are left out, the largest error comes first', spans);
  await page.selectOption('#scatter select[aria-label="Colours by"]', 'system');
  await page.waitForTimeout(300);
  expect((await page.getAttribute('#scatter .chart', 'aria-label')).startsWith('kinds of spans'), 'the chart follows the choice');
  expect((await text(page, '#warnings')).includes('reads differ'), 'what is not equal is warned of');
  expect((await text(page, '#error-summary')).includes('12.3 %'), 'the summary is there');
  expect(await page.evaluate(() => window.attacked) === undefined && await page.$('img') === null, 'no string of a comparison runs');
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  await page.pdf({ path: join(folder, 'predicted.pdf'), format: 'A4' });
  expect(statSync(join(folder, 'predicted.pdf')).size > 10000, 'it prints');
  expect(page.problems.length === 0, 'nothing on the console for a comparison', page.problems);
  await picture(page, 'predicted.png');
  await page.close();
}

// ---- a bundle and a comparison, by hand

function writeBundle() {
  const shipped = join(source, 'calibrate/profiles/a800-990pro'), path = join(folder, 'bundle');
  mkdirSync(path);
  const point = (i, more) => ({ shape: { bytes: 4096 * 2 ** i }, measured: 1000 * 2 ** i, spread: 0.05, converged: i !== 2, fitted: 1020 * 2 ** i, ...more });
  const fit = (name, count) => ({ name, unit: 'ns', rule: 'a line; each inner size left out', points: Array.from({ length: count }, (_, i) => point(i, i % 2 ? { held_out: 930 * 2 ** i } : {})) });
  const model = JSON.parse(readFileSync(join(shipped, 'model.json'), 'utf8'));
  model.fits = [fit('reads', 6), fit(hostile[1], 3)];
  writeFileSync(join(path, 'model.json'), JSON.stringify(model));
  copyFileSync(join(shipped, 'meta.json'), join(path, 'meta.json'));
  return path;
}

function writeComparison() {
  const path = join(folder, 'predicted');
  mkdirSync(path);
  const cell = (name, real, predicted, verdict = 'within') => ({ name, real_ms: real, real_p10_ms: real * 0.9, real_p90_ms: real * 1.1, spread: 0.1,
    predicted_ms: predicted, error: real > 0 ? predicted / real - 1 : null, verdict });
  const point = (number, label, more) => ({ schema_version: 1, kind: 'compare', point: number, label, axes: { budget: 0.25, [hostile[0]]: null }, profile: 'made-up', measured_requests: 2,
    ttft: cell('ttft', 20, 18), equality: { checked: true, equal: true, first_difference: '' }, requests: [cell('0', 19, 18), cell('1', 22, 14, 'outside')], distribution: [],
    classes: [cell('gpu_compute', 20, 18)], spans: [cell('attend on gpu_compute', 12, 11), cell('never', 0, 0)], ...more });
  const rows = [point(0, 'x', { equality: { checked: true, equal: false, first_difference: 'reads differ' } }),
    point(1, hostile[1], { spans: [cell(hostile[0], 10, 20, 'outside'), cell('attend on gpu_compute', 12, 12)] })];
  writeFileSync(join(path, 'results.jsonl'), rows.map((one) => JSON.stringify(one) + '\n').join(''));
  writeFileSync(join(path, 'summary.json'), JSON.stringify({ schema_version: 1, kind: 'compare',
    errors: { 'ttft of requests': { cells: 4, median_error: 0.123, p95_error: 0.36, within: 0.5, outside: 0.5, undecidable: 0 } } }));
  return path;
}

// ---- all of it

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const scenario = join(folder, 'scenario.json');
writeFileSync(scenario, JSON.stringify({ name: 'small', model: 'qwen2.5-0.5b', profile: 'a800-990pro', systems: ['recompute', 'attention_store', 'contiguous_kv'],
  workload: { kind: 'prefix_pool', prefix_tokens: 1000, suffix_tokens: 20, num_prefixes: 6, warmup_requests: 6, measured_requests: 10 },
  axes: { software_path: ['prototype', 'direct'], budget: [0.05, 0.25], gpu_cache: ['4 MB', '20 MB'], host_cache: ['10 MB'] }, mass_requests: 2 }));
execFileSync(program, ['sweep', scenario, '--quiet', '--out', join(folder, 'small')], { stdio: 'ignore', cwd: source });

let browser;
try {
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
} catch (error) {
  skip('chromium does not start: ' + error.message.split('\n')[0]);
}
await sweepIsDrawnAndFiltered(browser, report(join(folder, 'small')));
await hostileStringsStayText(browser, report(writeResult('hostile', hostileRows())));
await tenThousandRowsStayUsable(browser, report(writeResult('many', manyRows(10000))));
const path = { software_path: 'direct' };
const a = writeResult('a', [row(0, 'x', path, 20, 0.5), row(1, 'y', path, 7, 0.6), row(2, 'gone', path, 9, 0.7)]);
const b = writeResult('b', [row(0, 'y', path, 7, 0.6), row(1, 'x', path, 10, 0.5)]);
await twoResultsSideBySide(browser, report('--compare', a, b));
await aBundleShowsMeasuredAgainstFitted(browser, report(writeBundle()));
await aComparisonShowsPredictedAgainstMeasured(browser, report(writeComparison()));
execFileSync(program, ['sweep', scenario, '--quiet', '--set', 'profile.ssd.read_bandwidth="1 GB/s"', '--out', join(folder, 'slow')], { stdio: 'ignore', cwd: source });
await verdictsStandBesideTwoResults(browser, report('--compare', '--no-timelines', join(folder, 'small'), join(folder, 'slow')));
await browser.close();
console.log(failures === 0 ? 'report in chromium: all as expected' : `${failures} failures`);
process.exit(failures === 0 ? 0 : 1);

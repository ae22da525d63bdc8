'use strict';
// A result of `compare`: what the simulator predicted beside what the engine measured, on the same machine.
(() => {
  const { data, element, body, format, choice } = Report;
  const { header, table, percent, signed, equalScatter, provenance, ready, verdictColours } = Report.study;
  const { Chart, base, axis, colours: kColours } = Report.charts;
  const kLists = { 'TTFT of points': (point) => [point.ttft], 'TTFT of requests': (point) => point.requests, 'time classes': (point) => point.classes,
    'kinds of spans': (point) => point.spans, 'quantiles of TTFT': (point) => point.distribution };
  const nameOf = (point) => [point.label, ...Object.entries(point.axes).filter(([, value]) => value !== null).map(([key, value]) => `${key} ${typeof value === 'object' ? JSON.stringify(value) : format(value)}`)].join(', ');
  const cellsOf = (list) => data.points.flatMap((point) => kLists[list](point).filter((cell) => cell.real_ms > 0 || cell.predicted_ms > 0).map((cell) => ({ point, cell })));
  const lists = Object.keys(kLists).filter((list) => cellsOf(list).length > 0);
  const state = { list: lists.includes('TTFT of requests') ? 'TTFT of requests' : lists[0], by: 'verdict', spans: 'kinds of spans' };
  const textOf = ({ point, cell }) => `${nameOf(point)}: ${cell.name}\nmeasured ${format(cell.real_ms)} ms (${format(cell.real_p10_ms)} to ${format(cell.real_p90_ms)})\n` +
    `predicted ${format(cell.predicted_ms)} ms, ${signed(cell.error)}, ${cell.verdict}`;

  function errors() {
    const summary = data.summary, ranking = summary.ranking ?? {}, equality = summary.equality ?? {}, range = summary.range_90 ?? {};
    body('errors').append(
      table('error-summary', ['cells', 'number', 'median error', 'p95 error', 'within', 'outside', 'undecidable'],
        Object.entries(summary.errors ?? {}).map(([name, one]) => [name, one.cells, percent(one.median_error), percent(one.p95_error), percent(one.within), percent(one.outside), percent(one.undecidable)])),
      element('p', { class: 'note' }, `Bytes, reads and decisions are equal on ${format(equality.equal_points)} of ${format(equality.checked_points)} points that can be checked. ` +
        `Ranking of points: Kendall tau ${format(ranking.kendall_tau)} over ${format(ranking.pairs)} pairs. The 90 % range covers ${percent(range.covered)} of ${format(range.real_values)} measured values. ` +
        'Verdicts: within the larger of tolerance and spread; undecidable where the engine itself scatters too much (docs/fidelity.md).'));
  }

  function scatter(colours) {
    const cells = cellsOf(state.list), groups = new Map();
    for (const one of cells) {
      const key = state.by === 'verdict' ? one.cell.verdict : one.point.label;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(one);
    }
    return equalScatter(colours, `${state.list}: predicted against measured, ${cells.length} cells; on the line they are equal, bars are from p10 to p90 of the repeats`,
      'measured (ms)', 'predicted (ms)', [...groups].map(([name, list], i) => ({ name, colour: state.by === 'verdict' ? verdictColours[name] ?? '#8a8f98' : kColours[i % kColours.length],
        points: list.map((one) => ({ x: one.cell.real_ms, y: one.cell.predicted_ms, low: one.cell.real_p10_ms, high: one.cell.real_p90_ms, text: textOf(one) })) })));
  }

  // Each point is one mark a span: what the wrong span does to the TTFT, not how wrong it is by itself.
  function spans(colours) {
    const cells = cellsOf(state.spans), names = [...new Set(cells.map(({ cell }) => cell.name))];
    const share = ({ point, cell }) => 100 * (cell.predicted_ms - cell.real_ms) / point.ttft.real_ms;
    const size = (name) => Math.max(...cells.filter(({ cell }) => cell.name === name).map((one) => Math.abs(share(one))));
    names.sort((a, b) => size(b) - size(a));
    const made = base(colours, `Error by ${state.spans}: predicted less measured, as a share of the measured TTFT`);
    made.height = 150 + 30 * names.length;
    made.grid = { left: 230, right: 30, top: 20, bottom: 84 };
    made.xAxis = axis(colours, 'predicted - measured (% of the TTFT)', { type: 'value' });
    made.yAxis = { type: 'category', inverse: true, data: names, axisLabel: { color: colours.ink, width: 210, overflow: 'truncate' }, axisLine: { lineStyle: { color: colours.line } }, splitLine: { show: true, lineStyle: { color: colours.line } } };
    const labels = [...new Set(data.points.map((point) => point.label))];
    made.series = labels.map((label, i) => ({ name: label, type: 'scatter', symbolSize: 10, itemStyle: { color: kColours[i % kColours.length], opacity: 0.85 },
      data: cells.filter(({ point }) => point.label === label).map((one) => ({ value: [share(one), names.indexOf(one.cell.name)], text: `${textOf(one)}\n${share(one).toFixed(1)} % of the TTFT` })),
      tooltip: { formatter: (info) => info.data.text } }));
    return made;
  }

  const kShown = 500;
  function cellTable() {
    const cells = cellsOf(state.list), size = ({ cell }) => Math.abs(cell.error ?? 0);
    const sorted = [...cells].sort((a, b) => size(b) - size(a)).slice(0, kShown);
    return [element('p', { class: 'note' }, `${state.list}, the largest errors first` + (cells.length > kShown ? `; ${kShown} of ${cells.length} cells` : '')),
      table('cell-list', ['point', 'cell', 'measured (ms)', 'spread', 'predicted (ms)', 'error', 'verdict'],
        sorted.map(({ point, cell }) => [nameOf(point), cell.name, cell.real_ms, percent(cell.spread), cell.predicted_ms, signed(cell.error), cell.verdict]))];
  }

  const first = data.points[0];
  header('', [`${data.points.length} points`, `profile: ${format(first.profile)}`, `${format(first.measured_requests)} measured requests a point`]);
  errors();
  const list = element('div', { class: 'scrolled' });
  const kinds = lists.filter((name) => ['kinds of spans', 'time classes'].includes(name));
  const refresh = () => { list.replaceChildren(...cellTable()); scatterChart.refresh(); };
  body('scatter').append(element('div', { class: 'controls' }, choice('Cells', lists, state.list, (name) => { state.list = name; refresh(); }),
    choice('Colours by', ['verdict', 'system'], state.by, (by) => { state.by = by; refresh(); })));
  const scatterChart = new Chart(body('scatter'), scatter, 520);
  if (kinds.length > 0) {
    body('spans').append(element('div', { class: 'controls' }, choice('Of', kinds, state.spans, (name) => { state.spans = name; spanChart.refresh(); })));
  }
  const spanChart = kinds.length > 0 ? new Chart(body('spans'), spans) : null;
  if (kinds.length === 0) body('spans').append(element('p', { class: 'note' }, 'These rows have no spans.'));
  body('cells').append(list);
  refresh();
  provenance([['Summary', data.summary], ['Inputs, resolved', data.resolved]]);
  ready();
})();

'use strict';
// Two results: which rows belong together, how they differ, and a scatter of one against the other.
(() => {
  const { data, element, body, metrics, format, value, choice, firstRow, parameters, short } = Report;
  if (!data.comparison) { Report.compare = { start() {} }; return; }
  const { pairs, only_a: onlyA, only_b: onlyB, keys } = data.comparison;
  const state = { metric: metrics.includes('ttft.mean_ttft_ms') ? 'ttft.mean_ttft_ms' : metrics[0] };
  const rowsOf = (pair) => [firstRow[0] + pair[0], firstRow[1] + pair[1]];
  const kShown = 200;

  function describe(row) {
    return ['label', ...parameters.filter((name) => name !== 'result' && name !== 'label' && keys.concat(['software_path']).includes(name))]
      .filter((name) => value(row, name) !== null).map((name) => (name === 'label' ? value(row, name) : `${short(name)} ${format(value(row, name))}`)).join(', ');
  }

  // Pairs that pass the filters (by both rows), with the ratio B / A.
  function compared() {
    const shown = new Set(Report.filters.rows());
    return pairs.map(rowsOf).filter(([a, b]) => shown.has(a) && shown.has(b)).map(([a, b]) => {
      const left = value(a, state.metric), right = value(b, state.metric);
      const ratio = typeof left === 'number' && typeof right === 'number' && left !== 0 ? right / left : null;
      return { a, b, left, right, ratio };
    });
  }

  function summary(rows) {
    const both = rows.filter((one) => typeof one.left === 'number' && typeof one.right === 'number');
    const equal = both.filter((one) => one.left === one.right).length;
    const less = both.filter((one) => one.right < one.left).length;
    const ratios = both.filter((one) => one.ratio > 0).map((one) => Math.log(one.ratio));
    const average = ratios.length > 0 ? Math.exp(ratios.reduce((sum, log) => sum + log, 0) / ratios.length) : null;
    return `${rows.length} pairs shown: ${equal} equal, ${less} lower in B, ${both.length - equal - less} higher in B; geometric mean of B / A: ${format(average)}. ` +
      `${rows.length - both.length} pairs have no ${state.metric} on both sides. ` +
      `Rows without a partner: ${onlyA.length} in A, ${onlyB.length} in B. Matched by ${keys.map(short).join(', ')}.`;
  }

  function tableOf(rows) {
    const table = element('table', { id: 'pairs' });
    table.append(element('tr', {}, ...['row', 'A', 'B', 'B / A'].map((text) => element('th', {}, text))));
    const largest = [...rows].sort((x, y) => Math.abs(Math.log(y.ratio > 0 ? y.ratio : 1)) - Math.abs(Math.log(x.ratio > 0 ? x.ratio : 1)));
    for (const one of largest.slice(0, kShown)) {
      table.append(element('tr', {}, ...[describe(one.a), format(one.left), format(one.right), format(one.ratio)].map((text) => element('td', {}, text))));
    }
    return table;
  }

  function option(colours) {
    const rows = compared().filter((one) => one.left > 0 && one.right > 0);
    const made = Report.charts.base(colours, `${state.metric}: B against A, ${rows.length} pairs; on the line they are equal`);
    made.legend.show = false;
    made.grid.bottom = 60;
    const values = rows.flatMap((one) => [one.left, one.right]);
    const number = { axisLabel: { color: colours.soft, formatter: (one) => format(one) }, type: 'log', ...Report.charts.logRange(values) };
    made.xAxis = Report.charts.axis(colours, 'A: ' + data.results[0].name, number);
    made.yAxis = Report.charts.axis(colours, 'B: ' + data.results[1].name, { ...number, nameGap: 48 });
    const low = values.reduce((a, b) => Math.min(a, b), Infinity), high = values.reduce((a, b) => Math.max(a, b), 0);
    made.series = [
      { type: 'line', symbol: 'none', silent: true, data: rows.length > 0 ? [[low, low], [high, high]] : [], lineStyle: { color: colours.soft, type: 'dashed' }, tooltip: { show: false } },
      { type: 'scatter', symbolSize: 8, large: rows.length > 3000, data: rows.map((one) => ({ value: [one.left, one.right], one })),
        tooltip: { formatter: (info) => `${describe(info.data.one.a)}\nA ${format(info.data.one.left)}\nB ${format(info.data.one.right)}\nB / A ${format(info.data.one.ratio)}` } }];
    return made;
  }

  // What `reprefill diff` says, of the points that both results have: by the mean TTFT, whatever metric is charted.
  function verdictTable(verdicts) {
    const percent = (share) => (share === null ? '-' : (share >= 0 ? '+' : '') + (100 * share).toFixed(1) + ' %');
    const line = (entry) => {
      const cells = [entry.key, entry.pairs, entry.mean_a, entry.mean_b, percent(entry.relative_difference),
        entry.interval_95 ? entry.interval_95.map(percent).join(' to ') : '-'].map((cell) => element('td', {}, format(cell)));
      return element('tr', {}, ...cells, element('td', { class: entry.verdict }, entry.verdict));
    };
    const table = element('table', { id: 'verdicts', class: 'plain' },
      element('tr', {}, ...['point', 'pairs', 'A', 'B', 'B - A', '95 % interval', 'B is'].map((text) => element('th', { scope: 'col' }, text))));
    table.append(...verdicts.points.slice(0, kShown).map(line));
    if (verdicts.points.length > 1) table.append(line(verdicts.all));
    return table;
  }

  function verdicts(parent) {
    const found = data.comparison.verdicts;
    if (found.refused) {
      parent.append(element('p', { class: 'warning', id: 'no-verdicts' }, 'No verdicts: ' + found.refused));
      return;
    }
    const counts = {};
    for (const entry of found.points) counts[entry.verdict] = (counts[entry.verdict] ?? 0) + 1;
    parent.append(element('p', { id: 'verdict-summary' }, `Verdicts of diff, by mean TTFT: B is ${Object.entries(counts).map(([verdict, count]) => `${verdict} on ${count}`).join(', ')}; all together ${found.all.verdict}. ` +
      `Paired by ${found.paired_by === 'request' ? 'request' : 'point and replica'}.` + (found.points.length > kShown ? ` ${kShown} of ${found.points.length} points are listed.` : '')));
    parent.append(element('div', { class: 'scrolled' }, verdictTable(found)));
  }

  Report.compare = {
    start() {
      document.getElementById('comparison').hidden = false;
      const parent = body('comparison');
      verdicts(parent);
      const note = element('p', { class: 'note', id: 'comparison-summary' });
      const list = element('div', { class: 'columns' });
      const refresh = () => {
        const rows = compared();
        note.textContent = summary(rows) + (rows.length > kShown ? ` The ${kShown} largest differences are listed.` : '');
        list.replaceChildren(tableOf(rows));
        chart.refresh();
      };
      parent.append(element('div', { class: 'controls' }, choice('Metric', metrics, state.metric, (chosen) => { state.metric = chosen; refresh(); })), note);
      const chart = new Report.charts.Chart(parent, option);
      parent.append(list);
      Report.filters.onchange(refresh);
    },
  };
})();

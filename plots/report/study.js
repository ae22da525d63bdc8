'use strict';
// What pages that are not of a sweep share: title and warnings, tables, the scatter of one number against another.
(() => {
  const { data, element, body, format } = Report;
  const kVerdictColours = { within: '#3f9b6c', outside: '#d1603d', undecidable: '#8a8f98' };

  function header(description, facts) {
    document.getElementById('filters').hidden = true;
    document.getElementById('title').textContent = data.name;
    document.getElementById('description').textContent = description;
    document.getElementById('facts').textContent = [...facts, data.program].join('  \u00b7  ');
    for (const text of data.warnings) document.getElementById('warnings').append(element('p', { class: 'warning' }, text));
  }

  // Rows of texts and numbers; those of numbers stand to the right.
  function table(id, heads, rows) {
    const made = element('table', { id, class: 'plain' });
    made.append(element('thead', {}, element('tr', {}, ...heads.map((text) => element('th', { scope: 'col' }, text)))));
    made.append(element('tbody', {}, ...rows.map((cells) => element('tr', {},
      ...cells.map((cell) => element('td', typeof cell === 'number' ? { class: 'number' } : {}, format(cell)))))));
    return made;
  }

  const percent = (share) => (share === null || share === undefined ? '-' : (100 * share).toFixed(1) + ' %');
  const signed = (share) => (share === null || share === undefined ? '-' : (share >= 0 ? '+' : '') + (100 * share).toFixed(1) + ' %');

  // Two log axes around the same values, and the line on which both are equal. series: {name, colour, hollow, points: [{x, y, low, high, text}]}
  // with low and high of x where it scatters.
  function equalScatter(colours, description, xName, yName, series) {
    const made = Report.charts.base(colours, description);
    const points = series.flatMap((one) => one.points).filter((point) => point.x > 0 && point.y > 0);
    const values = points.flatMap((point) => [point.x, point.y, point.low, point.high]).filter((value) => value > 0);
    const range = Report.charts.logRange(values);
    const number = { type: 'log', axisLabel: { color: colours.soft, formatter: (one) => format(one) }, ...range };
    made.xAxis = Report.charts.axis(colours, xName, number);
    made.yAxis = Report.charts.axis(colours, yName, { ...number, nameGap: 56 });
    made.grid.left = 84;
    made.series = [{ name: 'equal', type: 'line', symbol: 'none', silent: true, tooltip: { show: false },
      data: points.length > 0 ? [[range.min, range.min], [range.max, range.max]] : [], lineStyle: { color: colours.soft, type: 'dashed' }, itemStyle: { color: colours.soft } }];
    for (const one of series) {
      const drawn = one.points.filter((point) => point.x > 0 && point.y > 0);
      made.series.push({ name: one.name, type: 'scatter', symbolSize: 9, large: drawn.length > 3000,
        itemStyle: one.hollow ? { color: 'transparent', borderColor: one.colour, borderWidth: 1.5 } : { color: one.colour, opacity: 0.85 },
        data: drawn.map((point) => ({ value: [point.x, point.y], text: point.text })), tooltip: { formatter: (info) => info.data.text } });
      if (one.hollow) continue;
      made.series.push({ name: one.name, type: 'custom', silent: true, tooltip: { show: false }, itemStyle: { color: one.colour },
        data: drawn.filter((point) => point.low > 0 && point.high > point.low).map((point) => [point.low, point.high, point.y]),
        renderItem: (params, api) => {
          const from = api.coord([api.value(0), api.value(2)]), to = api.coord([api.value(1), api.value(2)]);
          return { type: 'line', shape: { x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, style: { stroke: one.colour, lineWidth: 1.5, opacity: 0.6 } };
        } });
    }
    return made;
  }

  function provenance(blocks) {
    const parent = body('provenance');
    parent.append(element('p', { class: 'note' }, data.folder));
    for (const [title, value] of blocks) {
      if (value) parent.append(element('details', {}, element('summary', {}, title), element('pre', {}, JSON.stringify(value, null, 2))));
    }
  }

  const ready = () => { document.body.dataset.ready = 'yes'; };
  Report.study = { header, table, percent, signed, equalScatter, provenance, ready, verdictColours: kVerdictColours };
})();

'use strict';
// A profile bundle: each fit beside what was measured, and every number with its source.
(() => {
  const { data, element, body, format, choice } = Report;
  const { header, table, percent, signed, equalScatter, provenance, ready } = Report.study;
  const { Chart, base, axis, logRange } = Report.charts;
  const fits = data.fits;
  const state = { fit: fits[0]?.name ?? '' };
  const chosen = () => fits.find((fit) => fit.name === state.fit);

  const describe = (shape) => Object.entries(shape).map(([key, value]) => `${key} ${format(value)}`).join(', ') || '-';
  const errorOf = (predicted, point) => (predicted === undefined ? null : predicted / point.measured - 1);
  const textOf = (point, unit) => `${describe(point.shape)}\nmeasured ${format(point.measured)} ${unit}, spread ${percent(point.spread)}\n` +
    `fitted ${format(point.fitted)} (${signed(errorOf(point.fitted, point))})` +
    (point.held_out === undefined ? '' : `\nheld out ${format(point.held_out)} (${signed(errorOf(point.held_out, point))})`);

  function summary() {
    const median = (values) => values.length === 0 ? null : [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
    body('fits').append(
      element('p', { class: 'note' }, 'Residual: of points that the fit was shown. Held out: predicted by a fit that was not shown the point. Within spread: held-out errors no larger than the scatter of the samples themselves.'),
      table('fit-summary', ['fit', 'points', 'not converged', 'spread', 'residual', 'held-out median', 'held-out p95', 'within spread'],
        fits.map((fit) => [fit.name, fit.points.length, fit.not_converged, percent(median(fit.points.map((point) => point.spread))), percent(fit.residual_median),
          percent(fit.held_out?.median), percent(fit.held_out?.p95), fit.held_out ? `${fit.held_out.within_spread} of ${fit.held_out.points}` : '-'])));
  }

  function scatter(colours) {
    const fit = chosen(), points = (value) => fit.points.filter((point) => value(point) !== undefined).map((point) => ({
      x: point.measured, y: value(point), low: point.measured * (1 - point.spread), high: point.measured * (1 + point.spread), text: textOf(point, fit.unit) }));
    return equalScatter(colours, `${fit.name}: fitted against measured, ${fit.points.length} points; on the line they are equal`, `measured (${fit.unit})`, `fitted (${fit.unit})`,
      [{ name: 'fitted', colour: '#3b6fb6', points: points((point) => point.fitted) },
       { name: 'held out', colour: '#d1603d', hollow: true, points: points((point) => point.held_out) }]);
  }

  function residuals(colours) {
    const fit = chosen(), made = base(colours, `${fit.name}: error of the fit against what was measured, with the samples' spread`);
    made.xAxis = axis(colours, `measured (${fit.unit})`, { type: 'log', axisLabel: { color: colours.soft, formatter: (one) => format(one) }, ...logRange(fit.points.map((point) => point.measured)) });
    made.yAxis = axis(colours, 'error (%)', { type: 'value', nameGap: 48 });
    const series = (name, colour, hollow, predicted) => ({ name, type: 'scatter', symbolSize: 9,
      itemStyle: hollow ? { color: 'transparent', borderColor: colour, borderWidth: 1.5 } : { color: colour },
      data: fit.points.filter((point) => predicted(point) !== undefined).map((point) => ({ value: [point.measured, 100 * errorOf(predicted(point), point)], text: textOf(point, fit.unit) })),
      tooltip: { formatter: (info) => info.data.text } });
    made.series = [
      { name: 'spread of the samples', type: 'custom', silent: true, tooltip: { show: false }, itemStyle: { color: colours.soft },
        data: fit.points.map((point) => [point.measured, 100 * point.spread]),
        renderItem: (params, api) => {
          const top = api.coord([api.value(0), api.value(1)]), bottom = api.coord([api.value(0), -api.value(1)]);
          return { type: 'line', shape: { x1: top[0], y1: top[1], x2: bottom[0], y2: bottom[1] }, style: { stroke: colours.soft, lineWidth: 5, opacity: 0.35 } };
        } },
      series('fitted', '#3b6fb6', false, (point) => point.fitted), series('held out', '#d1603d', true, (point) => point.held_out)];
    return made;
  }

  function pointTable() {
    const fit = chosen();
    return table('fit-points', ['shape', `measured (${fit.unit})`, 'spread', 'fitted', 'error', 'held-out error', ''],
      fit.points.map((point) => [describe(point.shape), point.measured, percent(point.spread), point.fitted, signed(errorOf(point.fitted, point)),
        signed(errorOf(point.held_out, point)), point.converged ? '' : 'not converged']));
  }

  function fitSections() {
    if (fits.length === 0) {
      for (const id of ['fits', 'fitted', 'residuals', 'points']) body(id).append(element('p', { class: 'note' }, 'No part of this bundle was fitted to measurements.'));
      return;
    }
    summary();
    const rule = element('p', { class: 'note' }), list = element('div', { class: 'scrolled' });
    const charts = [];
    const refresh = () => { rule.textContent = chosen().rule; list.replaceChildren(pointTable()); charts.forEach((chart) => chart.refresh()); };
    body('fitted').append(element('div', { class: 'controls' }, choice('Fit', fits.map((fit) => fit.name), state.fit, (name) => { state.fit = name; refresh(); })), rule);
    charts.push(new Chart(body('fitted'), scatter, 480), new Chart(body('residuals'), residuals));
    body('points').append(list);
    refresh();
  }

  function parts() {
    for (const part of data.parts) {
      body('parts').append(element('h3', {}, `${part.part}: ${part.name}`),
        table('part-' + part.part, ['parameter', 'value', 'source'], part.numbers.map((one) => [one.parameter, one.value, one.source])));
    }
  }

  header(data.meta.description ?? '', [data.meta.kind ?? 'of no kind', `${fits.length} fits`, `${data.parts.map((part) => part.part).join(', ')}`]);
  fitSections();
  parts();
  provenance([['meta.json: machine, versions, plan of the measurement', data.meta]]);
  ready();
})();

'use strict';
// What each resource did during the first measured requests of a point: lanes down, time across, zoom by wheel or keys.
(() => {
  const { data, element, body, format, value, parameters, short, firstRow, numRows } = Report;
  const kColours = Report.charts.colours;
  const state = { timeline: null, chart: null, range: [0, 100] };

  function rowOf(resultIndex, point) {
    const end = resultIndex + 1 < firstRow.length ? firstRow[resultIndex + 1] : numRows;
    for (let row = firstRow[resultIndex]; row < end; row++) if (value(row, 'point') === point) return row;
    return null;
  }
  function titleOf(entry) {
    const row = entry.row;
    if (row === null) return `point ${entry.timeline.point}`;
    const names = ['result', 'label', 'software_path', ...parameters.filter((name) => name.startsWith('axes.'))];
    return `point ${entry.timeline.point}: ` + names.filter((name) => value(row, name) !== null && (name === 'label' || parameters.includes(name)))
      .map((name) => (name.startsWith('axes.') ? `${short(name)} ${format(value(row, name))}` : format(value(row, name)))).join(', ');
  }
  const entries = data.results.flatMap((result, index) => result.timelines.map((timeline) =>
    ({ timeline, row: rowOf(index, timeline.point) })));

  const ms = (nanoseconds) => nanoseconds / 1e6;
  function describe(timeline, i) {
    return `${timeline.names[timeline.name[i]]}${timeline.layer[i] >= 0 ? ' of layer ' + timeline.layer[i] : ''}, request ${timeline.request[i]}\n` +
      `${timeline.lanes[timeline.lane[i]]}\nfrom ${ms(timeline.start_ns[i]).toFixed(4)} ms for ${ms(timeline.length_ns[i]).toFixed(4)} ms\n` +
      `waited ${ms(timeline.wait_ns[i]).toFixed(4)} ms for the resource` + (timeline.bytes[i] > 0 ? `\n${timeline.bytes[i]} bytes` : '');
  }

  function option(colours) {
    const timeline = state.timeline.timeline;
    const lanes = timeline.lanes.length;
    const made = Report.charts.base(colours, `Time line of ${titleOf(state.timeline)}: ${timeline.lane.length} operations on ${lanes} lanes`);
    made.height = Math.min(1400, 130 + Math.max(14, Math.min(24, 620 / lanes)) * lanes);
    made.legend.show = false;
    made.grid = { left: 150, right: 26, top: 10, bottom: 78 };
    made.xAxis = Report.charts.axis(colours, 'ms', { type: 'value', min: 0, nameGap: 22,
      axisLabel: { color: colours.soft, formatter: (number) => format(number) } });
    made.yAxis = { type: 'category', inverse: true, data: timeline.lanes, axisLabel: { color: colours.ink, fontSize: 10 },
                   axisLine: { lineStyle: { color: colours.line } }, splitLine: { show: lanes < 60, lineStyle: { color: colours.line } } };
    made.dataZoom = [
      { type: 'inside', xAxisIndex: 0, filterMode: 'weakFilter', start: state.range[0], end: state.range[1] },
      { type: 'slider', xAxisIndex: 0, filterMode: 'weakFilter', start: state.range[0], end: state.range[1], bottom: 8, height: 20,
        textStyle: { color: colours.soft }, showDataShadow: false }];
    made.series = [{ type: 'custom', encode: { x: [1, 2], y: 0 }, clip: true, progressive: 4000,
      data: timeline.lane.map((lane, i) => [lane, ms(timeline.start_ns[i]), ms(timeline.start_ns[i] + timeline.length_ns[i]), i]),
      renderItem: (params, api) => {
        const from = api.coord([api.value(1), api.value(0)]), to = api.coord([api.value(2), api.value(0)]);
        const height = Math.max(2, api.size([0, 1])[1] * 0.74);
        const area = params.coordSys;
        const left = Math.max(from[0], area.x), right = Math.min(Math.max(to[0], from[0] + 0.6), area.x + area.width);
        if (right <= left) return null;
        return { type: 'rect', shape: { x: left, y: from[1] - height / 2, width: right - left, height },
                 style: { fill: kColours[timeline.name[api.value(3)] % kColours.length] } };
      },
      tooltip: { formatter: (info) => describe(timeline, info.value[3]) } }];
    return made;
  }

  function zoom(factor, shift) {
    const zooming = state.chart.chart?.getOption()?.dataZoom?.[0];
    let [start, end] = zooming ? [zooming.start, zooming.end] : state.range;
    const middle = (start + end) / 2 + shift * (end - start), half = Math.min(50, (end - start) / 2 * factor);
    start = Math.max(0, middle - half); end = Math.min(100, start + 2 * half); start = Math.max(0, end - 2 * half);
    state.range = [start, end];
    state.chart.chart.dispatchAction({ type: 'dataZoom', start, end });
  }
  const kKeys = { '+': [0.5, 0], '=': [0.5, 0], '-': [2, 0], ArrowLeft: [1, -0.2], ArrowRight: [1, 0.2], '0': [1e6, 0] };

  function key(names) {
    return names.map((name, i) => element('span', {}, swatch(kColours[i % kColours.length]), ' ' + name));
  }
  function swatch(colour) {
    const node = element('span');
    node.style.cssText = 'display:inline-block;width:12px;height:10px';
    node.style.background = colour;
    return node;
  }

  Report.gantt = {
    start() {
      const parent = body('timeline');
      if (entries.length === 0) {
        parent.append(element('p', { class: 'note' }, 'No time lines in this report: see the warnings, or write it with --timeline POINT.'));
        return;
      }
      // To begin with the one where most kinds of things happen.
      const first = entries.reduce((best, entry, i) => (entry.timeline.names.length > entries[best].timeline.names.length ? i : best), 0);
      state.timeline = entries[first];
      const select = element('select', { 'aria-label': 'Point' });
      entries.forEach((entry, i) => { const one = element('option', {}, titleOf(entry)); one.value = String(i); one.selected = i === first; select.append(one); });
      select.style.maxWidth = '760px';
      const note = element('p', { class: 'note' });
      const legend = element('div', { class: 'controls note' });
      const describeAll = () => {
        legend.replaceChildren(...key(state.timeline.timeline.names));
        const left = state.timeline.timeline.left_out;
        note.textContent = 'The first measured requests. Wheel or + and - zoom, drag or arrows move, 0 shows all.' +
          (left > 0 ? ` ${left} later operations are left out.` : '');
      };
      select.addEventListener('change', () => { state.timeline = entries[Number(select.value)]; state.range = [0, 100]; describeAll(); state.chart.refresh(); });
      parent.append(element('div', { class: 'controls' }, select), legend);
      state.chart = new Report.charts.Chart(parent, option, 500);
      parent.append(note);
      state.chart.node.addEventListener('keydown', (event) => {
        if (!(event.key in kKeys) || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        zoom(...kKeys[event.key]);
      });
      describeAll();
    },
  };
})();

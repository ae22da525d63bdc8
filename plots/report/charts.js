'use strict';
// The charts of the filtered rows. Each is drawn anew from the rows; tooltips are drawn, never parsed as HTML.
(() => {
  const { columns, distinct, parameters, metrics, mean, grouped, format, element, choice, body, short, value } = Report;
  const kColours = ['#3b6fb6', '#d1603d', '#3f9b6c', '#9467bd', '#c79a1e', '#7a5a4c', '#d779b0', '#3aa6b9', '#7f7f7f', '#a4b52f', '#26547c', '#f2a65a', '#1b998b', '#b5838d'];
  const kClasses = ['gpu_compute', 'scoring', 'ssd', 'link', 'queueing', 'host'];
  const kClassColours = ['#3b6fb6', '#8fc1e3', '#d1603d', '#efb48c', '#a0a0a0', '#5f6b6d'];
  const dark = matchMedia('(prefers-color-scheme: dark)');
  let printing = false;
  const all = [];

  function palette() {
    const night = dark.matches && !printing;
    return night ? { ink: '#e6e9ee', soft: '#a3adbb', line: '#3a4350', paper: '#14181f' }
                 : { ink: '#1c2330', soft: '#5b6575', line: '#dfe3ea', paper: '#ffffff' };
  }

  // A chart that is made when it comes into view, and drawn anew when rows, size or colours change.
  class Chart {
    constructor(parent, makeOption, height) {
      this.node = element('div', { class: 'chart', role: 'img', tabindex: '0' });
      if (height) this.node.style.height = height + 'px';
      parent.append(this.node);
      this.makeOption = makeOption;
      this.chart = null;
      this.stale = true;
      this.visible = false;
      new IntersectionObserver((entries) => {
        this.visible = entries.some((entry) => entry.isIntersecting);
        if (this.visible && this.stale) this.draw();
      }, { rootMargin: '200px' }).observe(this.node);
      all.push(this);
    }
    refresh() { this.stale = true; if (this.visible || printing) this.draw(); }
    draw() {
      this.stale = false;
      const option = this.makeOption(palette());
      if (option.height) this.node.style.height = option.height + 'px';
      delete option.height;
      if (!this.chart) this.chart = echarts.init(this.node, null, { renderer: 'canvas' });
      this.chart.resize();
      this.chart.setOption(option, { notMerge: true });
      this.node.setAttribute('aria-label', option.aria?.label?.description ?? 'chart');
      this.node.dataset.drawn = 'yes';
    }
  }
  dark.addEventListener('change', () => all.forEach((chart) => chart.refresh()));
  addEventListener('resize', () => all.forEach((chart) => chart.chart?.resize()));
  addEventListener('beforeprint', () => { printing = true; all.forEach((chart) => chart.draw()); });
  addEventListener('afterprint', () => { printing = false; all.forEach((chart) => chart.refresh()); });

  function base(colours, description) {
    return {
      animation: false,
      backgroundColor: 'transparent',
      color: kColours,
      textStyle: { color: colours.ink, fontFamily: 'system-ui, DejaVu Sans, sans-serif' },
      aria: { enabled: true, label: { description } },
      tooltip: { renderMode: 'richText', confine: true, backgroundColor: colours.paper, borderColor: colours.line,
                 textStyle: { color: colours.ink, fontSize: 12 } },
      legend: { type: 'plain', bottom: 0, textStyle: { color: colours.ink }, itemWidth: 18, itemHeight: 10 },
      grid: { left: 70, right: 26, top: 34, bottom: 84, containLabel: false },
    };
  }
  function axis(colours, name, more) {
    return Object.assign({ name, nameLocation: 'middle', nameGap: 30, nameTextStyle: { color: colours.soft },
      axisLabel: { color: colours.soft, hideOverlap: true }, axisLine: { lineStyle: { color: colours.line } },
      splitLine: { lineStyle: { color: colours.line } } }, more);
  }
  const withUp = (name, more) => Object.assign({ nameLocation: 'end', nameGap: 12, nameTextStyle: { align: 'left' } }, more);

  // A log axis around the values, ending on 1, 2 or 5 times a power of ten: whole decades leave most of a chart empty.
  function logRange(values) {
    const positive = values.filter((number) => number > 0);
    if (positive.length === 0) return {};
    const nice = (number, up) => {
      const decade = 10 ** Math.floor(Math.log10(number) + 1e-12);
      const steps = [1, 2, 5, 10].map((step) => step * decade);
      return up ? steps.find((step) => step >= number * 0.999999) : steps.reverse().find((step) => step <= number * 1.000001);
    };
    return { min: nice(positive.reduce((a, b) => Math.min(a, b)), false), max: nice(positive.reduce((a, b) => Math.max(a, b)), true) };
  }

  // ---- any metric against any axis

  const seriesChoices = ['', ...parameters];
  function defaults() {
    const axes = parameters.filter((name) => name.startsWith('axes.'));
    const most = (names) => names.reduce((a, b) => (distinct(b).length > distinct(a).length ? b : a), names[0]);
    const x = axes.length > 0 ? most(axes) : parameters[0] ?? 'label';
    return {
      y: metrics.includes('ttft.mean_ttft_ms') ? 'ttft.mean_ttft_ms' : metrics[0] ?? '',
      x,
      series: parameters.includes('label') && x !== 'label' ? 'label' : '',
      split: parameters.includes('result') ? 'result' : parameters.includes('software_path') && x !== 'software_path' ? 'software_path' : '',
      log: true,
    };
  }
  const explore = defaults();
  let exploreNote;

  function seriesOf(rows, x, names) {
    const isParameterX = !metrics.includes(x);
    return grouped(rows, names).map((group) => {
      const points = isParameterX
        ? grouped(group.rows, [x]).filter((point) => point.values[0] !== null)
            .map((point) => ({ x: point.values[0], y: mean(point.rows, explore.y), rows: point.rows }))
        : group.rows.map((row) => ({ x: value(row, x), y: value(row, explore.y), rows: [row] }));
      return { name: group.values.map(format).join(', ') || 'all rows', level: mean(group.rows, explore.y),
               points: points.filter((point) => point.y !== null && point.x !== null), rows: group.rows };
    });
  }

  function tooltipOf(point, name) {
    const values = point.rows.map((row) => value(row, explore.y)).filter((number) => number !== null);
    const [low, high] = values.reduce(([a, b], number) => [Math.min(a, number), Math.max(b, number)], [Infinity, -Infinity]);
    const numbers = point.rows.slice(0, 6).map((row) => value(row, 'point')).filter((number) => number !== null);
    return `${name}\n${short(explore.x)} = ${format(point.x)}\n${explore.y} = ${format(point.y)}` +
      (values.length > 1 ? `\nmean of ${values.length} rows, ${format(low)} to ${format(high)}` : '') +
      (numbers.length > 0 ? `\npoint ${numbers.join(', ')}${point.rows.length > 6 ? ', ...' : ''}` : '');
  }

  function exploreOption(colours) {
    const rows = Report.filters.rows();
    const names = [explore.series, explore.split].filter((name) => name !== '' && name !== explore.x);
    const isMetricX = metrics.includes(explore.x);
    const isCategory = !isMetricX && columns.get(explore.x)?.kind !== 'number';
    const steps = isMetricX ? [] : distinct(explore.x).filter((step) => step !== null);
    const series = seriesOf(rows, explore.x, names);
    const positive = series.every((one) => one.points.every((point) => point.y > 0));
    const log = explore.log && positive;
    const notShown = parameters.filter((name) => ![explore.x, ...names].includes(name) && new Set(rows.map((row) => value(row, name))).size > 1);
    const left = rows.filter((row) => value(row, explore.y) === null).length;
    exploreNote.textContent = [isMetricX || notShown.length === 0 ? '' : 'averaged over: ' + notShown.map(short).join(', '),
      left > 0 ? `${left} rows without ${explore.y} left out` : '', explore.log && !positive ? 'linear scale: not all values are above zero' : '',
    ].filter(Boolean).join('; ');
    const option = base(colours, `${explore.y} against ${short(explore.x)}, ${series.length} series`);
    const legendLines = Math.ceil(series.reduce((sum, one) => sum + one.name.length * 6.6 + 40, 0) / 1150);
    option.grid.bottom = 60 + 22 * legendLines;
    option.height = 350 + 22 * legendLines;
    option.xAxis = axis(colours, short(explore.x), isMetricX || !isCategory && steps.length > 12
      ? { type: 'value', scale: true } : { type: 'category', data: steps.map(format), splitLine: { show: false } });
    option.yAxis = axis(colours, explore.y, withUp(explore.y, { type: log ? 'log' : 'value', ...(log ? logRange(series.flatMap((one) => [...one.points.map((point) => point.y), ...(one.points.length === 0 ? [one.level] : [])])) : {}),
      axisLabel: { color: colours.soft, formatter: (number) => format(number) } }));
    const place = (point) => (option.xAxis.type === 'category' ? steps.indexOf(point.x) : point.x);
    option.series = series.map((one, i) => {
      const flat = !isMetricX && one.points.length === 0 && one.level !== null && steps.length > 0;
      const points = flat ? [steps[0], steps[steps.length - 1]].map((step) => ({ x: step, y: one.level, rows: one.rows })) : one.points;
      const sorted = isMetricX ? points : [...points].sort((a, b) => place(a) - place(b));
      return { name: one.name, type: isMetricX ? 'scatter' : 'line', symbolSize: isMetricX ? 6 : 8, large: points.length > 3000,
        lineStyle: { type: flat ? 'dashed' : i >= kColours.length ? 'dotted' : 'solid', width: 1.8 }, showSymbol: true,
        data: sorted.map((point) => ({ value: [place(point), point.y], point })),
        tooltip: { formatter: (info) => tooltipOf(info.data.point, one.name + (flat ? ' (does not have this axis)' : '')) } };
    });
    return option;
  }

  function buildExplore() {
    const parent = body('explore');
    exploreNote = element('p', { class: 'note' });
    const redraw = (key) => (chosen) => { explore[key] = chosen; chart.refresh(); };
    const log = element('input', { type: 'checkbox' });
    log.checked = explore.log;
    log.addEventListener('change', () => redraw('log')(log.checked));
    parent.append(element('div', { class: 'controls' },
      choice('Metric', metrics, explore.y, redraw('y')),
      choice('against', [...new Set([explore.x, ...parameters, ...metrics])], explore.x, redraw('x')),
      choice('one series per', seriesChoices, explore.series, redraw('series')),
      choice('and per', seriesChoices, explore.split, redraw('split')),
      element('label', {}, log, 'log scale')));
    const chart = new Chart(parent, exploreOption);
    parent.append(exploreNote);
    return chart;
  }

  // ---- Pareto front

  const kQuality = ['attention_mass_kept.mean', 'quality.accuracy', 'accuracy'];
  const pareto = { quality: kQuality.find((name) => metrics.includes(name)) ?? '', x: 'ttft.mean_ttft_ms' };

  // Points that no other one beats in both: less time and at least as much kept.
  function frontOf(points) {
    const sorted = [...points].sort((a, b) => a[0] - b[0] || b[1] - a[1]);
    const front = [];
    let best = -Infinity;
    for (const point of sorted) {
      if (point[1] > best) { front.push(point); best = point[1]; }
    }
    return front;
  }

  function paretoOption(colours) {
    const rows = Report.filters.rows().filter((row) => typeof value(row, pareto.x) === 'number' &&
      typeof value(row, pareto.quality) === 'number' && value(row, 'verdict') !== 'BACKLOGGED');
    const split = parameters.includes('software_path') ? ['label', 'software_path'] : ['label'];
    const option = base(colours, `${pareto.quality} against ${pareto.x}, ${rows.length} points and the front of each software path`);
    option.grid.bottom = 120;
    option.height = 480;
    option.xAxis = axis(colours, pareto.x, { type: 'log', ...logRange(rows.map((row) => value(row, pareto.x))), axisLabel: { color: colours.soft, formatter: (number) => format(number) } });
    option.yAxis = axis(colours, pareto.quality, withUp(pareto.quality, { type: 'value', scale: true }));
    const pointOf = (row) => ({ value: [value(row, pareto.x), value(row, pareto.quality)], row });
    const describe = (row) => [...split, ...parameters.filter((name) => name.startsWith('axes.'))].filter((name) => value(row, name) !== null)
      .map((name) => `${short(name)} ${format(value(row, name))}`).join('\n');
    option.series = grouped(rows, split).map((group) => ({ name: group.values.map(format).join(', '), type: 'scatter', symbolSize: 9,
      large: group.rows.length > 3000, itemStyle: { opacity: 0.8 }, data: group.rows.map(pointOf),
      tooltip: { formatter: (info) => `${describe(info.data.row)}\n${pareto.x} ${format(info.data.value[0])}\n${pareto.quality} ${format(info.data.value[1])}\npoint ${value(info.data.row, 'point')}` } }));
    const paths = grouped(rows, split.slice(1));
    for (const [i, path] of paths.entries()) {
      const front = frontOf(path.rows.map((row) => [value(row, pareto.x), value(row, pareto.quality)]));
      option.series.push({ name: 'front' + (path.values.length > 0 ? ', ' + path.values.join(' ') : ''), type: 'line', step: 'end', symbol: 'none', data: front,
        lineStyle: { color: colours.ink, width: 1.5, type: i === 0 ? 'solid' : 'dashed' }, itemStyle: { color: colours.ink }, tooltip: { show: false } });
    }
    return option;
  }

  function buildPareto() {
    const parent = body('pareto');
    if (pareto.quality === '' || !metrics.includes(pareto.x)) {
      parent.append(element('p', { class: 'note' }, 'These rows say nothing of what was kept.'));
      return null;
    }
    parent.append(element('p', { class: 'note' }, 'Up and to the left is better. The front joins the points that no other point of its software path beats in both. ' +
      'attention_mass_kept is a proxy for quality, not quality; systems that keep no selection are not in it; backlogged rows are left out.'));
    const chart = new Chart(parent, paretoOption);
    parent.prepend(element('div', { class: 'controls' },
      choice('Quality', metrics, pareto.quality, (chosen) => { pareto.quality = chosen; chart.refresh(); }),
      choice('Time', metrics, pareto.x, (chosen) => { pareto.x = chosen; chart.refresh(); })));
    return chart;
  }

  // ---- stacked shares: time classes, busy and idle

  function barKeys() {
    return ['result', 'label', 'software_path'].filter((name) => parameters.includes(name) || name === 'label' && Report.has(name));
  }

  function stackedOption(colours, description, parts, partColours, unit, valueOf) {
    const bars = grouped(Report.filters.rows(), barKeys());
    const names = bars.map((bar) => bar.values.map(format).join(', '));
    const option = base(colours, description);
    option.height = 110 + 26 * bars.length;
    option.grid = { left: 260, right: 70, top: 10, bottom: 72 };
    option.tooltip.trigger = 'axis';
    option.tooltip.axisPointer = { type: 'shadow' };
    option.tooltip.formatter = (infos) => infos[0].name + ` (mean of ${bars[infos[0].dataIndex].rows.length} rows)\n` +
      infos.filter((info) => info.value).map((info) => `${info.seriesName}: ${format(info.value)} ${unit}`).join('\n');
    option.xAxis = axis(colours, unit, { type: 'value', nameGap: 24 });
    option.yAxis = { type: 'category', data: names, inverse: true, axisLabel: { color: colours.ink, width: 240, overflow: 'truncate' },
                     axisLine: { lineStyle: { color: colours.line } } };
    option.series = parts.map((part, i) => ({ name: part, type: 'bar', stack: 'all', itemStyle: { color: partColours[i] }, barMaxWidth: 20,
      data: bars.map((bar) => valueOf(bar.rows, part)) }));
    return option;
  }

  function buildClasses() {
    const parent = body('classes');
    const present = kClasses.filter((name) => Report.has('time_ms.' + name));
    if (present.length === 0) { parent.append(element('p', { class: 'note' }, 'These rows have no time classes.')); return null; }
    parent.append(element('p', { class: 'note' }, 'Each nanosecond of TTFT is charged to one class; a bar is the mean of the rows shown.'));
    return new Chart(parent, (colours) => stackedOption(colours, 'Mean TTFT by time class', present, kClassColours, 'ms',
      (rows, part) => mean(rows, 'time_ms.' + part)));
  }

  function buildBusy() {
    const parent = body('busy');
    const resources = metrics.filter((name) => name.startsWith('busy.'));
    if (resources.length === 0) { parent.append(element('p', { class: 'note' }, 'These rows have no busy times.')); return null; }
    parent.append(element('p', { class: 'note' }, 'Share of the measured time that a resource served something; the rest of each cell is idle. Mean of the rows shown.'));
    return new Chart(parent, (colours) => busyOption(colours, resources));
  }

  function busyOption(colours, resources) {
    const bars = grouped(Report.filters.rows(), barKeys());
    const option = base(colours, 'Busy and idle share of each resource');
    option.legend.show = false;
    option.height = 120 + 26 * bars.length;
    option.grid = { left: 260, right: 30, top: 60, bottom: 20 };
    option.xAxis = { type: 'category', position: 'top', data: resources.map((name) => name.slice(5)), axisTick: { show: false },
      axisLabel: { color: colours.soft, interval: 0, rotate: 22, fontSize: 11 }, axisLine: { show: false } };
    option.yAxis = { type: 'category', inverse: true, data: bars.map((bar) => bar.values.map(format).join(', ')),
      axisLabel: { color: colours.ink, width: 240, overflow: 'truncate' }, axisLine: { show: false }, axisTick: { show: false } };
    const cells = [];
    bars.forEach((bar, y) => resources.forEach((name, x) => cells.push([x, y, mean(bar.rows, name) ?? 0])));
    option.series = [{ type: 'custom', data: cells,
      renderItem: (params, api) => {
        const [x, y] = api.coord([api.value(0), api.value(1)]), [width, height] = api.size([1, 1]);
        const busy = Math.min(1, api.value(2)), left = x - width / 2 + 3, top = y - height / 2 + 4, full = width - 6, tall = height - 8;
        return { type: 'group', children: [
          { type: 'rect', shape: { x: left, y: top, width: full, height: tall }, style: { fill: colours.line } },
          { type: 'rect', shape: { x: left, y: top, width: full * busy, height: tall }, style: { fill: '#3b6fb6' } },
          // Inside of the longer part, so that it never stands on the border of the two.
          { type: 'text', style: { text: (100 * busy).toFixed(busy > 0 && busy < 0.1 ? 1 : 0) + ' %', y, align: 'center', verticalAlign: 'middle',
            x: left + full * (busy > 0.55 ? busy / 2 : (1 + busy) / 2), fill: busy > 0.55 ? '#ffffff' : colours.ink, fontSize: 11 } }] };
      },
      tooltip: { formatter: (info) => `${bars[info.value[1]].values.map(format).join(', ')}\n${resources[info.value[0]].slice(5)}: busy ${format(100 * info.value[2])} %, idle ${format(100 - 100 * info.value[2])} %` } }];
    return option;
  }

  Report.charts = {
    Chart, base, axis, logRange, colours: kColours, frontOf,
    start() {
      const drawn = [buildExplore(), buildPareto(), buildClasses(), buildBusy()].filter(Boolean);
      Report.filters.onchange(() => drawn.forEach((chart) => chart.refresh()));
    },
  };
})();

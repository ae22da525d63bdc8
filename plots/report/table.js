'use strict';
// All rows, whatever their number: only those in view are elements of the page.
(() => {
  const { element, body, columns, parameters, format, value, short, numRows } = Report;
  const kRowHeight = 26, kHeadHeight = 46, kPrinted = 400;
  const usual = ['point', 'result', 'label', ...parameters, 'ttft.mean_ttft_ms', 'ttft.p95_ttft_ms', 'bottleneck', 'verdict',
    'bytes_per_request.requested_bytes', 'efficiency.effective_budget', 'attention_mass_kept.mean', 'efficiency.amplification_payload'];
  let shownColumns = [...new Set(usual)].filter((name) => columns.has(name));
  const sort = { name: null, up: true };
  let order = [], selected = 0, first = -1, last = -1, printing = false;
  let grid, head, spacer, note, details;

  function sorted(rows) {
    if (sort.name === null) return rows;
    const sign = sort.up ? 1 : -1;
    return [...rows].sort((a, b) => {
      const left = value(a, sort.name), right = value(b, sort.name);
      if (left === right) return a - b;
      if (left === null) return 1;  // what is not there comes last, whichever way
      if (right === null) return -1;
      return sign * (typeof left === 'number' ? left - right : String(left).localeCompare(String(right)));
    });
  }

  const classOf = (name) => (columns.get(name).kind === 'number' ? 'number' : '') + (name === 'label' || name === 'result' ? ' wide' : '');
  function drawHead() {
    head.replaceChildren(...shownColumns.map((name) => {
      const mark = sort.name === name ? (sort.up ? ' \u25b2' : ' \u25bc') : '';
      const cell = element('div', { class: classOf(name), role: 'columnheader', tabindex: '0', title: name }, short(name) + mark);
      cell.setAttribute('aria-sort', sort.name !== name ? 'none' : sort.up ? 'ascending' : 'descending');
      const choose = () => { sort.up = sort.name === name ? !sort.up : true; sort.name = name; show(Report.filters.rows()); };
      cell.addEventListener('click', choose);
      cell.addEventListener('keydown', (event) => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); event.stopPropagation(); choose(); } });
      return cell;
    }));
  }

  function rowElement(position) {
    const row = order[position];
    const node = element('div', { class: 'row' + (position === selected ? ' selected' : '') + (value(row, 'verdict') === 'BACKLOGGED' ? ' backlogged' : ''), role: 'row' },
      ...shownColumns.map((name) => element('div', { class: classOf(name), role: 'cell', title: format(value(row, name)) }, format(value(row, name)))));
    node.setAttribute('aria-rowindex', String(position + 2));
    node.style.top = kHeadHeight + position * kRowHeight + 'px';
    node.addEventListener('click', () => { select(position); grid.focus({ preventScroll: true }); });
    return node;
  }

  function drawRows(force) {
    const from = printing ? 0 : Math.max(0, Math.floor(grid.scrollTop / kRowHeight) - 10);
    const to = printing ? Math.min(order.length, kPrinted) : Math.min(order.length, from + Math.ceil(grid.clientHeight / kRowHeight) + 20);
    if (!force && from === first && to === last) return;
    [first, last] = [from, to];
    for (const node of [...grid.querySelectorAll('.row')]) node.remove();
    const nodes = [];
    for (let position = from; position < to; position++) nodes.push(rowElement(position));
    grid.append(...nodes);
  }

  function select(position) {
    if (order.length === 0) { details.replaceChildren(); return; }
    selected = Math.max(0, Math.min(order.length - 1, position));
    const top = selected * kRowHeight, room = grid.clientHeight - kHeadHeight;
    if (top < grid.scrollTop) grid.scrollTop = top;
    if (top + kRowHeight > grid.scrollTop + room) grid.scrollTop = top + kRowHeight - room;
    drawRows(true);
    const row = order[selected];
    details.replaceChildren(...[...columns.keys()].filter((name) => value(row, name) !== null)
      .flatMap((name) => [element('dt', {}, name), element('dd', {}, String(value(row, name)))]));
  }

  function show(rows) {
    order = sorted(rows);
    spacer.style.height = order.length * kRowHeight + 'px';
    spacer.style.width = shownColumns.reduce((sum, name) => sum + (classOf(name).includes('wide') ? 190 : 118), 0) + 'px';
    grid.setAttribute('aria-rowcount', String(order.length + 1));
    drawHead();
    note.textContent = `${order.length} of ${numRows} rows. A click on a column sorts; arrows, Page Up and Down, Home and End move; all values of the chosen row are below.` +
      (order.length > kPrinted ? ` On paper: the first ${kPrinted}.` : '');
    select(Math.min(selected, order.length - 1));
    drawRows(true);
  }

  function columnChooser() {
    const boxes = [...columns.keys()].map((name) => {
      const input = element('input', { type: 'checkbox' });
      input.checked = shownColumns.includes(name);
      input.addEventListener('change', () => {
        shownColumns = [...columns.keys()].filter((one) => (one === name ? input.checked : shownColumns.includes(one)));
        show(Report.filters.rows());
      });
      return element('label', {}, input, name);
    });
    return element('details', {}, element('summary', {}, 'Columns'), element('div', { class: 'columns' }, ...boxes));
  }

  Report.table = {
    numElements: () => grid.querySelectorAll('.row').length,
    start() {
      const parent = body('table');
      grid = element('div', { class: 'grid', tabindex: '0', role: 'table', 'aria-label': 'Rows' });
      head = element('div', { class: 'head', role: 'row' });
      spacer = element('div', { class: 'spacer' });
      note = element('p', { class: 'note' });
      details = element('dl', { id: 'row-details' });
      grid.append(head, spacer);
      grid.addEventListener('scroll', () => drawRows(false), { passive: true });
      const page = () => Math.floor((grid.clientHeight - kHeadHeight) / kRowHeight) - 1;
      const moves = { ArrowDown: () => 1, ArrowUp: () => -1, PageDown: page, PageUp: () => -page(), Home: () => -order.length, End: () => order.length };
      grid.addEventListener('keydown', (event) => {
        if (!(event.key in moves)) return;
        event.preventDefault();
        select(selected + moves[event.key]());
      });
      parent.append(columnChooser(), note, grid, element('h3', {}, 'The chosen row'), details);
      addEventListener('beforeprint', () => { printing = true; drawRows(true); });
      addEventListener('afterprint', () => { printing = false; drawRows(true); });
      Report.filters.onchange(show);
    },
  };
})();

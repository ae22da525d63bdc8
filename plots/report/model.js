'use strict';
// The rows as columns, and what can be asked of them. Knows no element of the page.
const Report = {};

(() => {
  const data = JSON.parse(document.getElementById('data').textContent);

  // A column answers value(row): a number, a text or null. Those of two results are laid one behind the other.
  class Column {
    constructor(name, kind) { this.name = name; this.kind = kind; this.values = []; }
    value(row) { return this.values[row] ?? null; }
  }

  function decoded(column, numRows) {
    const values = 'constant' in column ? new Array(numRows).fill(column.constant) : column.values;
    return column.kind === 'text' ? values.map((index) => (index === null ? null : column.texts[index])) : values;
  }

  const columns = new Map();
  function columnNamed(name, kind) {
    if (!columns.has(name)) columns.set(name, new Column(name, kind));
    const column = columns.get(name);
    // A key that is a number in one result and a text in the other is a text.
    if (kind === 'text' && column.kind === 'number' && column.values.some((value) => value !== null)) {
      column.values = column.values.map((value) => (value === null ? null : String(value)));
    }
    if (kind === 'text') column.kind = 'text';
    return column;
  }

  const firstRow = [];
  let numRows = 0;
  const two = data.results.length > 1;
  for (const [index, result] of data.results.entries()) {
    firstRow.push(numRows);
    if (two) {
      const which = columnNamed('result', 'text');
      for (let i = 0; i < result.num_rows; i++) which.values[numRows + i] = 'AB'[index] + ': ' + result.name;
    }
    for (const encoded of result.columns) {
      const isEmpty = encoded.kind === 'number' && 'constant' in encoded && encoded.constant === null;
      const known = columns.get(encoded.name);
      const column = columnNamed(encoded.name, isEmpty && known ? known.kind : encoded.kind);
      const values = decoded(encoded, result.num_rows);
      for (let i = 0; i < values.length; i++) {
        column.values[numRows + i] = column.kind === 'text' && values[i] !== null ? String(values[i]) : values[i];
      }
    }
    numRows += result.num_rows;
  }

  const distinctCache = new Map();
  // Values in drawing order: numbers upwards, texts as they first appear. Null last, where there is one.
  function distinct(name) {
    if (distinctCache.has(name)) return distinctCache.get(name);
    const column = columns.get(name), seen = new Set();
    for (let i = 0; i < numRows; i++) seen.add(column.value(i));
    const values = [...seen].filter((value) => value !== null);
    if (column.kind === 'number') values.sort((a, b) => a - b);
    if (seen.has(null)) values.push(null);
    distinctCache.set(name, values);
    return values;
  }

  const isParameter = (name) => name.startsWith('axes.') ||
    ['label', 'result', 'software_path', 'model', 'profile', 'replica', 'seed', 'importance', 'scenario'].includes(name);
  const varies = (name) => columns.has(name) && distinct(name).length > 1;
  // What a point may be told apart by. An axis named like a column of its own (software_path) appears once.
  const parameters = [...columns.keys()].filter((name) => isParameter(name) && varies(name) &&
    !(name.startsWith('axes.') && columns.has(name.slice(5)) && isParameter(name.slice(5))));
  // What rows may be filtered by besides: outcomes, by which nothing is averaged.
  const outcomes = ['verdict', 'bottleneck'].filter(varies);
  const notMetrics = ['point', 'replica', 'seed', 'schema_version'];
  const metrics = [...columns.values()].filter((column) => column.kind === 'number' && !column.name.startsWith('axes.') &&
    !notMetrics.includes(column.name) && column.values.some((value) => value !== null)).map((column) => column.name);

  function format(value) {
    if (value === null || value === undefined) return '-';
    if (typeof value !== 'number') return String(value);
    if (Number.isInteger(value)) return String(value);
    const size = Math.abs(value);
    return size >= 1e6 ? value.toExponential(3) : size >= 1000 ? value.toFixed(1) : String(Number(value.toPrecision(4)));
  }

  function mean(rows, name) {
    const column = columns.get(name);
    let sum = 0, count = 0;
    if (!column) return null;
    for (const row of rows) {
      const value = column.value(row);
      if (typeof value === 'number') { sum += value; count++; }
    }
    return count > 0 ? sum / count : null;
  }

  // Rows by a key made of some columns, in order of first appearance.
  function grouped(rows, names) {
    const groups = new Map();
    for (const row of rows) {
      const values = names.map((name) => columns.get(name).value(row));
      const key = JSON.stringify(values);
      if (!groups.has(key)) groups.set(key, { values, rows: [] });
      groups.get(key).rows.push(row);
    }
    return [...groups.values()];
  }

  // Only ever from texts: nothing in a result becomes markup.
  function element(tag, options = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(options)) {
      if (key === 'class') node.className = value;
      else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else if (key in node && typeof value !== 'string') node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }

  function choice(label, values, chosen, onchange) {
    const select = element('select', { 'aria-label': label });
    for (const value of values) {
      const option = element('option', {}, value === '' ? '(none)' : value.replace(/^axes\./, ''));
      option.value = value;
      option.selected = value === chosen;
      select.append(option);
    }
    select.addEventListener('change', () => onchange(select.value));
    return element('label', {}, label, select);
  }

  const body = (id) => document.querySelector('#' + id + ' .body');

  Object.assign(Report, {
    data, columns, numRows, firstRow, two, distinct, parameters, outcomes, metrics, format, mean, grouped, element, choice, body,
    short: (name) => name.replace(/^axes\./, ''),
    value: (row, name) => (columns.has(name) ? columns.get(name).value(row) : null),
    has: (name) => columns.has(name),
  });
})();

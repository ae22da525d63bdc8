'use strict';
// Which rows are shown: a tick box for every value of every parameter, and words to look for. One choice for the page.
(() => {
  const { element, distinct, numRows, value, short, format } = Report;
  const parameters = [...Report.parameters, ...Report.outcomes];
  const kMostValues = 40;  // more boxes than that help nobody; words still find them
  const excluded = new Map(parameters.map((name) => [name, new Set()]));
  const listeners = [];
  let words = [];
  let shown = [...Array(numRows).keys()];

  const searched = parameters.length > 0 ? parameters : ['label'];
  const textOf = (row) => searched.map((name) => format(value(row, name))).join(' ').toLowerCase();

  function apply() {
    shown = [];
    const active = [...excluded].filter(([, values]) => values.size > 0);
    for (let row = 0; row < numRows; row++) {
      if (active.some(([name, values]) => values.has(value(row, name)))) continue;
      if (words.length > 0) {
        const text = textOf(row);
        if (!words.every((word) => text.includes(word))) continue;
      }
      shown.push(row);
    }
    count.textContent = shown.length === numRows ? `Filters: all ${numRows} rows` : `Filters: ${shown.length} of ${numRows} rows`;
    for (const listener of listeners) listener(shown);
  }

  function box(name, entry) {
    const input = element('input', { type: 'checkbox' });
    input.checked = true;
    input.addEventListener('change', () => {
      if (input.checked) excluded.get(name).delete(entry); else excluded.get(name).add(entry);
      apply();
    });
    input.dataset.parameter = name;
    input.dataset.value = format(entry);
    return element('label', {}, input, format(entry));
  }

  const count = element('summary');
  const search = element('input', { type: 'search', placeholder: 'words, all must occur', 'aria-label': 'Words to look for' });
  search.addEventListener('input', () => { words = search.value.toLowerCase().split(/\s+/).filter(Boolean); apply(); });
  const reset = element('button', { type: 'button' }, 'Show all');
  reset.addEventListener('click', () => {
    for (const values of excluded.values()) values.clear();
    for (const input of document.querySelectorAll('#filters input[type=checkbox]')) input.checked = true;
    search.value = ''; words = [];
    apply();
  });
  const details = element('details', {}, count);
  details.open = parameters.length <= 5;
  details.append(element('div', { class: 'controls' }, search, reset));
  for (const name of parameters) {
    if (distinct(name).length > kMostValues) continue;
    details.append(element('fieldset', {}, element('legend', {}, short(name)), ...distinct(name).map((entry) => box(name, entry))));
  }
  document.getElementById('filters').append(details);

  Report.filters = {
    rows: () => shown,
    start: apply,
    onchange: (listener) => listeners.push(listener),
  };
})();

'use strict';
// Title, warnings, and where the numbers come from.
(() => {
  const { data, element, body, two, numRows, distinct, has, format } = Report;

  function header() {
    document.getElementById('title').textContent = data.results.map((result, i) => (two ? 'AB'[i] + ': ' : '') + result.name).join('  |  ');
    document.getElementById('description').textContent = data.results.map((result) => result.scenario?.description ?? '').filter(Boolean).join(' | ');
    const facts = [`${numRows} rows`];
    for (const name of ['model', 'profile', 'importance', 'seed', 'workload.measured_requests']) {
      if (has(name)) facts.push(`${name.replace('workload.', '').replace('_', ' ')}: ${distinct(name).slice(0, 6).map(format).join(', ')}`);
    }
    facts.push(data.program);
    document.getElementById('facts').textContent = facts.join('  \u00b7  ');
  }

  function warnings() {
    const parent = document.getElementById('warnings');
    for (const [i, result] of data.results.entries()) {
      for (const warning of result.warnings) {
        const rows = warning.num_rows === 0 ? '' : warning.num_rows === result.num_rows ? 'All rows. ' : `${warning.num_rows} of ${result.num_rows} rows. `;
        parent.append(element('p', { class: 'warning' }, (two ? 'AB'[i] + ': ' : '') + rows + warning.text));
      }
    }
  }

  const block = (title, value, open) => {
    const details = element('details', {}, element('summary', {}, title), element('pre', {}, JSON.stringify(value, null, 2)));
    details.open = open;
    return details;
  };

  Report.details = {
    start() {
      header();
      warnings();
      const parent = element('div', { class: 'side' });
      body('provenance').append(element('p', { class: 'note' }, 'Every row also has an `inputs` hash of everything that decided it, and the number of its point in the result folder.'), parent);
      for (const result of data.results) {
        const side = element('div', {}, element('p', {}, result.folder));
        if (result.scenario) side.append(block('Scenario', result.scenario, true));
        if (result.first_point) side.append(block('First point, resolved: every parameter, model and hardware number', result.first_point, false));
        if (result.run) side.append(block('The run (wall clock)', result.run, false));
        parent.append(side);
      }
    },
  };
})();

'use strict';
// Builds the page from its parts, in the order in which they are read.
(() => {
  Report.details.start();
  Report.compare.start();
  Report.charts.start();
  Report.gantt.start();
  Report.table.start();
  Report.filters.start();
  document.body.dataset.ready = 'yes';
})();

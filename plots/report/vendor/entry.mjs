// What the report uses of Apache ECharts; `./build` makes echarts.min.js of it.
export { init, use } from 'echarts/core';
import { use } from 'echarts/core';
import { LineChart, BarChart, ScatterChart, CustomChart } from 'echarts/charts';
import { GridComponent, TooltipComponent, LegendComponent, DataZoomComponent, AriaComponent } from 'echarts/components';
import { CanvasRenderer } from 'echarts/renderers';

use([LineChart, BarChart, ScatterChart, CustomChart, GridComponent, TooltipComponent, LegendComponent,
     DataZoomComponent, AriaComponent, CanvasRenderer]);

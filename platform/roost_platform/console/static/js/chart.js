// The last hour on the Overview and on Inference: tokens as bars, a latency as a line.
"use strict";
(() => {
  const box = document.getElementById("chart");
  if (!box || typeof uPlot === "undefined") return;
  let columns = JSON.parse(box.dataset.columns);
  let plot;

  const colour = (name) => {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return probe.fillStyle;
  };
  const faint = (name, alpha) => {
    const value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return `color-mix(in srgb, ${value} ${alpha}%, transparent)`;
  };
  const data = () => [columns.at, columns.bars, columns.line];
  const draw = () => {
    plot?.destroy();
    const grid = { stroke: faint("--foreground", 8), width: 1 };
    const text = colour("--muted-foreground");
    const axis = (more) => ({ stroke: text, grid, ticks: { show: false }, font: "11px Inter, sans-serif", ...more });
    const top = (least) => (_, __, max) => [0, Math.max(least, (max ?? 0) * 1.15)];
    plot = new uPlot({
      width: box.clientWidth,
      height: box.clientHeight,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 } },
      scales: { tokens: { range: top(10) }, ms: { range: top(Number(box.dataset.lineLeast)) } },
      axes: [
        axis({ size: 28, space: 90, grid: { show: false }, values: (_, at) => at.map((s) => new Date(s * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" })) }),
        axis({ scale: "tokens", size: 46 }),
        axis({ scale: "ms", side: 1, size: 54, grid: { show: false }, values: (_, ms) => ms.map((v) => `${v} ms`) }),
      ],
      series: [
        {},
        { scale: "tokens", stroke: faint("--span-decode", 70), fill: faint("--span-decode", 18), width: 1, points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 12], radius: 0.2 }) },
        { scale: "ms", stroke: colour("--span-prefill"), width: 2, spanGaps: true, points: { size: 4 } },
      ],
    }, data(), box);
  };
  draw();
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: box.clientHeight })).observe(box);
  addEventListener("roost:theme", draw);
  document.addEventListener("metrics", (event) => {
    columns = JSON.parse(event.detail.data);
    plot.setData(data());
  });
})();

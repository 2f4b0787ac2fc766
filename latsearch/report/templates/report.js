(() => {
  "use strict";
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 700px)");
  // a finger that drags over a chart means to scroll the page
  const touch = matchMedia("(pointer: coarse)").matches;
  const color = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const element = (chart) => document.getElementById(chart.id);

  // --- drawing -------------------------------------------------------------------------------

  function themed(layout) {
    const axis = (given) => ({
      automargin: true,
      gridcolor: color("--line"),
      linecolor: color("--line"),
      zeroline: false,
      ...given,
      title: { standoff: 8, ...given.title },
    });
    return {
      height: 400,
      margin: { l: 8, r: 8, t: 8, b: 8 },
      ...layout,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, ...layout.legend },
      xaxis: axis(layout.xaxis ?? {}),
      yaxis: axis(layout.yaxis ?? {}),
      dragmode: touch ? false : "zoom",
      font: { family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13, color: color("--text") },
      hoverlabel: {
        align: "left",
        bgcolor: color("--card"),
        bordercolor: color("--line"),
        font: { family: "system-ui, sans-serif", color: color("--text") },
      },
      modebar: {
        bgcolor: "rgba(0,0,0,0)",
        color: color("--quiet"),
        activecolor: color("--text"),
      },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
    };
  }

  function colored(trace) {
    const role = trace.meta && trace.meta.role;
    if (role === "quiet") {
      const quiet = color("--quiet");
      trace.marker = { ...trace.marker, color: quiet };
      trace.line = { ...trace.line, color: quiet };
    } else if (role === "chosen") {
      trace.marker = {
        ...trace.marker,
        color: "rgba(0,0,0,0)",
        line: { width: 2.5, color: color("--text") },
      };
    }
    return trace;
  }

  const config = {
    displaylogo: false,
    showSendToCloud: false, // a button that uploads the data, shown by default
    plotlyServerURL: "",
    responsive: true,
    displayModeBar: touch ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };
  const draw = (chart) =>
    Plotly.react(element(chart), chart.traces.map(colored), themed(chart.layout), config);
  charts.forEach(draw);
  dark.addEventListener("change", () => charts.forEach(draw));

  // --- objective of the slices ---------------------------------------------------------------

  const view = document.getElementById("view");
  const showView = () =>
    charts.forEach((chart) => {
      const chosen = chart.views[view.value];
      if (!chosen) return;
      chart.traces.forEach((trace, index) => (trace.visible = chosen.visible[index]));
      chart.layout = { ...chart.layout, ...chosen.layout };
      draw(chart);
    });
  if (view) {
    view.addEventListener("change", showView);
    showView(); // a browser may remember what was chosen before a reload
  }

  // --- the front: charts and table -----------------------------------------------------------

  const table = document.getElementById("points");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows]; // in the order of the front, whatever the table's is
  const fronts = charts.filter((chart) => chart.id.startsWith("front-"));
  const FRONT = 1;
  const CHOSEN = 2;

  function choose(point, scroll) {
    rows.forEach((row, index) => row.setAttribute("aria-selected", String(index === point)));
    fronts.forEach((chart) => {
      const front = chart.traces[FRONT];
      chart.traces[CHOSEN].x = [front.x[point]];
      chart.traces[CHOSEN].y = [front.y[point]];
      Plotly.restyle(element(chart), { x: [[front.x[point]]], y: [[front.y[point]]] }, [CHOSEN]);
    });
    if (!scroll) return;
    const box = table.parentElement; // scroll the table alone, not the page
    box.scrollTop = rows[point].offsetTop - box.clientHeight / 2;
  }

  fronts.forEach((chart) =>
    element(chart).on("plotly_click", (event) => {
      const hit = event.points.find((point) => point.curveNumber === FRONT);
      if (hit) choose(hit.pointNumber, true);
    }),
  );
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) choose(Number(row.dataset.point), false);
  });
  body.addEventListener("keydown", (event) => {
    if (event.key === "Enter") choose(Number(event.target.dataset.point), false);
  });

  const heads = [...table.tHead.rows[0].cells];
  const columns = heads.map((head) => head.dataset.column);
  const value = (row, column) => {
    const text = row.cells[column].dataset.value;
    return text === "inf" ? Infinity : text !== "" && isFinite(text) ? Number(text) : text;
  };

  heads.forEach((head, column) =>
    head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = (a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (x === y) return 0;
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
        return x < y ? -1 : 1;
      };
      body.append(...[...rows].sort((a, b) => (down ? compare(b, a) : compare(a, b))));
    }),
  );

  const filter = document.getElementById("filter");
  const tests = {
    "<": (x, y) => x < y,
    "<=": (x, y) => x <= y,
    ">": (x, y) => x > y,
    ">=": (x, y) => x >= y,
    "=": (x, y) => x === y,
  };
  const find = (name) =>
    columns.findIndex((column) => column === name || column.split(/[._]/).includes(name));

  // a word stands anywhere in the row; name<=1.5 compares a column
  function holds(term, row) {
    const parts = /^([\w.]+)(<=|>=|<|>|=)(.+)$/.exec(term);
    if (!parts || find(parts[1]) < 0) return row.textContent.toLowerCase().includes(term);
    const wanted = isFinite(parts[3]) ? Number(parts[3]) : parts[3];
    return tests[parts[2]](value(row, find(parts[1])), wanted);
  }

  function show() {
    const terms = filter.value
      .toLowerCase()
      .replace(/\s*(<=|>=|<|>|=)\s*/g, "$1")
      .split(/\s+/)
      .filter((term) => term && term !== "and");
    rows.forEach((row) => (row.hidden = !terms.every((term) => holds(term, row))));
    const opacity = rows.map((row) => (row.hidden ? 0.12 : 1));
    fronts.forEach((chart) => {
      chart.traces[FRONT].marker.opacity = opacity;
      Plotly.restyle(element(chart), { "marker.opacity": [opacity] }, [FRONT]);
    });
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").textContent = `${shown} of ${rows.length}`;
  }
  filter.addEventListener("input", show);
  if (filter.value) show(); // a browser may remember it over a reload
})();

// Histogram of a feature's activations: log-spaced bins, log counts, borders of the intervals; an example under the
// pointer elsewhere on the page ("saescope:mark") is marked on the axis.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 46;
const RIGHT = 8;
const TOP = 14;
const BOTTOM = 32;

function shape(name, attributes, className) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (className) element.setAttribute("class", className);
  return element;
}

function words(text, x, y, className) {
  const element = shape("text", { x, y }, className);
  element.textContent = text;
  return element;
}

function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  if (value >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
  if (value >= 100) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  if (value < 1e-3) return value.toExponential(1).replace(".0e", "e");
  return String(+value.toPrecision(3));
}

// Round values inside [low, high], at most `most`: 1-2-5 steps of decades, or even steps where the span is short.
function roundTicks(low, high, most) {
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const out = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const f of factors) {
        const v = f * 10 ** e;
        if (v >= low * 0.999 && v <= high * 1.001) out.push(v);
      }
    if (out.length <= most && out.length >= 3) return out;
    if (out.length < 3) break;
    if (factors.length === 1) return out.filter((_, i) => i % Math.ceil(out.length / most) === 0);
  }
  const step = 10 ** Math.floor(Math.log10((high - low) / 2));
  const even = [5, 2, 1, 0.5].map((f) => f * step).find((s) => (high - low) / s >= 2.5) ?? step / 2;
  const out = [];
  for (let v = Math.ceil(low / even) * even; v <= high * 1.0001 && out.length < most; v += even) out.push(v);
  return out;
}

function draw(component, root) {
  const { lower, upper, counts, borders, interval_names: names, chosen, axis, height } = component.data;
  const plot = root.querySelector(".plot");
  const width = Math.max(160, root.clientWidth);
  const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", component.data.label);
  plot.replaceChildren(svg);
  const bottom = height - BOTTOM;
  svg.append(shape("line", { x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom }, "axis"));
  if (!counts.length) {
    svg.append(words(component.data.empty, LEFT + (width - LEFT - RIGHT) / 2, bottom / 2 + 8, "empty"));
    root._mark = () => undefined;
    return;
  }
  const last = upper[upper.length - 1];
  const first = Math.min(lower[0], last / 4); // at least two octaves, so that a single bin does not fill the plot
  const low = Math.log(first);
  const span = Math.log(last) - low;
  const inner = width - LEFT - RIGHT;
  const x = (value) => LEFT + (Math.min(Math.max(Math.log(value) - low, 0), span) / span) * inner;
  const tallest = Math.log10(Math.max(...counts)) + 0.3;
  const y = (count) => bottom - ((Math.log10(count) + 0.3) / tallest) * (bottom - TOP);

  // Where a bar belongs: the strongest interval whose lower border it reaches.
  const intervalOf = (value) => borders.findIndex((border) => value >= border * 0.9999999);
  if (chosen !== null && chosen !== undefined && borders.length) {
    const from = x(Math.max(borders[chosen], first));
    const to = chosen === 0 ? width - RIGHT : x(borders[chosen - 1]);
    svg.append(shape("rect", { x: from, width: Math.max(0, to - from), y: TOP, height: bottom - TOP }, "chosen"));
  }
  counts.forEach((count, i) => {
    const left = x(lower[i]);
    const right = x(upper[i]);
    if (count > 0) {
      const top = y(count);
      const gap = right - left > 4 ? 1 : 0;
      svg.append(shape("rect", { x: left, width: Math.max(1, right - left - gap), y: top, height: bottom - top }, "bar"));
    }
    const catcher = shape("rect", { x: left, width: right - left, y: TOP, height: bottom - TOP }, "catcher");
    const interval = intervalOf(Math.sqrt(lower[i] * upper[i]));
    catcher._tip =
      `${count.toLocaleString("en")} positions\n${axis} ${short(lower[i])} to ${short(upper[i])}` +
      (interval >= 0 && names[interval] ? `\nclick: examples from ${names[interval]}` : "");
    if (interval >= 0)
      catcher.addEventListener("click", () => component.setTriggerValue("open", interval));
    svg.append(catcher);
  });
  for (const border of borders) {
    if (border <= first) continue;
    svg.append(shape("line", { x1: x(border), x2: x(border), y1: TOP - 4, y2: bottom }, "border"));
  }
  const ticks = roundTicks(first, last, Math.max(3, Math.floor(inner / 70)));
  for (const tick of ticks) {
    svg.append(shape("line", { x1: x(tick), x2: x(tick), y1: bottom, y2: bottom + 4 }, "axis"));
    svg.append(words(short(tick), x(tick), bottom + 15, "tick"));
  }
  const largest = Math.max(...counts);
  const most = Math.floor(Math.log10(largest));
  const levels = [];
  for (let e = 0; e <= most; e += Math.max(1, Math.ceil((most + 1) / 4))) levels.push(10 ** e);
  if (y(levels[levels.length - 1]) - y(largest) > 14) levels.push(largest);
  for (const level of levels) {
    svg.append(shape("line", { x1: LEFT - 4, x2: LEFT, y1: y(level), y2: y(level) }, "axis"));
    svg.append(words(short(level), LEFT - 7, y(level) + 4, "tick count"));
  }
  svg.append(words(axis, LEFT + inner / 2, height - 3, "title"));
  const side = words("positions (log)", 0, 0, "title");
  side.setAttribute("transform", `translate(10 ${TOP + (bottom - TOP) / 2}) rotate(-90)`);
  svg.append(side);

  const mark = shape("path", { d: "M0 0" }, "mark");
  svg.append(mark);
  root._mark = (value) => {
    if (value === null || value === undefined || !(Math.abs(value) > 0)) return mark.setAttribute("d", "M0 0");
    const at = x(Math.abs(value));
    mark.setAttribute("d", `M${at} ${bottom + 1} V${TOP - 2} m-4 -6 h8 l-4 6 z`);
  };
}

export default function (component) {
  const root = component.parentElement.querySelector(".root");
  draw(component, root);
  tooltips(root);
  root._component = component;
  if (!root._observer) {
    let width = root.clientWidth;
    root._observer = new ResizeObserver(() => {
      if (root.clientWidth === width || !root.clientWidth) return;
      width = root.clientWidth;
      draw(root._component, root);
    });
    root._observer.observe(root);
    root._listener = (event) => root._mark(event.detail);
    document.addEventListener("saescope:mark", root._listener);
  }
  return () => {
    root._observer?.disconnect();
    document.removeEventListener("saescope:mark", root._listener);
    root._observer = null;
  };
}

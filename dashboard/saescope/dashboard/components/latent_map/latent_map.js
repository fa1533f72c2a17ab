// Points on a canvas for each pair of units, with what is under the pointer.

const TURN = new WeakMap();
const LEFT = 44, BOTTOM = 34, TOP = 8, RIGHT = 8, NEAR = 12;

function niceStep(length) {
  const power = 10 ** Math.floor(Math.log10(length));
  return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= length * (1 - 1e-9));
}

function range(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const pad = (high - low) * 0.04 || 1;
  return [low - pad, high + pad];
}

function ticks([low, high]) {
  const step = niceStep((high - low) / 5);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) found.push(Number((k * step).toPrecision(6)));
  return found;
}

// One map: unit `a` to the right, unit `b` upwards.
class Plane {
  constructor(data, a, b, shown, tip, root) {
    Object.assign(this, { data, a, b, shown, tip, root });
    this.element = document.createElement("div");
    this.element.className = "map";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${data.label}: ${data.axes[b]} against ${data.axes[a]}`);
    this.element.append(this.canvas);
    this.x = range(data.codes[a]);
    this.y = range(data.codes[b]);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => (tip.hidden = true));
    this.canvas.addEventListener("click", (event) => {
      const at = this.nearest(event);
      if (at >= 0) follow(data.href + encodeURIComponent(data.values[at]));
    });
  }

  place(i) {
    const across = (this.data.codes[this.a][i] - this.x[0]) / (this.x[1] - this.x[0]);
    const up = (this.data.codes[this.b][i] - this.y[0]) / (this.y[1] - this.y[0]);
    return [LEFT + across * (this.side - LEFT - RIGHT), TOP + (1 - up) * (this.side - TOP - BOTTOM)];
  }

  draw() {
    this.side = this.canvas.clientWidth;
    if (!this.side) return;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = this.canvas.height = Math.round(this.side * ratio);
    const pen = this.canvas.getContext("2d");
    const ink = getComputedStyle(this.root).color;
    pen.scale(ratio, ratio);
    pen.font = `11px ${getComputedStyle(this.root).fontFamily}`;
    pen.fillStyle = pen.strokeStyle = ink;
    pen.lineWidth = 1;
    const right = this.side - RIGHT, floor = this.side - BOTTOM;
    pen.globalAlpha = 0.25;
    pen.strokeRect(LEFT + 0.5, TOP + 0.5, right - LEFT - 1, floor - TOP - 1);
    for (const [span, isX] of [[this.x, true], [this.y, false]]) {
      for (const value of ticks(span)) {
        const share = (value - span[0]) / (span[1] - span[0]);
        pen.globalAlpha = value === 0 ? 0.3 : 0.1;
        pen.beginPath();
        if (isX) {
          const x = Math.round(LEFT + share * (right - LEFT)) + 0.5;
          pen.moveTo(x, TOP);
          pen.lineTo(x, floor);
        } else {
          const y = Math.round(floor - share * (floor - TOP)) + 0.5;
          pen.moveTo(LEFT, y);
          pen.lineTo(right, y);
        }
        pen.stroke();
        pen.globalAlpha = 0.75;
        pen.textAlign = isX ? "center" : "right";
        pen.textBaseline = isX ? "top" : "middle";
        if (isX) pen.fillText(String(value), LEFT + share * (right - LEFT), floor + 4);
        else pen.fillText(String(value), LEFT - 5, floor - share * (floor - TOP));
      }
    }
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    pen.fillText(this.data.axes[this.a], (LEFT + right) / 2, this.side);
    pen.save();
    pen.translate(10, (TOP + floor) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(this.data.axes[this.b], 0, 2);
    pen.restore();
    const size = this.data.groups.length > 3000 ? 1.6 : 2.4;
    pen.globalAlpha = this.data.groups.length > 3000 ? 0.65 : 0.8;
    this.data.groups.forEach((group, i) => {
      if (!this.shown.has(group)) return;
      const [x, y] = this.place(i);
      pen.fillStyle = this.data.colours[group];
      pen.beginPath();
      pen.arc(x, y, size, 0, 2 * Math.PI);
      pen.fill();
    });
  }

  nearest(event) {
    const box = this.canvas.getBoundingClientRect();
    const px = event.clientX - box.left, py = event.clientY - box.top;
    let best = -1, least = NEAR * NEAR;
    this.data.groups.forEach((group, i) => {
      if (!this.shown.has(group)) return;
      const [x, y] = this.place(i);
      const distance = (x - px) ** 2 + (y - py) ** 2;
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  }

  point(event) {
    const at = this.nearest(event);
    if (at < 0) {
      this.tip.hidden = true;
      return;
    }
    const { data, tip } = this;
    const lines = data.tips[at].split("\n").map((line) => {
      const row = document.createElement("div");
      row.textContent = line;
      return row;
    });
    const tile = data.pictures[at];
    const drawn = data.sprite && tile >= 0 ? [picture("main", data.sprite, tile, data.scale)] : [];
    tip.replaceChildren(...drawn, ...lines);
    tip.hidden = false;
    const frame = this.root.getBoundingClientRect();
    const [x, y] = this.place(at);
    const box = this.canvas.getBoundingClientRect();
    const left = box.left - frame.left + x + 12, top = box.top - frame.top + y + 12;
    tip.style.left = `${Math.max(0, Math.min(left, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${top + tip.offsetHeight > frame.height ? top - tip.offsetHeight - 24 : top}px`;
  }
}

export default async function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".root");
  const turn = (TURN.get(root) ?? 0) + 1;
  TURN.set(root, turn);
  const swap = await loadSheets(root, { main: data.sprite });
  if (TURN.get(root) !== turn) return;
  swap();
  const tip = document.createElement("div");
  tip.className = "tip point";
  tip.hidden = true;
  const shown = new Set(data.names.keys());
  const planes = [];
  for (let a = 0; a < data.codes.length; a++) {
    for (let b = a + 1; b < data.codes.length; b++) planes.push(new Plane(data, a, b, shown, tip, root));
  }
  const draw = () => planes.forEach((plane) => plane.draw());
  const legend = document.createElement("div");
  legend.className = "legend";
  if (data.names.length > 1) {
    data.names.forEach((name, group) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const dot = document.createElement("span");
      dot.className = "dot";
      dot.style.background = data.colours[group];
      button.append(dot, name);
      button.addEventListener("click", () => {
        if (shown.has(group)) shown.delete(group);
        else shown.add(group);
        button.setAttribute("aria-pressed", String(shown.has(group)));
        draw();
      });
      legend.append(button);
    });
  }
  const maps = document.createElement("div");
  maps.className = "maps";
  maps.append(...planes.map((plane) => plane.element));
  const style = root.querySelector("style.sheets");
  root.replaceChildren(...(style ? [style] : []), legend, maps, tip);
  const watch = new ResizeObserver(draw);
  watch.observe(maps);
  return () => {
    watch.disconnect();
    dropSheets(root);
  };
}

// Examples of a text feature, one a line: the firing token in the middle, the whole context on demand.

const NEAR = 60; // pieces on either side that a closed line holds
const MIDDLE = 0.42; // where the firing token stands, as a share of the line

function centre(line) {
  const strip = line.querySelector(".strip");
  const here = line.querySelector(".here");
  if (!strip || !here || line.classList.contains("open")) return;
  const box = here.getBoundingClientRect();
  const frame = strip.getBoundingClientRect();
  strip.scrollLeft += box.left + Math.min(box.width, frame.width / 2) / 2 - (frame.left + frame.width * MIDDLE);
}

function fill(line, data, item) {
  const open = line.classList.contains("open");
  const text = document.createElement("span");
  text.className = open ? "text whole" : "text";
  text.dir = "auto";
  const at = item.pieces.findIndex((piece) => piece[1] <= item.at && item.at < piece[2]);
  const from = open ? 0 : Math.max(0, at - NEAR);
  const to = open ? item.pieces.length : at + NEAR;
  item.pieces.slice(from, to).forEach((piece, i) => {
    const element = tokenElement(piece);
    let strongest = 0;
    for (let p = piece[1]; p < piece[2]; p++)
      if (Math.abs(item.fired[p] ?? 0) > Math.abs(strongest)) strongest = item.fired[p];
    if (strongest) tint(element, strongest / data.strongest);
    if (from + i === at) element.classList.add("here");
    element._tip = tokenTip(piece, item.ids, item.offset, item.fired);
    text.append(element);
    if (open && piece[0].includes("↵")) text.append(document.createElement("br"));
  });
  line.querySelector(".strip").replaceChildren(text);
  const button = line.querySelector("button");
  button.textContent = open ? "▾" : "▸";
  button.setAttribute("aria-expanded", String(open));
  button._tip = open ? "Show what stands around the token" : "Show the whole context";
  centre(line);
}

function makeLine(component, data, item) {
  const line = document.createElement("div");
  line.className = `line${data.whole ? " open" : ""}`;
  line.setAttribute("role", "listitem");
  const number = document.createElement("span");
  number.className = "number";
  number.textContent = item.number;
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", "whole context");
  const strip = document.createElement("div");
  strip.className = "strip";
  const link = opener(component, item.item, data);
  link.className = "meta";
  link.textContent = item.meta;
  link._tip = item.tip;
  line.append(number, button, strip, link);
  const turn = () => {
    line.classList.toggle("open");
    fill(line, data, item);
  };
  button.addEventListener("click", turn);
  strip.addEventListener("dblclick", turn);
  const mark = (value) => () => document.dispatchEvent(new CustomEvent("saescope:mark", { detail: value }));
  line.addEventListener("pointerenter", mark(item.mark));
  line.addEventListener("pointerleave", mark(null));
  fill(line, data, item);
  return line;
}

export default function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".root");
  let lines = root.querySelector(".lines");
  if (!lines) {
    lines = document.createElement("div");
    lines.className = "lines";
    root.append(lines);
  }
  root.style.setProperty("--full", String(data.full));
  lines.setAttribute("role", "list");
  lines.setAttribute("aria-label", data.label);
  lines.style.minHeight = `${data.room * 26}px`;
  lines.replaceChildren(...data.strips.map((item) => makeLine(component, data, item)));
  const all = [...lines.children];
  all.forEach(centre);
  tooltips(root);
  root._lines = all;
  if (!root._observer) {
    let width = root.clientWidth;
    root._observer = new ResizeObserver(() => {
      if (root.clientWidth === width) return;
      width = root.clientWidth;
      root._lines.forEach(centre);
    });
    root._observer.observe(root);
  }
  return () => {
    root._observer?.disconnect();
    root._observer = null;
  };
}

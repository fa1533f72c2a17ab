// Rows of input, reconstruction and residual, and the atoms that build the picture, each with its share.

const TURN = new WeakMap();
const PICTURES = ["input", "reconstruction", "residual"]; // columns that are left out where there is no picture

function cell(className, ...children) {
  const element = document.createElement("div");
  element.className = className;
  element.append(...children);
  return element;
}

function line(text, className) {
  const element = document.createElement("div");
  element.className = className;
  element.textContent = text;
  return element;
}

function builder(component, data, item, largest) {
  const link = opener(component, item.feature, data);
  link.className = "builder";
  const frame = document.createElement("span");
  frame.className = "stack";
  frame.append(picture("atoms", data.atoms, item.tile, data.atom_scale));
  const bar = document.createElement("span");
  bar.className = `bar ${item.share < 0 ? "against" : ""}`;
  bar.style.width = `${(Math.abs(item.share) / largest) * 100}%`;
  const share = document.createElement("span");
  share.className = "share";
  share.textContent = item.text;
  link.append(frame, bar, share);
  link._tip = item.tip;
  link.setAttribute("aria-label", item.tip.replaceAll("\n", ", "));
  return link;
}

function row(component, data, item, index) {
  const { scale } = data;
  const shown = [cell("item", line(item.title, "strong"), ...item.lines.map((text) => line(text, "weak")))];
  for (const name of PICTURES.filter((name) => data[name])) {
    const drawn = picture(name, data[name], index, scale);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", `${name} of ${item.title}`);
    shown.push(cell("shown", drawn));
  }
  shown.push(cell("error", ...item.errors.map((text, i) => line(text, i ? "weak" : "strong"))));
  const largest = Math.max(1e-9, ...item.builders.map((b) => Math.abs(b.share)));
  const builders = cell("builders", ...item.builders.map((b) => builder(component, data, b, largest)));
  if (item.rest) builders.append(line(item.rest, "rest weak"));
  shown.push(builders);
  const element = cell("row", ...shown);
  element.setAttribute("role", "row");
  arrowKeys(builders);
  return element;
}

export default async function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".root");
  const turn = (TURN.get(root) ?? 0) + 1;
  TURN.set(root, turn);
  const { input, reconstruction, residual, atoms } = data;
  const swap = await loadSheets(root, { input, reconstruction, residual, atoms });
  if (TURN.get(root) !== turn) return;
  let rows = root.querySelector(".rows");
  if (!rows) {
    rows = cell("rows");
    root.append(rows);
  }
  swap();
  const across = (data.input ?? data.reconstruction)?.width * data.scale || 0;
  rows.style.setProperty("--across", `${Math.max(across, 78)}px`);
  const titles = data.titles.filter((_, i) => i < 1 || i > 3 || data[PICTURES[i - 1]]);
  rows.style.setProperty("--pictures", String(titles.length - 3));
  rows.classList.toggle("plain", titles.length === 3);
  const head = cell("row head", ...titles.map((title) => {
    const element = line(title.text, "");
    element._tip = title.help;
    return element;
  }));
  rows.replaceChildren(head, ...data.rows.map((item, index) => row(component, data, item, index)));
  tooltips(root);
  return () => dropSheets(root);
}

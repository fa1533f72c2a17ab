// Pictures in rows and columns, cut from sprites, with headings that may lead somewhere.

const TURN = new WeakMap();

function text(tag, className, words) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = words;
  return element;
}

function link(href) {
  const element = document.createElement("a");
  element.href = href;
  element.addEventListener("click", (event) => {
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    follow(element.href);
  });
  return element;
}

function heading(data, scope) {
  const cell = document.createElement("th");
  cell.scope = scope;
  const title = data.href ? link(data.href) : document.createElement("span");
  title.className = "title";
  if (data.dot) {
    const dot = text("span", "dot", "");
    dot.style.background = data.dot;
    title.append(dot);
  }
  title.append(data.title);
  cell.append(title, ...data.lines.map((line) => text("span", "line", line)));
  if (data.help) {
    cell._tip = data.help;
    cell.classList.add("help");
  }
  return cell;
}

function shown(sheets, item) {
  const sheet = sheets[item.sheet];
  const drawn = picture(item.sheet, sheet, item.tile, sheet.scale);
  const holder = item.href ? link(item.href) : document.createElement("span");
  holder.append(drawn);
  holder._tip = item.tip;
  if (item.tip) {
    const named = item.href ? holder : drawn;
    if (!item.href) drawn.setAttribute("role", "img");
    named.setAttribute("aria-label", item.tip.replaceAll("\n", ", "));
  }
  return holder;
}

function cell(sheets, data) {
  const element = document.createElement("td");
  const group = document.createElement("div");
  group.className = data.pictures.length < 2 ? "group single" : "group";
  group.append(...data.pictures.map((item) => shown(sheets, item)));
  element.append(group);
  element.append(
    ...data.lines.map((line, i) => text("span", `line ${i ? "" : `first ${data.strong ? "strong" : ""}`}`, line)),
  );
  arrowKeys(group);
  return element;
}

export default async function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".root");
  const turn = (TURN.get(root) ?? 0) + 1;
  TURN.set(root, turn);
  const swap = await loadSheets(root, data.sheets);
  if (TURN.get(root) !== turn) return;
  let frame = root.querySelector(".frame");
  if (!frame) {
    frame = document.createElement("div");
    frame.className = "frame";
    frame.append(document.createElement("table"));
    root.append(frame);
  }
  swap();
  const head = document.createElement("thead");
  const titles = document.createElement("tr");
  titles.append(...data.columns.map((column) => heading(column, "col")));
  head.append(titles);
  const body = document.createElement("tbody");
  body.append(
    ...data.rows.map((row) => {
      const line = document.createElement("tr");
      line.append(heading(row.heading, "row"), ...row.cells.map((item) => cell(data.sheets, item)));
      return line;
    }),
  );
  const table = frame.querySelector("table");
  table.setAttribute("aria-label", data.label);
  table.className = data.size;
  table.replaceChildren(head, body);
  tooltips(root);
  return () => dropSheets(root);
}

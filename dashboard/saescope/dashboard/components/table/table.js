// A dense table whose rows open something. Texts reach the page by `textContent` and `append` alone.

function element(tag, ...classes) {
  const made = document.createElement(tag);
  made.className = classes.filter(Boolean).join(" ");
  return made;
}

function header(component, data) {
  const row = element("tr");
  for (const column of data.columns) {
    const th = element("th", column.align === "left" && "left");
    th.scope = "col";
    if (column.help) th.title = column.help;
    const name = element("span", "name");
    name.textContent = column.title;
    let holder = th;
    if (column.sort) {
      holder = element("button");
      holder.type = "button";
      holder.addEventListener("click", () => component.setTriggerValue("sorted", column.sort));
      th.append(holder);
    }
    holder.append(name);
    if (data.sort && data.sort.key === column.sort) {
      holder.append(data.sort.descending ? " \u2193" : " \u2191");
      th.ariaSort = data.sort.descending ? "descending" : "ascending";
    }
    row.append(th);
  }
  const head = element("thead");
  head.append(row);
  return head;
}

function cell(content, column, data) {
  const td = element(
    "td",
    column.align === "left" && "left",
    column.grows && "grows",
    content.muted && "muted",
    content.tile !== undefined && "pictured",
  );
  const help = content.help || (column.grows ? content.text : "");
  if (help) td.title = help;
  if (content.colour) td.style.color = content.colour;
  if (content.bar !== undefined) {
    const share = Math.max(0, Math.min(1, content.bar)) * 100;
    const colour = content.colour ?? "var(--st-primary-color)";
    td.style.background = `linear-gradient(${colour}, ${colour}) right bottom / ${share}% 2px no-repeat`;
  }
  if (content.tile !== undefined && data.sprite) td.append(picture("main", data.sprite, content.tile, data.scale));
  return td;
}

function line(data, row) {
  const tr = element("tr", row.href && "opens", row.marked && "marked");
  let linked = !row.href;
  row.cells.forEach((content, i) => {
    const td = cell(content, data.columns[i], data);
    let holder = td;
    if (!linked && content.text) {
      linked = true;
      holder = element("a");
      holder.href = row.href;
      holder.addEventListener("click", (event) => {
        event.stopPropagation();
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        follow(row.href);
      });
      td.append(holder);
    }
    if (content.dot) {
      const dot = element("span", "dot");
      dot.style.background = content.dot;
      holder.append(dot);
    }
    holder.append(content.text);
    tr.append(td);
  });
  if (row.href) {
    tr.addEventListener("click", () => {
      if (!String(window.getSelection())) follow(row.href);
    });
  }
  return tr;
}

export default async function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".root");
  const swap = await loadSheets(root, { main: data.sprite });
  const body = element("tbody");
  body.append(...data.rows.map((row) => line(data, row)));
  const table = element("table");
  table.append(header(component, data), body);
  const place = root.scrollTop;
  swap();
  root.querySelector("table")?.remove();
  root.append(table);
  root.style.maxHeight = data.height ? `${data.height}px` : "";
  root.scrollTop = data.page === root.dataset.page ? place : 0;
  root.dataset.page = data.page;
  return () => dropSheets(root);
}

// A text or a picture whose places show their features, and features that show their places.

function make(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Largest activation by magnitude of `feature` at the positions of a place.
function strongestAt(byFeature, feature, first, stop) {
  const where = byFeature.get(feature);
  let found = 0;
  if (where) for (let p = first; p < stop; p++) if (Math.abs(where.get(p) ?? 0) > Math.abs(found)) found = where.get(p);
  return found;
}

function textStage(stage) {
  const text = make("div", "text whole");
  text.dir = "auto";
  const places = stage.pieces.map((piece) => {
    const element = tokenElement(piece);
    element._tip = tokenTip(piece, stage.ids, 0, null);
    text.append(element);
    if (piece[0].includes("↵")) text.append(document.createElement("br"));
    return { element, first: piece[1], stop: piece[2], name: `“${piece[0]}” · position ${piece[1]}` };
  });
  return { shown: [text], places };
}

function pictureStage(stage) {
  const shown = make("div", "shown");
  shown.style.width = `${stage.width}px`;
  shown.style.aspectRatio = `${stage.width} / ${stage.height}`;
  shown.style.backgroundImage = `url("${stage.src}")`;
  const n = stage.prefix.length;
  const places = stage.prefix.map((name, position) => {
    const element = make("span", "place", name);
    return { element, first: position, stop: position + 1, name };
  });
  const prefix = make("div", "prefix");
  prefix.append(...places.map((place) => place.element));
  stage.cells.forEach(([top, left, height, width], i) => {
    const element = make("div", "cell");
    const share = (value, whole) => `${(100 * value) / whole}%`;
    element.style.top = share(top, stage.height);
    element.style.left = share(left, stage.width);
    element.style.height = share(height, stage.height);
    element.style.width = share(width, stage.width);
    element._tip = stage.names[n + i];
    shown.append(element);
    places.push({ element, first: n + i, stop: n + i + 1, name: stage.names[n + i] });
  });
  return { shown: n ? [shown, prefix] : [shown], places };
}

const TURN = new WeakMap();

export default async function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".root");
  const turn = (TURN.get(root) ?? 0) + 1;
  TURN.set(root, turn);
  const swap = await loadSheets(root, { atoms: data.atoms });
  if (TURN.get(root) !== turn) return;
  swap();
  root.style.setProperty("--full", String(data.full));
  root.style.setProperty("--atom", data.atoms ? `${data.atoms.width * data.atom_scale}px` : "0px");
  const stage = data.stage.kind === "text" ? textStage(data.stage) : pictureStage(data.stage);
  const byFeature = new Map();
  data.codes.forEach(([ids, values], position) =>
    ids.forEach((id, i) => {
      if (!byFeature.has(id)) byFeature.set(id, new Map());
      byFeature.get(id).set(position, values[i]);
    }),
  );
  const off = new Set(data.off);

  const colour = (feature) => {
    const largest = feature === null ? 0 : data.features[feature]?.[1];
    for (const place of stage.places) {
      const value = feature === null ? 0 : strongestAt(byFeature, feature, place.first, place.stop);
      tint(place.element, value ? value / (largest || Math.abs(value)) : 0);
    }
  };
  const line = (id, value, more = []) => {
    const [label, largest, tile] = data.features[id] ?? ["", 0];
    const link = opener(component, id, data);
    link.classList.add("feature");
    const atom = data.atoms && tile !== undefined ? picture("atoms", data.atoms, tile, data.atom_scale) : make("span", "");
    const name = make("span", "label", label);
    name.dir = "auto";
    const number = make("span", "number", shortNumber(value));
    link.append(atom, make("span", "id", `#${String(id).padStart(4, "0")}`), name, number, ...more);
    const share = largest ? Math.min(1, Math.abs(value) / largest) : 0;
    const tone = "color-mix(in srgb, var(--activation) 38%, transparent)";
    number.style.background = `linear-gradient(${tone}, ${tone}) right / ${100 * share}% 100% no-repeat`;
    link._tip =
      `#${id} ${label}\nactivation ${shortNumber(value)}` +
      (largest ? `, ${Math.round(100 * share)} % of its largest in the store` : "") +
      `\nfires at ${byFeature.get(id)?.size ?? 0} of ${data.codes.length} positions here`;
    link.addEventListener("pointerenter", () => link.isConnected && colour(id)); // one just replaced is never left
    link.addEventListener("focus", () => colour(id));
    link.addEventListener("pointerleave", () => colour(data.feature));
    link.addEventListener("blur", () => colour(data.feature));
    return link;
  };

  const here = make("section", "here");
  let listed = null;
  const list = (place) => {
    if (place === listed) return; // the links stay, and with them what the pointer is over
    listed = place;
    const rows = [];
    for (let p = place.first; p < place.stop; p++) {
      const [ids, values, more] = data.codes[p] ?? [[], [], 0];
      if (place.stop - place.first > 1) rows.push(make("div", "quiet", `byte ${p - place.first + 1}, position ${p}`));
      if (off.has(p)) rows.push(make("div", "quiet", "left out of the statistics"));
      ids.forEach((id, i) => rows.push(line(id, values[i])));
      if (!ids.length && !off.has(p)) rows.push(make("div", "quiet", "nothing fires here"));
      if (more > 0) rows.push(make("div", "quiet", `and ${more.toLocaleString("en")} weaker`));
    }
    const title = make("h5", "");
    const name = make("span", "", "features at ");
    title.append(name, make("span", "quiet", place.name));
    here.replaceChildren(title, ...rows);
  };
  let pinned = stage.places.find((place) => place.first <= data.at && data.at < place.stop) ?? stage.places[0];
  const pin = (place) => {
    pinned?.element.classList.remove("pinned");
    pinned = place;
    place.element.classList.add("pinned");
    list(place);
  };
  for (const place of stage.places) {
    if (off.has(place.first)) place.element.classList.add("off");
    place.element.addEventListener("pointerenter", () => list(place));
    place.element.addEventListener("click", () => pin(place));
  }

  const holder = make("div", "stage");
  holder.append(...stage.shown);
  holder.addEventListener("pointerleave", () => pinned && list(pinned));
  const everywhere = make("section", "overall");
  const title = make("h5", "", data.stage.kind === "text" ? "over the whole text" : "over the whole picture");
  const count = `${data.n_overall.toLocaleString("en")} features fire`;
  const shown = data.n_overall > data.overall.length ? `${count}, the first ${data.overall.length}` : count;
  title.append(make("span", "quiet", shown));
  const rows = data.overall.map(([id, value, position, n]) => {
    const place = stage.places.find((p) => p.first <= position && position < p.stop);
    const times = make("span", "where", n === 1 ? "once" : `${n} times`);
    const where = make("span", "where", (place?.name ?? "").split(" · ")[0]);
    where.dir = "auto";
    return line(id, value, [times, where]);
  });
  everywhere.append(title, ...rows);
  const parts = make("div", "parts");
  parts.append(holder, here, everywhere);
  root.querySelector(".parts")?.remove();
  root.prepend(parts);
  if (pinned) pin(pinned);
  colour(data.feature ?? null);
  tooltips(root);
  return () => dropSheets(root);
}

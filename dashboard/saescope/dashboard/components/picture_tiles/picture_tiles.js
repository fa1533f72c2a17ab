// A group of pictures cut from one sprite: a grid of atoms, a strip of examples, or chips with a picture and a word.

const TURN = new WeakMap();

function tile(component, data, index) {
  const { sprite, overlay, scale } = data;
  const item = data.tiles[index];
  const link = opener(component, item.value, data);
  link.className = `tile ${item.tone ?? ""}`;
  const stack = document.createElement("span");
  stack.className = "stack";
  const at = item.picture ?? index;
  stack.append(picture("main", sprite, at, scale));
  if (overlay) {
    const heat = picture("heat", overlay, at, scale);
    heat.classList.add("heat");
    stack.append(heat);
  }
  if (item.frame) {
    const [top, left, height, width] = item.frame;
    const frame = document.createElement("span");
    frame.className = "frame";
    Object.assign(frame.style, {
      top: `${top * scale}px`,
      left: `${left * scale}px`,
      width: `${width * scale}px`,
      height: `${height * scale}px`,
    });
    stack.append(frame);
  }
  link.append(stack);
  if (item.caption) {
    const caption = document.createElement("span");
    caption.className = "caption";
    caption.textContent = item.caption;
    link.append(caption);
  }
  if (item.mark !== undefined) {
    const mark = (value) => () => document.dispatchEvent(new CustomEvent("saescope:mark", { detail: value }));
    link.addEventListener("pointerenter", mark(item.mark));
    link.addEventListener("focus", mark(item.mark));
    link.addEventListener("pointerleave", mark(null));
    link.addEventListener("blur", mark(null));
  }
  link._tip = item.tip ?? "";
  if (item.tip) link.setAttribute("aria-label", item.tip.replaceAll("\n", ", "));
  return link;
}

// Invisible tiles up to `data.room`: what follows stays in its place when there are fewer.
function blanks(data) {
  return Array.from({ length: Math.max(0, data.room - data.tiles.length) }, () => {
    const blank = document.createElement("span");
    blank.className = "tile blank";
    blank.setAttribute("aria-hidden", "true");
    const place = document.createElement("span");
    place.style.cssText = `display:block;width:${data.sprite.width * data.scale}px;height:${data.sprite.height * data.scale}px`;
    const caption = document.createElement("span");
    caption.className = "caption";
    caption.textContent = "\u00a0";
    blank.append(place, caption);
    return blank;
  });
}

export default async function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".root");
  const turn = (TURN.get(root) ?? 0) + 1;
  TURN.set(root, turn);
  const swap = await loadSheets(root, { main: data.sprite, heat: data.overlay });
  if (TURN.get(root) !== turn) return;

  let group = root.querySelector(".tiles");
  if (!group) {
    group = document.createElement("div");
    root.append(group);
  }
  const focused = [...group.children].indexOf(parentElement.activeElement);
  group.className = `tiles ${data.layout}`;
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", data.label);
  group.style.setProperty("--across", `${data.sprite.width * data.scale}px`);
  swap();
  group.replaceChildren(...data.tiles.map((_, index) => tile(component, data, index)), ...blanks(data));
  arrowKeys(group);
  tooltips(root);
  if (focused >= 0) group.children[Math.min(focused, data.tiles.length - 1)]?.focus({ preventScroll: true });
  return () => dropSheets(root);
}

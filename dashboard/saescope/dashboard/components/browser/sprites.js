// Cutting sprites: one PNG holds many pictures, each drawn as the background of a small element.

const SHEETS = new WeakMap(); // root element -> {name: {src, url, image}}

function sheetUrl(src) {
  const bytes = Uint8Array.from(atob(src.slice(src.indexOf(",") + 1)), (c) => c.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
}

// Decodes the sprites {name: payload} and makes one style rule for each, `.sheet-<name>`. Resolves once all are ready
// to be painted; call the returned function when the new elements are in place, to let go of sprites no longer used.
async function loadSheets(root, sprites) {
  const old = SHEETS.get(root) ?? {};
  const now = {};
  for (const [name, sprite] of Object.entries(sprites)) {
    if (!sprite) continue;
    if (old[name]?.src === sprite.src) {
      now[name] = old[name];
    } else {
      const image = new Image();
      const url = sheetUrl(sprite.src);
      image.src = url;
      now[name] = { src: sprite.src, url, image };
    }
  }
  await Promise.all(Object.values(now).map((sheet) => sheet.image.decode().catch(() => undefined)));
  return () => {
    let style = root.querySelector("style.sheets");
    if (!style) {
      style = document.createElement("style");
      style.className = "sheets";
      root.prepend(style);
    }
    style.textContent = Object.entries(now)
      .map(([name, sheet]) => `.sheet-${name}{background-image:url("${sheet.url}")}`)
      .join("\n");
    for (const [name, sheet] of Object.entries(old)) {
      if (now[name] !== sheet) URL.revokeObjectURL(sheet.url);
    }
    SHEETS.set(root, now);
  };
}

function dropSheets(root) {
  for (const sheet of Object.values(SHEETS.get(root) ?? {})) URL.revokeObjectURL(sheet.url);
  SHEETS.delete(root);
}

// An element that shows tile `index` of `sprite` (loaded under `name`), each pixel `scale` CSS pixels wide and high.
function picture(name, sprite, index, scale) {
  const element = document.createElement("span");
  element.className = `picture sheet-${name}`;
  const across = sprite.width + sprite.gutter;
  const down = sprite.height + sprite.gutter;
  const rows = Math.ceil(sprite.n / sprite.columns);
  const style = element.style;
  style.width = `${sprite.width * scale}px`;
  style.height = `${sprite.height * scale}px`;
  style.backgroundSize = `${sprite.columns * across * scale}px ${rows * down * scale}px`;
  const column = index % sprite.columns;
  const row = Math.floor(index / sprite.columns);
  style.backgroundPosition = `${-column * across * scale}px ${-row * down * scale}px`;
  return element;
}

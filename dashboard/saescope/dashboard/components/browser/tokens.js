// Tokens as marked text: the stronger the activation, the deeper the colour. Text reaches the page by `textContent`.

// Signs that stand for characters that cannot be seen (see `token_text.visible` of the store), and spaces in a row.
const SIGNS = /(⟨[0-9A-F]{4,6}⟩|[␀-␣↵⇥])/;

function muted(text) {
  const sign = document.createElement("span");
  sign.className = "sign";
  sign.textContent = text;
  return sign;
}

// Fills `element` with `text`, its signs set back; text of spaces alone is shown as dots.
function fillToken(element, text) {
  if (text && !text.trim()) return element.append(muted("·".repeat(text.length)));
  for (const part of text.split(SIGNS)) if (part) element.append(SIGNS.test(part) ? muted(part) : part);
}

function shortNumber(value) {
  const size = Math.abs(value);
  if (size >= 1e5 || (size < 1e-3 && size > 0)) return value.toExponential(1).replace("e+", "e").replace("-", "−");
  if (size >= 1e3) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  return value.toPrecision(3).replace("-", "−");
}

// Colours `element` for an activation of `share` (0 to 1) of the strongest.
function tint(element, share) {
  const depth = Math.min(1, Math.abs(share));
  const opacity = `calc(var(--full) * ${(100 * depth).toFixed(1)}%)`;
  element.style.backgroundColor = depth > 0 ? `color-mix(in srgb, var(--activation) ${opacity}, transparent)` : "";
}

// Tokens that are no text, such as <|im_start|>, [CLS] or <0xE4>: they must not decide a text's direction.
const SPECIAL = /^(?:<[^<>\s]{1,40}>|\[[A-Z]{1,12}\])$/;

// One piece [text, first position, position after the last] as an element, not yet coloured.
function tokenElement(piece) {
  const element = document.createElement("span");
  element.className = "token";
  if (SPECIAL.test(piece[0])) element.dir = "ltr";
  fillToken(element, piece[0]);
  return element;
}

// The lines of a piece's tip: what it is, its tokens, and its activations.
function tokenTip(piece, ids, offset, activations) {
  const [text, first, stop] = piece;
  const lines = [`“${text}”`];
  for (let position = first; position < stop; position++) {
    const words = [];
    if (activations) words.push(activations[position] ? `activation ${shortNumber(activations[position])}` : "does not fire");
    if (ids) words.push(`token ${ids[position - offset]}`);
    words.push(`position ${position}`);
    lines.push(words.join(" · "));
  }
  return lines.join("\n");
}

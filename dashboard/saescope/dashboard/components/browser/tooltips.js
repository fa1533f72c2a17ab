// A tooltip that follows pointer and keyboard focus at once, without the delay of the browser's own.

// Elements with `_tip` (text, lines separated by newlines) inside `root` show it. `root` must be positioned.
function tooltips(root) {
  let tip = root.querySelector(".tip");
  if (!tip) {
    tip = document.createElement("div");
    tip.className = "tip";
    tip.setAttribute("role", "tooltip");
    tip.hidden = true;
    root.append(tip);
  }
  const owner = (event) => {
    for (let e = event.target; e && e !== root; e = e.parentElement) if (e._tip) return e;
    return null;
  };
  const show = (event) => {
    const element = owner(event);
    if (!element) return hide();
    tip.replaceChildren(
      ...element._tip.split("\n").map((line) => {
        const row = document.createElement("div");
        row.textContent = line;
        return row;
      }),
    );
    tip.hidden = false;
    const box = element.getBoundingClientRect();
    const frame = root.getBoundingClientRect();
    const left = Math.min(Math.max(0, box.left - frame.left), Math.max(0, frame.width - tip.offsetWidth));
    const above = box.top - tip.offsetHeight - 6 > 64; // below the app's header bar
    const top = above ? box.top - frame.top - tip.offsetHeight - 6 : box.bottom - frame.top + 6;
    tip.style.left = `${left}px`;
    tip.style.top = `${top}px`;
  };
  const hide = () => (tip.hidden = true);
  root.onpointerover = show;
  root.onfocusin = show;
  root.onpointerleave = hide;
  root.onfocusout = hide;
  hide();
}

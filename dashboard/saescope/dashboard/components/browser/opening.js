// Things that open something: real links, so that the middle button, copying and the keyboard work as everywhere;
// a plain click is answered inside the running page.

function opener(component, value, hrefPrefix) {
  const link = document.createElement(value === null || value === undefined ? "span" : "a");
  if (link.tagName === "SPAN") return link;
  link.href = hrefPrefix ? hrefPrefix + encodeURIComponent(value) : "#";
  link.dataset.value = String(value);
  link.addEventListener("click", (event) => {
    const own = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!own && hrefPrefix) return;
    event.preventDefault();
    link.classList.add("opening");
    component.setTriggerValue("open", value);
  });
  return link;
}

// One tab stop for a group of links; arrow keys, Home and End move inside it.
function arrowKeys(group) {
  const links = () => [...group.querySelectorAll("a")];
  links().forEach((link, i) => (link.tabIndex = i === 0 ? 0 : -1));
  const focus = (link) => {
    for (const other of links()) other.tabIndex = -1;
    link.tabIndex = 0;
    link.focus();
  };
  group.onkeydown = (event) => {
    const all = links();
    const at = all.indexOf(event.target);
    if (at < 0) return;
    const top = all[0].offsetTop;
    const perRow = Math.max(1, all.findIndex((link) => link.offsetTop > top + 2));
    const columns = all[all.length - 1].offsetTop > top + 2 ? perRow : all.length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : step === undefined ? -1 : at + step;
    if (step === undefined && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    event.stopPropagation();
    if (all[to]) focus(all[to]);
  };
}

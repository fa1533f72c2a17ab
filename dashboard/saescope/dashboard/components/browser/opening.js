// Things that open something: real links, so that the middle button, copying and the keyboard work as everywhere;
// a plain click is answered inside the running page.

// Goes to `href` (an address of this app) inside the running session: one entry in the browser's history, and the app
// reads its new address as it does after Back. A page change asked of the server would leave a second, wrong entry.
function follow(href) {
  history.pushState({}, "", href);
  window.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
}

// A link for `value`: `data.href` with the value appended is its address. A plain click follows it, or, where
// `data.tells` is set, tells the server (which stays on the page and changes its address).
function opener(component, value, data) {
  if (value === null || value === undefined) return document.createElement("span");
  const link = document.createElement("a");
  link.href = data.href ? data.href + encodeURIComponent(value) : "#";
  link.dataset.value = String(value);
  link.addEventListener("click", (event) => {
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!plain && data.href) return;
    event.preventDefault();
    link.classList.add("opening");
    if (data.tells) component.setTriggerValue("open", value);
    else if (data.href) follow(link.href);
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

// Short lists of tokens with a number and a bar each; a token leads to the features that have it.

function numberCell(text) {
  const number = document.createElement("span");
  number.className = "number";
  number.textContent = text;
  return number;
}

function tokenRow(component, data, list, row) {
  const link = opener(component, row.value, data);
  const word = document.createElement("span");
  word.className = "word";
  word.dir = "auto";
  fillToken(word, row.token);
  link.append(word, ...row.numbers.map(numberCell));
  const share = Math.max(0, Math.min(1, row.share)) * 100;
  const tone = `color-mix(in srgb, ${list.colour} 26%, transparent)`;
  link.style.background = `linear-gradient(${tone}, ${tone}) left / ${share}% 100% no-repeat`;
  link._tip = row.tip;
  link.setAttribute("aria-label", row.tip.replaceAll("\n", ", "));
  return link;
}

export default function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".root");
  let lists = root.querySelector(".lists");
  if (!lists) {
    lists = document.createElement("div");
    lists.className = "lists";
    root.append(lists);
  }
  lists.replaceChildren(
    ...data.lists.map((list) => {
      const part = document.createElement("section");
      const title = document.createElement("h5");
      const name = document.createElement("span");
      name.textContent = list.title;
      title.append(name, ...list.numbers.map(numberCell));
      title._tip = list.help;
      part.append(title);
      if (!list.rows.length) {
        const none = document.createElement("div");
        none.className = "none";
        none.textContent = "none";
        part.append(none);
      }
      part.append(...list.rows.map((row) => tokenRow(component, data, list, row)));
      part.style.minHeight = `${18 + 17 * data.room}px`;
      return part;
    }),
  );
  tooltips(root);
}

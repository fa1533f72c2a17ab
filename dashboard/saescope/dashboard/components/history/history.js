// Follows `data.href` once for each `data.turn`.

let turn = null;

export default function (component) {
  if (component.data.turn === turn) return;
  turn = component.data.turn;
  follow(component.data.href);
}

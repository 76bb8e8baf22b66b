// How the page makes elements. Text only ever becomes text: what a run says is never HTML.

/** Makes an element: properties by name, `class` and `data-…`/`aria-…` as attributes, `on…` as listeners. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/**
 * One stop of the Tab key for a whole group: the arrow keys, Home and End move the focus among the elements that `selector` finds and
 * that are shown. `keys` are those that go back and forth.
 */
export function moveByArrows(group, selector, keys) {
  const [back, forth] = keys;
  const all = () => [...group.querySelectorAll(selector)];
  const stop = (element) => {
    for (const other of all()) other.tabIndex = other === element ? 0 : -1;
  };
  group.addEventListener("focusin", ({ target }) => {
    const element = target.closest(selector);
    if (element !== null) stop(element);
  });
  group.addEventListener("keydown", (event) => {
    const shown = all().filter((element) => element.offsetParent !== null);
    const at = shown.indexOf(document.activeElement);
    const next = {
      [back]: shown[at - 1],
      [forth]: shown[at + 1],
      Home: shown[0],
      End: shown.at(-1),
    }[event.key];
    if (at === -1 || next === undefined) return;
    event.preventDefault();
    next.focus();
  });
  return { stop };
}

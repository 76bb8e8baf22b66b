// The page allows no style element (its Content-Security-Policy), and xterm.js makes some. They become elements that nobody sees, and
// their text goes to constructed style sheets, which only a script of this page can make.
const create = document.createElement.bind(document);

document.createElement = (name, options) => {
  if (String(name).toLowerCase() !== "style") return create(name, options);
  const element = create("span");
  element.hidden = true;
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  let text = "";
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (value) => {
      text = String(value);
      sheet.replaceSync(text);
    },
  });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
    Element.prototype.remove.call(element);
  };
  return element;
};

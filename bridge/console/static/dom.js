// Elements and texts. Everything that came from outside goes through text nodes and setAttribute, never through HTML.

const svgNamespace = 'http://www.w3.org/2000/svg';

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

// h makes an HTML element. Children are elements, texts, or lists of them; null is left out.
export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

// s makes an SVG element.
export function s(tag, attributes, ...children) {
  return build(document.createElementNS(svgNamespace, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

// taskLink leads to the page of one request.
export function taskLink(id, attributes) {
  return h('a', { href: taskHash(id), class: 'id', ...attributes }, id);
}

export const taskHash = (id) => '#/task/' + encodeURIComponent(id);

// status shows how a request stands, in words and a colour.
export function status(name, type) {
  const late = type === 'late' || type === 'archived' ? type + ' ' : '';
  return h('span', { class: 'status s-' + (/^[a-z]+$/.test(name) ? name : 'unknown') }, late + name);
}

// notice is a text that tells of an error or of nothing to show.
export function notice(text, kind = 'empty') {
  return h('p', { class: kind, role: kind === 'error' ? 'alert' : null }, text);
}

// confirmed is a button whose action wants a second press. Leaving it or Escape takes the first back.
export function confirmed(label, question, act, attributes) {
  const button = h('button', { type: 'button', ...attributes }, label);
  const calm = () => { button.textContent = label; button.classList.remove('sure'); };
  button.addEventListener('blur', calm);
  button.addEventListener('keydown', (event) => { if (event.key === 'Escape') calm(); });
  button.addEventListener('click', async () => {
    if (!button.classList.contains('sure')) {
      button.classList.add('sure');
      button.textContent = question;
      return;
    }
    button.disabled = true;
    await act();
    button.disabled = false;
    calm();
  });
  return button;
}

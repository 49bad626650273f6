// Elements and texts. Everything that came from outside goes through text nodes and setAttribute, never through HTML.

import { time } from './format.js';

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

// when is a point in time; what else is to be said of it is its title.
export function when(text, title = text) {
  return h('time', { datetime: text, title, class: 'when' }, time(text));
}

// refreshTimes writes relative times anew.
export function refreshTimes() {
  for (const element of document.querySelectorAll('time.when')) element.textContent = time(element.dateTime);
}

// copyButton copies a text. Browsers have a clipboard only where the page came by TLS or from this machine.
export function copyButton(text, what) {
  const button = h('button', { type: 'button', class: 'copy', title: 'Copy ' + what, 'aria-label': 'Copy ' + what }, icon(twoSheets));
  button.addEventListener('click', async () => {
    await (navigator.clipboard ? navigator.clipboard.writeText(text).catch(() => copyBySelection(text)) : copyBySelection(text));
    button.replaceChildren(icon(tick));
    setTimeout(() => button.replaceChildren(icon(twoSheets)), 1500);
  });
  return button;
}

const twoSheets = 'M5 5V2h9v9h-3M2 5h9v9H2z';
const tick = 'M2 8l4 5 8-10';
const icon = (path) => s('svg', { viewBox: '0 0 16 16', class: 'icon', 'aria-hidden': 'true' }, s('path', { d: path }));

function copyBySelection(text) {
  const area = h('textarea', { class: 'hidden', readonly: true, 'aria-hidden': 'true' });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
}

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

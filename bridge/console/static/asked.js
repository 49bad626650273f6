import { h } from './dom.js';
import { httpURL, number } from './format.js';
import { readable } from './dead.js';

// askedFor shows what a request asked for: its prompt, its input images and its body.
export function askedFor({ task, asked }) {
  if (!task.body_bytes) return null;
  const clipped = new TextEncoder().encode(task.body).length < task.body_bytes;
  return h('section', { class: 'panel', 'aria-labelledby': 'asked' }, h('h2', { id: 'asked' }, 'Asked for'),
    asked.prompt ? h('p', { class: 'prompt' }, asked.prompt) : null,
    asked.images.length ? h('ul', { class: 'inputs', 'aria-label': 'Input images' }, asked.images.map(thumbnail)) : null,
    h('p', { class: 'help' }, 'Body, ' + number(task.body_bytes) + ' bytes'),
    h('pre', { tabindex: '0', class: 'body' }, readable(task.body, clipped), clipped ? '\n… clipped' : ''));
}

// thumbnail is loaded by the reader's browser from where the request says. What can't be loaded is a link all the same.
function thumbnail(text, i) {
  const url = httpURL(text);
  if (!url) return null;
  const image = h('img', { src: url, alt: 'Input image ' + (i + 1), loading: 'lazy', referrerpolicy: 'no-referrer' });
  image.addEventListener('error', () => image.replaceWith(h('span', { class: 'id' }, url)));
  return h('li', {}, h('a', { href: url, rel: 'noopener noreferrer', target: '_blank' }, image));
}

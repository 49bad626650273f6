import { get, post } from './api.js';
import { confirmed, copyButton, h, notice, taskLink, when } from './dom.js';
import { number } from './format.js';

const pageSize = 25;

// showDead lists the requests that never became a task, newest first, each with its reason. They are picked by words of it,
// and those that are chosen are replayed or dismissed together.
export function showDead(main) {
  const asking = new AbortController();
  const list = h('div', { class: 'letters' });
  const state = h('div', { role: 'status' });
  const more = h('button', { type: 'button', hidden: true }, 'More');
  const words = h('input', { type: 'search', id: 'letters', placeholder: 'class, kind, tenant, reason or id', spellcheck: 'false' });
  const chosen = () => [...list.querySelectorAll('input:checked')].filter((box) => !box.closest('.letter').hidden);
  const all = h('input', { type: 'checkbox', onchange: () => {
    for (const box of list.querySelectorAll('input')) box.checked = all.checked && !box.closest('.letter').hidden;
    told();
  } });
  const bulk = h('div', { class: 'bulk' }, h('label', {}, all, ' All shown'), together('Replay', chosen, (id) => post('/api/dead/replay', { id })),
    together('Dismiss', chosen, (id) => post('/api/dead/dismiss', { id }), true), h('span', { class: 'help', role: 'status' }));
  const told = () => {
    bulk.lastChild.textContent = chosen().length ? number(chosen().length) + ' chosen' : '';
  };
  list.addEventListener('change', told);
  main.append(h('h1', {}, 'Dead letters'),
    h('p', { class: 'help' }, 'Requests that never became a task, as they came. A replay is a new request, named after the old one. '
      + 'A letter that is dismissed is gone, with the body; that its request was rejected stays known.'),
    h('div', { class: 'filter' }, h('label', { for: 'letters' }, 'Only those with '), words), bulk, list, state, more);

  let cursor = '';
  const pick = () => {
    const sought = words.value.trim().toLowerCase().split(/\s+/);
    for (const one of list.children) one.hidden = !sought.every((word) => one.dataset.words.includes(word));
    told();
    return [...list.children].filter((one) => !one.hidden).length;
  };
  const load = async () => {
    more.disabled = true;
    const wanted = pick() + pageSize;
    try {
      do {
        const page = await get('/api/dead', { limit: pageSize, cursor }, asking.signal);
        list.append(...page.dead.map(letter));
        cursor = page.cursor;
      } while (pick() < wanted && cursor);
      more.hidden = !cursor;
      bulk.hidden = !list.children.length;
      state.replaceChildren(...(list.children.length ? [] : [notice('There are none: every request became a task.')]));
    } catch (error) {
      if (error.name !== 'AbortError') state.replaceChildren(notice(error.message, 'error'));
    }
    more.disabled = false;
  };
  words.addEventListener('input', () => { if (pick() < pageSize && cursor && !more.disabled) load(); });
  more.addEventListener('click', load);
  load();
  return () => asking.abort();
}

// together is a button that does the same to all that are chosen, one after the other, and says under each what came of it.
function together(label, chosen, act, removes) {
  return confirmed(label, label === 'Replay' ? 'Send them to Kling, paid?' : 'Delete them for good?', async () => {
    for (const box of chosen()) {
      const one = box.closest('.letter');
      one.querySelector('.said')?.remove();
      try {
        const answer = await act(box.value);
        if (removes) one.remove();
        else one.append(h('p', { class: 'said', role: 'status' }, 'Replayed as ', taskLink(answer.request_id)));
        box.checked = false;
      } catch (error) {
        one.append(h('div', { class: 'said' }, notice(error.message, 'error')));
      }
    }
  }, { class: 'all-' + label.toLowerCase() });
}

function letter(dead) {
  const clipped = new TextEncoder().encode(dead.payload).length < dead.bytes;
  const metadata = Object.entries(dead.metadata ?? {});
  return h('article', {
    class: 'panel letter',
    'data-words': [dead.request_id, dead.kind, dead.error.class, dead.error.message, ...metadata.map((pair) => pair.join(':'))].join(' ').toLowerCase(),
  },
  h('header', {},
    h('input', { type: 'checkbox', value: dead.request_id, 'aria-label': 'Choose ' + dead.request_id }),
    h('h2', {}, taskLink(dead.request_id), copyButton(dead.request_id, 'the request id')),
    when(dead.died_at),
    replayButton(dead.request_id, dead.replayed ? 'Replay again' : 'Replay')),
  failure(dead.error),
  h('p', { class: 'meta' }, dead.kind, metadata.map(([name, value]) => [' · ', name + ': ' + value])),
  h('details', {}, h('summary', {}, 'Request, ' + number(dead.bytes) + ' bytes'),
    h('pre', { tabindex: '0' }, readable(dead.payload, clipped), clipped ? '\n… clipped' : '')));
}

// failure tells in words why a request did not succeed.
export function failure(error) {
  const codes = [error.code ? 'code ' + error.code : '', error.http_status ? 'HTTP ' + error.http_status : '']
    .filter(Boolean).join(', ');
  return h('p', { class: 'failure' },
    h('strong', {}, error.class), ' ', error.message, codes ? ' (' + codes + ')' : '',
    h('span', { class: 'help' }, error.retryable ? ' The same request could succeed later.' : ' The same request would fail again.'));
}

// readable is a JSON text with its parts on lines of their own; what is none stays as it is.
export function readable(text, clipped) {
  if (clipped) return text;
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  return indent(text);
}

// indent breaks a JSON text into lines without reading it: numbers keep their spelling.
function indent(text) {
  let out = '', depth = 0, inString = false, escaped = false;
  const line = () => '\n' + '  '.repeat(depth);
  for (const c of text) {
    if (inString) {
      out += c;
      if (escaped) escaped = false;
      else if (c === '\\') escaped = true;
      else if (c === '"') inString = false;
    } else if (c === '"') { out += c; inString = true; }
    else if (c === '{' || c === '[') { depth++; out += c + line(); }
    else if (c === '}' || c === ']') { depth--; out += line() + c; }
    else if (c === ',') out += c + line();
    else if (c === ':') out += ': ';
    else if (!/\s/.test(c)) out += c;
  }
  return out;
}

// replayButton publishes a dead letter's request anew and leads to it.
export function replayButton(id, label) {
  const button = confirmed(label, 'Send it to Kling, paid?', async () => {
    button.parentElement.querySelector('.said')?.remove();
    try {
      const answer = await post('/api/dead/replay', { id });
      button.after(h('p', { class: 'said', role: 'status' }, 'Replayed as ', taskLink(answer.request_id)));
    } catch (error) {
      button.after(h('div', { class: 'said' }, notice(error.message, 'error')));
    }
  }, { class: 'replay' });
  return button;
}

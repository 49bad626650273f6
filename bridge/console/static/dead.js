import { get, post } from './api.js';
import { confirmed, h, notice, taskLink } from './dom.js';
import { fromNow, number, time } from './format.js';

// showDead lists the requests that never became a task, newest first, each with its reason and a way to try again.
export function showDead(main) {
  const asking = new AbortController();
  const list = h('div', { class: 'letters' });
  const state = h('div', { role: 'status' });
  const more = h('button', { type: 'button', hidden: true }, 'More');
  main.append(h('h1', {}, 'Dead letters'),
    h('p', { class: 'help' }, 'Requests that never became a task, as they came. A replay is a new request, named after the old one.'),
    list, state, more);

  let cursor = '';
  const load = async () => {
    more.disabled = true;
    try {
      const page = await get('/api/dead', { limit: 25, cursor }, asking.signal);
      list.append(...page.dead.map(letter));
      cursor = page.cursor;
      more.hidden = !cursor;
      state.replaceChildren();
      if (!list.children.length && !cursor) state.append(notice('There are none: every request became a task.'));
    } catch (error) {
      if (error.name !== 'AbortError') state.replaceChildren(notice(error.message, 'error'));
    }
    more.disabled = false;
  };
  more.addEventListener('click', load);
  load();
  return () => asking.abort();
}

function letter(dead) {
  const clipped = new TextEncoder().encode(dead.payload).length < dead.bytes;
  return h('article', { class: 'panel letter' },
    h('header', {},
      h('h2', {}, taskLink(dead.request_id)),
      h('time', { datetime: dead.died_at, title: fromNow(dead.died_at) }, time(dead.died_at)),
      replayButton(dead.request_id, dead.replayed ? 'Replay again' : 'Replay')),
    failure(dead.error),
    h('p', { class: 'meta' }, dead.kind, Object.entries(dead.metadata ?? {}).map(([name, value]) => [' · ', name + ': ' + value])),
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

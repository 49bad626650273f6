import { get, post } from './api.js';
import { confirmed, copyButton, h, notice, status, taskLink, when } from './dom.js';
import { amount, duration, number } from './format.js';
import { listen } from './live.js';

export const inFlight = 'creating,submitted,processing,retrying';
export const notSucceeded = 'failed,rejected,expired,cancelled';

const choices = {
  status: [['', 'any'], [inFlight, 'in flight'], [notSucceeded, 'did not succeed'],
    ...['waiting', ...inFlight.split(','), 'succeed', ...notSucceeded.split(',')].map((name) => [name, name])],
  source: [['', 'by anything'], ['callback', 'by callback'], ['poll', 'by poll: no callback came'], ['bridge', 'by the bridge']],
  since: [['', 'at any time'], ['1', 'in the last hour'], ['24', 'in the last 24 hours'], ['168', 'in the last 7 days']],
};
const pageSize = 100;

// showTasks lists requests: those that have not ended first, then the newest. What happens to one that is listed is shown at
// once; that there are others is told, and a press shows them.
export function showTasks(main, query) {
  const asking = new AbortController();
  const rows = h('tbody');
  const more = h('button', { type: 'button', hidden: true }, 'More');
  const fresh = h('button', { type: 'button', class: 'fresh', hidden: true });
  const state = h('div', { role: 'status' });
  const columns = ['Request', 'Prompt', 'Status', 'Kind', 'Requested', 'Ended', 'Took', 'By', 'Units', 'Account', ''];
  const table = h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, columns.map((name) => h('th', { scope: 'col', class: name === 'Account' ? 'account' : null },
      name || h('span', { class: 'hidden' }, 'Actions'))))), rows);
  main.append(h('h1', {}, 'Requests'), filters(query), h('div', { role: 'status' }, fresh),
    h('div', { class: 'panel flush' }, table), state, more);

  const listed = new Map(); // rows by request id
  const news = changes(query, listed, (n) => {
    fresh.hidden = n === 0;
    fresh.textContent = number(n) + ' new: show ' + (n === 1 ? 'it' : 'them');
  });
  let cursor = '';
  let units = 0;
  const add = (page) => {
    const added = page.tasks.filter((task) => !listed.has(task.request_id));
    const lines = added.map(row);
    added.forEach((task, i) => listed.set(task.request_id, { task, line: lines[i] }));
    rows.append(...lines);
    showPrompts(added, lines, asking.signal);
    units += added.reduce((sum, task) => sum + Number(task.units ?? 0), 0);
    cursor = page.cursor;
    more.hidden = !cursor;
    const n = rows.children.length;
    state.replaceChildren(n || cursor ? h('p', { class: 'sum' }, number(n) + (n === 1 ? ' request' : ' requests')
      + (cursor ? ' so far, ' : ', ') + amount(units) + ' units') : notice(none(query)));
    news.recount();
  };
  // A page is short where many requests had to be looked at: then the next one is asked for by itself.
  const load = async () => {
    more.disabled = true;
    const wanted = rows.children.length + pageSize / 2;
    try {
      do {
        add(await get('/api/tasks', { ...Object.fromEntries(query), since: since(query), limit: pageSize, cursor }, asking.signal));
      } while (cursor && rows.children.length < wanted);
    } catch (error) {
      if (error.name !== 'AbortError') state.replaceChildren(notice(error.message, 'error'));
    }
    more.disabled = false;
  };
  fresh.addEventListener('click', () => {
    rows.replaceChildren();
    listed.clear();
    [cursor, units] = ['', 0];
    news.forget();
    load();
  });
  more.addEventListener('click', load);
  load();
  const stop = listen(({ status: bridge, activity }) => {
    table.classList.toggle('several', (bridge.pools ?? []).some((pool) => pool.accounts?.length));
    news.take(activity.events);
  });
  return () => {
    stop();
    asking.abort();
  };
}

const none = (query) => (query.get('sought')
  ? 'No request, task or external id is exactly this, and no request ' + (query.get('meta') ? 'has this metadata' : 'id begins so')
    + '. Ids are kept as long as events are.'
  : 'There are none.');

function since(query) {
  const hours = Number(query.get('since'));
  return hours > 0 ? new Date(Date.now() - hours * 3600e3).toISOString() : '';
}

// filters is the form above the list. What is chosen is in the address.
function filters(query) {
  const select = (name, label) => h('select', { name, 'aria-label': label, onchange: () => show() },
    choices[name].map(([value, text]) => h('option', { value, selected: value === (query.get(name) ?? '') }, text)));
  const words = (name, placeholder) => h('input', {
    type: 'text', name, value: query.get(name) ?? '', placeholder, spellcheck: 'false', autocomplete: 'off',
  });
  const form = h('form', { class: 'filter' },
    h('label', {}, 'Status ', select('status')),
    h('label', {}, 'Kind ', words('kind', 'any')),
    h('label', {}, 'Id begins ', words('prefix', 'with anything')),
    h('label', {}, 'Metadata ', words('meta', 'Tenant:acme')),
    h('label', {}, 'Ended ', select('source')),
    select('since', 'Ended when'),
    h('button', { type: 'submit' }, 'Show'));
  const show = () => {
    const chosen = new URLSearchParams([...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
    location.hash = '#/tasks' + (chosen.size ? '?' + chosen : '');
  };
  form.addEventListener('submit', (event) => { event.preventDefault(); show(); });
  return form;
}

const ended = ['succeed', ...notSucceeded.split(',')];

// changes follows the events: it changes the rows that are listed, and tells how many requests are not.
function changes(query, listed, tell) {
  const unlisted = new Set();
  let seen = null; // sequence of the newest event before the list was asked for, or that was taken
  const statuses = query.get('status')?.split(',');
  const [, metaName, metaValue] = /^([^:]+):(.*)$/.exec(query.get('meta') ?? '') ?? [];
  const wanted = (event) => (!statuses || statuses.includes(event.status))
    && (!query.get('kind') || query.get('kind') === event.kind)
    && (!query.get('source') || ended.includes(event.status) && query.get('source') === event.source)
    && event.request_id.startsWith(query.get('prefix') ?? '')
    && (!metaName || metaName.toLowerCase() === 'tenant' && metaValue === event.tenant); // others are not in the news
  const recount = () => {
    for (const id of unlisted) if (listed.has(id)) unlisted.delete(id);
    tell(unlisted.size);
  };
  return {
    take(events) {
      const newest = events[0]?.seq ?? 0;
      for (const event of seen === null ? [] : events.filter((e) => e.seq > seen).reverse()) {
        if (event.type !== 'progress' && event.type !== 'completion') continue;
        const known = listed.get(event.request_id);
        if (known) update(known, event);
        else if (wanted(event)) unlisted.add(event.request_id);
      }
      seen = Math.max(seen ?? 0, newest);
      recount();
    },
    recount,
    forget() { unlisted.clear(); recount(); },
  };
}

// update shows in a row what an event says of its request.
function update(known, event) {
  if (known.task.completed_at || event.status === 'retrying') return;
  const end = event.type === 'completion';
  known.task = { ...known.task, status: event.status, account: event.account ?? known.task.account, ...(end ? { completed_at: event.at, source: event.source, units: event.units } : {}) };
  const line = row(known.task);
  line.querySelector('.prompt').replaceWith(known.line.querySelector('.prompt'));
  known.line.replaceChildren(...line.children);
}

const promptsAtOnce = 25;

// showPrompts fills in what was asked for. It is read from the bodies, so that the list does not wait for it.
async function showPrompts(tasks, rows, signal) {
  try {
    for (let i = 0; i < tasks.length; i += promptsAtOnce) {
      const ids = tasks.slice(i, i + promptsAtOnce).map((task) => task.request_id);
      const prompts = new Map(Object.entries(await get('/api/prompts?' + new URLSearchParams(ids.map((id) => ['id', id])), {}, signal)));
      ids.forEach((id, n) => {
        const prompt = prompts.get(id);
        const cell = rows[i + n].querySelector('.prompt');
        cell.replaceChildren(...(prompt ? [h('span', { class: 'clipped', title: prompt }, prompt)] : []));
      });
    }
  } catch (error) {
    if (error.name !== 'AbortError') console.warn(error.message); // the list is good without them
  }
}

function row(task) {
  const cell = (label, value, ...more) => h('td', { 'data-label': label, class: value ? 'num' : 'empty-cell' }, value ?? '–', ...more);
  const took = task.completed_at ? duration(new Date(task.completed_at) - new Date(task.requested_at)) : null;
  const line = h('tr', {},
    h('th', { scope: 'row' }, taskLink(task.request_id), copyButton(task.request_id, 'the request id')),
    h('td', { 'data-label': 'Prompt', class: 'prompt' }),
    cell('Status', status(task.status), task.error ? h('span', { class: 'reason' }, (task.error.class === task.status ? '' : task.error.class + ': ') + task.error.message) : null),
    h('td', { 'data-label': 'Kind' }, task.kind),
    cell('Requested', when(task.requested_at)),
    cell('Ended', task.completed_at ? when(task.completed_at) : null),
    cell('Took', took),
    cell('By', task.source),
    cell('Units', task.units ? amount(Number(task.units)) : null),
    h('td', { 'data-label': 'Account', class: 'account' }, task.account ?? '–'),
    h('td', { class: 'act' }, task.status === 'waiting' ? cancelButton(task.request_id, () => {
      line.querySelector('.status').replaceWith(status('cancelled'));
      line.querySelector('.act').replaceChildren();
    }) : null));
  return line;
}

// cancelButton ends a request that waits. A refusal is shown beside it.
export function cancelButton(id, done) {
  const button = confirmed('Cancel', 'Cancel it for good?', async () => {
    button.parentElement.querySelector('.error')?.remove();
    try {
      await post('/api/task/cancel', { id });
      done();
    } catch (error) {
      button.after(notice(error.message, 'error'));
    }
  });
  return button;
}

import { get, post } from './api.js';
import { confirmed, h, notice, status, taskLink } from './dom.js';
import { amount, duration, fromNow, number, time } from './format.js';

export const inFlight = 'creating,submitted,processing';
export const notSucceeded = 'failed,rejected,expired,cancelled';

const choices = {
  status: [['', 'any'], [inFlight, 'in flight'], [notSucceeded, 'did not succeed'],
    ...['waiting', ...inFlight.split(','), 'succeed', ...notSucceeded.split(',')].map((name) => [name, name])],
  source: [['', 'by anything'], ['callback', 'by callback'], ['poll', 'by poll: no callback came'], ['bridge', 'by the bridge']],
  since: [['', 'at any time'], ['1', 'in the last hour'], ['24', 'in the last 24 hours'], ['168', 'in the last 7 days']],
};
const pageSize = 100;

// showTasks lists requests: those that have not ended first, then the newest.
export function showTasks(main, query) {
  const asking = new AbortController();
  const rows = h('tbody');
  const more = h('button', { type: 'button', hidden: true }, 'More');
  const state = h('div', { role: 'status' });
  const select = (name, label) => h('select', { name, 'aria-label': label, onchange: () => show() },
    choices[name].map(([value, text]) => h('option', { value, selected: value === (query.get(name) ?? '') }, text)));
  const filter = h('form', { class: 'filter' },
    h('label', {}, 'Status ', select('status')),
    h('label', {}, 'Kind ', h('input', { type: 'text', name: 'kind', value: query.get('kind') ?? '', placeholder: 'any', spellcheck: 'false' })),
    h('label', {}, 'Ended ', select('source')),
    select('since', 'Ended when'),
    h('button', { type: 'submit' }, 'Show'));
  const show = () => {
    const words = new URLSearchParams([...new FormData(filter)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value));
    location.hash = '#/tasks' + (words.size ? '?' + words : '');
  };
  filter.addEventListener('submit', (event) => { event.preventDefault(); show(); });
  main.append(h('h1', {}, 'Requests'), filter,
    h('div', { class: 'panel flush' }, h('table', { class: 'list' },
      h('thead', {}, h('tr', {}, ['Request', 'Prompt', 'Status', 'Kind', 'Requested', 'Took', 'Ended by', 'Units', ''].map((name) => h('th', { scope: 'col' }, name)))),
      rows)),
    state, more);

  let cursor = '';
  let units = 0;
  const hours = Number(query.get('since'));
  const since = hours > 0 ? new Date(Date.now() - hours * 3600e3).toISOString() : '';
  const load = async () => {
    more.disabled = true;
    try {
      const page = await get('/api/tasks', {
        status: query.get('status'), kind: query.get('kind'), source: query.get('source'), since, limit: pageSize, cursor,
      }, asking.signal);
      const added = page.tasks.map(row);
      rows.append(...added);
      showPrompts(page.tasks, added, asking.signal);
      units += page.tasks.reduce((sum, task) => sum + Number(task.units ?? 0), 0);
      cursor = page.cursor;
      more.hidden = !cursor;
      const n = rows.children.length;
      state.replaceChildren(n || cursor ? h('p', { class: 'sum' }, number(n) + (n === 1 ? ' request' : ' requests')
        + (cursor ? ' so far, ' : ', ') + amount(units) + ' units') : notice('There are none.'));
    } catch (error) {
      if (error.name !== 'AbortError') state.replaceChildren(notice(error.message, 'error'));
    }
    more.disabled = false;
  };
  more.addEventListener('click', load);
  load();
  return () => asking.abort();
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
    h('th', { scope: 'row' }, taskLink(task.request_id)),
    h('td', { 'data-label': 'Prompt', class: 'prompt' }),
    cell('Status', status(task.status), task.error ? h('span', { class: 'reason' }, (task.error.class === task.status ? '' : task.error.class + ': ') + task.error.message) : null),
    cell('Kind', task.kind),
    cell('Requested', h('time', { datetime: task.requested_at, title: fromNow(task.requested_at) }, time(task.requested_at))),
    cell('Took', took),
    cell('Ended by', task.source),
    cell('Units', task.units ? amount(Number(task.units)) : null),
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

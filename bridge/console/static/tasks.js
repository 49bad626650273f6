import { get, post } from './api.js';
import { confirmed, h, notice, status, taskLink } from './dom.js';
import { duration, fromNow, time } from './format.js';

const statuses = ['waiting', 'creating', 'submitted', 'processing', 'succeed', 'failed', 'rejected', 'expired', 'cancelled'];

// showTasks lists requests: those that have not ended first, then the newest.
export function showTasks(main, query) {
  const asking = new AbortController();
  const rows = h('tbody');
  const more = h('button', { type: 'button', hidden: true }, 'More');
  const state = h('div', { role: 'status' });
  const pick = h('select', {}, h('option', { value: '' }, 'any'),
    statuses.map((name) => h('option', { value: name, selected: name === query.get('status') }, name)));
  const kind = h('input', { type: 'text', value: query.get('kind') ?? '', placeholder: 'any', spellcheck: 'false' });
  const filter = h('form', { class: 'filter' },
    h('label', {}, 'Status ', pick),
    h('label', {}, 'Kind ', kind),
    h('button', { type: 'submit' }, 'Show'));
  const show = () => {
    const words = new URLSearchParams([['status', pick.value], ['kind', kind.value.trim()]].filter(([, value]) => value));
    location.hash = '#/tasks' + (words.size ? '?' + words : '');
  };
  filter.addEventListener('submit', (event) => { event.preventDefault(); show(); });
  pick.addEventListener('change', show);
  main.append(h('h1', {}, 'Requests'), filter,
    h('div', { class: 'panel flush' }, h('table', { class: 'list' },
      h('thead', {}, h('tr', {}, ['Request', 'Status', 'Kind', 'Requested', 'Took', ''].map((name) => h('th', { scope: 'col' }, name)))),
      rows)),
    state, more);

  let cursor = '';
  const load = async () => {
    more.disabled = true;
    try {
      const page = await get('/api/tasks', { status: query.get('status'), kind: query.get('kind'), limit: 50, cursor }, asking.signal);
      rows.append(...page.tasks.map(row));
      cursor = page.cursor;
      more.hidden = !cursor;
      state.replaceChildren();
      if (!rows.children.length && !cursor) state.append(notice('There are none.'));
    } catch (error) {
      if (error.name !== 'AbortError') state.replaceChildren(notice(error.message, 'error'));
    }
    more.disabled = false;
  };
  more.addEventListener('click', load);
  load();
  return () => asking.abort();
}

function row(task) {
  const cell = (label, ...children) => h('td', { 'data-label': label }, ...children);
  const took = task.completed_at ? duration(new Date(task.completed_at) - new Date(task.requested_at)) : '–';
  const line = h('tr', {},
    h('th', { scope: 'row' }, taskLink(task.request_id)),
    cell('Status', status(task.status)),
    cell('Kind', task.kind),
    cell('Requested', h('time', { datetime: task.requested_at, title: fromNow(task.requested_at) }, time(task.requested_at))),
    cell('Took', took),
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

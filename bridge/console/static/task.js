import { get } from './api.js';
import { copyButton, h, notice, status, taskLink, when } from './dom.js';
import { duration, fromNow, httpURL } from './format.js';
import { sendAgain } from './again.js';
import { askedFor } from './asked.js';
import { failure, readable } from './dead.js';
import { listen } from './live.js';
import { results } from './results.js';
import { cancelButton } from './tasks.js';

const plainAccount = 'default'; // of who has one
const recheck = 5000; // milliseconds between looks at a request that has not ended

// showTask shows one request's life, and follows it.
export function showTask(main, id) {
  const asking = new AbortController();
  const view = h('div', {}, h('p', { class: 'loading' }, 'Loading…'));
  const keep = {}; // what a person has begun, which stays as it is while the rest is drawn anew
  main.append(h('div', { class: 'title' }, h('h1', { class: 'id' }, id), copyButton(id, 'the request id')), view);

  let shown = '';
  const load = async () => {
    try {
      const story = await get('/api/task', { id }, asking.signal);
      const text = JSON.stringify(story);
      if (text === shown) return; // and what is open, played or focused stays so
      shown = text;
      const opened = [...view.querySelectorAll('details[open]')].map((part) => part.dataset.key);
      view.replaceChildren(...show(story, load, keep));
      for (const part of view.querySelectorAll('details')) part.open = opened.includes(part.dataset.key);
    } catch (error) {
      if (error.name !== 'AbortError') view.replaceChildren(notice(error.message, 'error'));
    }
  };
  load();
  let last = 0;
  const stop = listen(({ activity }) => {
    const mine = activity.events.filter((event) => event.request_id === id && event.seq > last);
    if (!mine.length) return;
    last = mine[0].seq;
    load();
  });
  const timer = setInterval(load, recheck);
  return () => {
    stop();
    clearInterval(timer);
    asking.abort();
  };
}

function show(story, reload, keep) {
  const task = story.task;
  if (task.completed_at) keep.again ??= sendAgain(story);
  return [
    h('p', { class: 'lead' }, status(task.status), ' ', h('span', { class: 'help' }, task.kind + ', pool ' + (task.pool || '–')),
      task.status === 'waiting' ? cancelButton(task.request_id, reload) : null,
      keep.again?.buttons),
    keep.again?.place,
    task.error ? failure(task.error) : null,
    h('div', { class: 'columns' },
      h('section', { class: 'panel', 'aria-labelledby': 'timeline' }, h('h2', { id: 'timeline' }, 'Timeline'), timeline(story)),
      h('section', { class: 'panel', 'aria-labelledby': 'facts' }, h('h2', { id: 'facts' }, 'Facts'), facts(story))),
    story.result ? results(story.result) : null,
    askedFor(story),
    archive(story.archive),
    story.kling ? h('details', { class: 'panel', 'data-key': 'kling' }, h('summary', {}, 'As Kling sent it'),
      h('pre', { tabindex: '0' }, readable(story.kling, false))) : null,
  ].filter(Boolean);
}

function timeline(story) {
  const begin = new Date(story.steps[0].at);
  let before = begin;
  const lines = story.steps.map((step) => {
    const at = new Date(step.at);
    const since = at - before;
    before = at;
    return h('li', { class: 'step' },
      h('span', { class: 'what' }, step.type === 'requested' ? h('span', { class: 'status s-requested' }, 'requested') : status(step.status, step.type),
        step.source ? h('span', { class: 'help' }, ' by ' + step.source) : null),
      when(step.at),
      h('span', { class: 'after' }, step.type === 'requested' ? '' : '+' + duration(since)),
      step.message ? h('p', { class: 'said' }, step.message) : null,
      step.error && step.error.message !== step.message ? h('p', { class: 'said' }, step.error.class + ': ' + step.error.message) : null);
  });
  if (!story.task.completed_at) lines.push(h('li', { class: 'step open' }, h('span', { class: 'what' }, waitsFor(story.task))));
  return [
    h('ol', { class: 'timeline' }, lines),
    story.task.completed_at ? h('p', { class: 'help' }, 'From request to completion: ',
      h('strong', {}, duration(new Date(story.task.completed_at) - begin))) : null,
  ];
}

function waitsFor(task) {
  switch (task.status) {
    case 'waiting': return 'waits for ' + (task.waits_for || 'a slot of its pool, or for its turn')
      + (task.before ? ', ' + task.before + ' before it' : '');
    case 'creating': return 'waits for ' + (task.waits_for || 'an answer to its create call');
    default: return task.next_poll_at ? 'waits for the callback; next poll ' + fromNow(task.next_poll_at) : 'waits for the callback';
  }
}

function facts(story) {
  const task = story.task;
  const id = (text, what) => text ? [h('span', { class: 'id' }, text), copyButton(text, what)] : null;
  const at = (text) => text ? [when(text), h('span', { class: 'help' }, ' (' + fromNow(text) + ')')] : null;
  const trace = httpURL(story.trace_url);
  const rows = [
    ['Account', task.account === plainAccount ? null : task.account],
    ['Task id', id(task.task_id, 'the task id')],
    ['External id', id(task.external_task_id, 'the external id')],
    ['Trace id', trace ? [h('a', { href: trace, rel: 'noopener noreferrer', target: '_blank', class: 'id trace' }, story.trace_id),
      copyButton(story.trace_id, 'the trace id')] : id(story.trace_id, 'the trace id')],
    ['Units', story.units],
    ['Next poll', task.completed_at ? null : at(task.next_poll_at)],
    ['Deadline', task.completed_at ? null : at(task.deadline)],
    ['Results expire', at(story.result?.expires_at)],
    ['Replay of', task.replay_of ? taskLink(task.replay_of) : null],
    ...Object.entries(task.metadata ?? {}).map(([name, value]) => [name, value || '(empty)', 'metadata']),
  ];
  return h('dl', { class: 'facts' }, rows.filter(([, value]) => value).map(([name, value, note]) =>
    [h('dt', { title: note }, name), h('dd', {}, value)]));
}

function archive(files) {
  if (!files.length) return null;
  return h('section', { class: 'panel' }, h('h2', {}, 'Archived'), h('ul', { class: 'files' }, files.map((file) => {
    const url = httpURL(file.archive_url);
    return h('li', {}, url ? h('a', { href: url, rel: 'noopener noreferrer', target: '_blank' }, file.archive_url)
      : h('span', { class: 'id' }, file.archive_url), copyButton(file.archive_url, 'the URL'), h('span', { class: 'help' }, ' ' + file.content_type + ', ' + file.bytes + ' bytes'));
  })));
}

import { get, post } from './api.js';
import { confirmed, h, notice, taskLink } from './dom.js';
import { duration } from './format.js';

// showNew is a form for a request of any kind, which begins with a sample body.
export function showNew(main, query) {
  const asking = new AbortController();
  const kind = h('select', { id: 'new-kind' });
  const about = h('p', { class: 'help', id: 'new-about' });
  const body = h('textarea', { id: 'new-body', rows: 14, spellcheck: 'false', 'aria-describedby': 'new-about' });
  const id = h('input', { type: 'text', id: 'new-id', maxlength: 128, placeholder: 'made up', spellcheck: 'false', autocomplete: 'off' });
  const priority = h('select', { id: 'new-priority' }, ['normal', 'high', 'low'].map((name) => h('option', { value: name === 'normal' ? '' : name }, name)));
  const meta = h('input', { type: 'text', id: 'new-meta', placeholder: 'Tenant:acme', spellcheck: 'false', autocomplete: 'off' });
  const told = h('div', { role: 'status' });
  let sample = ''; // that is in the form, unless it was changed
  const send = confirmed('Send', 'Send it to Kling, paid?', async () => {
    try {
      const answer = await post('/api/task/new', { kind: kind.value, id: id.value.trim(), priority: priority.value, meta: meta.value.trim(), body: body.value });
      told.replaceChildren(h('p', {}, 'Sent as ', taskLink(answer.request_id)));
    } catch (error) {
      told.replaceChildren(notice(error.message, 'error'));
    }
  }, { class: 'primary' });
  const field = (label, input) => h('p', {}, h('label', { for: input.id }, label), input);
  const form = h('form', { class: 'panel editor', onsubmit: (event) => event.preventDefault() },
    field('Kind', kind), about, field('Body', body),
    h('div', { class: 'fields' }, field('Request id', id), field('Priority', priority), field('Metadata', meta)),
    h('p', { class: 'buttons' }, send), told);
  main.append(h('h1', {}, 'New request'), form);

  const show = (all) => {
    const chosen = all.find((one) => one.kind === kind.value);
    about.textContent = ['Pool ' + chosen.pool, chosen.required.length ? 'wants ' + chosen.required.join('; ') : '',
      chosen.usual_seconds ? 'usually takes ' + duration(chosen.usual_seconds * 1000) : ''].filter(Boolean).join(' · ')
      + '. Inputs in a sample are at example.com, and ids are made up: put your own in their place.';
    if (body.value === sample) body.value = sample = chosen.body || '{}';
  };
  get('/api/kinds', {}, asking.signal).then(({ kinds }) => {
    kind.append(...kinds.map((one) => h('option', { value: one.kind, selected: one.kind === query.get('kind') }, one.kind)));
    kind.addEventListener('change', () => show(kinds));
    show(kinds);
  }).catch((error) => {
    if (error.name !== 'AbortError') told.replaceChildren(notice(error.message, 'error'));
  });
  return () => asking.abort();
}

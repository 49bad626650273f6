import { post } from './api.js';
import { confirmed, h, notice, taskLink } from './dom.js';
import { amount } from './format.js';

// cost says what a further task costs, as far as that is known.
function cost(task) {
  const units = Number(task.units);
  return units > 0 ? 'paid anew, the last one took ' + amount(units) + ' units' : 'paid anew';
}

// sendAgain returns a button that sends an ended request again, one that opens it for changes, and the place for both.
export function sendAgain(story) {
  const { task, asked } = story;
  const told = h('div', { class: 'sent', role: 'status' });
  const send = (body) => async () => {
    try {
      const answer = await post('/api/task/again', { id: task.request_id, body: body() });
      told.replaceChildren(h('p', {}, 'Sent again as ', taskLink(answer.request_id)));
      return true;
    } catch (error) {
      told.replaceChildren(notice(error.message, 'error'));
      return false;
    }
  };
  const place = h('div');
  const again = confirmed('Run again', 'Send it again, ' + cost(task) + '?', send(() => ''), { class: 'again' });
  const edit = asked.editable ? h('button', {
    type: 'button', class: 'edit', 'aria-expanded': 'false',
    onclick: () => (place.firstChild ? close() : open()),
  }, 'Edit and send') : null;
  const close = () => {
    place.replaceChildren();
    edit.setAttribute('aria-expanded', 'false');
  };
  const open = () => {
    const { form, text } = editor(story, send, close);
    place.replaceChildren(form);
    edit.setAttribute('aria-expanded', 'true');
    text.focus();
  };
  return { buttons: [again, edit], place: h('div', {}, told, place) };
}

// editor is the body of a request to be changed, which becomes a new one.
function editor({ task, asked }, send, close) {
  const text = h('textarea', {
    id: 'edited', rows: Math.min(24, asked.editable.split('\n').length + 1), spellcheck: 'false', 'aria-describedby': 'edited-help',
  });
  text.value = asked.editable;
  const submit = send(() => text.value);
  const form = h('form', { class: 'panel editor' },
    h('label', { for: 'edited' }, 'Body of the new request, ' + task.kind),
    text,
    h('p', { class: 'help', id: 'edited-help' },
      asked.kept.length ? 'Too large to be shown, and sent as before: ' + asked.kept.join(', ') + '. ' : null,
      'Members can be changed and added. It is ' + cost(task) + '.'),
    h('p', { class: 'buttons' },
      confirmed('Send', 'Send it to Kling, paid?', async () => { if (await submit()) close(); }, { class: 'primary' }),
      h('button', { type: 'button', class: 'quiet', onclick: close }, 'Close')));
  form.addEventListener('submit', (event) => event.preventDefault());
  return { form, text };
}

import { post } from './api.js';
import { h } from './dom.js';

// showLogin asks for the token, and calls done once it was right.
export function showLogin(main, done) {
  const input = h('input', {
    id: 'token', type: 'password', required: true, autocomplete: 'current-password', 'aria-describedby': 'token-help token-error',
  });
  const error = h('p', { class: 'error', id: 'token-error', role: 'alert', hidden: true });
  const form = h('form', { class: 'login panel' },
    h('h1', {}, 'Log in'),
    h('label', { for: 'token' }, 'Token'),
    input,
    h('p', { class: 'help', id: 'token-help' }, 'The value of BRIDGE_ADMIN_TOKEN.'),
    error,
    h('button', { type: 'submit', class: 'primary' }, 'Log in'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      await post('/api/login', { token: input.value });
      main.replaceChildren();
      done();
    } catch (refused) {
      error.hidden = false;
      error.textContent = refused.message;
      input.select();
    }
  });
  main.replaceChildren(form);
  document.title = 'Log in · klingbridge';
  input.focus();
}

// Starts the page: logs in, keeps the news coming, and shows the view that the address names.

import { get, post } from './api.js';
import { showPauses } from './banner.js';
import { byId, h, notice, refreshTimes } from './dom.js';
import { number, showTimesAs, timeOfDay, timesAs } from './format.js';
import { connect, disconnect, lastHeard, listen } from './live.js';
import { showNew } from './new.js';
import { showDead } from './dead.js';
import { showLogin } from './login.js';
import { showOverview } from './overview.js';
import { showTask } from './task.js';
import { showTasks } from './tasks.js';
import { find } from './search.js';

const main = byId('main');
let leave = () => {}; // ends the view that is shown
let open = false;

function route() {
  if (!open) return;
  const [path, query] = location.hash.slice(1).split('?');
  const [, view, ...rest] = path.split('/');
  leave();
  leave = () => {};
  main.replaceChildren();
  for (const link of byId('nav').querySelectorAll('a')) {
    const current = link.getAttribute('href') === '#/' + (view ?? '');
    if (current) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  switch (view) {
    case 'task': leave = showTask(main, safeDecode(rest.join('/'))); break;
    case 'tasks': leave = showTasks(main, new URLSearchParams(query)); break;
    case 'new': leave = showNew(main, new URLSearchParams(query)); break;
    case 'dead': leave = showDead(main); break;
    case 'search': leave = find(main, safeDecode(rest.join('/'))); break;
    default: leave = showOverview(main);
  }
  const heading = main.querySelector('h1');
  document.title = (heading ? heading.textContent + ' · ' : '') + 'klingbridge';
}

function safeDecode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function showLink(state) {
  const link = byId('link');
  const live = state === 'live';
  const text = live ? 'live' : lastHeard() ? 'as of ' + timeOfDay(lastHeard()) : 'not connected';
  document.body.classList.toggle('stale', !live && Boolean(lastHeard()));
  link.title = live ? '' : 'The bridge does not answer: what is shown may have changed since.';
  link.hidden = false;
  link.dataset.state = state;
  if (link.textContent !== text) link.textContent = text;
}

function start() {
  open = true;
  for (const id of ['nav', 'search', 'times', 'banner']) byId(id).hidden = false;
  connect(showLink);
  route();
}

function logIn() {
  if (!open && main.querySelector('form')) return;
  open = false;
  disconnect();
  leave();
  leave = () => {};
  document.body.classList.remove('stale');
  for (const id of ['nav', 'search', 'logout', 'link', 'times', 'banner']) byId(id).hidden = true;
  showLogin(main, async () => {
    byId('logout').hidden = false;
    start();
  });
}

listen(({ status }) => {
  const dead = byId('dead-count');
  dead.hidden = !status.dead;
  dead.textContent = status.dead ? number(status.dead) : '';
  byId('version').textContent = status.version ? 'klingbridge ' + status.version : '';
});

listen(({ status }) => showPauses(byId('banner'), status));

const times = byId('times').querySelector('select');
times.value = timesAs();
times.addEventListener('change', () => {
  showTimesAs(times.value);
  route();
});
setInterval(() => { if (timesAs() === 'relative') refreshTimes(); }, 1000);

window.addEventListener('hashchange', () => {
  route();
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
window.addEventListener('loggedout', logIn);

byId('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
byId('search').addEventListener('submit', (event) => {
  event.preventDefault();
  const words = byId('words').value.trim();
  if (!words) return;
  const target = '#/search/' + encodeURIComponent(words);
  if (location.hash === target) route();
  else location.hash = target;
});
byId('logout').addEventListener('click', async () => {
  try {
    await post('/api/logout', {});
  } catch (error) {
    main.prepend(notice(error.message, 'error'));
    return;
  }
  logIn();
});
document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, textarea, select');
  if (event.key !== '/' || typing || event.ctrlKey || event.metaKey || event.altKey || byId('search').hidden) return;
  event.preventDefault();
  byId('words').focus();
  byId('words').select();
});

try {
  const session = await get('/api/session');
  byId('simulated').hidden = !session.simulated;
  byId('logout').hidden = !session.token;
  if (session.open) start();
  else logIn();
} catch (error) {
  main.replaceChildren(h('h1', {}, 'Console'), notice(error.message, 'error'));
}

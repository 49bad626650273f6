import { get } from './api.js';
import { h, notice, taskHash } from './dom.js';
import { percent } from './format.js';

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// find looks for a request, and goes to its page when there is one. While the index of task ids is read it says how far
// that is. What is nobody's id is taken for the beginning of some, or for metadata.
export function find(main, words) {
  const asking = new AbortController();
  const state = h('p', { class: 'loading', role: 'status' }, 'Searching…');
  main.append(h('h1', {}, 'Search for ', h('span', { class: 'id' }, words)), state);
  search(asking.signal).catch((error) => {
    if (error.name !== 'AbortError') state.replaceWith(notice(error.message, 'error'));
  });
  return () => asking.abort();

  async function search(signal) {
    for (;;) {
      const answer = await get('/api/search', { q: words }, signal);
      if (answer.task) {
        location.replace(taskHash(answer.task.request_id));
        return;
      }
      if (!answer.reading) break;
      state.textContent = 'Searching… ' + percent(answer.index.read, answer.index.of) + ' of the stream is read.';
      await pause(100);
    }
    const [, name, value] = /^([\w-]+):(.+)$/.exec(words) ?? [];
    location.replace('#/tasks?' + new URLSearchParams(name ? { meta: name + ':' + value, sought: 1 } : { prefix: words, sought: 1 }));
  }
}

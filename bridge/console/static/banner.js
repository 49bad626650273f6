import { h } from './dom.js';
import { duration } from './format.js';

let timer = null;
let drawn = '';

// showPauses tells on every page what is not sent, why, and when it is tried again.
export function showPauses(banner, status) {
  const pauses = status.pauses ?? [];
  const text = JSON.stringify(pauses);
  if (text === drawn) return;
  drawn = text;
  clearInterval(timer);
  const probes = pauses.map((pause) => h('span', { class: 'probe' }));
  banner.replaceChildren(...pauses.map((pause, i) => h('p', {},
    h('strong', {}, (pause.account ? 'Account ' + pause.account + ': ' : '') + pause.what + ' is paused: '), pause.reason,
    ' Its requests wait; mend what it names. ', probes[i])));
  if (!pauses.length) return;
  const tick = () => pauses.forEach((pause, i) => {
    const left = new Date(pause.next_probe) - Date.now();
    probes[i].textContent = left > 0 ? 'Next probe in ' + duration(Math.ceil(left / 1000) * 1000).replace('.0', '') + '.' : 'The next request is the probe.';
  });
  tick();
  timer = setInterval(tick, 1000);
}

// Small charts of the last hour, one column a minute.

import { h, s } from './dom.js';
import { duration, number } from './format.js';

const width = 600, height = 120, columns = 60;
const step = width / columns;

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

// frame is a chart with its scale, from top to bottom, and its times.
function frame(title, summary, [top, low], drawing, legend) {
  return h('figure', { class: 'chart panel' },
    h('figcaption', {}, h('h2', {}, title), h('ul', { class: 'legend' }, legend.map(([name, kind]) =>
      h('li', {}, s('svg', { viewBox: '0 0 10 10', 'aria-hidden': 'true', class: 'key' }, s('rect', { width: 10, height: 10, rx: 2, class: kind })), name)))),
    h('div', { class: 'plot' },
      h('span', { class: 'scale', 'aria-hidden': 'true' }, top),
      low ? h('span', { class: 'scale low', 'aria-hidden': 'true' }, low) : null,
      s('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': summary },
        s('line', { x1: 0, x2: width, y1: 0.5, y2: 0.5, class: 'grid' }),
        s('line', { x1: 0, x2: width, y1: height / 2, y2: height / 2, class: 'grid' }),
        s('line', { x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5, class: 'grid' }),
        drawing)),
    h('div', { class: 'ends', 'aria-hidden': 'true' }, h('span', {}, '1 h ago'), h('span', {}, 'now')));
}

// nice is the next round number at or above n.
function nice(n) {
  if (n <= 1) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * magnitude).find((top) => top >= n);
}

export function throughput(minutes) {
  const top = nice(Math.max(...minutes.map((m) => m.succeed + m.other)));
  const scale = height / top;
  const bars = minutes.map((m, i) => {
    const x = i * step + 1, w = step - 2;
    const good = m.succeed * scale, bad = m.other * scale;
    return s('g', {}, s('title', {}, clock.format(new Date(m.at)) + ': ' + m.succeed + ' succeeded, ' + m.other + ' did not'),
      s('rect', { x: i * step, y: 0, width: step, height, class: 'hover' }),
      good ? s('rect', { x, y: height - good, width: w, height: good, class: 'good' }) : null,
      bad ? s('rect', { x, y: height - good - bad, width: w, height: bad, class: 'bad' }) : null);
  });
  const succeed = minutes.reduce((sum, m) => sum + m.succeed, 0);
  const other = minutes.reduce((sum, m) => sum + m.other, 0);
  return frame('Completions per minute', `${succeed} succeeded and ${other} did not in the last hour, at most ${top} a minute`,
    [number(top)], bars, [['succeeded', 'good'], ['did not', 'bad']]);
}

// times has a logarithmic scale: one request that took hours must not hide that all others take twice as long as before.
export function times(minutes) {
  const known = minutes.filter((m) => m.p50 !== null);
  const top = Math.max(1000, ...known.map((m) => m.p95)) * 1.25;
  const low = Math.max(1, Math.min(top / 10, ...known.map((m) => m.p50)) / 1.25);
  const y = (ms) => height - 2 - (height - 4) * Math.log(Math.max(ms, low) / low) / Math.log(top / low);
  const line = (key, kind) => runs(minutes, key).map((run) => run.length === 1
    ? s('line', { x1: run[0] * step + 1, x2: run[0] * step + step - 1, y1: y(minutes[run[0]][key]), y2: y(minutes[run[0]][key]), class: kind })
    : s('polyline', { points: run.map((i) => `${i * step + step / 2},${y(minutes[i][key])}`).join(' '), class: kind }));
  const tips = minutes.map((m, i) => m.p50 === null ? null : s('g', {},
    s('title', {}, clock.format(new Date(m.at)) + ': half within ' + duration(m.p50) + ', 95 % within ' + duration(m.p95)),
    s('rect', { x: i * step, y: 0, width: step, height, class: 'hover' })));
  return frame('Request to completion', 'Time from request to completion by minute, at most ' + duration(top),
    [duration(top), duration(low)], [line('p95', 'p95'), line('p50', 'p50'), tips], [['median', 'p50'], ['95 %', 'p95']]);
}

// runs are the stretches of minutes that have a value.
function runs(minutes, key) {
  const all = [];
  minutes.forEach((m, i) => {
    if (m[key] === null) return;
    const run = all.at(-1);
    if (run && run.at(-1) === i - 1) run.push(i);
    else all.push([i]);
  });
  return all;
}

// meter is a bar for a share of a whole; a whole of 0 makes it empty.
export function meter(part, whole, kind) {
  const share = whole > 0 ? Math.min(100, (100 * part) / whole) : 0;
  return s('svg', { class: 'meter', 'aria-hidden': 'true', preserveAspectRatio: 'none', viewBox: '0 0 100 6' },
    s('rect', { width: 100, height: 6, class: 'ground' }), s('rect', { width: share, height: 6, class: kind }));
}

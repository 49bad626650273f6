import { meter, throughput, times } from './charts.js';
import { h, notice, status, taskLink, when } from './dom.js';
import { amount, duration, number, percent } from './format.js';
import { listen } from './live.js';
import { inFlight, notSucceeded } from './tasks.js';

// showOverview shows what happens now and what happened in the last hour.
export function showOverview(main) {
  const troubles = h('div', { class: 'troubles', role: 'status' });
  const pools = h('div', { class: 'pools' });
  const tiles = h('dl', { class: 'tiles' });
  const charts = h('div', { class: 'columns' });
  const units = h('section', { class: 'panel', 'aria-labelledby': 'units' });
  const rows = h('ol', { class: 'events', id: 'events' });
  const none = h('div');
  main.append(
    h('h1', { class: 'hidden' }, 'Overview'),
    troubles,
    h('section', { 'aria-label': 'Pools' }, pools),
    h('section', { 'aria-label': 'The last hour' }, tiles, charts),
    h('div', { class: 'columns wide' },
      h('section', { class: 'panel', 'aria-labelledby': 'newest' }, h('h2', { id: 'newest' }, 'Newest events'), rows, none),
      units));

  const drawn = new Map(); // what each part was last drawn from, so that only what has changed is drawn
  const draw = (part, data, make) => {
    const text = JSON.stringify(data);
    if (drawn.get(part) === text) return;
    drawn.set(part, text);
    part.replaceChildren(...[make()].flat().filter(Boolean));
  };
  return listen(({ status: bridge, activity }) => {
    draw(troubles, [bridge.error, bridge.reasons, bridge.pauses], () => trouble(bridge));
    if (bridge.pools) draw(pools, bridge.pools, () => bridge.pools.map(pool));
    const { events, minutes, kinds, tenants, ...sums } = activity;
    draw(tiles, [bridge.in_flight, bridge.queue_depth, bridge.dead, sums], () => hour(bridge, activity));
    draw(charts, minutes, () => [throughput(minutes), times(minutes)]);
    draw(units, [kinds, tenants, sums.units, sums.ready], () => spent(activity));
    addEvents(rows, events);
    draw(none, events.length ? 'some' : sums.ready, () => events.length ? null
      : notice(sums.ready ? 'Nothing has happened in the last hour.' : 'Loading the last hour…'));
  });
}

function trouble(bridge) {
  const told = (reason) => (bridge.pauses ?? []).some((pause) => reason.endsWith(pause.reason)); // by the banner
  const reasons = [bridge.error, ...(bridge.reasons ?? []).filter((reason) => !told(reason))].filter(Boolean);
  return reasons.map((reason) => h('p', { class: 'trouble' }, h('strong', {}, 'Not ready: '), reason));
}

function pool(p) {
  const limit = [p.limit, p.cap].filter((n) => n !== null);
  const most = limit.length ? Math.min(...limit) : null;
  const waiting = Object.values(p.waiting).reduce((sum, n) => sum + n, 0);
  const paused = p.paused.length > 0;
  return h('article', { class: 'panel pool' + (paused ? ' paused' : ''), 'data-pool': p.pool },
    h('header', {}, h('h2', {}, p.pool), h('span', { class: 'badge ' + (paused ? 'bad' : 'ok') }, paused ? 'paused' : 'sending')),
    h('p', { class: 'big' }, h('strong', {}, number(p.in_flight)), h('span', {}, most === null ? ' in flight' : ' of ' + number(most) + ' in flight')),
    meter(p.in_flight, most ?? 0, 'busy'),
    h('dl', { class: 'pairs' },
      h('dt', {}, 'Learned limit'), h('dd', {}, p.limit === null ? 'not met yet' : number(p.limit)),
      h('dt', {}, 'Cap'), h('dd', {}, p.cap === null ? 'none' : number(p.cap)),
      h('dt', {}, 'Waiting'), h('dd', { class: 'waiting' }, waiting === 0 ? '0' : number(waiting) + ' (' +
        ['high', 'normal', 'low'].filter((name) => p.waiting[name]).map((name) => number(p.waiting[name]) + ' ' + name).join(', ') + ')')),
    (p.accounts ?? []).map(account),
    p.paused.map((why) => h('p', { class: 'why' }, why)));
}

// account is what one of several accounts has of a pool.
function account(a) {
  const limit = [a.limit, a.cap].filter((n) => n !== null);
  return [
    h('p', { class: 'account', 'data-account': a.account }, 'Account ' + a.account + ': ' + number(a.in_flight)
      + (limit.length ? ' of ' + number(Math.min(...limit)) : '') + ' in flight' + (a.paused.length ? ', paused' : '')),
    a.paused.map((why) => h('p', { class: 'why' }, why)),
  ];
}

function hour(bridge, a) {
  const done = a.succeed + a.other;
  const learned = a.callback + a.poll;
  const tile = (name, value, more, kind) => h('div', { class: 'tile' + (kind ? ' ' + kind : '') },
    h('dt', {}, name), h('dd', {}, h('strong', {}, a.ready || name === 'Now' ? value : '…'), more ? h('span', {}, more) : null));
  const list = (query, text) => h('a', { href: '#/tasks?' + new URLSearchParams(query) }, text);
  return [
    tile('Now', number(bridge.in_flight ?? 0), [list({ status: inFlight }, 'in flight'), ', ',
      list({ status: 'waiting' }, number(bridge.queue_depth ?? 0) + ' queued')]),
    tile('Units, last hour', amount(a.units), a.succeed ? amount(Math.round(100 * a.units / a.succeed) / 100) + ' per success' : 'spent'),
    tile('Succeeded', percent(a.succeed, done), a.other
      ? [number(a.succeed) + ' of ' + number(done) + ', ', list({ status: notSucceeded, since: 1 }, number(a.other) + ' did not')]
      : number(a.succeed) + ' of ' + number(done), done && a.succeed / done < 0.8 ? 'warn' : ''),
    tile('To completion', duration(a.p50), '95 % within ' + duration(a.p95)),
    tile('By callback', percent(a.callback, learned), a.poll
      ? list({ source: 'poll', since: 1 }, number(a.poll) + ' by poll') : '0 by poll', learned && a.callback / learned < 0.5 ? 'warn' : ''),
  ];
}

function spent(a) {
  const table = (title, shares) => {
    const most = Math.max(...shares.map((share) => share.units));
    return h('table', { class: 'shares' }, h('caption', {}, title), h('tbody', {}, shares.map((share) => h('tr', {},
      h('th', { scope: 'row' }, share.name), h('td', { class: 'track' }, meter(share.units, most, 'busy')),
      h('td', { class: 'num' }, amount(share.units))))));
  };
  return [
    h('h2', { id: 'units' }, 'Units spent, last hour'),
    ...(a.kinds.length ? [table('By kind', a.kinds), table('By tenant (Kling-Meta-Tenant)', a.tenants)]
      : [notice(a.ready ? 'None.' : 'Loading…')]),
  ];
}

// addEvents puts the new ones on top and takes the oldest away, and leaves what is there, with its focus, alone.
function addEvents(rows, events) {
  const known = new Map([...rows.children].map((row) => [row.dataset.seq, row]));
  const wanted = new Set(events.map((event) => String(event.seq)));
  for (const [seq, row] of known) if (!wanted.has(seq)) row.remove();
  rows.prepend(...events.filter((event) => !known.has(String(event.seq))).map(eventRow));
}

function eventRow(event) {
  return h('li', { 'data-seq': event.seq },
    when(event.at),
    status(event.status, event.type),
    taskLink(event.request_id),
    h('span', { class: 'help' }, [event.kind, event.source && 'by ' + event.source, event.tenant].filter(Boolean).join(' · ')));
}

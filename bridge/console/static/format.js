// Times, durations and numbers as people read them.

const clockOf = (timeZone) => new Intl.DateTimeFormat(undefined, {
  hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23', timeZone,
});
const dayOf = (timeZone) => new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric', timeZone });
const zones = {
  local: { clock: clockOf(), day: dayOf(), mark: '' },
  utc: { clock: clockOf('UTC'), day: dayOf('UTC'), mark: ' UTC' },
};
const count = new Intl.NumberFormat();
const decimal = new Intl.NumberFormat(undefined, { maximumFractionDigits: 4 });

export const number = (n) => count.format(n);
export const amount = (n) => decimal.format(n);

const remembered = 'klingbridge.times';
let times = 'local';
try {
  times = localStorage.getItem(remembered) ?? times;
} catch { /* the browser keeps nothing */ }

// timesAs tells how times are shown: local, utc or relative.
export const timesAs = () => times;

// showTimesAs changes it, here and for the next visit.
export function showTimesAs(way) {
  times = way;
  try {
    localStorage.setItem(remembered, way);
  } catch { /* for this visit only */ }
}

// time is the time of day, with the date unless that is today, or how long ago it was.
export function time(text) {
  if (!text) return '–';
  return times === 'relative' ? fromNow(text) : timeOfDay(new Date(text));
}

// timeOfDay is never relative.
export function timeOfDay(at) {
  const { clock, day, mark } = zones[times] ?? zones.local;
  const today = day.format(at) === day.format(new Date());
  return (today ? clock.format(at) : day.format(at) + ', ' + clock.format(at)) + mark;
}

// duration of milliseconds: 850 ms, 4.2 s, 3 m 05 s, 2 h 10 m, 3 d 4 h.
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return '–';
  if (ms < 0) return '−' + duration(-ms);
  if (ms < 1000) return Math.round(ms) + ' ms';
  const seconds = ms / 1000;
  if (seconds < 59.95) return seconds.toFixed(1) + ' s';
  const pair = (big, unit, small, smallUnit) => `${big} ${unit} ${String(small).padStart(2, '0')} ${smallUnit}`;
  const whole = Math.round(seconds);
  if (whole < 3600) return pair(Math.floor(whole / 60), 'm', whole % 60, 's');
  const minutes = Math.round(whole / 60);
  if (minutes < 48 * 60) return pair(Math.floor(minutes / 60), 'h', minutes % 60, 'm');
  return pair(Math.floor(minutes / 1440), 'd', Math.floor((minutes % 1440) / 60), 'h');
}

export function percent(part, whole) {
  if (!whole) return '–';
  const share = (100 * part) / whole;
  return (share > 0 && share < 1 || share > 99 && share < 100 ? share.toFixed(1) : Math.round(share)) + ' %';
}

// fromNow says how far away a time is.
export function fromNow(text) {
  const ms = new Date(text) - Date.now();
  return ms >= 0 ? 'in ' + duration(ms) : duration(-ms) + ' ago';
}

// httpURL is a URL that may be followed, or null: a result must not run anything here.
export function httpURL(text) {
  try {
    const url = new URL(text);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : null;
  } catch {
    return null;
  }
}

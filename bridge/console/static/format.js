// Times, durations and numbers as people read them.

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' });
const count = new Intl.NumberFormat();
const decimal = new Intl.NumberFormat(undefined, { maximumFractionDigits: 4 });

export const number = (n) => count.format(n);
export const amount = (n) => decimal.format(n);

// time is the time of day, with the date unless that is today.
export function time(text) {
  if (!text) return '–';
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock.format(at) : day.format(at) + ', ' + clock.format(at);
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

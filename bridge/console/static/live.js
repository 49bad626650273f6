// The news of the bridge, as they come. A stream that ends is opened again.

const listeners = new Set();
let newest = null;
let source = null;
let again = null;
let late = null;

let heard = null; // when anything last came
let watchdog = null;

const silence = 40_000; // milliseconds after which a stream is taken for dead: a living one shows it every 15 s
const patience = 3000; // milliseconds without a stream before it is shown: one that ends is opened again after a second

// listen calls back with the news, at once where some are known, until the returned function is called.
export function listen(callback) {
  listeners.add(callback);
  if (newest) callback(newest);
  return () => listeners.delete(callback);
}

// lastHeard is when the news were good.
export const lastHeard = () => heard;

// connect opens the stream. told is called with how the connection is: live, waiting.
export function connect(told) {
  disconnect();
  source = new EventSource('/api/live');
  source.addEventListener('alive', () => { heard = new Date(); });
  watchdog = setInterval(() => {
    if (!heard || Date.now() - heard < silence) return;
    told('waiting');
    connect(told);
  }, silence / 4);
  source.onmessage = (event) => {
    newest = JSON.parse(event.data);
    heard = new Date();
    clearTimeout(late);
    late = null;
    told('live');
    for (const callback of [...listeners]) callback(newest);
  };
  source.onerror = async () => {
    if (source?.readyState !== EventSource.CLOSED) { // the browser tries again by itself
      late ??= setTimeout(() => told('waiting'), patience);
      return;
    }
    told('waiting');
    disconnect();
    again = setTimeout(() => connect(told), 2000);
    const session = await fetch('/api/session').then((r) => r.json()).catch(() => null);
    if (session && !session.open) window.dispatchEvent(new Event('loggedout'));
  };
}

export function disconnect() {
  clearInterval(watchdog);
  clearTimeout(again);
  clearTimeout(late);
  late = null;
  source?.close();
  source = null;
}

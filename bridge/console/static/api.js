// Questions to the bridge.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { headers: { Accept: 'application/json' }, ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused(0, 'The bridge does not answer.');
  }
  if (response.status === 204) return null;
  let body = {};
  try {
    body = await response.json();
  } catch { /* a proxy's own page */ }
  if (response.ok) return body;
  if (response.status === 401) window.dispatchEvent(new Event('loggedout'));
  throw new Refused(response.status, body.error ?? 'The bridge answers ' + response.status + '.');
}

export function get(path, query = {}, signal) {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return ask(words.size ? path + '?' + words : path, { signal });
}

export function post(path, body) {
  return ask(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
}

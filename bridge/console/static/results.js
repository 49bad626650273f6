import { copyButton, h } from './dom.js';
import { httpURL } from './format.js';

// results shows what Kling made: videos and sounds that play, images, and links to other files.
export function results(result) {
  const items = [
    ...result.videos.map((video, i) => figure('Video ' + (i + 1) + length(video), video.url,
      (url) => h('video', { src: url, controls: true, preload: 'metadata', playsinline: true, 'aria-label': 'Video ' + (i + 1) }),
      [['with watermark', video.watermark_url]])),
    ...result.images.map((image) => figure('Image ' + (image.index + 1), image.url,
      (url) => h('img', { src: url, alt: 'Image ' + (image.index + 1), loading: 'lazy' }), [['with watermark', image.watermark_url]])),
    ...result.audios.map((audio, i) => figure('Audio ' + (i + 1) + length(audio), audio.url_mp3 || audio.url_wav,
      (url) => h('audio', { src: url, controls: true, preload: 'metadata', 'aria-label': 'Audio ' + (i + 1) }),
      audio.url_mp3 ? [['WAV', audio.url_wav]] : [])),
    ...result.files.map((file) => other('File ' + file.type, file.url)),
  ];
  if (!items.length) return null;
  return h('section', { class: 'panel', 'aria-labelledby': 'results' }, h('h2', { id: 'results' }, 'Result'),
    h('div', { class: 'results' }, items));
}

const length = (media) => Number(media.duration_seconds) > 0 ? ', ' + media.duration_seconds + ' s' : '';

// figure shows a result by its URL, which is a link only where it leads to the web. variants are other files of the same, with
// a name each.
function figure(caption, text, media, variants) {
  const url = httpURL(text);
  if (!url) return other(caption, text);
  const shown = media(url);
  shown.addEventListener('error', () => shown.replaceWith(h('p', { class: 'gone' }, 'It can’t be loaded: it may have expired.')));
  return h('figure', {}, shown,
    h('figcaption', {}, caption, ' ', link(url), copyButton(url, 'the URL'),
      variants.filter(([, other]) => httpURL(other)).map(([name, other]) => [' · ', link(httpURL(other), name)])));
}

// other is a result that is not shown.
function other(caption, text) {
  const url = httpURL(text);
  return h('figure', {}, h('figcaption', {}, caption, ': ', url ? link(url) : h('span', { class: 'id' }, text)));
}

const link = (url, name = 'open') => h('a', { href: url, rel: 'noopener noreferrer', target: '_blank' }, name);

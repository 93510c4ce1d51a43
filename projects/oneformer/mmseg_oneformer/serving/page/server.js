// Talking to the server: every failure is an error whose message is a sentence for the user.

export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal('The server does not answer. Is it still running?', 0);
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => null);
  const detail = content?.detail;
  throw new Refusal(typeof detail === 'string' ? detail : `The server failed (${response.status}); its log says why.`, response.status);
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

export async function askPicture(path) {
  return createImageBitmap(await (await ask(path)).blob());
}

// A file to keep: fetched here, so that a refusal becomes a message and not a broken download.
export async function download(path, fileName) {
  const url = URL.createObjectURL(await (await ask(path)).blob());
  const link = Object.assign(document.createElement('a'), { href: url, download: fileName });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

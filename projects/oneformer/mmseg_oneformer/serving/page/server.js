// Talking to the server: every failure is an error whose message is a sentence for the user.

export class RequestError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new RequestError('The server does not respond. Is it still running?', 0);
  }
  if (response.ok) return response;
  const content = await response.json().catch(() => null);
  const detail = content?.detail;
  throw new RequestError(typeof detail === 'string' ? detail : `The server failed (${response.status}); its log says why.`, response.status);
}

export async function requestJson(path, options) {
  return (await request(path, options)).json();
}

export async function requestPicture(path) {
  return createImageBitmap(await (await request(path)).blob());
}

// A file to keep: fetched here, so that an error becomes a message and not a broken download.
export async function download(path, fileName) {
  const url = URL.createObjectURL(await (await request(path)).blob());
  const link = Object.assign(document.createElement('a'), { href: url, download: fileName });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// Sends a file to the server, telling how far it is.

/** The API's File; rejects with an Error whose message is for people. */
export function upload(url, token, blob, filename, onProgress) {
  const form = new FormData();
  form.append("purpose", "batch");
  form.append("file", blob, filename);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    request.setRequestHeader("X-CSRFToken", token);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    request.addEventListener("load", () => (request.status === 200 ? resolve(request.response) : reject(new Error(reason(request)))));
    request.addEventListener("error", () => reject(new Error("The server cannot be reached. Try again.")));
    request.send(form);
  });
}

function reason(request) {
  if (request.status === 401 || request.status === 403) return "You are not signed in any more. Reload the page.";
  return request.response?.error?.message ?? `The server answered ${request.status}.`;
}

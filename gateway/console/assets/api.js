// The admin API. The token goes into a header and nowhere else.

const purpose = "trial page";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class API {
  constructor(token) {
    this.token = token;
  }

  async fetch(method, path, body, signal) {
    const headers = { Authorization: `Bearer ${this.token}`, "X-Lethe-Purpose": purpose };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, {
      method, headers, signal, cache: "no-store", redirect: "error", credentials: "omit",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (answer.ok) return answer;
    const error = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, error.error?.message || `the server answered ${answer.status}`);
  }

  async get(path) {
    return (await this.fetch("GET", path)).json();
  }

  async post(path, body) {
    return (await this.fetch("POST", path, body)).json();
  }

  // job begins long work and returns its result; each hears of its progress.
  async job(path, body, each) {
    let job = await this.post(path, body);
    while (job.state === "running") {
      each(job);
      await new Promise((done) => setTimeout(done, 250));
      job = await this.get(`/v1/jobs/${encodeURIComponent(job.id)}`);
    }
    if (job.state !== "done") throw new Refused(0, job.error?.message || "the job failed");
    return job.result;
  }

  // feed calls each with every event until the server refuses the token. It
  // connects again when the stream ends; the newest events come once more then, and
  // are known by their position.
  async feed(each, state) {
    for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
      try {
        const answer = await this.fetch("GET", "/v1/feed");
        state("live");
        wait = 500;
        await lines(answer.body, (line) => {
          if (line.startsWith("data: ")) each(JSON.parse(line.slice(6)));
        });
      } catch (error) {
        if (error.status === 401 || error.status === 403) {
          state("refused");
          return;
        }
      }
      state("lost");
      await new Promise((done) => setTimeout(done, wait));
    }
  }
}

async function lines(body, each) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    parts.forEach(each);
  }
}

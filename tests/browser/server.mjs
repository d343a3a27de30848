// A demonstration's mirror with hostile rows in it, and `cursus serve` on it.

import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";

const call = promisify(execFile);

/** Waits until all of a page has been read, and gives its address. */
export async function read(url) {
  const end = Date.now() + 60_000;
  while ((await (await fetch(url)).text()).includes(" data-awaited")) {
    if (Date.now() > end) throw new Error(`${url} is never read`);
    await setTimeout(100);
  }
  return url;
}

/** The program under test. */
const CURSUS = process.env.CURSUS ?? "cursus";

/** A mirror that `cursus demo` made, in a directory of its own. */
export class Mirror {
  constructor(directory) {
    this.directory = directory;
    // Nothing of the caller's own: not their key, not their database.
    const { PATH, CURSUS_PG_BIN } = process.env;
    this.environment = { PATH, HOME: directory, XDG_STATE_HOME: directory, ...(CURSUS_PG_BIN && { CURSUS_PG_BIN }) };
    this.servers = [];
  }

  static async make() {
    const mirror = new Mirror(await mkdtemp(join(tmpdir(), "cursus-browser-")));
    await mirror.cursus("demo", "--dir", join(mirror.directory, "demo"), "--json", "-q");
    return mirror;
  }

  get project() {
    return join(this.directory, "demo");
  }

  async cursus(...words) {
    const { stdout } = await call(CURSUS, words, { cwd: words[0] === "demo" ? this.directory : this.project, env: this.environment, maxBuffer: 1 << 26 });
    return stdout;
  }

  /** Changes the mirror; SQL that fails is a failure of the test. */
  async change(sql) {
    await this.cursus("sql", "--write", "--", sql);
  }

  /** Starts `cursus serve` on a free port and gives its address. */
  async serve(...options) {
    const server = spawn(CURSUS, ["serve", "--json", "--listen", "127.0.0.1:0", ...options], {
      cwd: this.project,
      env: this.environment,
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.servers.push(server);
    let said = "";
    for await (const part of server.stdout) {
      said += part;
      try {
        return JSON.parse(said).url;
      } catch {
        // Not all of it yet.
      }
    }
    throw new Error(`cursus serve ended with ${server.exitCode}`);
  }

  /** A file with a token, for `--token-file`. */
  async token(text) {
    const file = join(this.project, "token");
    await writeFile(file, `${text}\n`, { mode: 0o600 });
    return file;
  }

  async remove() {
    for (const server of this.servers) {
      if (server.exitCode === null) {
        server.kill("SIGTERM");
        await once(server, "exit");
      }
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}

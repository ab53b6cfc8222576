// The only door to the coordinator: same origin, JSON, problems as values.
import type { Problem, Session } from "./types";

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
  get isUnauthenticated(): boolean {
    return this.problem.status === 401;
  }
}

let csrf = "";
let signedOut: () => void = () => {};

/** Who is told when a session has ended. */
export function onSignedOut(listener: () => void): void {
  signedOut = listener;
}

export type Query = Record<string, string | number | boolean | null | undefined>;

export function address(path: string, query: Query = {}): string {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") q.set(name, String(value));
  }
  const text = q.toString();
  return `/v1${path}${text ? `?${text}` : ""}`;
}

const unreachable = (why: string): Problem => ({
  type: "/problems/unreachable",
  title: "Unreachable",
  status: 0,
  detail: `the coordinator does not answer: ${why}`,
  hint: "look whether `warren serve` runs, then try again",
});

async function ask(method: string, url: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && csrf) headers["warren-csrf"] = csrf;
  try {
    return await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(unreachable(error instanceof Error ? error.message : String(error)));
  }
}

async function problemOf(response: Response): Promise<Problem> {
  try {
    const body: unknown = await response.json();
    if (body && typeof body === "object" && "detail" in body) return body as Problem;
  } catch {
    // No body, or not ours: the status must do.
  }
  return {
    type: "/problems/unknown",
    title: response.statusText,
    status: response.status,
    detail: `the coordinator answered ${response.status} ${response.statusText}`,
  };
}

async function json<T>(response: Response): Promise<T> {
  if (response.status === 204) return undefined as T;
  if (response.ok) return (await response.json()) as T;
  const problem = await problemOf(response);
  if (problem.status === 401) signedOut();
  throw new ApiError(problem);
}

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return json<T>(await ask("GET", address(path, query), undefined, signal));
}

export async function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return json<T>(await ask("POST", address(path), body, signal));
}

/** The session there is, or null. */
export async function whoAmI(): Promise<Session | null> {
  const response = await ask("GET", address("/session"), undefined);
  if (response.status === 401) return null;
  return remember(await json<Session>(response));
}

export async function signIn(given: { key: string } | { link: string }): Promise<Session> {
  return remember(await json<Session>(await ask("POST", address("/session"), given)));
}

export async function signOut(): Promise<void> {
  await json<void>(await ask("DELETE", address("/session"), undefined));
  csrf = "";
}

function remember(session: Session): Session {
  csrf = session.csrf;
  return session;
}

import { useState } from "preact/hooks";
import type { Problem } from "../api/types";
import { linkProblem, signIn } from "../state/live";
import { useStore } from "../state/store";
import { Mark } from "../ui/icons";
import { Command, Fault } from "../ui/parts";

export function SignIn() {
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const byLink = useStore(linkProblem);
  const enter = async () => {
    setBusy(true);
    const said = await signIn(key.trim());
    setBusy(false);
    setProblem(said);
    setKey("");
  };
  return (
    <div class="whole sign-in">
      <main>
        <Mark size={36} />
        <h1>Warren</h1>
        {byLink && !problem ? <Fault problem={byLink} /> : null}
        <p class="soft">For a link that signs you in, run this where the coordinator runs:</p>
        <Command text="warren ui" />
        <form
          onSubmit={(e) => {
            e.preventDefault();
            void enter();
          }}
        >
          <label for="key">or give an API key</label>
          <div class="row">
            <input
              id="key"
              name="key"
              type="password"
              value={key}
              onInput={(e) => setKey(e.currentTarget.value)}
              placeholder="wrn_…"
              autoComplete="off"
              spellcheck={false}
              required
            />
            <button type="submit" class="button primary" disabled={busy || !key.trim()}>
              Sign in
            </button>
          </div>
        </form>
        {problem ? <Fault problem={problem} /> : null}
      </main>
    </div>
  );
}

// Builds anew beside the committed bundle and fails if one byte differs.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const [kept, fresh] = [join(root, "dist"), join(root, "target/dist")];
rmSync(fresh, { recursive: true, force: true });
execFileSync(
  process.execPath,
  [join(root, "node_modules/vite/bin/vite.js"), "build", "--outDir", fresh, "--emptyOutDir", "--logLevel", "warn"],
  { cwd: root, stdio: "inherit" },
);
const files = (dir) =>
  existsSync(dir)
    ? readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((f) => f.isFile())
        .map((f) => join(f.parentPath, f.name).slice(dir.length + 1))
        .sort()
    : [];
const all = [...new Set([...files(kept), ...files(fresh)])];
const wrong = all.filter(
  (f) =>
    !existsSync(join(kept, f)) ||
    !existsSync(join(fresh, f)) ||
    !readFileSync(join(kept, f)).equals(readFileSync(join(fresh, f))),
);
if (wrong.length) {
  console.error(
    `coordinator/ui/dist is not what its source builds: ${wrong.join(", ")}\nrun \`npm run build\` in coordinator/ui and commit dist`,
  );
  process.exit(1);
}
console.log(`coordinator/ui/dist is what its source builds (${all.length} files)`);

// Asks @vercel/frameworks and @netlify/build-info what the directories below argv[2] are.
import { createRequire } from "node:module";
import { readdirSync } from "node:fs";
import { join } from "node:path";

const [top, modules] = process.argv.slice(2);
const require = createRequire(join(modules, "x.js"));
const { frameworkList, ...vercel } = require("@vercel/frameworks");
const { detectFramework, LocalFileSystemDetector } = require("@vercel/fs-detectors");
const lib = join(modules, "node_modules/@netlify/build-info/lib");
const netlify = await import(join(lib, "index.js"));
const { NodeFS } = await import(join(lib, "node/index.js"));
const known = frameworkList ?? vercel.frameworks ?? vercel.default;
const found = {};
for (const name of readdirSync(top)) {
  const at = join(top, name);
  const fs = new LocalFileSystemDetector(at);
  const slug = await detectFramework({ fs, frameworkList: known });
  const project = new netlify.Project(new NodeFS(), at).setEnvironment(process.env);
  project.fs.cwd = at;
  const said = await project.detectFrameworks();
  found[name] = { vercel: slug ?? "", netlify: (said ?? []).map((each) => each.id) };
}
console.log(JSON.stringify(found));

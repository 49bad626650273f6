// Compiles the schemas of a directory as strictly as ajv can, with every definition by itself, and holds examples to them: JSON
// lines on stdin with schema (file name and fragment), valid and data.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import Ajv from "ajv/dist/2020.js";
import formats from "ajv-formats";

const [directory] = process.argv.slice(2);
const ajv = new Ajv({ strict: true, allErrors: true });
formats(ajv);

const names = new Map();
for (const file of readdirSync(directory)) {
  const schema = JSON.parse(readFileSync(join(directory, file), "utf8"));
  ajv.addSchema(schema);
  names.set(file, schema);
}
for (const { $id, $defs } of names.values()) {
  for (const fragment of ["", ...Object.keys($defs ?? {}).map((name) => `#/$defs/${name}`)]) {
    if (!ajv.getSchema($id + fragment)) throw new Error(`there is no ${$id}${fragment}`);
  }
}

let examples = 0;
for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { schema, valid, data } = JSON.parse(line);
  const [file, fragment] = schema.split("#");
  const check = ajv.getSchema(names.get(file).$id + (fragment ? `#${fragment}` : ""));
  if (check(data) !== valid) {
    console.error(`${schema}: want valid: ${valid}: ${line}\n${ajv.errorsText(check.errors)}`);
    process.exitCode = 1;
  }
  examples++;
}
console.log(`${names.size} schemas, ${examples} examples`);

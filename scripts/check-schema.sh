#!/bin/sh
# Gives what `cursus schema` writes to the validators of each language: those of Prisma, TypeScript and DBML, from npm, in a temporary
# directory. Needs node and npm, and a built test suite.
set -eu
for tool in node npm; do
    command -v "$tool" >/dev/null || { echo "check-schema needs $tool" >&2; exit 1; }
done
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/out"
CHECK_SCHEMA="$work/out" cargo test --quiet --test cursus -- schema::hostile_tables schema::types_and_schemas
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @prisma/prisma-schema-wasm @dbml/core typescript
cat >check.js <<'JS'
const { readFileSync, readdirSync } = require('node:fs');
const prisma = require('@prisma/prisma-schema-wasm');
const { Parser } = require('@dbml/core');
let failed = false;
const check = (name, validate) => {
  try {
    validate();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed = true;
    console.log(`failed  ${name}: ${error.diags ? JSON.stringify(error.diags.slice(0, 5)) : error.message ?? error}`);
  }
};
for (const name of readdirSync('out').sort()) {
  const text = readFileSync(`out/${name}`, 'utf8');
  if (name.endsWith('.prisma')) {
    check(name, () => prisma.validate(JSON.stringify({ prismaSchema: [[name, text]], noColor: true })));
  } else if (name.endsWith('.dbml')) {
    check(name, () => new Parser().parse(text, 'dbmlv2'));
  } else if (name.endsWith('.json')) {
    check(name, () => JSON.parse(text));
  }
}
process.exitCode = failed ? 1 : 0;
JS
node check.js
for types in out/*.typescript; do
    cp "$types" "${types%.typescript}.ts"
    ./node_modules/.bin/tsc --strict --noEmit --skipLibCheck --target es2022 "${types%.typescript}.ts"
    echo "ok      ${types#out/}"
done
if command -v dot >/dev/null; then
    for diagram in out/*.dot; do
        dot -Tsvg "$diagram" >/dev/null
        echo "ok      ${diagram#out/}"
    done
fi

#!/bin/sh
# Brings a C compiler and linker for people who may not install one: zig, from the Python package that holds it: fetch-compiler.sh FOLDER.
# FOLDER/bin then holds `cc`, for PATH.
set -eu

folder=$1
python3 -m pip --version >/dev/null 2>&1 || { echo "python3 with pip is needed to bring a C compiler." >&2; exit 1; }
python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --upgrade --target "$folder/packages" ziglang >&2
mkdir -p "$folder/bin"
# zig has names of its own for systems; what is built here is for here, which it knows by itself.
cat >"$folder/bin/cc.new" <<'CC'
#!/bin/sh
for argument; do
    shift
    case "$argument" in --target=*) ;; *) set -- "$@" "$argument" ;; esac
done
exec "$(dirname "$0")/../packages/ziglang/zig" cc "$@"
CC
chmod +x "$folder/bin/cc.new"
mv "$folder/bin/cc.new" "$folder/bin/cc"

#!/bin/sh
# Copies the pinned browser libraries out of node_modules (`npm ci && npm run vendor`) and writes
# the list of their hashes, which a test holds against the files.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
from="$here/../../node_modules/uplot"
to="$here/uplot"
mkdir -p "$to"
cp "$from/dist/uPlot.iife.min.js" "$from/dist/uPlot.min.css" "$from/LICENSE" "$to/"
sed -n 's/.*"version": *"\([^"]*\)".*/\1/p' "$from/package.json" > "$to/VERSION"
chmod 644 "$to"/*
cd "$to"
sha256sum LICENSE VERSION uPlot.iife.min.js uPlot.min.css > SHA256SUMS

// Package sqsserver holds the SQS server that tests start: fauxqs, an npm package, pinned
// with all that it needs by a lock file, and the script that runs it. Package sqstest
// installs and starts it.
//
// To change the version, edit package.json, run
//
//	npm install --omit-lockfile-registry-resolved --ignore-scripts
//
// in this folder (so that no registry's address gets into the lock file) and delete the
// node_modules folder that this leaves.
package sqsserver

import "embed"

// Files are the files that "npm ci" and node need.
//
//go:embed package.json package-lock.json start.mjs
var Files embed.FS

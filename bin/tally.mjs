#!/usr/bin/env node
// The command `tally`. It must be read by any Node that someone may have, so it only looks at the version and goes on.
var major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  process.stderr.write(
    'tally: E_NODE: Node ' +
      process.versions.node +
      ' is too old: tally starts with Node 20 or newer.\nhint: install a newer Node (https://nodejs.org) and try again.\n',
  );
  process.exitCode = 2;
} else {
  void import('./launch.mjs').then(function (launcher) {
    return launcher.launch(process.argv.slice(2));
  });
}

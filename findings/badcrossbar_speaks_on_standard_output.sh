#!/bin/sh
# badcrossbar 1.1.0: importing it configures the root logger of the whole process, to the standard output.
#
# Guess: a library logs through a logger of its own and leaves handlers to the program, so what a program prints is its own.
# Seen: the import installs a handler on the root logger at level INFO that writes to the standard output. Its own progress
# then stands between what the program prints there, JSON for one, and so does what any other library logs at INFO. Without
# the package pathvalidate the import succeeds all the same, and badcrossbar.compute is missing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.0 scipy==1.17.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps badcrossbar==1.1.0
cat > "$folder/without.py" <<'PYTHON'
import warnings

warnings.simplefilter("ignore")
import badcrossbar

print("without pathvalidate, compute is there:", hasattr(badcrossbar, "compute"))
PYTHON
cat > "$folder/with.py" <<'PYTHON'
import json
import logging

import numpy as np

print("handlers before:", len(logging.getLogger().handlers))
import badcrossbar  # noqa: E402

(handler,) = logging.getLogger().handlers
print("handlers after: 1, on", handler.stream.name, "at", logging.getLevelName(logging.getLogger().level))
logging.getLogger("another.library").info("a message of another library")
solution = badcrossbar.compute(np.ones((2, 1)), np.full((2, 2), 1e4), r_i=0)
print(json.dumps({"microamperes": np.round(solution.currents.output[0] * 1e6, 6).tolist()}))
PYTHON
"$folder/venv/bin/python" "$folder/without.py" 2> /dev/null > "$folder/seen"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pathvalidate==3.3.1
"$folder/venv/bin/python" "$folder/with.py" 2> /dev/null > "$folder/all"
grep -E "^(handlers|\{)" "$folder/all" >> "$folder/seen"
echo "lines of badcrossbar on the standard output: $(grep -vcE "^(handlers|\{)|another library" "$folder/all" | sed 's/^[1-9][0-9]*$/some/')" >> "$folder/seen"
echo "lines of another library there: $(grep -c "another library" "$folder/all")" >> "$folder/seen"
cat > "$folder/expected" <<'TEXT'
without pathvalidate, compute is there: False
handlers before: 0
handlers after: 1, on <stdout> at INFO
{"microamperes": [200.0, 200.0]}
lines of badcrossbar on the standard output: some
lines of another library there: 1
TEXT
diff "$folder/expected" "$folder/seen"
cat "$folder/seen"
